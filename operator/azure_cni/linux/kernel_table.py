"""The node's table in the kernel: loaded when it should be another, or when somebody else has changed it.

What was loaded is read back and remembered, for nft may list a rule in other words than it was given. Any later
difference is somebody else's doing, and is reported in words. Only the elements of one set change without a reload, and
without being read back: pods that leave the VNet with their own address come and go, and each change of the whole table
takes several runs of nft.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Any

from azure_cni.datapath.leaving import EGRESS_SET, Ways
from azure_cni.datapath.modes import MODES
from azure_cni.datapath.nft_text import replacing
from azure_cni.datapath.node_table import (
    BRIDGE_TABLE,
    FROM_PODS,
    TABLE,
    NodeTable,
    egress_script,
    ruleset,
)
from azure_cni.errors import DatapathError
from azure_cni.linux import nft
from azure_cni.model.identity import ModeName


@dataclass(frozen=True, slots=True)
class Ruleset:
    """A table for the interfaces of this node. `retires_bridge`: one of mode bridge is left, whose table goes too.

    `beside`: the node's addresses on further NICs (`second_nics.Detour.own`).
    """

    table: NodeTable
    ways: Ways
    retires_bridge: bool = False
    beside: tuple[IPv4Address, ...] = ()

    def script(self) -> tuple[str, tuple[str, ...]]:
        """What to load, and the families in which it makes a table."""
        script = ruleset(self.table, ways=self.ways, beside=self.beside, pods=self.table.pods)
        if self.table.pods.ports:
            return script, ("inet", "bridge")
        return (script + replacing(BRIDGE_TABLE) if self.retires_bridge else script), ("inet",)


class KernelTable:
    """What this process loaded last."""

    def __init__(self) -> None:
        self._applied: Ruleset | None = None
        self._loaded: dict[str, list[Any] | None] = {}
        """What the tables held right after, by family."""

    def put_right(self, wanted: Ruleset) -> list[str]:
        """Load it unless it is there; returns what had become of the tables, in words. DatapathError."""
        (script, families), applied = wanted.script(), self._applied and self._applied.script()
        before = {family: nft.contents(family) for family in families}
        if (script, families) == applied and before == self._loaded:
            return []
        nft.load(script)
        after = {family: nft.contents(family) for family in families}
        expected = applied is not None and (script, families) != applied
        found = [
            words
            for family in families
            for words in _differences(
                family, before[family], after[family], expected=expected and self._is_as_loaded(before)
            )
        ]
        self._applied, self._loaded = wanted, after
        return found

    def put_right_as_before(self) -> list[str]:
        """The same for what was loaded last."""
        return [] if self._applied is None else self.put_right(self._applied)

    def set_egress(self, addresses: Collection[IPv4Address]) -> None:
        """Change the elements of that set, whoever made the table; DatapathError where it has none for them."""
        if not nft.change(egress_script(addresses)) and addresses:
            raise DatapathError(f"cannot change nftables table {TABLE}: it is not there, or has no set {EGRESS_SET}")
        if self._applied is not None:
            self._applied = replace(self._applied, table=replace(self._applied.table, own_egress=frozenset(addresses)))
            loaded = self._loaded.get("inet")
            self._loaded["inet"] = loaded and nft.with_elements(loaded, EGRESS_SET, map(str, addresses))

    def _is_as_loaded(self, before: Mapping[str, list[Any] | None]) -> bool:
        return all(before.get(family, loaded) == loaded for family, loaded in self._loaded.items())


def guarded_mode() -> ModeName | None:
    """The mode whose guards are loaded, by whomever: that of the interfaces by which they know pods' packets."""
    rules = [item["rule"] for item in nft.contents() or () if "rule" in item]
    matches = [one["match"] for rule in rules if rule["chain"] == FROM_PODS for one in rule["expr"] if "match" in one]
    asked = {str(match["right"]) for match in matches if match["left"] == {"meta": {"key": "iifname"}}}
    for name, mode in MODES.items():  # an earlier release's table may ask for them more than once
        if asked == {*mode.links.patterns} and not (mode.links.ports and nft.contents("bridge") is None):
            return name
    return None


def _differences(family: str, before: list[Any] | None, after: list[Any] | None, *, expected: bool) -> list[str]:
    """What had become of a table that is loaded again."""
    if before is None:
        return [f"nftables table {family} {TABLE} was missing: made"]
    return [] if expected or before == after else [f"nftables table {family} {TABLE} was different: replaced"]
