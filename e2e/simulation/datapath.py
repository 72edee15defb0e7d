"""A data plane without a kernel: it keeps what it was given, refuses what the kernel refuses, and can lose things.

The contract suite holds it and the real one to the same behaviour.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Any

from azure_cni.datapath import names
from azure_cni.datapath.conflicts import Conflict
from azure_cni.datapath.conntrack import ConntrackUsage
from azure_cni.datapath.interface import Interface, Wiring, differences, missing
from azure_cni.datapath.modes import wiring
from azure_cni.datapath.node_table import TABLE, HostReport, NodeTable
from azure_cni.datapath.policy import LOCAL, MAIN, OURS, OURS_IPV6, absence, diversions
from azure_cni.datapath.transparent import VethSpec, offered
from azure_cni.datapath.uplink import RouteDecision, RouteKind, Uplink
from azure_cni.errors import DatapathError
from azure_cni.ipam.address_state import Holder, Sandbox
from azure_cni.model.identity import ModeName
from azure_cni.model.nic import Address
from azure_cni.model.text import few
from azure_cni.node.pods.liveness import Occupancy
from azure_cni.node.ports import HostChange, LinkKey, ObservedSandbox, SandboxSpec


@dataclass(frozen=True, slots=True)
class Wired:
    """One sandbox as the kernel would hold it."""

    netns: str
    node: tuple[Interface, ...]
    """The node's end, and behind a bridge what leads to the sandbox there."""
    pod: Interface

    @property
    def way(self) -> Interface:
        """The interface that what leads to the sandbox hangs on."""
        return self.node[-1]


def described(spec: SandboxSpec) -> Wiring:
    """The sandbox as its mode has it."""
    return wiring(_veth(spec))


def _veth(spec: SandboxSpec) -> VethSpec:
    container_id, ifname = spec.sandbox.interface
    link = spec.link
    return VethSpec(container_id, ifname, spec.netns, spec.addresses, link.mtu, link.primary, link.mode)


class FakeDatapath:
    """`uplink_mac` None: any MAC is the NIC's. `fail_next` is raised by the next attach, which then does nothing;
    `refuses_routes` by each repair that has something to do.
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
        self.wired: dict[LinkKey, Wired] = {}
        self.processes: dict[str, int] = {}
        """How many run in the network namespace at a path; missing is none."""
        self.processes_hidden = False
        """The node's processes cannot be seen."""
        self.leaving: set[LinkKey] = set()
        self.tables: list[NodeTable] = []
        """All that were applied, in order."""
        self.own_egress: frozenset[IPv4Address] = frozenset()
        self.forgotten: list[Address] = []
        """The addresses of former sandboxes whose connections were ended, in order."""
        """What leaves the VNet with these addresses keeps them."""
        self.lacks_egress = False
        """The table that stands is an earlier release's, which has no such set."""
        self.drift: list[str] = []
        """What the next `apply_node` finds changed behind its back."""
        self.conflicts: tuple[Conflict, ...] = ()
        self.conntrack: ConntrackUsage | None = None
        """What others do on the host, found by each `apply_node`."""
        self.rules = {OURS}
        """Policy rules of the node; an earlier agent has left ours."""
        self._table: NodeTable | None = None
        self._changes: asyncio.Queue[HostChange] = asyncio.Queue()
        self._routes: dict[Address, LinkKey] = {}
        self._has_bridge = False

    async def attach(self, spec: SandboxSpec) -> Wiring:
        error, self.fail_next = self.fail_next, None
        if error is not None:
            raise error
        self._require_netns(spec.netns)
        if self._differences(spec):
            self._forget(self.key(spec.sandbox))
            self._wire(spec)
        return described(spec)

    async def offer(self, spec: SandboxSpec) -> Wiring:
        error, self.fail_next = self.fail_next, None
        if error is not None:
            raise error
        key, ends = self.key(spec.sandbox), offered(_veth(spec))
        if key in self.wired and self.wired[key].netns:
            raise DatapathError(f"cannot offer {ends.pod.name}: it has been moved into a container already")
        self._forget(key)
        self.leaving.discard(key)
        self.wired[key] = Wired("", ends.node, ends.pod)
        self._routes |= dict.fromkeys(spec.addresses, key)
        return ends

    def move(self, key: LinkKey, netns: str) -> None:
        """The runtime moves a link that was offered into its container."""
        self.wired[key] = replace(self.wired[key], netns=netns)

    @staticmethod
    def mac(sandbox: Sandbox) -> str:
        return names.pod_mac(*sandbox.interface)

    async def detach(self, sandbox: Sandbox) -> None:
        await self.remove(self.key(sandbox))

    async def remove(self, key: LinkKey) -> None:
        if key in self.wired:
            self._forget(key)
            self.leaving.add(key)

    @staticmethod
    def key(sandbox: Sandbox) -> LinkKey:
        return LinkKey(names.host_ifname(*sandbox.interface))

    @staticmethod
    def is_complete(observed: ObservedSandbox, spec: SandboxSpec) -> bool:
        ends = {end.name: end for end in observed.node}
        return all(end.name in ends and not missing(end, ends[end.name]) for end in described(spec).node)

    async def check(self, spec: SandboxSpec) -> tuple[str, ...]:
        try:
            self._require_netns(spec.netns)
        except DatapathError as missing:
            return (str(missing),)
        diverted = tuple(f"node: {words}" for words in diversions(self.rules, spec.addresses))
        return self._differences(spec) + diverted

    async def sandboxes(self) -> tuple[ObservedSandbox, ...]:
        self.leaving.clear()
        return tuple(map(self._observed, self.wired))

    async def restore_routes(self, spec: SandboxSpec) -> tuple[str, ...]:
        key = self.key(spec.sandbox)
        if key not in self.wired or not self.wired[key].node[0].up:
            return ()
        wanted = described(spec).node
        lacking = [missing(end, there) for end, there in zip(wanted, self._node_ends(key), strict=True)]
        if any(lacking) and self.refuses_routes is not None:
            raise self.refuses_routes
        self.wired[key] = replace(self.wired[key], node=wanted)
        self._routes |= dict.fromkeys(spec.addresses, key)
        return tuple(words for one in lacking for words in one.words())

    async def guarded_mode(self) -> ModeName | None:
        return None if self._table is None else self._table.mode

    async def set_egress(self, addresses: frozenset[IPv4Address]) -> None:
        if addresses and (self._table is None or self.lacks_egress):
            raise DatapathError(f"cannot change nftables table {TABLE}: it is not there, or has no such set")
        self.own_egress = addresses

    async def forget_connections(self, addresses: frozenset[Address]) -> None:
        if held := [address for address in addresses if address in self._routes]:
            raise AssertionError(f"connections of {few(held)} are to end, which sandboxes have")
        self.forgotten += sorted(addresses, key=int)

    async def occupancy(self, holders: Sequence[Holder]) -> tuple[Occupancy, ...]:
        return tuple(map(self._occupancy, holders))

    async def uplink(self, mac: str, primary: IPv4Address) -> Uplink:  # noqa: ARG002  the port's signature
        if self.uplink_mac not in {None, mac}:
            raise DatapathError(f"cannot find the uplink: no interface has the NIC's MAC {mac}")
        return Uplink(name="eth0", index=2, mtu=self.mtu)

    async def forwarding(
        self, destinations: Sequence[IPv4Address], *, source: IPv4Address, interface: str
    ) -> tuple[RouteDecision, ...]:
        if not any(end.name == interface for key in self.wired for end in self._node_ends(key)):
            raise DatapathError(f"cannot look up routes for {source}: its interface {interface} is not on the node")
        return tuple(map(self._forwarding, destinations))

    def _forwarding(self, destination: IPv4Address) -> RouteDecision:
        """By the routes to pods, the primary address and the default route."""
        if self._table is not None and destination == self._table.primary:
            return RouteDecision(destination, RouteKind.LOCAL, "lo", table=LOCAL)
        owner = next((key for address, key in self._routes.items() if address == destination), None)
        if owner is not None:
            return RouteDecision(destination, RouteKind.FORWARD, self.wired[owner].way.name, table=MAIN)
        return RouteDecision(destination, RouteKind.FORWARD, "eth0", IPv4Address("10.240.0.1"), table=MAIN)

    async def apply_node(self, table: NodeTable) -> HostReport:
        if self.refuses_node is not None:
            raise self.refuses_node
        uplink = await self.uplink(table.uplink_mac, table.primary)
        reported = tuple(self.drift) if self._table else self._made(table)
        lost_rule = absence(self.rules)
        reported = (*([f"{lost_rule}: added"] if lost_rule else []), *reported)
        self.rules |= {OURS, OURS_IPV6} if table.dual else {OURS}
        self.drift.clear()
        self._table, self.lacks_egress = table, False
        self.own_egress = table.own_egress
        self.tables.append(table)
        return HostReport(uplink, reported, self.conflicts, self.conntrack)

    def _made(self, table: NodeTable) -> tuple[str, ...]:
        inet = f"nftables table inet {TABLE} was missing: made"
        if not table.pods.ports:
            return (inet,)
        made = () if self._has_bridge else ("bridge azure0 was missing: made",)
        self._has_bridge = True
        return (inet, f"nftables table bridge {TABLE} was missing: made", *made)

    def flush(self) -> None:
        """Somebody removes the node's table."""
        self._table, self.own_egress = None, frozenset()

    async def changed(self) -> HostChange:
        return await self._changes.get()

    def change(self, change: HostChange) -> None:
        """Somebody else did something that the kernel announces."""
        self._changes.put_nowait(change)

    def _occupancy(self, holder: Holder) -> Occupancy:
        wired = self.wired.get(self.key(holder.sandbox))
        if wired is not None and not wired.netns:  # offered, and in no container
            return Occupancy.EMPTY
        if self.processes_hidden or holder.netns in self.gone or wired is None or wired.netns != holder.netns:
            return Occupancy.UNREADABLE
        return Occupancy.OCCUPIED if self.processes.get(holder.netns) else Occupancy.EMPTY

    def remove_netns(self, path: str) -> None:
        """The kernel takes the links of a namespace along."""
        self.gone.add(path)
        for name in [name for name, wired in self.wired.items() if wired.netns == path]:
            self._forget(name)

    def lose(self, key: LinkKey, *, where: str, **changes: Any) -> None:
        """Change one end (`node` or `pod`) behind the data plane's back."""
        wired = self.wired[key]
        if where == "node":
            of_end = {name: changes.pop(name) for name in ("up",) if name in changes}
            way = replace(wired.way, **changes)
            ends = (*wired.node[:-1], way)
            self.wired[key] = replace(wired, node=(replace(ends[0], **of_end), *ends[1:]))
        else:
            self.wired[key] = replace(wired, pod=replace(wired.pod, **changes))

    def _wire(self, spec: SandboxSpec) -> None:
        inside = {(wired.netns, wired.pod.name) for wired in self.wired.values()} | self.foreign
        key, ifname = self.key(spec.sandbox), spec.sandbox.ifname
        if (spec.netns, ifname) in inside:
            raise DatapathError(
                f"cannot attach {key}: {spec.netns} has an interface {ifname} already, made by something else"
            )
        self.leaving.discard(key)
        wired = described(spec)
        self.wired[key] = Wired(spec.netns, wired.node, wired.pod)
        self._has_bridge = self._has_bridge or any(end.shared for end in wired.node)
        self._routes |= dict.fromkeys(spec.addresses, key)

    def _forget(self, key: LinkKey) -> None:
        self.wired.pop(key, None)
        self._routes = {address: owner for address, owner in self._routes.items() if owner != key}

    def _differences(self, spec: SandboxSpec) -> tuple[str, ...]:
        key = self.key(spec.sandbox)
        wanted, wired = described(spec), self.wired.get(key)
        there = wired is not None and wired.netns == spec.netns
        node = {end.name: end for end in self._node_ends(key)} if wired else {}
        return (
            *(words for end in wanted.node for words in differences(end, self._on_node(end, node), where="node")),
            *differences(wanted.pod, wired.pod if wired and there else None, where="pod"),
        )

    def _on_node(self, wanted: Interface, ends: Mapping[str, Interface]) -> Interface | None:
        """A bridge stays when a sandbox has gone."""
        bare = replace(wanted, routes=(), neighbours=()) if wanted.shared and self._has_bridge else None
        return ends.get(wanted.name, bare)

    def _node_ends(self, key: LinkKey) -> tuple[Interface, ...]:
        """As the kernel holds them now: what leads to an address that has moved to another sandbox went with it."""
        *port, way = self.wired[key].node
        routes = (r for r in way.routes if self._routes.get(r.destination.network_address) == key)
        neighbours = (n for n in way.neighbours if not way.shared or self._routes.get(n.address) == key)
        return (*port, replace(way, routes=tuple(routes), neighbours=tuple(neighbours)))

    def _observed(self, key: LinkKey) -> ObservedSandbox:
        ends = self._node_ends(key)
        addresses = frozenset(route.destination.network_address for end in ends for route in end.routes)
        return ObservedSandbox(key, addresses, ends[0].mtu, ends)

    def _require_netns(self, path: str) -> None:
        if path in self.gone:
            raise DatapathError(f"cannot open network namespace {path}: No such file or directory")
