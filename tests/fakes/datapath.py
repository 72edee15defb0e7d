"""A data plane without a kernel: it keeps what it was told, refuses what the kernel refuses, and can lose things.

The contract suite holds it and the real one to the same behaviour.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Any

from azure_cni.datapath.conflicts import Conflict, HostReport
from azure_cni.datapath.policy import OURS, absence, diversions
from azure_cni.datapath.sandbox import (
    Interface,
    SandboxLinks,
    SandboxSpec,
    differences,
    links,
    lost,
    node_end,
    pod_end,
)
from azure_cni.datapath.snat import TABLE, NodeTable
from azure_cni.datapath.uplink import Uplink
from azure_cni.errors import DatapathError
from azure_cni.node.liveness import Occupancy
from azure_cni.node.ports import HostChange, ObservedSandbox, PodEnd


@dataclass(frozen=True, slots=True)
class Wired:
    """One sandbox as the kernel would hold it."""

    netns: str
    node: Interface
    pod: Interface


class FakeDatapath:
    """`uplink_mac` None: any MAC is the NIC's. `fail_next` is raised by the next attach, which then does nothing;
    `refuses_routes` by each mending that has something to do.
    """

    def __init__(self, *, uplink_mac: str | None = None, mtu: int = 1500) -> None:
        self.uplink_mac = uplink_mac
        self.mtu = mtu
        self.fail_next: DatapathError | None = None
        self.refuses_routes: DatapathError | None = None
        self.refuses_node: DatapathError | None = None
        """Raised by each `apply_node`, which then does nothing."""
        self.gone: set[str] = set()
        """Paths of network namespaces that do not exist (any more)."""
        self.foreign: set[tuple[str, str]] = set()
        """(netns, interface name) that something else made."""
        self.wired: dict[str, Wired] = {}
        self.processes: dict[str, int] = {}
        """How many run in the network namespace at a path; missing is none."""
        self.processes_hidden = False
        """The node's processes cannot be seen."""
        self.leaving: set[str] = set()
        self.tables: list[NodeTable] = []
        """All that were applied, in order."""
        self.drift: list[str] = []
        """What the next `apply_node` finds changed behind its back."""
        self.conflicts: tuple[Conflict, ...] = ()
        """What others do on the host, found by each `apply_node`."""
        self.rules = {OURS}
        """Policy rules of the node; an earlier agent has left ours."""
        self._table: NodeTable | None = None
        self._changes: asyncio.Queue[HostChange] = asyncio.Queue()
        self._routes: dict[IPv4Address, str] = {}

    async def attach(self, spec: SandboxSpec) -> SandboxLinks:
        error, self.fail_next = self.fail_next, None
        if error is not None:
            raise error
        self._require_netns(spec.netns)
        if self._differences(spec):
            self._forget(spec.host_ifname)
            self._wire(spec)
        return links(spec)

    async def detach(self, host_ifname: str, addresses: Collection[str]) -> None:
        if host_ifname in self.wired:
            self._forget(host_ifname)
            self.leaving.add(host_ifname)

    async def check(self, spec: SandboxSpec) -> tuple[str, ...]:
        try:
            self._require_netns(spec.netns)
        except DatapathError as missing:
            return (str(missing),)
        diverted = tuple(f"node: {words}" for words in diversions(self.rules, spec.address))
        return self._differences(spec) + diverted

    async def sandboxes(self) -> tuple[ObservedSandbox, ...]:
        self.leaving.clear()
        ends = [self._node_end(name) for name in self.wired]
        return tuple(
            ObservedSandbox(end.name, frozenset(end.routes), frozenset(end.neighbours), end.mtu) for end in ends
        )

    async def mend(self, spec: SandboxSpec) -> tuple[str, ...]:
        if spec.host_ifname not in self.wired or not self.wired[spec.host_ifname].node.up:
            return ()
        wanted, seen = node_end(spec), self._node_end(spec.host_ifname)
        gap = lost(wanted, seen)
        if gap and self.refuses_routes is not None:
            raise self.refuses_routes
        self.lose(spec.host_ifname, where="node", routes=wanted.routes, neighbours=wanted.neighbours)
        self._routes[spec.address] = spec.host_ifname
        return gap.words()

    async def occupancy(self, ends: Sequence[PodEnd]) -> tuple[Occupancy, ...]:
        return tuple(map(self._occupancy, ends))

    async def settle(self) -> None:
        self.leaving.clear()

    async def uplink(self, mac: str, primary: IPv4Address) -> Uplink:
        if self.uplink_mac not in {None, mac}:
            raise DatapathError(f"cannot find the uplink: no interface has the NIC's MAC {mac}")
        return Uplink(name="eth0", index=2, mtu=self.mtu)

    async def apply_node(self, table: NodeTable) -> HostReport:
        if self.refuses_node is not None:
            raise self.refuses_node
        await self.uplink(table.uplink_mac, table.primary)
        told = tuple(self.drift) if self._table else (f"nftables table inet {TABLE} was missing: made",)
        lost_rule = absence(self.rules)
        told = (*([f"{lost_rule}: added"] if lost_rule else []), *told)
        self.rules.add(OURS)
        self.drift.clear()
        self._table = table
        self.tables.append(table)
        return HostReport(told, self.conflicts)

    async def changed(self) -> HostChange:
        return await self._changes.get()

    def change(self, change: HostChange) -> None:
        """Somebody else did something that the kernel announces."""
        self._changes.put_nowait(change)

    def _occupancy(self, end: PodEnd) -> Occupancy:
        there = [one for one in self.wired.values() if one.netns == end.netns and one.pod.name == end.ifname]
        if self.processes_hidden or end.netns in self.gone or [one.pod.mac for one in there] != [end.mac]:
            return Occupancy.UNREADABLE
        return Occupancy.OCCUPIED if self.processes.get(end.netns) else Occupancy.EMPTY

    def remove_netns(self, path: str) -> None:
        """The kernel takes the links of a namespace along."""
        self.gone.add(path)
        for name in [name for name, wired in self.wired.items() if wired.netns == path]:
            self._forget(name)

    def lose(self, host_ifname: str, *, where: str, **changes: Any) -> None:
        """Change one end (`node` or `pod`) behind the data plane's back."""
        wired = self.wired[host_ifname]
        if where == "node":
            self.wired[host_ifname] = replace(wired, node=replace(wired.node, **changes))
        else:
            self.wired[host_ifname] = replace(wired, pod=replace(wired.pod, **changes))

    def _wire(self, spec: SandboxSpec) -> None:
        inside = {(wired.netns, wired.pod.name) for wired in self.wired.values()} | self.foreign
        if (spec.netns, spec.ifname) in inside:
            raise DatapathError(
                f"cannot attach {spec.host_ifname}: {spec.netns} has an interface {spec.ifname} already, "
                f"made by something else"
            )
        self.leaving.discard(spec.host_ifname)
        self.wired[spec.host_ifname] = Wired(spec.netns, node_end(spec), pod_end(spec))
        self._routes[spec.address] = spec.host_ifname

    def _forget(self, host_ifname: str) -> None:
        self.wired.pop(host_ifname, None)
        self._routes = {address: owner for address, owner in self._routes.items() if owner != host_ifname}

    def _differences(self, spec: SandboxSpec) -> tuple[str, ...]:
        wired = self.wired.get(spec.host_ifname)
        if wired is None or wired.netns != spec.netns:
            return differences(node_end(spec), wired.node if wired else None, where="node") + differences(
                pod_end(spec), None, where="pod"
            )
        node = self._node_end(spec.host_ifname)
        return differences(node_end(spec), node, where="node") + differences(pod_end(spec), wired.pod, where="pod")

    def _node_end(self, host_ifname: str) -> Interface:
        """As the kernel holds it now: routes to an address that has moved to another sandbox went with it."""
        node = self.wired[host_ifname].node
        kept = (r for r in node.routes if self._routes.get(r.destination.network_address) == host_ifname)
        return replace(node, routes=tuple(kept))

    def _require_netns(self, path: str) -> None:
        if path in self.gone:
            raise DatapathError(f"cannot open network namespace {path}: No such file or directory")
