"""What others do on a host against pods, on a real kernel: the command of the conflict ends it, as a shell takes it."""

from __future__ import annotations

import pytest

from azure_cni.datapath.conflicts import Conflict, ConflictReason
from azure_cni.linux.datapath import LinuxDatapath
from datapath.namespaces import IN_EACH_MODE
from datapath.node_site import TABLE, A, B, Site

pytestmark = IN_EACH_MODE

FILTER, RULES = ConflictReason.FOREIGN_FILTER, ConflictReason.FOREIGN_POLICY_RULES
HARDENING = "nft add table inet hardening; nft add chain inet hardening passing"


async def conflicts(site: Site) -> tuple[Conflict, ...]:
    """As an agent that starts now finds them."""
    datapath = LinuxDatapath(node_netns=site.node.path)
    try:
        return (await datapath.apply_node(TABLE)).conflicts
    finally:
        await datapath.close()


@pytest.mark.parametrize(
    ("mistake", "reason"),
    [
        ("iptables -P FORWARD DROP", FILTER),
        ("iptables -A FORWARD -j DROP", FILTER),
        (f"{HARDENING} '{{ type filter hook forward priority 5; policy drop; }}'", FILTER),
        (f"{HARDENING} '{{ type filter hook forward priority 5; policy drop; }}'; iptables -P FORWARD DROP", FILTER),
        (f"ip address add {A}/32 dev lo; ip address add {B}/32 dev lo", ConflictReason.ADDRESS_ELSEWHERE),
        (f"ip rule add pref 500 from {A} lookup 77", RULES),
        (f"ip rule add pref 50 from {A} lookup 77; ip rule add pref 51 from {B} lookup 77", RULES),
        ("ip rule flush", RULES),
    ],
)
async def test_the_command_of_a_conflict_ends_it(site: Site, mistake: str, reason: ConflictReason) -> None:
    assert await conflicts(site) == ()
    site.node.run("sh", "-ec", mistake)
    (found,) = await conflicts(site)
    assert found.reason is reason
    site.node.run("sh", "-ec", found.command)
    assert await conflicts(site) == ()
