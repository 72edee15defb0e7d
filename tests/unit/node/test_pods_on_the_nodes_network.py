"""What a pod of the node's own network reads that asks for load balancer pools or a public IP address."""

from __future__ import annotations

import asyncio

import pytest

from fakes.simulated_node import SimulatedNode
from unit.node.attaching import POOLS, WEB, node
from unit.node.gated_pods import problems, said, show

pytestmark = pytest.mark.looptime


async def test_a_gated_pod_on_the_nodes_network_learns_why_it_is_never_ready() -> None:
    async with node().running() as one:
        show(one, "web", host=True, **{POOLS: WEB.id})
        await one.until(lambda: said(one) == (False, "AttachmentHostNetwork"))
        words = one.pod_conditions.written["web"].message
        assert "it has the node's address" in words
        assert words.endswith(
            "remove hostNetwork from the pod, or its readiness gate azure-cni.io/load-balancer-attached"
        )
        await one.until(lambda: problems(one) == {"AttachmentHostNetwork": words})
        writes = one.pod_conditions.writes
        for _ in range(5):
            show(one, "web", host=True, **{POOLS: WEB.id})
            await asyncio.sleep(60.0)
        assert one.pod_conditions.writes == writes
        assert one.counts.assigned == 0
        assert WEB not in set().union(*one.nic.resources.values())


async def test_one_that_asks_without_the_gate_learns_it_by_an_event_alone() -> None:
    async with node().running() as one:
        show(one, "web", host=True, gated=False, **{POOLS: WEB.id})
        await one.until(lambda: "AttachmentHostNetwork" in problems(one))
        assert "or its annotations azure-cni.io/load-balancer-pools and" in problems(one)["AttachmentHostNetwork"]
        assert one.pod_conditions.writes == 0


async def test_where_nothing_is_allowed_agents_may_write_no_condition_and_publish_an_event() -> None:
    async with SimulatedNode().running() as one:
        show(one, "web", host=True)
        await one.until(lambda: "AttachmentHostNetwork" in problems(one))
        await asyncio.sleep(30.0)
        assert one.pod_conditions.tries == 0


async def test_many_on_the_nodes_network_are_one_event_and_one_condition_each() -> None:
    names = [f"web-{number}" for number in range(200)]
    async with node().running() as one:
        for name in names:
            show(one, name, host=True)
        await one.until(lambda: one.pod_conditions.written.keys() == set(names))
        for name in names:
            show(one, name, host=True)
        await asyncio.sleep(60.0)
        assert one.pod_conditions.writes == len(names)
        about = [it.regarding["name"] for it in one.events.published if it.regarding["kind"] == "Pod"]
        assert sorted(about) == sorted(names)
