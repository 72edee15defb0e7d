"""Docker's containers and pods on one node, from one ledger: neither is taken for the other's dead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Network

import pytest

from azure_cni.docker import plugin_status
from azure_cni.errors import ConfigInvalid
from azure_cni.ipam.address_state import Sandbox
from azure_cni.model.identity import ModeName
from azure_cni.node.pods.liveness import GRACE_S
from fakes.docker import PluginHost
from fakes.docker_engine import NET1, FakeEngine
from fakes.simulated_node import SimulatedNode, holder, pod_body
from unit.docker.test_engine_roll import LONG_S, forget, started

pytestmark = pytest.mark.looptime


ALL = IPv4Network("0.0.0.0/0")


@asynccontextmanager
async def both() -> AsyncIterator[SimulatedNode]:
    """A node of a cluster that also serves Docker, with one pod and one container."""
    async with SimulatedNode().running() as node:
        host = PluginHost(node)
        await node.until(lambda: node.counts.free == 16)
        node.demand.observe_pod(pod_body("web"))
        await node.add("web")
        await host.endpoints.create("net1", "ep1", await host.endpoints.request(ALL))
        await host.endpoints.join("net1", "ep1", netns="/var/run/docker/netns/ep1")
        host.move("net1", "ep1", "/var/run/docker/netns/ep1")
        yield node


async def compare_for(node: SimulatedNode, seconds: float) -> None:
    """Look at all holders, as the agent does again and again, with the pods listed when it asks for that."""
    repair = node.repair()
    for _ in range(int(seconds / 10) + 1):
        listed = node.relisted
        await repair.compare()
        if node.relisted > listed:
            node.demand.begin_list()
            node.demand.replace([pod_body(pod.name) for pod in node.demand.pods])
        await asyncio.sleep(10)


def networks(node: SimulatedNode) -> list[str]:
    held = (slot.holder for slot in node.stored.ledger.slots if slot.holder is not None)
    return sorted(one.sandbox.network for one in held)


async def test_both_are_counted_in_one_pool_and_shown_in_one_status() -> None:
    async with both() as node:
        assert node.counts.assigned == 2
        await node.until(lambda: node.status.get("assigned") == 2)
        shown = plugin_status.document(
            node.pools.shown(), node.stored.ledger, node.state, networks=("net1",), unready=""
        )
        assert [one["network"] for one in shown["endpoints"]] == ["azure-cni", "net1"]


async def test_a_gc_and_a_list_without_pods_leave_docker_alone() -> None:
    async with both() as node:
        assert await node.sandboxes.collect("azure-cni", ()) == (holder("web").sandbox,)
        assert networks(node) == ["net1"]
        node.demand.begin_list()
        node.demand.replace(())
        await compare_for(node, 4 * GRACE_S)
        assert networks(node) == ["net1"]


async def test_a_dead_pod_is_found_beside_a_container_and_a_dead_container_beside_a_pod() -> None:
    async with both() as node:
        await node.datapath.remove(node.datapath.key(Sandbox("net1", "ep1", "eth")))
        await compare_for(node, 2 * GRACE_S)
        assert networks(node) == ["azure-cni"]
        await node.datapath.remove(node.datapath.key(holder("web").sandbox))
        node.demand.forget_pod("uid-web")
        await compare_for(node, 2 * GRACE_S)
        assert networks(node) == []


async def test_a_node_in_the_other_mode_refuses_a_container_in_words() -> None:
    async with SimulatedNode(mode=ModeName.BRIDGE).running() as node:
        host = PluginHost(node)
        await node.until(lambda: node.counts.free == 16)
        await host.endpoints.create("net1", "ep1", await host.endpoints.request(ALL))
        with pytest.raises(ConfigInvalid, match="this node is in mode bridge"):
            await host.endpoints.join("net1", "ep1", netns="/var/run/docker/netns/ep1")


async def test_a_del_of_the_runtime_that_names_an_endpoint_ends_none() -> None:
    async with both() as node:
        await node.sandboxes.delete(Sandbox("azure-cni", "ep1", "eth"))
        assert networks(node) == ["azure-cni", "net1"]


async def test_what_docker_forgot_is_taken_back_and_no_list_of_docker_s_ends_a_pod() -> None:
    """No process is in the pod's namespace either, and an engine that is another one has neither pod nor container."""
    engine = FakeEngine()
    host = PluginHost(engine=engine)
    async with host.running() as node:
        node.demand.begin_list()
        node.demand.replace([pod_body("web")])
        await node.add("web")
        await started(host, engine, 1)
        await started(host, engine, 2)
        await asyncio.sleep(LONG_S)
        assert networks(node) == [NET1, NET1, "azure-cni"]
        forget(host, engine, 1)
        await asyncio.sleep(2 * LONG_S)
        assert networks(node) == [NET1, "azure-cni"]
        engine.containers.clear()
        engine.networks.clear()
        await asyncio.sleep(10 * LONG_S)
        assert networks(node) == [NET1, "azure-cni"]  # its processes run
        assert node.datapath.wired.keys() >= {node.datapath.key(holder("web").sandbox)}
