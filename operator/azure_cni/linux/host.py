"""The node apart from its sandboxes: uplink, forwarding, foreign addresses on the uplink, the node's table.

Each pass compares and repairs, and says in words what it had to repair. It runs when the pool changes and every so
often besides; never while a pod waits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from azure_cni.datapath import uplink
from azure_cni.datapath.conflicts import HostReport
from azure_cni.datapath.snat import TABLE, NodeTable, ruleset
from azure_cni.datapath.uplink import Uplink
from azure_cni.errors import DatapathError
from azure_cni.linux import nft, rtnetlink
from azure_cni.linux.netlink import Netlink


class Host:
    """The node's part of the namespace that the calling thread is in.

    `sysctls` is where /proc/sys can be written: a container's own is read-only. Under its net/ everybody sees the
    switches of the namespace he is in, wherever it is mounted.
    """

    def __init__(self, sysctls: Path) -> None:
        self._kernel = Netlink()
        self._sysctls = sysctls
        self._applied: str | None = None
        """The script that this process loaded last."""
        self._loaded: list[Any] | None = None
        """What the table held right after: any later difference is somebody else's doing."""

    def close(self) -> None:
        """Give the socket back."""
        self._kernel.close()

    def uplink(self, mac: str) -> Uplink:
        """The NIC's interface."""
        return uplink.choose(rtnetlink.links(self._kernel), mac)

    def apply(self, table: NodeTable) -> HostReport:
        """Make everything right; returns what was not, and what is not ours to put right."""
        link = self.uplink(table.uplink_mac)
        repaired = (
            *self._forwarding(link),
            *self._bare_uplink(link, table),
            *self._rules(ruleset(table, uplink=link.name)),
        )
        return HostReport(repaired)

    def _bare_uplink(self, link: Uplink, table: NodeTable) -> list[str]:
        """Take pods' addresses off the uplink, or the node would answer in their place.

        cloud-init puts every secondary address there at boot (its Azure datasource's default,
        `apply_network_config_for_secondary_ips`).
        """
        strays = [found for found in rtnetlink.addresses(self._kernel, link.index) if found[0] in table.pool]
        if strays:
            self._kernel.change(
                rtnetlink.promote_secondaries(link.name, link.index),
                *(
                    rtnetlink.delete_address(link.name, link.index, address, prefix=prefix)
                    for address, prefix in strays
                ),
            )
        return [
            f"{link.name} had the pods' address {address}/{prefix}: removed (cloud-init puts it there; "
            f"set apply_network_config_for_secondary_ips to false)"
            for address, prefix in strays
        ]

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
