"""Turns: one at a time per sandbox, and nothing is remembered about sandboxes that are gone."""

from __future__ import annotations

import asyncio

import pytest

from azure_cni.ipam.address_state import Sandbox
from azure_cni.node.pods.sandbox_locks import SandboxLocks

A, B = Sandbox("azure-cni", "a", "eth0"), Sandbox("azure-cni", "b", "eth0")


async def test_the_same_sandbox_waits_and_another_does_not():
    turns, order = SandboxLocks(), []

    async def work(sandbox: Sandbox, name: str) -> None:
        async with turns.hold(sandbox):
            order.append(f"{name} in")
            await asyncio.sleep(0)
            order.append(f"{name} out")

    await asyncio.gather(work(A, "a1"), work(A, "a2"), work(B, "b"))
    assert order.index("a1 out") < order.index("a2 in")
    assert order.index("b in") < order.index("a1 out")


async def test_only_the_one_at_work_is_superseded():
    turns = SandboxLocks()
    async with turns.hold(A) as first:
        turns.cancel_add(A)
        turns.cancel_add(B)
    async with turns.hold(A) as second:
        assert (first.superseded, second.superseded) == (True, False)


async def test_another_networks_del_waits_and_supersedes_nothing():
    turns = SandboxLocks()
    async with turns.hold(A) as at_work:
        assert turns.busy(A._replace(network="storage"))
        turns.cancel_add(A._replace(network="storage"))
        assert not at_work.superseded
        turns.cancel_add(A._replace(network=""))
        assert at_work.superseded


async def test_a_lane_is_forgotten_when_nobody_uses_it_even_after_an_error():
    turns = SandboxLocks()

    async def stumble() -> None:
        async with turns.hold(A):
            assert turns.busy(A)
            raise ValueError(A)

    with pytest.raises(ValueError, match="eth0"):
        await stumble()
    assert not turns.busy(A)
