"""The rounds of one VNet, one after another."""

from __future__ import annotations

import asyncio

import pytest

from azure_cni.cluster.grants import Grants
from unit.cluster.worlds import World

pytestmark = pytest.mark.looptime

FAR_TOO_MANY = 1_000


@pytest.mark.parametrize("rest_s", [0.0, 1e-17, 1e-9])
async def test_a_rest_that_is_a_rounding_error_is_a_rest(monkeypatch: pytest.MonkeyPatch, rest_s: float) -> None:
    """What is due then may not be due yet by the last bit of the clock: round upon round would find nothing to do."""
    rounds = 0

    async def nothing_to_do(_: Grants) -> float:
        nonlocal rounds
        rounds += 1
        return rest_s if rounds < FAR_TOO_MANY else 3600.0

    monkeypatch.setattr(Grants, "round", nothing_to_do)
    world = World()
    world.node("a")
    async with world.agents(), world.controller():
        await asyncio.sleep(2)
    assert 10 < rounds < FAR_TOO_MANY
