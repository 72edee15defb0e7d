"""docs/uninstall.md takes from a node's kernel all that the agent put there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from azure_cni.datapath.node_table import NodeTable
from datapath.dual_site import DUAL, pod
from datapath.namespaces import IN_EACH_MODE, OUR_RULE
from datapath.node_site import TABLE, A, B, Site

pytestmark = IN_EACH_MODE

OF_BOTH = "10.240.0.9", "2001:db8::a:9"
DOCUMENT = Path(__file__).parents[2] / "docs" / "uninstall.md"


SHOW = (
    "nft list ruleset", "ip rule", "ip -6 rule", "ip route", "ip -6 route", "ip -o link", "ip neigh show nud permanent",
)  # fmt: skip
"""What somebody has set: which neighbours the kernel hears of meanwhile is no one's doing."""


def state(site: Site) -> list[str]:
    shown = [site.node.run(*command.split()) for command in SHOW]
    return [re.sub(r"^\d+: | qlen \d+", "", one, flags=re.MULTILINE) for one in shown]


@pytest.mark.parametrize("table", [TABLE, DUAL], ids=["one family", "both"])
async def test_nothing_is_left_in_the_kernel(site: Site, table: NodeTable) -> None:
    site.node.ip("rule", "delete", "pref", "90")
    before = state(site)
    await site.machine.datapath.apply_node(table)
    for address in (A, B):
        await site.machine.pod(address)
    await pod(site.machine, *OF_BOTH)
    assert state(site) != before
    clean(site)
    assert state(site) == before
    clean(site)  # as after a reboot: that nothing is there is no error
    assert state(site) == before


async def test_a_bridge_of_azures_plugin_and_an_administrators_rule_stay(site: Site) -> None:
    """Both have the names of ours; the rule is the second of its preference, as ours came first."""
    site.node.ip("rule", "delete", "pref", "90")
    site.node.ip("link", "add", "azure0", "type", "bridge")
    site.node.ip("rule", "add", "pref", "90", "from", "10.9.0.0/24", "lookup", "77")
    before = state(site)
    site.node.run("nft", "add", "table", "inet", "azure_cni")
    site.node.ip("rule", "add", "pref", *OUR_RULE.split())
    clean(site)
    assert state(site) == before


def clean(site: Site) -> None:
    """What the document says, files aside."""
    steps = re.search(r"## What stays.*?```console\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert steps is not None
    kernels = [line for line in steps[1].splitlines() if not line.startswith("rm ")]
    site.node.run("sh", "-ec", "\n".join(kernels))
