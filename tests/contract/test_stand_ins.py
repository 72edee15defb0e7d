"""The stand-in for `az` that runs the commands of docs/getting-started.md: what it does to the fake Azure."""

import asyncio
import functools
from pathlib import Path

import pytest

from azurebox.azure import request
from azurebox.facts import RESOURCE_GROUP, SUBSCRIPTION
from azurebox.steps import StepError
from fakeazure import FakeAzure
from scenarios.harness import stand_ins

SCOPE = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{RESOURCE_GROUP}"
ROLE = '{"Name": "r", "Actions": ["a/read"], "AssignableScopes": ["/subscriptions/%s"]}'


async def test_an_identity_with_a_role_for_all_vms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(stand_ins.STATE, str(tmp_path))
    azure = FakeAzure(seed=1)
    azure.add_vnet(subnets={"nodes": "10.240.0.0/24"})
    for name in ("vm1", "vm2"):
        azure.add_vm(name)
    async with azure.serve(admin_socket=tmp_path / "admin.sock"):

        async def az(*words: str) -> str:
            ask = functools.partial(request, door=tmp_path / "admin.sock")
            return await asyncio.to_thread(stand_ins.az, words, ask=ask)

        def assign(role: str) -> tuple[str, ...]:
            whom = ("--assignee-object-id", principal, "--assignee-principal-type", "ServicePrincipal")
            return ("role", "assignment", "create", "--role", role, *whom, "--scope", SCOPE)

        named = ("-g", RESOURCE_GROUP, "-n", "cni")
        assert await az("identity", "create", *named, "-o", "none") == ""
        principal = await az("identity", "show", *named, "--query", "principalId", "-o", "tsv")
        with pytest.raises(StepError, match="Role 'r' doesn't exist"):
            await az(*assign("r"))
        with pytest.raises(StepError, match="is not the subscription"):
            await az("role", "definition", "create", "--role-definition", ROLE % "another")
        await az("role", "definition", "create", "--role-definition", ROLE % SUBSCRIPTION)
        await az(*assign("r"))
        vms = (await az("vm", "list", "-g", RESOURCE_GROUP, "--query", "[].name", "-o", "tsv")).split()
        for vm in vms:
            await az("vm", "identity", "assign", "-g", RESOURCE_GROUP, "-n", vm, "--identities", "cni")
    (one,) = azure.user_assigned["vm1"]
    assert (vms, azure.user_assigned["vm2"], one.object_id) == (["vm1", "vm2"], (one,), principal)
    assert azure.identity.allows(one, "a/read", scope=f"{SCOPE}/x")
    assert not azure.identity.allows(one, "a/write", scope=SCOPE)
