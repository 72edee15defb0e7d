"""Machines and scale sets that a request makes, and commands that run on them, driven by Azure's own SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import Future
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError

from contract.azure_world import ServedAzure, served
from fakeazure import FakeAzure, Vm

GROUP = "azbox"
COMMAND = {"commandId": "RunShellScript", "script": ["echo one", "echo two"]}


@pytest.fixture
async def world() -> AsyncIterator[ServedAzure]:
    async with served(FakeAzure(seed=1)) as world:
        subnet = {"id": world.azure.subnet().id}
        config = {"name": "ipconfig1", "properties": {"subnet": subnet}}
        poller = await world.network.network_interfaces.begin_create_or_update(
            GROUP, "new-nic", {"location": "eastus", "properties": {"ipConfigurations": [config]}}
        )
        await poller.result()
        yield world


def _machine(world: ServedAzure, **properties: Any) -> dict[str, Any]:
    nic = world.azure.nic("new-nic")["id"]
    return {
        "location": "eastus",
        "properties": {
            "hardwareProfile": {"vmSize": "Standard_B1s"},
            "storageProfile": {"osDisk": {"createOption": "FromImage"}},
            "osProfile": {"computerName": "new"},
            "networkProfile": {"networkInterfaces": [{"id": nic}]},
            **properties,
        },
    }


async def test_a_machine_is_made_on_a_nic_that_is_there(world: ServedAzure) -> None:
    poller = await world.compute.virtual_machines.begin_create_or_update(GROUP, "new", _machine(world))
    made = await poller.result()
    assert (made.name, made.hardware_profile.vm_size) == ("new", "Standard_B1s")
    assert world.azure.nic("new-nic")["properties"]["virtualMachine"]["id"] == world.azure.vm("new").id
    assert world.azure.nic("new-nic")["properties"]["macAddress"]
    assert [address.address for address in world.azure.nic_record("new-nic").effective] == ["10.240.0.5"]


async def _refused(world: ServedAzure, body: dict[str, Any]) -> str:
    with pytest.raises(HttpResponseError) as raised:
        await world.compute.virtual_machines.begin_create_or_update(GROUP, "new", body)
    assert "new" not in [vm.name for vm in world.azure.network.vms.values()]
    return str(raised.value.error.code)


async def test_what_is_no_machine_is_refused(world: ServedAzure) -> None:
    assert await _refused(world, _machine(world, storageProfile=None)) == "InvalidParameter"
    taken = {"networkInterfaces": [{"id": world.azure.nic("vm1-nic")["id"]}]}
    assert await _refused(world, _machine(world, networkProfile=taken)) == "NicInUse"
    gone = {"networkInterfaces": [{"id": world.azure.nic("vm1-nic")["id"] + "x"}]}
    assert await _refused(world, _machine(world, networkProfile=gone)) == "InvalidResourceReference"
    assert await _refused(world, _machine(world) | {"location": ""}) == "LocationRequired"


async def test_a_command_is_followed_to_what_it_printed(world: ServedAzure) -> None:
    asked: list[tuple[str, str]] = []
    result: Future[str] = Future()

    def run(vm: Vm, script: str) -> Future[str]:
        asked.append((vm.name, script))
        return result

    world.azure.commands.run = run
    poller = await world.compute.virtual_machines.begin_run_command(GROUP, "vm1", COMMAND, polling_interval=0)
    with pytest.raises(HttpResponseError, match="execution is in progress"):
        await world.compute.virtual_machines.begin_run_command(GROUP, "vm1", COMMAND)
    result.set_result("x" * 5000 + "end")
    (message,) = (await poller.result()).value
    assert asked == [("vm1", "echo one\necho two")]
    assert message.code == "ProvisioningState/succeeded"
    shown = message.message.partition("[stdout]\n")[2].partition("\n[stderr]")[0]
    assert (len(shown), shown[-4:]) == (4096, "xend")


async def test_a_scale_set_is_made_with_its_instances(world: ServedAzure) -> None:
    config = {"name": "c", "properties": {"subnet": {"id": world.azure.subnet().id}, "primary": True}}
    nic = {"name": "n", "properties": {"primary": True, "ipConfigurations": [config]}}
    profile = {"networkProfile": {"networkInterfaceConfigurations": [nic]}}
    body = {
        "location": "eastus",
        "sku": {"name": "Standard_B1s", "capacity": 2},
        "properties": {"orchestrationMode": "Uniform", "virtualMachineProfile": profile},
    }
    poller = await world.compute.virtual_machine_scale_sets.begin_create_or_update(GROUP, "s", body)
    assert (await poller.result()).name == "s"
    found = [one async for one in world.compute.virtual_machine_scale_set_vms.list(GROUP, "s")]
    assert [one.instance_id for one in found] == ["0", "1"]
    assert [vm.nic for vm in world.azure.network.vms.values() if vm.scale_set] == ["s_0/n", "s_1/n"]
    flexible = body | {"properties": body["properties"] | {"orchestrationMode": "Flexible"}}
    with pytest.raises(HttpResponseError, match="Uniform mode alone"):
        await world.compute.virtual_machine_scale_sets.begin_create_or_update(GROUP, "t", flexible)
