"""The NIC's port: one suite for the NIC in memory, for the real adapters on the fake Azure, of a VM's own NIC and of an
instance of a Uniform scale set, and for a delegated one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from ipaddress import IPv4Address

import pytest

from azure_cni.errors import (
    AccessDenied,
    CloudError,
    OperationFailed,
    PreconditionFailed,
    RequestRefused,
    ResourceBusy,
    SubnetFull,
    Throttled,
)
from azure_cni.ipam.recovery import UNAVAILABLE
from azure_cni.model.config_names import STATIC_SUFFIX
from azure_cni.model.nic import ConfigName, StaticConfiguration
from contract.nic_views import BY_ADDRESS, addresses, ours
from contract.nic_world import WORLDS, NicUnderTest, open_world, until_unsettled

DIRECT = pytest.mark.parametrize("world", ["memory", "azure", "instance"], indirect=True)
"""Reads while it writes: an agent that delegates sends one operation at a time."""


@pytest.fixture(params=WORLDS)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[NicUnderTest]:
    async with open_world(request.param, adopted=2) as opened:
        yield opened


async def test_a_read_shows_what_is_there(world: NicUnderTest) -> None:
    view = await world.nic.read()
    assert view.settled
    assert view.etag
    assert view.primary.address == IPv4Address("10.240.0.4")
    assert addresses(view) == ["10.240.0.5", "10.240.0.6"]
    assert all(config.ready and not config.ours for config in view.configs)


async def test_reading_changes_nothing(world: NicUnderTest) -> None:
    assert await world.nic.read() == await world.nic.read()


async def test_growth_brings_the_lowest_free_addresses_under_our_names(world: NicUnderTest) -> None:
    before = await world.nic.read()
    after = await world.nic.write(before, add=3)
    assert after.settled
    assert addresses(after)[2:] == ["10.240.0.7", "10.240.0.8", "10.240.0.9"]
    assert all(config.ready for config in after.configs)
    assert len(set(ours(after))) == 3
    assert after.etag != before.etag
    assert world.writes == 1


async def test_release_takes_away_what_was_named_and_nothing_else(world: NicUnderTest) -> None:
    grown = await world.nic.write(await world.nic.read(), add=3)
    leaving = ours(grown)[1]
    after = await world.nic.write(grown, remove=[leaving])
    kept = {config.name: config.address for config in grown.configs if config.name != leaving}
    assert {config.name: config.address for config in after.configs} == kept


@BY_ADDRESS
async def test_addresses_that_were_lost_are_taken_back_by_name(world: NicUnderTest) -> None:
    before = await world.nic.write(await world.nic.read(), add=3)
    names = ours(before)
    asked = [
        StaticConfiguration(ConfigName(f"{config.name}{STATIC_SUFFIX}"), config.address)
        for config in before.configs
        if config.name in names[1:] and config.address is not None
    ]
    lost = await world.nic.write(before, remove=names[1:])
    writes = world.writes
    after = await world.nic.recover(lost, asked)
    assert addresses(after) == addresses(before)
    assert world.writes == writes + 1
    assert {(config.name, config.static) for config in after.configs if config.ours} == {
        (names[0], False),
        *((one.name, True) for one in asked),
    }
    assert all(config.ready for config in after.configs)
    gone = await world.nic.write(after, remove=[one.name for one in asked])  # they are ours to remove
    assert addresses(gone) == addresses(lost)


@BY_ADDRESS
async def test_an_address_that_another_has_is_named_and_nothing_is_recovered(world: NicUnderTest) -> None:
    before = await world.nic.read()
    free, taken = IPv4Address("10.240.0.200"), IPv4Address("10.240.0.5")
    asked = [
        StaticConfiguration(ConfigName(f"azure-cni-0000000{number}{STATIC_SUFFIX}"), address)
        for number, address in enumerate((free, taken))
    ]
    with pytest.raises(RequestRefused) as refused:
        await world.nic.recover(before, asked)
    assert refused.value.azure_code in UNAVAILABLE
    assert str(taken) in str(refused.value)
    assert addresses(await world.nic.read()) == addresses(before)


@BY_ADDRESS
async def test_addresses_are_taken_back_on_the_nic_that_was_seen_alone(world: NicUnderTest) -> None:
    before = await world.nic.read()
    world.touch()
    asked = [StaticConfiguration(ConfigName(f"azure-cni-00000001{STATIC_SUFFIX}"), IPv4Address("10.240.0.200"))]
    with pytest.raises(PreconditionFailed):
        await world.nic.recover(before, asked)


async def test_growth_and_release_are_one_write(world: NicUnderTest) -> None:
    grown = await world.nic.write(await world.nic.read(), add=2)
    after = await world.nic.write(grown, add=1, remove=ours(grown))
    assert len(after.secondaries) == 3
    assert world.writes == 2


async def test_what_has_left_already_is_no_write(world: NicUnderTest) -> None:
    view = await world.nic.read()
    assert await world.nic.write(view, remove=[ConfigName("azure-cni-0000gone")]) == view
    assert world.writes == 0


async def test_a_write_of_nothing_renews_the_etag_so_that_an_older_write_is_refused(world: NicUnderTest) -> None:
    seen = await world.nic.read()
    after = await world.nic.write(seen)
    assert after.configs == seen.configs
    with pytest.raises(PreconditionFailed):
        await world.nic.write(seen, add=1)


async def test_what_others_made_is_never_deleted(world: NicUnderTest) -> None:
    view = await world.nic.read()
    with pytest.raises(RequestRefused):
        await world.nic.write(view, remove=[view.secondaries[0].name])
    with pytest.raises(RequestRefused):
        await world.nic.write(view, remove=[view.primary.name])
    assert world.writes == 0


async def test_a_change_by_another_tool_is_a_failed_precondition(world: NicUnderTest) -> None:
    seen = await world.nic.read()
    world.touch()
    with pytest.raises(PreconditionFailed):
        await world.nic.write(seen, add=1)
    after = await world.nic.write(await world.nic.read(), add=1)
    assert len(after.secondaries) == 3
    assert world.writes == 1


@DIRECT
async def test_new_addresses_are_not_ready_while_the_operation_runs(world: NicUnderTest) -> None:
    before = await world.nic.read()
    world.hold()
    writing = asyncio.create_task(world.nic.write(before, add=2))
    during = await until_unsettled(world)
    assert [config.ready for config in during.configs] == [True, True, True, False, False]
    world.finish()
    after = await writing
    assert all(config.ready for config in after.configs)


@DIRECT
async def test_a_second_write_waits_for_the_first(world: NicUnderTest) -> None:
    before = await world.nic.read()
    world.hold()
    writing = asyncio.create_task(world.nic.write(before, add=1))
    during = await until_unsettled(world)
    with pytest.raises(ResourceBusy):
        await world.nic.write(during, add=1)
    world.finish()
    assert len((await writing).secondaries) == 3


@DIRECT
async def test_a_caller_that_goes_away_leaves_the_operation_running(world: NicUnderTest) -> None:
    before = await world.nic.read()
    world.hold()
    writing = asyncio.create_task(world.nic.write(before, add=1))
    await until_unsettled(world)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert not (await world.nic.read()).settled
    world.finish()
    after = await world.nic.read()
    assert after.settled
    assert addresses(after) == ["10.240.0.5", "10.240.0.6", "10.240.0.7"]
    assert all(config.ready for config in after.configs)


@pytest.mark.parametrize("kind", [Throttled, AccessDenied, ResourceBusy])
async def test_a_refusal_changes_nothing(world: NicUnderTest, kind: type[CloudError]) -> None:
    before = await world.nic.read()
    world.refuse(kind)
    with pytest.raises(kind):
        await world.nic.write(before, add=1)
    assert await world.nic.read() == before
    assert world.writes == 0


async def test_an_operation_that_ends_badly_leaves_addresses_that_are_not_ready(world: NicUnderTest) -> None:
    before = await world.nic.read()
    world.fail_operation()
    with pytest.raises(OperationFailed):
        await world.nic.write(before, add=1)
    after = await world.nic.read()
    assert (before.failed, after.failed) == (False, True)
    assert after.settled
    assert [config.ready for config in after.configs] == [True, True, True, False]


async def test_writing_again_heals_a_failed_nic(world: NicUnderTest) -> None:
    before = await world.nic.read()
    world.fail_operation()
    with pytest.raises(OperationFailed):
        await world.nic.write(before, add=1)
    healed = await world.nic.write(await world.nic.read())
    assert (healed.settled, healed.failed) == (True, False)
    assert all(config.ready for config in healed.configs)
    assert len(healed.secondaries) == 3


async def test_what_never_became_ready_can_be_taken_away(world: NicUnderTest) -> None:
    before = await world.nic.read()
    world.fail_operation()
    with pytest.raises(OperationFailed):
        await world.nic.write(before, add=1)
    failed = await world.nic.read()
    after = await world.nic.write(failed, remove=ours(failed))
    assert {config.name for config in after.configs} == {config.name for config in before.configs}


@pytest.mark.parametrize("kind", WORLDS)
async def test_a_subnet_has_an_end(kind: str) -> None:
    async with open_world(kind, subnet="10.240.0.0/28") as world:  # 11 usable, the primary has one
        view = await world.nic.read()
        with pytest.raises(SubnetFull):
            await world.nic.write(view, add=11)
        view = await world.nic.write(view, add=10)
        assert addresses(view)[-1] == "10.240.0.9"
        assert len(view.secondaries) == 10
        with pytest.raises(SubnetFull):
            await world.nic.write(view, add=1)


async def test_others_fill_the_subnet_too(world: NicUnderTest) -> None:
    view = await world.nic.read()
    world.leave_room(2)
    with pytest.raises(SubnetFull):
        await world.nic.write(view, add=3)
    view = await world.nic.write(view, add=2)
    freed = await world.nic.write(view, remove=ours(view)[:1])
    assert len((await world.nic.write(freed, add=1)).secondaries) == 4


async def test_a_nic_holds_256_with_its_primary_and_no_more(world: NicUnderTest) -> None:
    view = await world.nic.read()
    with pytest.raises(RequestRefused, match="256"):
        await world.nic.write(view, add=254)
    assert world.writes == 0
    full = await world.nic.write(view, add=253)
    assert len(full.configs) == 256
    swapped = await world.nic.write(full, add=1, remove=ours(full)[:1])
    assert len(swapped.configs) == 256
