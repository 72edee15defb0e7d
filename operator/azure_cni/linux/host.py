"""The node apart from its sandboxes: uplink, forwarding, policy rules, foreign addresses on the uplink, the table.

Each pass compares and repairs, and says in words what it had to repair. It runs when the pool changes and every so
often besides; never while a pod waits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from azure_cni.datapath import policy, taken, uplink, way_out
from azure_cni.datapath.conflicts import Conflict, HostReport
from azure_cni.datapath.names import PREFIX
from azure_cni.datapath.policy import PolicyRule
from azure_cni.datapath.sandbox import GROUP
from azure_cni.datapath.snat import TABLE, NodeTable, ruleset
from azure_cni.datapath.uplink import SYNTHETIC_DRIVER, Evidence, Link, Uplink
from azure_cni.errors import DatapathError
from azure_cni.linux import ethtool, nft, rtnetlink, rules, switches
from azure_cni.linux.filter_survey import FilterSurvey
from azure_cni.linux.netlink import Netlink
from azure_cni.linux.sandboxes import LEAVING
from azure_cni.node.wording import few

log = logging.getLogger(__name__)


class Host:
    """The node's part of the namespace that the calling thread is in.

    `sysctls` is where /proc/sys can be written: a container's own is read-only. Under its net/ everybody sees the
    switches of the namespace he is in, wherever it is mounted.
    """

    def __init__(self, sysctls: Path) -> None:
        self._kernel = Netlink()
        self._sysctls = sysctls
        self._uplink = 0
        """The index of the NIC's interface as last found."""
        self._filters = FilterSurvey()
        self._applied: str | None = None
        """The script that this process loaded last."""
        self._loaded: list[Any] | None = None
        """What the table held right after: any later difference is somebody else's doing."""

    def close(self) -> None:
        """Give the socket back."""
        self._kernel.close()

    @property
    def port(self) -> int:
        """See `Netlink.port`."""
        return self._kernel.port

    def uplink(self, mac: str, primary: IPv4Address) -> Uplink:
        """The NIC's interface."""
        return self._find_uplink(mac, primary)[0]

    def _find_uplink(self, mac: str, primary: IPv4Address) -> tuple[Uplink, tuple[Conflict, ...]]:
        """The NIC's interface, and whether that is in doubt."""
        tops = uplink.candidates(rtnetlink.links(self._kernel), mac)
        evidence = self._evidence(tops, primary) if len(tops) > 1 else Evidence()
        found = uplink.choose(tops, evidence)
        self._uplink = found.index
        return found, uplink.doubt(tops, evidence)

    def _evidence(self, tops: Sequence[Link], primary: IPv4Address) -> Evidence:
        defaults = [(route.metric, index) for index, route in rtnetlink.routes(self._kernel) if route.is_default]
        return Evidence(
            known=self._uplink,
            synthetic=frozenset(top.index for top in tops if ethtool.driver(top.name) == SYNTHETIC_DRIVER),
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
            link, doubt = self._find_uplink(table.uplink_mac, table.primary)
        except DatapathError as error:
            raise self._kept_back([error], self._guards_of_before()) from error
        elsewhere, detour = self._way_out(link, table)
        known = rules.read(self._kernel)
        parts: tuple[Callable[[], list[str]], ...] = (
            lambda: self._rules(ruleset(table, uplink=link.name, way_out=elsewhere)),
            lambda: self._forwarding(link),
            self._pods_switches,
            lambda: self._policy(known),
            lambda: self._bare_uplink(link, table, known or ()),
        )
        repaired: list[str] = []
        failures: list[DatapathError] = []
        for part in parts:
            try:
                repaired += part()
            except DatapathError as error:
                failures.append(error)
        if failures:
            raise self._kept_back(failures, repaired) from failures[0]
        filters = self._filters.conflicts(table, uplink=link.name)
        others = () if known is None else policy.foreign(known, table.pool)
        return HostReport(tuple(repaired), (*others, *doubt, *detour, *self._taken(link, table), *filters))

    def _guards_of_before(self) -> list[str]:
        """While the NIC's interface is away, its name in the table is the last one known."""
        return [] if self._applied is None else self._rules(self._applied)

    @staticmethod
    def _kept_back(failures: Sequence[DatapathError], repaired: Collection[str]) -> DatapathError:
        for what in repaired:
            log.warning("kernel put right, as far as it can be", extra={"what": what})
        return DatapathError("; ".join(map(str, failures)))

    def _way_out(self, link: Uplink, table: NodeTable) -> tuple[str, tuple[Conflict, ...]]:
        """The interface of the default route where that is not the uplink, else ""; and what to tell of it."""
        default = rtnetlink.way(self._kernel, way_out.SAMPLE)
        if default is None or default.index == link.index:
            return "", ()
        names = [found.name for found in rtnetlink.links(self._kernel) if found.index == default.index]
        if not names or names[0].startswith(PREFIX):
            return "", ()
        ways = [(network, rtnetlink.way(self._kernel, _host_in(network))) for network in table.routable]
        lost = way_out.stranded(ways, to=default)
        return names[0], (way_out.conflict(uplink=link.name, way_out=names[0], stranded=lost),)

    def _policy(self, known: Collection[PolicyRule] | None) -> list[str]:
        """Put our policy rule back, and links that it would not see into its group."""
        missing = policy.absence(known) if known is not None else ""
        ours = {link.name: link for link in rtnetlink.links(self._kernel) if link.name.startswith(PREFIX)}
        strays = policy.ungrouped(((link.name, link.group) for link in ours.values()), leaving=LEAVING)
        if missing:
            self._kernel.change(rules.add_ours())
        if strays:
            self._kernel.change(*(rtnetlink.set_group(name, ours[name].index, GROUP) for name in strays))
        found = [f"{missing}: added"] if missing else []
        return [*found, *([f"links outside group {GROUP}: {few(strays)}: put into it"] if strays else [])]

    def _bare_uplink(self, link: Uplink, table: NodeTable, known: Collection[PolicyRule]) -> list[str]:
        """Take pods' addresses off the uplink, or the node would answer in their place.

        cloud-init puts every secondary address there at boot (its Azure datasource's default,
        `apply_network_config_for_secondary_ips`), nm-cloud-setup and cloud-netconfig do so whenever the NIC changes.
        """
        held = rtnetlink.addresses(self._kernel, link.index)
        strays = [(address, prefix) for _, address, prefix in held if address in table.pool]
        if strays:
            self._kernel.change(
                switches.promote_secondaries(link.name, link.index),
                *(
                    rtnetlink.delete_address(link.name, link.index, address, prefix=prefix)
                    for address, prefix in strays
                ),
            )
        if not strays:
            return []
        named = few(sorted(address for address, _ in strays))
        return [f"{link.name} had addresses of pods ({named}): removed; {policy.culprit(known, table.pool)}"]

    def _taken(self, uplink: Uplink, table: NodeTable) -> tuple[Conflict, ...]:
        """Pods' addresses on other interfaces than the uplink."""
        held = [(it[0], it[1]) for it in rtnetlink.addresses(self._kernel) if it[0] != uplink.index]
        if not any(address in table.pool for _, address in held):
            return ()
        names = {link.index: link.name for link in rtnetlink.links(self._kernel)}
        return taken.conflict([(names.get(index, "?"), address) for index, address in held], table.pool)

    def _rules(self, script: str) -> list[str]:
        before = nft.contents()
        if script == self._applied and before == self._loaded:
            return []
        nft.load(script)
        after = nft.contents()
        expected = self._applied is not None and script != self._applied and before == self._loaded
        self._applied, self._loaded = script, after
        if before is None:
            return [f"nftables table inet {TABLE} was missing: made"]
        return [] if expected or before == after else [f"nftables table inet {TABLE} was different: replaced"]

    def _forwarding(self, link: Uplink) -> list[str]:
        """Let the node forward; turning it on for all also turns off LRO, which merges packets past the MTU."""
        wanted = ("net/ipv4/ip_forward", f"net/ipv4/conf/{link.name}/forwarding")
        return [f"sysctl {name.replace('/', '.')} was 0: set to 1" for name in wanted if self._turn_on(name)]

    def _pods_switches(self) -> list[str]:
        """Put right the switches of pods' links."""
        off = switches.unready(self._kernel)
        ours = [link for link in rtnetlink.links(self._kernel) if link.index in off and link.name.startswith(PREFIX)]
        if not ours:
            return []
        self._kernel.change(*(switches.ready_for_pod(link.name, link.index) for link in ours))
        wrong = {switch: value for link in ours for switch, value in off[link.index].items()}
        return [
            f"sysctl net.ipv4.conf.{PREFIX}*.{switch.name} was {value}: set to {switch.wanted}"
            for switch, value in wrong.items()
        ]

    def _turn_on(self, name: str) -> bool:
        """Set a switch to 1; False when it was."""
        switch = self._sysctls / name
        try:
            if switch.read_text(encoding="ascii").strip() == "1":
                return False
            switch.write_text("1", encoding="ascii")
        except OSError as error:
            raise DatapathError(
                f"cannot turn on sysctl {name.replace('/', '.')}: {error.strerror} ({switch}); set it to 1 on the node"
            ) from error
        return True


def _host_in(network: IPv4Network) -> IPv4Address:
    """The address that stands for all of them."""
    return network.network_address if network.prefixlen == network.max_prefixlen else network.network_address + 1
