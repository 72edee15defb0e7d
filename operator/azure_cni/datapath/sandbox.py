"""What one sandbox should look like in the kernel.

A sandbox is one interface of one container: a veth whose host end stays in the node's namespace and whose peer is
the pod's interface. In `transparent` mode the pod has its address as a /32, a link-local gateway that is on-link,
and a permanent neighbour for it; the node has a route to the pod, and a permanent neighbour for it too. So nothing
is ever learnt by ARP: the first packet needs no round trip, a pod cannot answer for another one, and 250 pods do not
press on the node's neighbour table (permanent entries are outside its garbage collection).

The node's route names the source of what the node itself sends, its primary address, and the kernel drops each route
whose source goes away: systemd-networkd takes a leased address off when it is restarted. So there is a second route to
the pod, without a source and less preferred, which keeps the pod's traffic until the first is put back.

`node_end` and `pod_end` say it as data. Attaching writes that data, checking and mending compare it with what was read.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

GATEWAY = IPv4Address("169.254.1.1")
"""Next hop inside every pod; never leaves the veth. Calico and Azure's own plugin use the same."""

ANYWHERE = IPv4Network("0.0.0.0/0")

GROUP = 0x61636E6A
"""The link group of host ends (`ip link show group 1633906282`), by which a policy rule knows the routes to pods from
all other host routes of the node: see `datapath.policy`."""

_FALLBACK_METRIC = 1
"""Any but 0, which the kernel prefers."""


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """All that is needed to wire one sandbox, and to check it later.

    `netns` is a path in the agent's mount namespace; MACs are lower case with colons; `mtu` in bytes, the NIC's.
    `node_address` is the source of what the node itself sends to the pod (probes): its primary address. None leaves
    the choice to the kernel, which on a node with several interfaces may take another one's.
    """

    netns: str
    ifname: str
    address: IPv4Address
    host_ifname: str
    host_mac: str
    pod_mac: str
    mtu: int
    node_address: IPv4Address | None = None


@dataclass(frozen=True, slots=True)
class SandboxLinks:
    """What the kernel made of it, as a CNI result wants it."""

    host_ifname: str
    host_mac: str
    pod_ifname: str
    pod_mac: str
    mtu: int


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the main table; without a gateway the destination is on the link itself."""

    destination: IPv4Network
    gateway: IPv4Address | None = None
    source: IPv4Address | None = None
    metric: int = 0

    @property
    def is_default(self) -> bool:
        """It leads to everywhere."""
        return not self.destination.prefixlen

    def __str__(self) -> str:
        via = f" via {self.gateway}" if self.gateway else ""
        source = f" src {self.source}" if self.source else ""
        metric = f" metric {self.metric}" if self.metric else ""
        return f"{self.destination}{via}{source}{metric}"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A permanent neighbour."""

    address: IPv4Address
    mac: str

    def __str__(self) -> str:
        return f"permanent neighbour {self.address} at {self.mac}"


@dataclass(frozen=True, slots=True)
class Interface:
    """One end of the veth, with all that hangs on it. Addresses are /32; routes stand in the order to be added."""

    name: str
    mac: str
    mtu: int
    up: bool = True
    group: int = 0
    addresses: tuple[IPv4Address, ...] = ()
    routes: tuple[Route, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()


@dataclass(frozen=True, slots=True)
class Lost:
    """What an interface should lead to and does not; false when that is nothing."""

    routes: tuple[Route, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.routes or self.neighbours)

    def words(self) -> tuple[str, ...]:
        """Each of them as a person would write it."""
        return (*(f"route {route}" for route in self.routes), *map(str, self.neighbours))


def node_end(spec: SandboxSpec) -> Interface:
    """The end in the node's namespace: no address, but the routes to the pod."""
    pod = IPv4Network(spec.address)
    fallback = () if spec.node_address is None else (Route(pod, metric=_FALLBACK_METRIC),)
    return Interface(
        name=spec.host_ifname,
        mac=spec.host_mac,
        mtu=spec.mtu,
        group=GROUP,
        routes=(Route(pod, source=spec.node_address), *fallback),
        neighbours=(Neighbour(spec.address, spec.pod_mac),),
    )


def pod_end(spec: SandboxSpec) -> Interface:
    """The pod's interface: its address, and everything else by way of the gateway."""
    return Interface(
        name=spec.ifname,
        mac=spec.pod_mac,
        mtu=spec.mtu,
        addresses=(spec.address,),
        routes=(Route(IPv4Network(GATEWAY)), Route(ANYWHERE, gateway=GATEWAY)),
        neighbours=(Neighbour(GATEWAY, spec.host_mac),),
    )


def links(spec: SandboxSpec) -> SandboxLinks:
    """The two ends as ADD reports them."""
    return SandboxLinks(
        host_ifname=spec.host_ifname,
        host_mac=spec.host_mac,
        pod_ifname=spec.ifname,
        pod_mac=spec.pod_mac,
        mtu=spec.mtu,
    )


def lost(wanted: Interface, seen: Interface) -> Lost:
    """Routes and neighbours of `wanted` that `seen` has not."""
    return Lost(
        routes=tuple(route for route in wanted.routes if route not in seen.routes),
        neighbours=tuple(neighbour for neighbour in wanted.neighbours if neighbour not in seen.neighbours),
    )


def differences(wanted: Interface, seen: Interface | None, *, where: str) -> tuple[str, ...]:
    """What is missing or otherwise in `seen` (None: no such interface), as words.

    More than wanted is no difference: plugins chained after this one may add addresses and routes of their own.
    """
    subject = f"{where}: interface {wanted.name}"
    if seen is None:
        return (f"{subject} is missing",)
    found: list[str] = []
    if not seen.up:
        found.append(f"{subject} is down")
    if seen.mac != wanted.mac:
        found.append(f"{subject} has MAC {seen.mac}, not {wanted.mac}")
    if seen.mtu != wanted.mtu:
        found.append(f"{subject} has MTU {seen.mtu}, not {wanted.mtu}")
    if wanted.group and seen.group != wanted.group:
        found.append(f"{subject} is in link group {seen.group}, not {wanted.group}")
    found += [f"{subject} lacks address {address}" for address in wanted.addresses if address not in seen.addresses]
    found += [f"{subject} lacks {what}" for what in lost(wanted, seen).words()]
    return tuple(found)
