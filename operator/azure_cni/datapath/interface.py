"""What a data plane makes of one sandbox, as data: its interfaces, with all that hangs on them. Pure.

Every mode describes a sandbox by these values (`transparent` does). Attaching writes them, checking and restoring
compare them with what was read, and the result of an ADD is derived from them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from typing import Final, TypeAlias

from azure_cni.model.nic import Address

Network: TypeAlias = IPv4Network | IPv6Network

IPV4: Final = 4
"""As addresses number their version."""

ANYWHERE: Final = IPv4Network("0.0.0.0/0")
ANYWHERE_IPV6: Final = IPv6Network("::/0")


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the main table; without a gateway the destination is on the link itself."""

    destination: Network
    gateway: Address | None = None
    source: Address | None = None
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

    address: Address
    mac: str

    def __str__(self) -> str:
        return f"permanent neighbour {self.address} at {self.mac}"


@dataclass(frozen=True, slots=True)
class PortSettings:
    """What a bridge does at one of its ports.

    `learning`: it believes the source MACs of what comes in; `floods`: it sends there what it knows no port for
    (unicast, multicast, broadcast); `hairpin`: it may send something back by the port that it came in by. `reserved`:
    frames for the MACs that are reserved for bridges (01:80:c2:00:00:0X) go the way of all others; else they are
    delivered to the port itself, and no filter of the bridge sees them.
    """

    learning: bool = True
    floods: bool = True
    hairpin: bool = False
    reserved: bool = False


@dataclass(frozen=True, slots=True)
class Port:
    """A place on a bridge. `station` is the MAC that the bridge has a static entry for there; "" if it has none."""

    bridge: str
    station: str
    settings: PortSettings

    def __str__(self) -> str:
        return f"its place on {self.bridge} with {self.station or 'no station'}"


@dataclass(frozen=True, slots=True)
class Resolver:
    """By which servers a pod resolves names, and which suffixes it tries. On Linux the runtime writes it into a file of
    the pod's; on Windows it is a property of the endpoint.
    """

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """A port of the node that leads to one of the pod. `protocol`: its number, 6 for TCP.

    `address`: the node's at which it leads there; None for all.
    """

    protocol: int
    node_port: int
    pod_port: int
    address: IPv4Address | None = None


@dataclass(frozen=True, slots=True)
class PodOptions:
    """What a runtime asks for a pod beside an address, where that is for the data plane to do."""

    resolver: Resolver | None = None
    ports: tuple[PublishedPort, ...] = ()


NO_OPTIONS = PodOptions()


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface of a sandbox or of the node, with all that hangs on it. Routes stand in the order to be added.

    `port` is its place on a bridge, None where it has none. Of a `shared` one, which serves all sandboxes, a sandbox
    has only the routes and neighbours that are here, and does not determine the MTU.
    """

    name: str
    mac: str
    mtu: int
    up: bool = True
    group: int = 0
    addresses: tuple[IPv4Interface | IPv6Interface, ...] = ()
    routes: tuple[Route, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    port: Port | None = None
    shared: bool = False


def network_of(address: Address) -> Network:
    """The address alone, as a route has it."""
    number = int(address)  # a text would be parsed, and each comparison builds the routes of all pods
    return IPv4Network(number) if address.version == IPV4 else IPv6Network(number)


@dataclass(frozen=True, slots=True)
class Missing:
    """What an interface should lead to and does not, or the place on a bridge that it lacks; false for neither."""

    routes: tuple[Route, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    port: Port | None = None

    def __bool__(self) -> bool:
        return bool(self.routes or self.neighbours or self.port)

    def words(self) -> tuple[str, ...]:
        """Each of them as a person would write it."""
        place = () if self.port is None else (str(self.port),)
        return (*place, *(f"route {route}" for route in self.routes), *map(str, self.neighbours))


@dataclass(frozen=True, slots=True)
class Wiring:
    """One sandbox as a data plane wires it.

    `pod` is the interface inside the sandbox; `node` are those outside that belong to it, none where a mode has none.
    """

    node: tuple[Interface, ...]
    pod: Interface

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The sandbox's."""
        return tuple(address.ip for address in self.pod.addresses)

    def renamed(self, name: str) -> Wiring:
        """The same with another name for the node's own end of the sandbox's link."""
        own, *beside = self.node
        return replace(self, node=(replace(own, name=name), *beside))


def missing(wanted: Interface, observed: Interface) -> Missing:
    """Routes, neighbours and the place of `wanted` that `observed` has not.

    A bridge knows whose port it is by the link group, so a port in another group has lost its place too.
    """
    placed = (wanted.port, wanted.group) == (observed.port, observed.group)
    return Missing(
        port=None if placed else wanted.port,
        routes=tuple(route for route in wanted.routes if route not in observed.routes),
        neighbours=tuple(neighbour for neighbour in wanted.neighbours if neighbour not in observed.neighbours),
    )


def differences(wanted: Interface, observed: Interface | None, *, where: str) -> tuple[str, ...]:
    """What is missing or otherwise in `observed` (None: no such interface), as words.

    More than wanted is no difference: plugins chained after this one may add addresses and routes of their own.
    """
    subject = f"{where}: interface {wanted.name}"
    if observed is None:
        return (f"{subject} is missing",)
    found: list[str] = []
    if not observed.up:
        found.append(f"{subject} is down")
    if observed.mac != wanted.mac:
        found.append(f"{subject} has MAC {observed.mac}, not {wanted.mac}")
    if observed.mtu != wanted.mtu and not wanted.shared:
        found.append(f"{subject} has MTU {observed.mtu}, not {wanted.mtu}")
    if wanted.group and observed.group != wanted.group:
        found.append(f"{subject} is in link group {observed.group}, not {wanted.group}")
    found += [
        f"{subject} lacks address {address.ip}" for address in wanted.addresses if address not in observed.addresses
    ]
    found += [f"{subject} lacks {what}" for what in missing(wanted, observed).words()]
    return tuple(found)
