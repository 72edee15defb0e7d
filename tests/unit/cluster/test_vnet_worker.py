"""The rounds of one VNet, one after another."""

from __future__ import annotations

import asyncio

import pytest

from azure_cni.api.vnet_quota import Draft, VNetQuota
from azure_cni.cluster.granter import Granter
from azure_cni.cluster.vnet_worker import DEBOUNCE_S
from azure_cni.errors import KubeConflict
from fakes.cluster import FakeQuotas
from unit.cluster.worlds import SimulatedCluster

pytestmark = pytest.mark.looptime

FAR_TOO_MANY = 1_000


@pytest.mark.parametrize("rest_s", [0.0, 1e-17, 1e-9])
async def test_a_rest_that_is_a_rounding_error_is_a_rest(monkeypatch: pytest.MonkeyPatch, rest_s: float) -> None:
    """What is due then may not be due yet by the last bit of the clock: round upon round would find nothing to do."""
    rounds = 0

    async def nothing_to_do(_: Granter) -> float:
        nonlocal rounds
        rounds += 1
        return rest_s if rounds < FAR_TOO_MANY else 3600.0

    monkeypatch.setattr(Granter, "run_round", nothing_to_do)
    world = SimulatedCluster()
    world.node("a")
    async with world.agents(), world.controller():
        await asyncio.sleep(2)
    assert 10 < rounds < FAR_TOO_MANY


async def test_a_request_that_comes_alone_does_not_wait_for_others() -> None:
    world = SimulatedCluster()
    async with world.agents(), world.controller():
        world.cluster.node("a", requested=8)
        await asyncio.sleep(65)  # halfway between two rounds that the clock begins
        world.cluster.node("a", requested=16, number=2)
        await world.until(lambda: world.cluster.granted()["a"] == (16, 2), within_s=DEBOUNCE_S / 2)


async def test_what_is_refused_as_out_of_date_each_time_is_no_race(monkeypatch: pytest.MonkeyPatch) -> None:
    tried, refusing = 0, True
    write = FakeQuotas.write

    async def refused(self: FakeQuotas, seen: VNetQuota, draft: Draft) -> VNetQuota:
        nonlocal tried
        tried += 1
        if refusing:
            raise KubeConflict("cannot patch vnetquotas/vnet: it was modified")
        return await write(self, seen, draft)

    monkeypatch.setattr(FakeQuotas, "write", refused)
    world = SimulatedCluster()
    world.cluster.node("a", requested=16)
    async with world.controller():
        await asyncio.sleep(600)
        assert 10 < tried < 40
        refusing = False
        await world.until(lambda: world.cluster.granted()["a"] == (16, 1), within_s=130)
