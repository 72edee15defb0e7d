"""The NIC's port, for what addresses have attached: in memory, and by the real adapters on the fake Azure."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from azure_cni.errors import (
    CloudError,
    PreconditionFailed,
    RequestRefused,
)
from azure_cni.ipam.attachment_plan import admitted
from azure_cni.model.nic import AttachmentChange
from contract.nic_views import attached, ours
from contract.nic_world import ATTACHING, WORLDS, NicUnderTest, open_world

WITH_ATTACHMENTS = pytest.mark.parametrize("world", ATTACHING, indirect=True)


@pytest.fixture(params=WORLDS)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[NicUnderTest]:
    async with open_world(request.param, adopted=2) as opened:
        yield opened


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
