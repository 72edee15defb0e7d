"""The bridge that pods hang on (mode `bridge`): made, put right and removed; and what of it belongs to one sandbox.

What hangs on a link goes with the link. What leads to a pod behind a bridge hangs on the bridge, so whoever disables a
sandbox has to remove it, and whoever lists sandboxes has to find out whose it is: by the bridge's static entry for the
MAC behind a port. The port's link group names its address (`datapath.bridge`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address

from azure_cni.datapath.bridge import SETTINGS, deviations, require_ours, smallest_mtu, stranger
from azure_cni.datapath.interface import IPV4, Interface, Neighbour, Port, Route
from azure_cni.datapath.names import BRIDGE, BRIDGE_MAC, GROUP
from azure_cni.datapath.uplink import Link
from azure_cni.errors import DatapathError
from azure_cni.linux import bridge_messages as messages
from azure_cni.linux import link_messages, rtnetlink, switches
from azure_cni.linux import rtnetlink_format as rt
from azure_cni.linux.netlink import Netlink, NetlinkRequest
from azure_cni.model.nic import Address

_LARGEST_OF_NO_POD = 0x00FFFFFF
"""Groups up to this one (0.255.255.255) are no pod's address."""


def require(kernel: Netlink, *, mtu: int, known: int | None) -> int:
    """The bridge's index; it is made where it is missing.

    One with another index than the `known` one of an earlier pod is looked at first: pods must not become ports of
    another program's bridge, nor learn only that the kernel did not want them on something else of that name.

    Raises:
        DatapathError: the bridge is another program's.

    """
    index = kernel.index(BRIDGE)
    if index is None:
        return make(kernel, mtu=mtu)
    if index != known:
        links = rtnetlink.links(kernel)
        for found in links:
            if found.index == index:
                require_ours(found, _ports(found, links))
    return index


def make(kernel: Netlink, *, mtu: int) -> int:
    """Make the bridge and turn it on; returns its index."""
    kernel.change(messages.create_bridge(BRIDGE, mac=BRIDGE_MAC, mtu=mtu, group=GROUP, settings=SETTINGS))
    index = kernel.index(BRIDGE)
    if index is None:
        raise DatapathError(f"cannot make the bridge {BRIDGE}: it vanished while it was being made")
    kernel.change(switches.ready_for_pod(BRIDGE, index), *link_messages.turn_on(BRIDGE, index))
    return index


def put_right(kernel: Netlink, links: Sequence[Link], *, mtu: int) -> list[str]:
    """Make the bridge what it should be, and say what it was not. DatapathError where it is another program's."""
    found = next((link for link in links if link.name == BRIDGE), None)
    if found is None:
        make(kernel, mtu=mtu)
        return [f"bridge {BRIDGE} was missing: made"]
    ports = _ports(found, links)
    require_ours(found, ports)
    wrong = deviations(found, ports)
    if not wrong:
        return []
    smallest = smallest_mtu(ports) if ports else found.mtu
    wanted = smallest if smallest != found.mtu else 0
    kernel.change(messages.set_bridge(BRIDGE, found.index, mac=BRIDGE_MAC, mtu=wanted, settings=SETTINGS))
    return [f"bridge {BRIDGE} {', '.join(wrong)}: set right"]


def are_ours(pods: Sequence[Link], links: Sequence[Link]) -> list[Link]:
    """Of the interfaces that packets of pods come in by, those that are no other program's."""
    return [link for link in pods if link.name != BRIDGE or not stranger(link, _ports(link, links))]


def _ports(of: Link, links: Sequence[Link]) -> tuple[Link, ...]:
    return tuple(link for link in links if link.master == of.index)


def retire(kernel: Netlink, links: Sequence[Link]) -> list[str]:
    """Remove the bridge of a mode that is over, once no pod hangs on it. One of another program stays."""
    found = next((link for link in links if link.name == BRIDGE and link.mac == BRIDGE_MAC), None)
    if found is None or any(link.master == found.index and link.up for link in links):
        return []
    kernel.change(link_messages.delete_link(BRIDGE, found.index))
    return [f"bridge {BRIDGE} was left of mode bridge: removed"]


def is_left(links: Sequence[Link]) -> bool:
    """Whether our bridge is there."""
    return any(link.name == BRIDGE and link.mac == BRIDGE_MAC for link in links)


def interface(kernel: Netlink, name: str) -> Interface | None:
    """Everything that CHECK compares, of one interface, with its place on the bridge."""
    found = rtnetlink.link(kernel, name)
    bare = rtnetlink.interface(kernel, name)
    if found is None or bare is None:
        return None
    index = kernel.index(BRIDGE)
    if index is None or found.master != index or found.port is None:
        return bare
    station = messages.stations(kernel, index, port=found.index).get(found.index, "")
    return replace(bare, port=Port(BRIDGE, station, found.port))


def settle(port: Interface, index: int, *, master: int, placed: bool) -> list[NetlinkRequest]:
    """Requests that give a port its place; where it is `placed`, its creation has made it a port."""
    if port.port is None:
        return []
    moved = [] if placed else [messages.set_master(port.name, index, master, group=port.group)]
    return [
        *moved,
        messages.set_port(port.name, index, port.port.settings),
        messages.add_station(port.name, index, port.port.station),
    ]


def withdrawals(kernel: Netlink, host_ifname: str, *, pod_mac: str = "") -> list[NetlinkRequest]:
    """Requests that remove what leads to a sandbox by the bridge; none where it hangs on none, or its address has
    moved to another sandbox. `pod_mac`: of its end, where that is known, for a bridge that has lost the entry for it.
    """
    bridge = kernel.index(BRIDGE)
    found = rtnetlink.link(kernel, host_ifname) if bridge is not None else None
    address = address_of(found) if found is not None else None
    if bridge is None or found is None or address is None:
        return []
    known = messages.neighbour_mac(kernel, bridge, address)
    station = messages.stations(kernel, bridge, port=found.index).get(found.index, "") or pod_mac
    beside = rtnetlink.permanent_neighbours(kernel, bridge, family=rt.AF_INET6) if station else []
    requests = [one for _, other in beside if other.mac == station for one in forget(bridge, other.address)]
    if known and station and known != station:
        return requests
    return [*forget(bridge, address), *requests]


def leftovers(kernel: Netlink, pod_mac: str) -> list[NetlinkRequest]:
    """Requests that remove what leads by the bridge to the pod with this MAC."""
    index = kernel.index(BRIDGE)
    if index is None:
        return []
    known = rtnetlink.neighbours_of_both(kernel, index)
    return [one for _, neighbour in known if neighbour.mac == pod_mac for one in forget(index, neighbour.address)]


def forget(index: int, address: Address) -> list[NetlinkRequest]:
    """Requests that remove the routes to an address by the bridge, of which IPv4 has two, and its neighbour."""
    routes = [messages.delete_route(BRIDGE, index, address)] * (2 if address.version == IPV4 else 1)
    return [*routes, messages.delete_neighbour(BRIDGE, index, address)]


def address_of(link: Link) -> IPv4Address | None:
    """The address that the group of a port names; None where it names none."""
    if link.group <= _LARGEST_OF_NO_POD or link.group == GROUP:
        return None
    return IPv4Address(link.group)


def observe(
    kernel: Netlink,
    links: Sequence[Link],
    routes: Mapping[int, Sequence[Route]],
    neighbours: Mapping[int, Sequence[Neighbour]],
) -> Observed | None:
    """The bridge with what was listed of it, by the indexes of interfaces; None where there is none of azure-cni's."""
    found = next((link for link in links if link.name == BRIDGE and link.bridge is not None), None)
    if found is None:
        return None
    stations = messages.stations(kernel, found.index)
    return Observed(found, stations, routes.get(found.index, ()), neighbours.get(found.index, ()))


class Observed:
    """The bridge as it was listed: who is behind its ports, and what leads there. Indexed, for there are many."""

    def __init__(
        self, link: Link, stations: Mapping[int, str], routes: Sequence[Route], neighbours: Sequence[Neighbour]
    ) -> None:
        self._link = link
        self._stations = stations
        self._neighbours = neighbours
        self._known = {neighbour.address for neighbour in neighbours}
        self._routes: defaultdict[Address, list[Route]] = defaultdict(list)
        for route in routes:
            self._routes[route.destination.network_address].append(route)
        self._by_mac: defaultdict[str, list[Neighbour]] = defaultdict(list)
        for neighbour in neighbours:
            self._by_mac[neighbour.mac].append(neighbour)

    def place_of(self, port: Link) -> Port | None:
        """A link's place on the bridge."""
        if port.master != self._link.index or port.port is None:
            return None
        return Port(BRIDGE, self._stations.get(port.index, ""), port.port)

    def sweep(self, ports: Sequence[Link]) -> list[NetlinkRequest]:
        """Requests that remove what leads to nobody: by its MAC no port's station, by its address no port's pod.

        A port's group names its IPv4 address alone, and the MAC that this one is at names the pod.
        The stations were listed last, so a sandbox that has come in the meantime is not missed.
        """
        addresses = {address_of(port) for port in ports}
        alive = {*self._stations.values(), *(one.mac for one in self._neighbours if one.address in addresses)}
        gone = (one for one in self._neighbours if one.mac not in alive)
        return [request for neighbour in gone for request in forget(self._link.index, neighbour.address)]

    def part_of(self, port: Link) -> Interface:
        """What leads to a port's sandbox. A neighbour belongs to whoever has its MAC; an address without one, to the
        port that it names.
        """
        station, address = self._stations.get(port.index, ""), address_of(port)
        theirs = self._by_mac.get(station, []) if station else []
        addresses: list[Address] = [neighbour.address for neighbour in theirs]
        if address is not None and address not in self._known:
            addresses.append(address)
        return Interface(
            name=BRIDGE,
            mac=self._link.mac,
            mtu=self._link.mtu,
            up=self._link.up,
            group=self._link.group,
            routes=tuple(route for one in addresses for route in self._routes.get(one, ())),
            neighbours=tuple(theirs),
            shared=True,
        )


def ends_of(
    link: Link,
    routes: Mapping[int, Sequence[Route]],
    neighbours: Mapping[int, Sequence[Neighbour]],
    shared: Observed | None,
) -> tuple[Interface, ...]:
    """What the node has of a sandbox, as it was listed."""
    end = Interface(
        name=link.name,
        mac=link.mac,
        mtu=link.mtu,
        up=link.up,
        group=link.group,
        routes=tuple(routes[link.index]),
        neighbours=tuple(neighbours[link.index]),
        port=shared.place_of(link) if shared else None,
    )
    return (end, shared.part_of(link)) if shared and address_of(link) else (end,)
