"""Operations in time: what shows, what is held and what works, until the end. The test owns the clock."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from contract.azure_world import ServedAzure, served
from fakeazure import (
    EffectiveNetwork,
    FailOperation,
    FakeAzure,
    ManualClock,
    SlowOperation,
    SubnetFull,
    Superseded,
    SystemClock,
)
from fakeazure.adminmessages import Writes

Document = dict[str, Any]
DURATION_S = 20.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def world(clock: ManualClock) -> AsyncIterator[ServedAzure]:
    async with served(FakeAzure(clock, operation_duration_s=DURATION_S, seed=1), secondaries=2) as world:
        yield world


def nic_url(world: ServedAzure, name: str = "vm1-nic") -> str:
    return world.azure.id_of("azbox", "Microsoft.Network/networkInterfaces", name)


async def change(world: ServedAzure, *, add: int = 0, drop: tuple[str, ...] = ()) -> tuple[str, str]:
    """One accepted write of vm1-nic; gives path and query of its operation."""
    document = world.azure.nic("vm1-nic")
    configs = [one for one in document["properties"]["ipConfigurations"] if one["name"] not in drop]
    taken = len(world.azure.changes)
    reference = {"subnet": configs[0]["properties"]["subnet"]}
    configs += [{"name": f"new-{taken}-{index}", "properties": reference} for index in range(add)]
    document["properties"]["ipConfigurations"] = configs
    response = await world.request("PUT", nic_url(world), body=document)
    assert response.status == 200
    path, _, query = response.headers["Azure-AsyncOperation"].removeprefix(world.endpoints.arm).partition("?")
    return path, "&" + query.split("&", 1)[1]


async def poll(world: ServedAzure, operation: tuple[str, str]) -> Document:
    response = await world.get(operation[0], query=operation[1])
    assert response.status == 200
    return await response.json()


def shown(world: ServedAzure) -> list[str]:
    return [
        one["properties"]["privateIPAddress"] for one in world.azure.nic("vm1-nic")["properties"]["ipConfigurations"]
    ]


def works(world: ServedAzure) -> list[str]:
    return [one.address for one in world.azure.effective().nics[0].addresses]


def held(world: ServedAzure) -> int:
    return len(world.azure.subnet().owners)


def state(world: ServedAzure) -> str:
    return str(world.azure.nic("vm1-nic")["properties"]["provisioningState"])


def hosts(*numbers: int) -> list[str]:
    return [f"10.240.0.{number}" for number in numbers]


async def test_new_addresses_work_when_the_operation_succeeded(world: ServedAzure, clock: ManualClock) -> None:
    operation = await change(world, add=2)
    assert (state(world), shown(world), works(world), held(world)) == (
        "Updating",
        hosts(4, 5, 6, 7, 8),
        hosts(4, 5, 6),
        5,
    )
    clock.advance(DURATION_S - 0.1)
    assert await poll(world, operation) == {"status": "InProgress"}
    assert works(world) == hosts(4, 5, 6)
    clock.advance(0.1)
    assert await poll(world, operation) == {"status": "Succeeded"}
    assert (state(world), works(world)) == ("Succeeded", hosts(4, 5, 6, 7, 8))


async def test_removed_addresses_stop_at_once_and_are_free_at_the_end(world: ServedAzure, clock: ManualClock) -> None:
    await change(world, drop=("secondary-1",))
    assert (shown(world), works(world), held(world)) == (hosts(4, 6), hosts(4, 6), 3)
    clock.advance(DURATION_S)
    assert world.azure.settle()
    assert held(world) == 2
    await change(world, add=1)
    assert shown(world) == hosts(4, 6, 5)


async def test_a_newer_write_cancels_the_one_under_way(world: ServedAzure, clock: ManualClock) -> None:
    first = await change(world, add=2)
    clock.advance(DURATION_S / 2)
    second = await change(world, add=1)

    ended = await poll(world, first)
    assert (ended["status"], ended["error"]["code"]) == ("Canceled", "Canceled")
    assert ended["error"]["details"][0]["code"] == "CanceledAndSupersededDueToAnotherOperation"
    clock.advance(DURATION_S / 2)
    assert works(world) == hosts(4, 5, 6)
    clock.advance(DURATION_S / 2)
    assert await poll(world, second) == {"status": "Succeeded"}
    assert works(world) == hosts(4, 5, 6, 7, 8, 9)


@pytest.mark.parametrize(
    ("leaves", "shows", "working"),
    [
        ("previous", hosts(4, 5, 6), hosts(4, 5, 6)),
        ("half", hosts(4, 6, 7, 8), hosts(4, 6, 7, 8)),
        ("goal", hosts(4, 6, 7, 8, 9), hosts(4, 6)),
    ],
)
async def test_a_failed_operation(
    world: ServedAzure, clock: ManualClock, leaves: Any, shows: list[str], working: list[str]
) -> None:
    etag = world.azure.nic("vm1-nic")["etag"]
    world.azure.faults.add(FailOperation(leaves=leaves, code="InternalServerError", message="An error occurred."))
    operation = await change(world, add=3, drop=("secondary-1",))
    accepted = world.azure.nic("vm1-nic")["etag"]
    clock.advance(DURATION_S)

    ended = await poll(world, operation)
    assert ended == {
        "status": "Failed",
        "error": {"code": "InternalServerError", "message": "An error occurred.", "details": []},
    }
    assert (state(world), shown(world), works(world)) == ("Failed", shows, working)
    assert len({etag, accepted, world.azure.nic("vm1-nic")["etag"]}) == 3
    assert held(world) == len(shows)

    repair = await change(world)
    clock.advance(DURATION_S)
    assert await poll(world, repair) == {"status": "Succeeded"}
    assert (state(world), works(world)) == ("Succeeded", shows)


async def test_a_full_subnet_may_show_only_at_the_end(world: ServedAzure, clock: ManualClock) -> None:
    world.azure.faults.add(SubnetFull(late=True))
    operation = await change(world, add=1)
    clock.advance(DURATION_S)
    ended = await poll(world, operation)
    assert (ended["status"], ended["error"]["code"]) == ("Failed", "SubnetIsFull")
    assert works(world) == hosts(4, 5, 6)


@pytest.mark.parametrize(("keeps_ours", "expected"), [(True, hosts(4, 5, 6, 7)), (False, hosts(4, 5, 6))])
async def test_another_tool_writes_just_after(
    world: ServedAzure, clock: ManualClock, *, keeps_ours: bool, expected: list[str]
) -> None:
    world.azure.faults.add(Superseded(keeps_ours=keeps_ours))
    operation = await change(world, add=1)
    assert (await poll(world, operation))["status"] == "Canceled"
    clock.advance(DURATION_S)
    assert (works(world), shown(world)) == (expected, expected)
    assert world.azure.nic("vm1-nic")["tags"] == {"written-by": "another-tool-1"}


async def test_every_write_is_kept_as_it_was_answered_refused_ones_too(world: ServedAzure, clock: ManualClock) -> None:
    await change(world, add=1)
    world.azure.faults.add(SubnetFull())
    document = world.azure.nic("vm1-nic")
    document["properties"]["ipConfigurations"].append({
        "name": "another",
        "properties": {"subnet": document["properties"]["ipConfigurations"][0]["properties"]["subnet"]},
    })  # fmt: skip
    refused = await world.request("PUT", nic_url(world), body=document)
    await world.get(nic_url(world))
    kept = Writes().run(world.azure)
    assert [(one["nic"], one["status"]) for one in kept] == [("vm1-nic", 200), ("vm1-nic", refused.status)]
    assert refused.status == 400
    assert Writes(since=1).run(world.azure) == kept[1:]


async def test_a_slow_operation(world: ServedAzure, clock: ManualClock) -> None:
    world.azure.faults.add(SlowOperation(600))
    operation = await change(world, add=1)
    clock.advance(599)
    assert (await poll(world, operation))["status"] == "InProgress"
    clock.advance(1)
    assert (await poll(world, operation))["status"] == "Succeeded"


async def test_a_vm_that_goes_while_its_interface_is_written(world: ServedAzure, clock: ManualClock) -> None:
    world.azure.add_vm("caller")
    operation = await change(world, add=1)
    world.azure.delete_vm("vm1", keep_nic=True)

    nic = world.azure.nic("vm1-nic")["properties"]
    assert "virtualMachine" not in nic
    assert nic["provisioningState"] == "Failed"
    assert world.azure.operations.table[operation[0].rsplit("/", 1)[1]].error is not None
    assert held(world) == 4
    assert [one.vm_name for one in world.azure.effective().nics] == [None, "caller"]
    clock.advance(DURATION_S)
    assert held(world) == 4


async def test_deleting_an_interface_takes_its_time(world: ServedAzure, clock: ManualClock) -> None:
    world.azure.add_vm("vm2", secondaries=2)
    world.azure.delete_vm("vm2", keep_nic=True)
    response = await world.request("DELETE", nic_url(world, "vm2-nic"))
    assert response.status == 200
    assert world.azure.nic("vm2-nic")["properties"]["provisioningState"] == "Deleting"
    clock.advance(DURATION_S)
    world.azure.settle()
    assert held(world) == 3
    assert (await world.request("DELETE", nic_url(world, "vm2-nic"))).status == 204


async def test_addresses_come_and_go_behind_our_back(world: ServedAzure) -> None:
    etag = world.azure.nic("vm1-nic")["etag"]
    world.azure.outside.appear("vm1-nic", count=2)
    assert (shown(world), works(world)) == (hosts(4, 5, 6, 7, 8), hosts(4, 5, 6, 7, 8))
    world.azure.outside.vanish("vm1-nic", "10.240.0.5", "10.240.0.8")
    assert (shown(world), works(world), held(world)) == (hosts(4, 6, 7), hosts(4, 6, 7), 3)
    assert world.azure.nic("vm1-nic")["etag"] != etag


async def test_behind_our_back_while_an_operation_runs(world: ServedAzure, clock: ManualClock) -> None:
    await change(world, add=1)
    world.azure.outside.appear("vm1-nic")
    world.azure.outside.vanish("vm1-nic", "10.240.0.5")
    assert (state(world), shown(world), works(world)) == ("Updating", hosts(4, 6, 7, 8), hosts(4, 6, 8))
    clock.advance(DURATION_S)
    assert (state(world), works(world), held(world)) == ("Succeeded", hosts(4, 6, 7, 8), 4)


async def test_listeners_hear_of_each_change_when_it_comes(world: ServedAzure, clock: ManualClock) -> None:
    heard: list[EffectiveNetwork] = []
    world.azure.subscribe(heard.append)
    await change(world, drop=("secondary-1",))
    assert [len(network.nics[0].addresses) for network in heard] == [2]
    await change(world, add=2)
    assert len(heard) == 1
    clock.advance(DURATION_S)
    await until(lambda: len(heard) == 2)
    before, after = heard
    assert len(after.nics[0].addresses) == 4
    assert after.nics[0].addresses[0] is before.nics[0].addresses[0]
    assert after.vnets == before.vnets


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until it holds, a bounded number of times."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came")


async def test_the_log_has_every_change(world: ServedAzure, clock: ManualClock) -> None:
    start = clock.now()
    since = len(world.azure.changes)
    await change(world, add=2, drop=("secondary-1",))
    clock.advance(DURATION_S + 5)
    world.azure.settle()

    accepted, ended = (json.loads(line) for line in world.azure.history.json_lines(since))
    assert accepted["at"] == start
    assert ended["at"] == start + DURATION_S  # not when somebody looked
    assert accepted["operation_id"] == ended["operation_id"]
    assert [accepted["allocated_before"], accepted["allocated_after"], ended["allocated_after"]] == [3, 5, 4]
    assert [accepted["effective_before"], accepted["effective_after"], ended["effective_after"]] == [3, 2, 4]
    assert (accepted["vanished"], accepted["appeared"]) == (hosts(5), [])
    assert (ended["vanished"], ended["appeared"]) == ([], hosts(7, 8))
    assert (accepted["vm_name"], ended["cause"]) == ("vm1", "operation Succeeded")


async def test_the_fabric_gets_peerings_and_outbound_access(world: ServedAzure) -> None:
    world.azure.add_vnet("peer", "10.241.0.0/16", subnets={"far": "10.241.0.0/24"}, default_outbound=False)
    world.azure.peer("vnet", "peer")
    here, there = world.azure.effective().vnets
    assert here.peered_vnet_ids == (there.vnet_id,)
    assert there.peered_vnet_ids == (here.vnet_id,)
    assert [subnet.default_outbound for subnet in (*here.subnets, *there.subnets)] == [True, False]
    vnet = await world.network.virtual_networks.get("azbox", "vnet")
    assert vnet.virtual_network_peerings[0].remote_address_space.address_prefixes == ["10.241.0.0/16"]


async def test_time_may_be_compressed() -> None:
    clock = SystemClock(factor=6000)
    azure = FakeAzure(clock, operation_duration_s=DURATION_S)
    async with served(azure) as world:
        start = clock.now()
        operation = await change(world, add=1)
        await clock.sleep(DURATION_S)
        assert clock.now() - start >= DURATION_S
        assert await poll(world, operation) == {"status": "Succeeded"}


def test_a_seed_repeats() -> None:
    def identities(seed: int) -> list[str]:
        azure = FakeAzure(ManualClock(), seed=seed)
        azure.add_vnet()
        vm = azure.add_vm("vm1")
        return [vm.guid, vm.principal_id, azure.nic("vm1-nic")["etag"]]

    assert identities(1) == identities(1) != identities(2)
