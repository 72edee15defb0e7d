"""The node apart from its sandboxes: uplink, forwarding, policy rules, foreign addresses on the uplink, the table.

Each pass compares and repairs, and says in words what it had to repair. It runs when the pool changes, when others
change something, and every minute; never while a pod waits. The order matters: the guards are loaded before forwarding
is turned on, and what cannot be put right keeps nothing else from it. Interfaces are listed once in a pass, because
that is most of its cost.
"""

from __future__ import annotations

import ctypes
import fcntl
import logging
import socket
import struct
from collections.abc import Callable, Collection, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from azure_cni.datapath import policy, uplink
from azure_cni.datapath.conflicts import Conflict
from azure_cni.datapath.leaving import Ways
from azure_cni.datapath.names import GROUP
from azure_cni.datapath.node_table import HostReport, NodeTable
from azure_cni.datapath.policy import OURS, PolicyRule
from azure_cni.datapath.uplink import SYNTHETIC_DRIVER, Evidence, Link, RouteDecision, Uplink
from azure_cni.errors import DatapathError
from azure_cni.linux import (
    bridge,
    link_messages,
    node_ipv6,
    route_lookup,
    rtnetlink,
    rules,
    stray_addresses,
    switches,
)
from azure_cni.linux.conntrack import Conntrack
from azure_cni.linux.filter_survey import FilterSurvey
from azure_cni.linux.kernel_table import KernelTable, Ruleset
from azure_cni.linux.netlink import Netlink
from azure_cni.linux.pod_nic import PodNicRoutes
from azure_cni.linux.second_nics import SecondNics
from azure_cni.linux.veth import LEAVING
from azure_cni.model.nic import Address
from azure_cni.model.text import few

log = logging.getLogger(__name__)

_FORWARD = "net/ipv4/ip_forward"
_SIOCETHTOOL = 0x8946
_GDRVINFO = 0x3
_INFO = struct.Struct("=I32s160x")  # struct ethtool_drvinfo: the command, the driver's name, and what is not asked here
_IFREQ = struct.Struct("=16sQ16x")


class Host:
    """The node's part of the namespace that the calling thread is in.

    `sysctls` is where /proc/sys can be written: a container's own is read-only. Under its net/ everybody sees the
    switches of the namespace he is in, wherever it is mounted.
    """

    def __init__(self, sysctls: Path) -> None:
        self._kernel = Netlink()
        self._conntrack = Conntrack()
        self._sysctls = sysctls
        self._uplinks: dict[str, int] = {}
        """The indexes of NICs' interfaces as last found, by MAC."""
        self._filters = FilterSurvey()
        self._table = KernelTable()
        self._second_nics = SecondNics()
        self._pod_nic = PodNicRoutes()

    def close(self) -> None:
        """Give the sockets back."""
        self._kernel.close()
        self._conntrack.close()

    @property
    def port(self) -> int:
        """See `Netlink.port`."""
        return self._kernel.port

    def uplink(self, mac: str, primary: IPv4Address) -> Uplink:
        """The NIC's interface."""
        return self._find_uplink(rtnetlink.links(self._kernel), mac, primary)[0]

    def _find_uplink(
        self, links: Sequence[Link], mac: str, primary: IPv4Address
    ) -> tuple[Uplink, tuple[Conflict, ...]]:
        """The NIC's interface, and whether that is in doubt."""
        tops = uplink.candidates(links, mac)
        evidence = self._evidence(tops, primary, current=self._uplinks.get(mac, 0)) if len(tops) > 1 else Evidence()
        found = uplink.choose(tops, evidence)
        self._uplinks[mac] = found.index
        return found, uplink.doubt(tops, evidence)

    def _evidence(self, tops: Sequence[Link], primary: IPv4Address, *, current: int) -> Evidence:
        defaults = [(route.metric, index) for index, route in rtnetlink.routes(self._kernel) if route.is_default]
        return Evidence(
            current=current,
            synthetic=frozenset(top.index for top in tops if driver(top.name) == SYNTHETIC_DRIVER),
            primary=frozenset(
                top.index
                for top in tops
                if any(address == primary for _, address, _ in rtnetlink.addresses(self._kernel, top.index))
            ),
            default=frozenset([min(defaults)[1]] if defaults else []),
        )

    def apply(self, table: NodeTable) -> HostReport:
        """Make everything right; returns what was not, and what is not ours to put right.

        What cannot be put right keeps nothing else from it: DatapathError for that comes after all has been tried.
        """
        try:
            links = rtnetlink.links(self._kernel)  # once: with 250 pods a list takes 12 ms of CPU
            link, doubt = self._find_uplink(links, table.uplink_mac, table.primary)
            node_nic, more = link, doubt
            if table.node_nic is not None:
                node_nic, more = self._find_uplink(links, table.node_nic.mac, table.node_nic.address)
                doubt = (*doubt, *more)
        except DatapathError as error:
            # The guards, while the NIC's interface is away: its name in the table is the last one found.
            raise self._kept_back([error], self._table.put_right_as_before()) from error
        pods = bridge.are_ours([link for link in links if table.pods.include(link.name)], links)
        way_out, detour = self._way_out(links, link, table)
        ways = Ways(link.name, way_out, "" if table.node_nic is None else node_nic.name)
        held = rtnetlink.addresses(self._kernel)
        beside = self._second_nics.wanted(links, held, table, node_nic=node_nic, uplink=link)
        wanted = Ruleset(table, ways, bridge.is_left(links), beside.own if beside else ())
        present = rules.read(self._kernel)
        repaired: list[str] = []
        parts: tuple[Callable[[], list[str]], ...] = (
            lambda: self._table.put_right(wanted),
            lambda: self._bridge(table, links, mtu=link.mtu),
            lambda: self._forwarding(ways.nics),
            # With the switch for all, the kernel has turned on each link's, whatever the list of links says.
            lambda: self._pods_switches(
                pods, table, but="forwarding" if switches.was_off(_FORWARD) in repaired else ""
            ),
            lambda: self._policy(present, pods),
            lambda: self._second_nics.put_right(self._kernel, present, beside, links, node_nic),
            lambda: self._pod_nic.put_right(self._kernel, present, held, links, table, node_nic=node_nic, uplink=link),
            lambda: stray_addresses.take_off(self._kernel, link, table, present or ()),
            lambda: node_ipv6.put_right(self._kernel, self._sysctls, links, table, uplink=link),
        )
        failures: list[DatapathError] = []
        for part in parts:
            try:
                repaired += part()
            except DatapathError as error:
                failures.append(error)
        if failures:
            raise self._kept_back(failures, repaired) from failures[0]
        filters = self._filters.conflicts(table, uplink=link.name)
        others = () if present is None else policy.foreign(present, table.pool)
        elsewhere = stray_addresses.elsewhere(
            links, (*held, *stray_addresses.of_ipv6(self._kernel, table)), link, table
        )
        conflicts = (*others, *doubt, *detour, *elsewhere, *filters)
        return HostReport(link, tuple(repaired), conflicts, self._conntrack.usage(), way_out, ways.node_nic)

    def set_egress(self, addresses: frozenset[IPv4Address]) -> None:
        """See `KernelTable`."""
        self._table.set_egress(addresses)

    def forget_connections(self, addresses: Sequence[Address]) -> None:
        """End what the kernel remembers of former pods. Nobody waits for it and new pods come all the same, so a
        failure is logged here; where the kernel tracks no connections, or lacks ctnetlink, there is nothing to end.
        """
        try:
            ended = self._conntrack.forget(addresses)
        except DatapathError as error:
            if self._conntrack.usage() is not None:
                log.warning(
                    "connections of former pods remain", extra={"addresses": few(addresses), "error": str(error)}
                )
            return
        if ended:
            log.info("connections of former pods ended", extra={"addresses": few(addresses), "connections": ended})

    def forwarding(
        self, destinations: Sequence[IPv4Address], *, source: IPv4Address, interface: str
    ) -> tuple[RouteDecision, ...]:
        """What becomes of packets that come in by that interface, by the routes and rules of this moment."""
        return route_lookup.forwarding(self._kernel, destinations, source=source, interface=interface)

    @staticmethod
    def _kept_back(failures: Sequence[DatapathError], repaired: Collection[str]) -> DatapathError:
        for what in repaired:
            log.warning("kernel put right, as far as it can be", extra={"what": what})
        return DatapathError("; ".join(map(str, failures)))

    def _way_out(self, links: Sequence[Link], link: Uplink, table: NodeTable) -> tuple[str, tuple[Conflict, ...]]:
        """The interface of the default route where that is not the uplink, else ""; and what to report about it.

        Pods on a NIC of their own leave by it, whatever the default route is.
        """
        if table.node_nic is not None:
            return "", ()
        default = route_lookup.way(self._kernel, uplink.SAMPLE)
        if default is None or default.index == link.index:
            return "", ()
        names = [found.name for found in links if found.index == default.index]
        if not names or table.pods.include(names[0]):
            return "", ()
        ways = [(network, route_lookup.way(self._kernel, _host_in(network))) for network in table.routable]
        stranded = uplink.stranded(ways, to=default)
        return names[0], (uplink.default_route_elsewhere(uplink=link.name, way_out=names[0], stranded=stranded),)

    def _policy(self, present: Collection[PolicyRule] | None, pods: Sequence[Link]) -> list[str]:
        """Put our policy rule back, and links that it would not see into its group."""
        missing = policy.absence(present) if present is not None else ""
        ours = {link.name: link for link in pods}
        strays = policy.ungrouped(((link.name, link.group) for link in ours.values()), leaving=LEAVING)
        if missing:
            self._kernel.change(rules.add(OURS))
        if strays:
            self._kernel.change(*(link_messages.set_group(name, ours[name].index, GROUP) for name in strays))
        found = [f"{missing}: added"] if missing else []
        return [*found, *([f"links outside group {GROUP}: {few(strays)}: put into it"] if strays else [])]

    def _bridge(self, table: NodeTable, links: Sequence[Link], *, mtu: int) -> list[str]:
        """The bridge of the mode that has one, and none in any other."""
        if table.pods.ports:
            return bridge.put_right(self._kernel, links, mtu=mtu)
        return bridge.retire(self._kernel, links)

    def _forwarding(self, nics: Collection[str]) -> list[str]:
        """Let the node forward; turning it on for all also turns off LRO, which merges packets past the MTU."""
        wanted = (_FORWARD, *(f"net/ipv4/conf/{name}/forwarding" for name in nics))
        return [switches.was_off(name) for name in wanted if switches.turn_on(self._sysctls, name)]

    def _pods_switches(self, pods: Sequence[Link], table: NodeTable, *, but: str) -> list[str]:
        """Put right the switches of pods' links."""
        unready = [(link, switches.unready(link, but=but)) for link in pods]
        requests = [switches.ready_for_pod(link.name, link.index) for link, wrong in unready if wrong]
        if not requests:
            return []
        self._kernel.change(*requests)
        wrong = {switch: value for _, of_link in unready for switch, value in of_link.items()}
        return [
            f"sysctl net.ipv4.conf.{table.pods}.{switch.name} was {value}: set to {switch.wanted}"
            for switch, value in wrong.items()
        ]


def _host_in(network: IPv4Network) -> IPv4Address:
    """The address that stands for all of them."""
    return network.network_address if network.prefixlen == network.max_prefixlen else network.network_address + 1


def driver(name: str) -> str:
    """The driver of an interface as `ethtool -i` shows it (linux/ethtool.h), "" where it has none or is not there.

    Asked of the kernel and not of /sys: what a container sees there is the namespace that mounted it.
    """
    info = ctypes.create_string_buffer(_INFO.pack(_GDRVINFO, b""), _INFO.size)
    request = _IFREQ.pack(name.encode(), ctypes.addressof(info))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            fcntl.ioctl(asking, _SIOCETHTOOL, request)
        except OSError:
            return ""
    return bytes(_INFO.unpack(info.raw)[1]).rstrip(b"\0").decode(errors="replace")
