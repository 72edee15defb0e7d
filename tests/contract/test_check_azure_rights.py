"""`azure-cni check --azure`: what identities of VMs may do, what the person may read, and where the token goes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from azure_cni.commands.azure_access import SdkAccess
from azure_cni.errors import ConfigInvalid
from contract.check_azure_world import World, azure_and_a_person
from fakeazure import FakeAzure
from unit.chart.helm import REPOSITORY


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[World]:
    async with azure_and_a_person(monkeypatch, tmp_path) as opened:
        yield opened


ROLE = json.loads((REPOSITORY / "docs" / "azure-role.json").read_text())["Actions"]


@pytest.mark.parametrize("lost", [action for action in ROLE if not action.endswith("/usages/read")])
async def test_each_permission_of_the_role_is_missed_before_the_install(world: World, lost: str) -> None:
    azure, vm = world.azure, world.azure.vm("vm1")
    referring(azure)
    group = vm.id.partition("/providers/")[0]
    azure.identity.assign([one for one in ROLE if one != lost], scope=group, principal=vm.principal_id)
    azure.identity.assign(["Microsoft.Network/*"], scope=f"{group}/providers/x/y/elsewhere", principal=vm.principal_id)
    found = (await world.check("--pre", "--azure", installed=False))["RolePermissions"]
    assert (found["result"], found["message"]) == ("warning", f"vm1: the VM's identity lacks {lost}")
    assert found["command"] == (
        f'az role assignment create --assignee {vm.principal_id} --role "azure-cni agent" --scope {group}'
    )
    azure.identity.assign([lost], scope=f"/subscriptions/{azure.subscription_id}", principal=vm.principal_id)
    assert (await world.check("--pre", "--azure", installed=False))["RolePermissions"]["result"] == "good"


def referring(azure: FakeAzure) -> None:
    """The NIC of vm1 refers to all that a NIC can refer to."""
    kinds = ("applicationSecurityGroups", "networkSecurityGroups", "loadBalancers", "applicationGateways")
    group, security, balancer, gateway = (azure.add_other(kind, "shared") for kind in kinds)
    nic = azure.nic_record("vm1-nic")
    body = nic.document()
    body["properties"]["networkSecurityGroup"] = {"id": security}
    for config in body["properties"]["ipConfigurations"]:
        config["properties"]["applicationSecurityGroups"] = [{"id": group}]
    body["properties"]["ipConfigurations"][0]["properties"] |= {
        "loadBalancerBackendAddressPools": [{"id": f"{balancer}/backendAddressPools/pool"}],
        "loadBalancerInboundNatRules": [{"id": f"{balancer}/inboundNatRules/one"}],
        "applicationGatewayBackendAddressPools": [{"id": f"{gateway}/backendAddressPools/pool"}],
        "publicIPAddress": {"id": azure.add_public_ip("own", "203.0.113.9")},
    }
    azure.nics.write(azure.nics.read(nic.id, body), now=azure.settle(), duration_s=0.0)
    azure.settle()


async def test_with_several_identities_one_that_may_is_enough_and_a_wildcard_counts(world: World) -> None:
    azure = world.azure
    weak, strong = (azure.add_identity(name) for name in ("weak", "strong"))
    azure.identity.set_permissions(["Microsoft.Compute/*/read"], principal=weak.object_id)
    azure.identity.set_permissions(["Microsoft.Network/*", "*/read"], principal=strong.object_id)
    azure.user_assigned["vm1"] = (weak, strong)
    assert (await world.check("--pre", "--azure", installed=False))["RolePermissions"]["result"] == "good"
    azure.user_assigned["vm1"] = (weak,)
    lacking = (await world.check("--pre", "--azure", installed=False))["RolePermissions"]
    assert "vm1: the VM's identity lacks Microsoft.Network/networkInterfaces/read" in lacking["message"]
    assert (await world.check("--azure"))["RolePermissions"]["result"] == "good"  # its agent says itself what it lacks


async def test_a_vm_without_an_identity(world: World) -> None:
    world.azure.user_assigned["vm2"] = ()
    found = (await world.check("--pre", "--azure", installed=False))["VmIdentity"]
    assert (found["result"], found["message"].rpartition(": ")[2]) == ("warning", "vm2")
    assert f"az vm identity assign --ids {world.azure.vm('vm2').id} --identities" in found["command"]
    assert (await world.check("--azure"))["VmIdentity"]["result"] == "good"


async def test_what_the_person_may_not_read_is_unknown_and_no_other_check_suffers(world: World) -> None:
    world.put_group("strict", subnet="nodes")
    world.azure.identity.forbid("Microsoft.Network/networkSecurityGroups/read", principal=world.person.object_id)
    answer = await world.answer("--azure")
    found = {one["code"]: one for one in answer["checks"] if one["group"] == "azure"}
    assert found["PodsShutOff"]["result"] == "unknown"
    assert "AuthorizationFailed" in found["PodsShutOff"]["message"]
    assert (found["NoWayOut"]["result"], answer["exit"]) == ("good", 3)


async def test_who_may_read_nothing_learns_why(world: World) -> None:
    world.azure.identity.set_permissions([], principal=world.person.object_id)
    answer = await world.answer("--azure")
    found = {one["code"]: one for one in answer["checks"] if one["group"] == "azure"}
    assert found["NicNotFound"]["result"] == "unknown"
    assert "vm1, vm2" in found["NicNotFound"]["message"]
    assert answer["exit"] == 3


@pytest.mark.parametrize(
    "written",
    [
        "//evil.example/a/b/c/d/e/f/g",
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/../../x",
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/x?y=z",
        "/subscriptions/s/resourceGroups/g@evil.example/providers/Microsoft.Compute/virtualMachines/x",
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/x\n",
        "https://evil.example/resourceGroups/g/providers/Microsoft.Compute/virtualMachines",
    ],
)
def test_only_ids_are_asked_for(written: str) -> None:
    access = SdkAccess(credential=Nobody(), endpoint="https://127.0.0.1:1")
    with pytest.raises(ConfigInvalid, match="no ID of a resource"):
        access.read(written)
    with pytest.raises(ConfigInvalid, match="no ID of a resource"):
        access.list_nics(written)


class Nobody:
    """A credential that must not be asked."""

    def get_token(self, *_: str, **__: Any) -> Any:
        raise AssertionError("a token was asked for")
