"""Nodes as they are, with their own reconcilers, and a leading controller, on the API server in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

from azure_cni.api.node_ip_pool import NodeIPPool, parse
from azure_cni.api.vnet_quota import Limits
from azure_cni.ipam.sizing import Policy
from azure_cni.model.nic import NicID, VNetID
from azure_cni.node.pool.reservation_request import ControllerGrants
from fakes import waiting
from fakes.cloud import IDENTITY, FakeCloud
from fakes.cluster import NICS, VNET, FakeCluster
from fakes.nic import FakeNic
from fakes.pools import FakePools
from fakes.simulated_node import SimulatedNode, pod_body
from unit.cluster.worlds import SimulatedCluster


class SharedPools(FakePools):
    """A node's own pool among those of all nodes."""

    def __init__(self, cluster: FakeCluster, name: str) -> None:
        super().__init__(name)
        self._cluster, self._name = cluster, name

    @property
    def pool(self) -> dict[str, Any] | None:
        return self._cluster.pools.objects.get(self._name)

    @pool.setter
    def pool(self, value: dict[str, Any] | None) -> None:
        assert value is None

    async def create(self, node: Mapping[str, Any]) -> NodeIPPool:
        return parse(self._cluster.pool(self._name))

    async def patch_status(self, pool: NodeIPPool, status: Mapping[str, Any], *, guarded: bool = False) -> NodeIPPool:
        self._fail()
        version = pool.version.number if guarded else None
        return parse(self._cluster.pools.patch(self._name, {"status": dict(status)}, version=version))

    def pause(self, *, paused: bool = True) -> None:
        """A person does."""
        self._cluster.pools.patch(self._name, {"spec": {"paused": paused}})


class Subnet:
    """That several NICs share. `late_s`: for how long Azure goes on counting an address that was given back."""

    def __init__(self, room: int, *, late_s: float = 0.0) -> None:
        self.room, self.late_s = room, late_s
        self.limit = room

    def free(self, count: int) -> None:
        self.room += count


class NicInSubnet(FakeNic):
    """A NIC for which only what its subnet still has is left."""

    def __init__(self, subnet: Subnet) -> None:
        self.shared = subnet
        super().__init__()

    @property
    def room(self) -> int | None:
        return self.shared.room

    @room.setter
    def room(self, left: int | None) -> None:
        if left is None:  # FakeNic's default
            return
        given = left - self.shared.room
        if given > 0 and self.shared.late_s:
            asyncio.get_running_loop().call_later(self.shared.late_s, self.shared.free, given)
        else:
            self.shared.room = left


class RealNodes:
    """A cluster of such nodes. P5 is checked whenever a ledger is written and whenever a test looks."""

    def __init__(
        self, *names: str, limit: int, policy: Policy, writes_per_minute: int = 100, subnet: Subnet | None = None
    ) -> None:
        self.subnet = subnet
        self.world = SimulatedCluster(limits=Limits(limit=limit, writes_per_minute=writes_per_minute))
        self.policy = policy
        self.nodes: dict[str, SimulatedNode] = {name: self._node(name) for name in names}
        self.pods: dict[str, int] = dict.fromkeys(names, 0)
        self.world.vnets.held = lambda: len(names) + sum(self.held().values())
        if subnet is not None:
            self.world.vnets.room = len(names) + subnet.limit
        self.world.check = self._check  # type: ignore[method-assign]
        self._running = AsyncExitStack()

    def _node(self, name: str) -> SimulatedNode:
        nic = NicID(f"{NICS}/{name}-nic")
        identity = replace(IDENTITY, vm_id=f"guid-of-{name}", nic_id=nic, vnet_id=VNetID(VNET))
        return SimulatedNode(
            grants=ControllerGrants(),
            policy=self.policy,
            cloud=FakeCloud(identity),
            pools=SharedPools(self.world.cluster, name),
            nic=NicInSubnet(self.subnet) if self.subnet is not None else None,
        )

    def held(self) -> dict[str, int]:
        """What each NIC holds for pods."""
        return {
            name: sum(config.size for config in node.nic.configs if not config.primary)
            for name, node in self.nodes.items()
        }

    def _check(self) -> None:
        self.world.nics = {f"g/{name}-nic": held for name, held in self.held().items()}
        SimulatedCluster.check(self.world)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[RealNodes]:
        """All nodes and a controller at work."""
        self.world.cluster.pools.watchers.append(self._shown)
        async with self.world.controller(), AsyncExitStack() as running:
            for node in self.nodes.values():
                await running.enter_async_context(node.running())
            yield self
        self._check()

    def _shown(self, before: Any, after: Any) -> None:
        if after is not None:
            node = self.nodes[after["metadata"]["name"]]
            asyncio.get_running_loop().call_later(0.01, node.reconciler.pool_seen, parse(after))

    async def start_pods(self, name: str, count: int) -> list[asyncio.Task[Any]]:
        """Pods of that node appear, and their ADDs are repeated as the kubelet does."""
        node, first = self.nodes[name], self.pods[name]
        self.pods[name] += count
        pods = [f"{name}-{number}" for number in range(first, first + count)]
        for pod in pods:
            node.demand.observe_pod(pod_body(pod))
        return [asyncio.create_task(self._add(node, pod)) for pod in pods]

    async def run_pods(self, *, within_s: float = 300.0, **counts: int) -> None:
        """So many pods of each node appear, in this order, and all of them get their address within that time."""
        pods = [pod for name, count in counts.items() for pod in await self.start_pods(name, count)]
        await self.until(lambda: all(pod.done() for pod in pods), within_s=within_s)

    async def _add(self, node: SimulatedNode, pod: str) -> Any:
        while True:
            try:
                return await node.add(pod)
            except Exception:  # noqa: BLE001  # whatever it is, the kubelet tries again
                await asyncio.sleep(1.0)

    async def until(self, fact: Any, *, within_s: float = 300.0) -> None:
        """Wait for something to become so."""
        await waiting.until(fact, within_s=within_s, say=lambda: f"{self.held()}, {self.statuses()}")
        self._check()

    def statuses(self) -> dict[str, Any]:
        """What decides, of each pool."""
        keys = (
            "requested",
            "granted",
            "free",
            "waiting",
            "releasable",
            "recall",
            "recallMet",
            "recalling",
            "grantReason",
        )
        return {name: {key: self.status(name).get(key) for key in keys} for name in self.nodes}

    def status(self, name: str) -> dict[str, Any]:
        """A pool's."""
        return self.world.cluster.status(name)
