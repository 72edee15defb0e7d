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
from azure_cni.ipam.attachment_plan import admitted
from azure_cni.ipam.recovery import UNAVAILABLE
from azure_cni.model.attachments import AttachedResource
from azure_cni.model.config_names import STATIC_SUFFIX, is_block_name
from azure_cni.model.nic import AttachmentChange, ConfigName, NicView, StaticConfiguration
from contract.nic_world import ATTACHING, WORLDS, NicUnderTest, open_world, until_unsettled

DIRECT = pytest.mark.parametrize("world", ["memory", "azure", "instance"], indirect=True)
"""Reads while it writes: an agent that delegates sends one operation at a time."""
BY_ADDRESS = pytest.mark.parametrize("world", ["memory", "azure"], indirect=True)
"""Takes configurations by their addresses: an instance's model has none."""
WITH_BLOCKS = pytest.mark.parametrize("world", ["memory", "azure", "delegated"], indirect=True)
WITH_ATTACHMENTS = pytest.mark.parametrize("world", ATTACHING, indirect=True)


@pytest.fixture(params=WORLDS)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[NicUnderTest]:
    async with open_world(request.param, adopted=2) as opened:
        yield opened


def addresses(view: NicView) -> list[str]:
    return sorted(str(config.address) for config in view.secondaries)


def attached(view: NicView) -> dict[str, set[AttachedResource]]:
    return {config.name: set(config.attached) for config in view.configs if config.attached}


def ours(view: NicView) -> list[ConfigName]:
    return [config.name for config in view.configs if config.ours]


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


@WITH_BLOCKS
async def test_blocks_are_the_lowest_free_ones_that_are_aligned(world: NicUnderTest) -> None:
    assert world.nic.takes_blocks
    after = await world.nic.write(await world.nic.read(), add=32, size=16)
    assert (world.writes, after.held, after.config_count) == (1, 2 + 32, 5)
    blocks = [config for config in after.secondaries if config.ours]
    assert [str(one.address) for one in blocks] == ["10.240.0.16", "10.240.0.32"]
    assert [one.addresses[-1] for one in blocks] == [IPv4Address("10.240.0.31"), IPv4Address("10.240.0.47")]
    assert all(one.ready and is_block_name(one.name) and one.removable for one in blocks)
    single = await world.nic.write(after, add=1)
    assert [str(one.address) for one in single.secondaries if one.ours and one.size == 1] == ["10.240.0.7"]
    gone = await world.nic.write(single, remove=[blocks[0].name])
    assert gone.held == 2 + 16 + 1
    again = await world.nic.write(gone, add=16, size=16)
    assert blocks[0].addresses in [one.addresses for one in again.secondaries]


@WITH_BLOCKS
@pytest.mark.parametrize(("add", "size"), [(20, 16), (4, 4), (32, 32)])
async def test_a_part_of_a_block_or_another_size_is_refused(world: NicUnderTest, add: int, size: int) -> None:
    with pytest.raises(CloudError):
        await world.nic.write(await world.nic.read(), add=add, size=size)
    assert world.writes == 0


@pytest.mark.parametrize("world", ["instance", "delegated instance"], indirect=True)
async def test_an_instance_of_a_uniform_scale_set_has_no_blocks(world: NicUnderTest) -> None:
    assert not world.nic.takes_blocks
    with pytest.raises(RequestRefused):
        await world.nic.write(await world.nic.read(), add=16, size=16)
    assert world.writes == 0


@WITH_BLOCKS
async def test_a_subnet_without_an_aligned_block_is_full_for_blocks_alone(world: NicUnderTest) -> None:
    before = await world.nic.read()
    world.fragment()
    with pytest.raises(SubnetFull):
        await world.nic.write(before, add=16, size=16)
    assert (await world.nic.read()).held == before.held
    assert len((await world.nic.write(await world.nic.read(), add=20)).secondaries) == 22


@BY_ADDRESS
async def test_a_block_that_was_lost_is_taken_back_whole(world: NicUnderTest) -> None:
    before = await world.nic.write(await world.nic.read(), add=16, size=16)
    (name,) = ours(before)
    lost = await world.nic.write(before, remove=[name])
    asked = StaticConfiguration(ConfigName(f"{name}{STATIC_SUFFIX}"), IPv4Address("10.240.0.16"), 16)
    after = await world.nic.recover(lost, [asked])
    assert after.addresses == before.addresses
    (config,) = [config for config in after.configs if config.ours]
    assert (config.name, config.size, config.static, config.ready) == (asked.name, 16, True, True)
    gone = await world.nic.write(after, remove=[config.name])
    single = await world.nic.write(gone, add=12)  # 10.240.0.7 and on: two of these are of that block
    with pytest.raises(RequestRefused) as refused:
        await world.nic.recover(single, [asked])
    assert refused.value.azure_code in UNAVAILABLE


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


@WITH_ATTACHMENTS
async def test_what_somebody_attached_to_is_for_no_pod_and_stays(world: NicUnderTest) -> None:
    grown = await world.nic.write(await world.nic.read(), add=2)
    first, second = (config.name for config in grown.secondaries if config.ours)
    world.attach(first)
    view = admitted(await world.nic.read(), frozenset())
    assert first not in {config.name for config in view.secondaries}
    assert [(it.name, it.why, it.public) for it in view.excluded] == [
        (first, "has the public IP address frontend", True)
    ]
    assert view.config_count == grown.config_count
    with pytest.raises(RequestRefused):
        await world.nic.write(view, remove=[first])
    after = await world.nic.write(await world.nic.read(), remove=[second])
    assert admitted(after, frozenset()).excluded == view.excluded


@WITH_ATTACHMENTS
async def test_what_pods_ask_for_comes_and_goes_with_other_changes(world: NicUnderTest) -> None:
    pool, other, address = world.resources()
    grown = await world.nic.write(await world.nic.read(), add=2)
    first, second = (config.name for config in grown.secondaries if config.ours)
    changes = [
        AttachmentChange(first, add=frozenset({pool, address})),
        AttachmentChange(second, add=frozenset({pool, other})),
    ]
    after = await world.nic.write(grown, add=1, attach=changes)
    assert attached(after) == {first: {pool, address}, second: {pool, other}}
    assert attached(await world.nic.read()) == attached(after)
    assert len(ours(after)) == 3
    assert all(config.ready for config in after.configs)
    moved = [
        AttachmentChange(first, add=frozenset({other}), remove=frozenset({pool, address})),
        AttachmentChange(second, remove=frozenset({pool, other})),
    ]
    assert attached(await world.nic.write(after, attach=moved)) == {first: {other}}


@WITH_ATTACHMENTS
async def test_a_configuration_with_something_attached_is_not_deleted(world: NicUnderTest) -> None:
    pool, _, _ = world.resources()
    grown = await world.nic.write(await world.nic.read(), add=1)
    (name,) = ours(grown)
    after = await world.nic.write(grown, attach=[AttachmentChange(name, add=frozenset({pool}))])
    with pytest.raises(RequestRefused):
        await world.nic.write(after, remove=[name])
    assert attached(await world.nic.read()) == {name: {pool}}


@WITH_ATTACHMENTS
async def test_nothing_is_attached_to_what_others_made(world: NicUnderTest) -> None:
    pool, _, _ = world.resources()
    view = await world.nic.read()
    for config in (view.primary, view.secondaries[0]):
        with pytest.raises(RequestRefused):
            await world.nic.write(view, attach=[AttachmentChange(config.name, add=frozenset({pool}))])
    assert attached(await world.nic.read()) == {}


@WITH_ATTACHMENTS
async def test_a_public_address_is_one_configurations(world: NicUnderTest) -> None:
    _, _, address = world.resources()
    grown = await world.nic.write(await world.nic.read(), add=2)
    changes = [AttachmentChange(name, add=frozenset({address})) for name in ours(grown)]
    with pytest.raises(RequestRefused):
        await world.nic.write(grown, attach=changes)
    assert attached(await world.nic.read()) == {}
    there = await world.nic.write(await world.nic.read(), attach=changes[:1])
    moved = [AttachmentChange(ours(grown)[0], remove=frozenset({address})), changes[1]]
    with pytest.raises(RequestRefused):
        await world.nic.write(there, attach=moved)
    gone = await world.nic.write(await world.nic.read(), attach=moved[:1])
    assert attached(await world.nic.write(gone, attach=moved[1:])) == {ours(grown)[1]: {address}}


async def test_all_of_the_nic_is_put_into_security_groups_and_so_is_what_is_added(world: NicUnderTest) -> None:
    groups = world.security_groups("web", "db")
    before = await world.nic.read()
    assert before.security_groups == ()
    after = await world.nic.set_security_groups(before, groups)
    assert after.is_in([one.upper() for one in groups])
    assert after.configs == before.configs
    grown = await world.nic.write(after, add=2)
    assert grown.is_in(groups)
    assert (await world.nic.set_security_groups(grown, groups[:1])).security_groups == tuple(groups[:1])
    assert (await world.nic.set_security_groups(await world.nic.read(), ())).security_groups == ()


async def test_groups_are_set_on_the_nic_that_was_seen_or_not_at_all(world: NicUnderTest) -> None:
    seen = await world.nic.read()
    world.touch()
    with pytest.raises(PreconditionFailed):
        await world.nic.set_security_groups(seen, world.security_groups("web"))
    with pytest.raises(CloudError, match="InvalidResourceReference"):
        await world.nic.set_security_groups(await world.nic.read(), [f"{world.security_groups('web')[0]}-gone"])
    assert world.writes == 0
