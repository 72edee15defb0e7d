"""The stand-in for `az`: what it does to the fake Azure."""

import asyncio
import functools
import shlex
from pathlib import Path

import pytest

from azure_cni.model.identity import role_assignment
from azurebox.azure import request
from azurebox.facts import RESOURCE_GROUP, SUBSCRIPTION
from azurebox.steps import StepError
from fakeazure import FakeAzure
from scenarios.harness import az

SCOPE = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{RESOURCE_GROUP}"
ROLE = '{"Name": "r", "Actions": ["a/read"], "AssignableScopes": ["/subscriptions/%s"]}'


async def test_an_identity_with_a_role_for_all_vms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(az.ROLES, str(tmp_path / "roles.json"))
    azure = FakeAzure(seed=1)
    azure.add_vnet(subnets={"nodes": "10.240.0.0/24"})
    for name in ("vm1", "vm2"):
        azure.add_vm(name)
    async with azure.serve(admin_socket=tmp_path / "admin.sock"):

        async def run(*words: str) -> str:
            ask = functools.partial(request, door=tmp_path / "admin.sock")
            return await asyncio.to_thread(az.carry_out, words, ask=ask)

        def assign(role: str) -> tuple[str, ...]:
            whom = ("--assignee-object-id", principal, "--assignee-principal-type", "ServicePrincipal")
            return ("role", "assignment", "create", "--role", role, *whom, "--scope", SCOPE)

        named = ("-g", RESOURCE_GROUP, "-n", "cni")
        assert await run("identity", "create", *named, "-o", "none") == ""
        principal = await run("identity", "show", *named, "--query", "principalId", "-o", "tsv")
        with pytest.raises(StepError, match="Role 'r' doesn't exist"):
            await run(*assign("r"))
        with pytest.raises(StepError, match="is not the subscription"):
            await run("role", "definition", "create", "--role-definition", ROLE % "another")
        await run("role", "definition", "create", "--role-definition", ROLE % SUBSCRIPTION)
        await run(*assign("r"))
        vms = (await run("vm", "list", "-g", RESOURCE_GROUP, "--query", "[].name", "-o", "tsv")).split()
        for vm in vms:
            await run("vm", "identity", "assign", "-g", RESOURCE_GROUP, "-n", vm, "--identities", "cni")
    (one,) = azure.user_assigned["vm1"]
    assert (vms, azure.user_assigned["vm2"], one.object_id) == (["vm1", "vm2"], (one,), principal)
    assert azure.identity.allows(one, "a/read", scope=f"{SCOPE}/x")
    assert not azure.identity.allows(one, "a/write", scope=SCOPE)


async def test_the_command_of_a_missing_permission_gives_it_to_whom_it_names(tmp_path: Path) -> None:
    """`azure-cni check` names it; what the identity may do besides stays, as role assignments of Azure add up."""
    azure = FakeAzure(seed=1)
    azure.add_vnet(subnets={"nodes": "10.240.0.0/24"})
    azure.add_vm("vm1")
    vm = azure.vm("vm1")
    one, action = azure.identity.principals[vm.principal_id], "Microsoft.Network/networkInterfaces/write"
    azure.identity.forbid(action)
    command = shlex.split(role_assignment(identity=one.object_id, scope=f"{SCOPE}/nic"))
    async with azure.serve(admin_socket=tmp_path / "admin.sock"):
        ask = functools.partial(request, door=tmp_path / "admin.sock")
        assert not azure.identity.allows(one, action)
        await asyncio.to_thread(az.carry_out, command[1:], ask=ask)
    assert azure.identity.allows(one, action)
    assert azure.identity.allows(one, "Microsoft.Compute/virtualMachines/read")
    with pytest.raises(StepError, match="wants --assignee --role --scope, or"):
        az.carry_out([*command[1:], "--nonsense", "yes"], ask=ask)
