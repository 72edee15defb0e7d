"""The NIC's port, for blocks of 16 addresses: in memory, and by the real adapters on the fake Azure."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import IPv4Address

import pytest

from azure_cni.errors import (
    CloudError,
    RequestRefused,
    SubnetFull,
)
from azure_cni.ipam.recovery import UNAVAILABLE
from azure_cni.model.config_names import STATIC_SUFFIX, is_block_name
from azure_cni.model.nic import ConfigName, StaticConfiguration
from contract.nic_views import BY_ADDRESS, ours
from contract.nic_world import WORLDS, NicUnderTest, open_world

WITH_BLOCKS = pytest.mark.parametrize("world", ["memory", "azure", "delegated"], indirect=True)


@pytest.fixture(params=WORLDS)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[NicUnderTest]:
    async with open_world(request.param, adopted=2) as opened:
        yield opened


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
