"""Turns: one at a time per sandbox, and nothing is remembered about sandboxes that are gone."""

from __future__ import annotations

import asyncio

import pytest

from azure_cni.ipam.life import Sandbox
from azure_cni.node.turns import Turns

A, B = Sandbox("a", "eth0"), Sandbox("b", "eth0")


async def test_the_same_sandbox_waits_and_another_does_not():
    turns, order = Turns(), []

    async def work(sandbox: Sandbox, name: str) -> None:
        async with turns.of(sandbox):
            order.append(f"{name} in")
            await asyncio.sleep(0)
            order.append(f"{name} out")

    await asyncio.gather(work(A, "a1"), work(A, "a2"), work(B, "b"))
    assert order.index("a1 out") < order.index("a2 in")
    assert order.index("b in") < order.index("a1 out")


async def test_only_the_one_at_work_is_overtaken():
    turns = Turns()
    async with turns.of(A) as first:
        turns.overtake(A)
        turns.overtake(B)
    async with turns.of(A) as second:
        assert (first.overtaken, second.overtaken) == (True, False)


async def test_a_lane_is_forgotten_when_nobody_uses_it_even_after_an_error():
    turns = Turns()

    async def stumble() -> None:
        async with turns.of(A):
            assert turns.busy(A)
            raise ValueError(A)

    with pytest.raises(ValueError, match="eth0"):
        await stumble()
    assert not turns.busy(A)
