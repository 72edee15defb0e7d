"""A second NIC of the VM in a real kernel: pods reach its subnet by the first one, and nothing else changes.

The fabric carries by each NIC only what has an address of that NIC.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from azure_cni.datapath.names import GROUP
from datapath.namespaces import IN_EACH_MODE, Namespace, caller_of
from datapath.node_site import INTERNET, PEER, PORT, PRIMARY, TABLE, A, B, Site
from datapath.watched_node import watching
from fakes.waiting import PATIENCE_S, until

pytestmark = IN_EACH_MODE

SECOND, GUEST, NODE_PORT = "10.240.8.4", "10.240.8.9", 30080
RULE = "from 10.240.0.0/22 to 10.240.8.0/24 fwmark 0/0x20 lookup 1633906282"
DOCUMENT = Path(__file__).parents[2] / "docs" / "uninstall.md"


@pytest.fixture
def guests(site: Site) -> Site:
    """The node has eth1 in a subnet with a guest, and all interfaces filter strictly by the reverse path."""
    plugged(site)
    site.outside.sysctl("net/ipv4/conf/all/rp_filter", "0")
    site.outside.sysctl("net/ipv4/conf/vm/rp_filter", "0")
    site.outside.run(
        *("nft", "-f", "-"),
        stdin=f"""table ip fabric {{
        chain pre {{
            type filter hook prerouting priority raw
            iifname "vm2" ip saddr != {SECOND} drop
            iifname "vm" ip saddr {SECOND} drop
        }}
    }}""",
    )
    for name in ("all", "eth0", "eth1"):
        site.node.sysctl(f"net/ipv4/conf/{name}/rp_filter", "1")
    return site


def plugged(site: Site) -> None:
    site.node.batch(f"link add eth1 type veth peer name vm2 netns {site.outside.name}")
    site.outside.batch(f"address add {GUEST}/24 dev vm2", "link set vm2 up")
    site.outside.sysctl("net/ipv4/conf/vm2/rp_filter", "0")
    site.node.batch(f"address add {SECOND}/24 dev eth1", "link set eth1 up")


def rules_of(site: Site) -> list[str]:
    """In the words of iproute2, as far as they are ours."""
    return [line.split(":\t")[1].strip() for line in site.node.run("ip", "rule", "show", "pref", "91").splitlines()]


def table_of(site: Site) -> str:
    every = site.node.run("ip", "route", "show", "table", "all")
    return "\n".join(line for line in every.splitlines() if f"table {GROUP}" in line)


def reached(site: Site, target: str, port: int, *, pod: Namespace, at: str = A) -> str:
    """Whom the pod sees when a guest calls."""
    client = site.outside.socket()
    client.bind((GUEST, 0))
    with pod.listen(at, PORT) as listener:
        return caller_of(listener, client, (target, port))


async def test_pods_and_guests_of_the_other_subnet_see_each_other_as_they_are(guests: Site) -> None:
    report = await guests.machine.datapath.apply_node(TABLE)
    assert report.conflicts == ()
    pod = await guests.machine.pod(A)
    assert guests.seen(pod, GUEST) == A
    assert reached(guests, A, PORT, pod=pod) == GUEST
    assert (guests.seen(pod, PEER), guests.seen(pod, INTERNET)) == (A, PRIMARY)
    again = await guests.machine.datapath.apply_node(TABLE)
    assert (again.repaired, again.conflicts) == ((), ())


async def test_the_node_itself_still_goes_there_by_its_second_nic(guests: Site) -> None:
    await guests.machine.datapath.apply_node(TABLE)
    assert guests.seen(guests.node, GUEST) == SECOND
    assert guests.seen(guests.node, GUEST, bind=SECOND) == SECOND
    assert reached(guests, SECOND, PORT, pod=guests.node, at=SECOND) == GUEST
    assert guests.seen(guests.node, GUEST, bind=PRIMARY) == PRIMARY  # the fabric dropped that before
    assert reached(guests, PRIMARY, PORT, pod=guests.node, at=PRIMARY) == GUEST


@pytest.mark.parametrize("masquerade", [True, False])
async def test_guests_reach_a_pod_by_a_node_port_of_the_second_address(guests: Site, *, masquerade: bool) -> None:
    """With `externalTrafficPolicy` Cluster and Local: the answer leaves by the NIC that the call came in by."""
    await guests.machine.datapath.apply_node(TABLE)
    pod = await guests.machine.pod(A)
    forwarded(guests, A, masquerade=masquerade)
    seen = reached(guests, SECOND, NODE_PORT, pod=pod)
    assert seen == GUEST if not masquerade else seen in {PRIMARY, SECOND}


async def test_guests_reach_a_process_of_the_node_by_a_node_port_of_the_second_address(guests: Site) -> None:
    await guests.machine.datapath.apply_node(TABLE)
    forwarded(guests, PRIMARY, masquerade=False)
    assert reached(guests, SECOND, NODE_PORT, pod=guests.node, at=PRIMARY) == GUEST


def forwarded(site: Site, target: str, *, masquerade: bool) -> None:
    """As kube-proxy does it."""
    site.node.run(
        *("nft", "-f", "-"),
        stdin=f"""table ip kube {{
        chain services {{
            type nat hook prerouting priority dstnat
            tcp dport {NODE_PORT} meta mark set meta mark | 0x4000
            tcp dport {NODE_PORT} dnat to {target}:{PORT}
        }}
        chain masquerading {{
            type nat hook postrouting priority srcnat
            meta mark & 0x4000 == 0x4000 {"masquerade fully-random" if masquerade else "accept"}
        }}
    }}""",
    )


async def test_a_nic_that_comes_and_goes_is_no_repair(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    assert (rules_of(site), table_of(site)) == ([], "")
    plugged(site)
    assert (await site.machine.datapath.apply_node(TABLE)).repaired == ()
    assert rules_of(site) == [RULE]
    assert f"default via 10.240.0.1 dev eth0 table {GROUP} proto kernel onlink" in table_of(site)
    site.node.ip("link", "delete", "eth1")
    assert (await site.machine.datapath.apply_node(TABLE)).repaired == ()
    assert (rules_of(site), table_of(site)) == ([], "")
    assert "0x00000020" not in site.node.run("nft", "list", "table", "inet", "azure_cni")


async def test_what_an_earlier_agent_left_of_a_nic_that_is_gone_is_removed(site: Site) -> None:
    plugged(site)
    await site.machine.datapath.apply_node(TABLE)
    site.node.ip("link", "delete", "eth1")
    successor = site.machine.successor()
    try:
        repaired = (await successor.apply_node(TABLE)).repaired
    finally:
        await successor.close()
    assert "policy rules were left of NICs that are gone (91: from 10.240.0.0/22 to 10.240.8.0/24 " in repaired[-1]
    assert (rules_of(site), table_of(site)) == ([], "")


async def test_an_administrators_rule_of_the_same_preference_stays(site: Site) -> None:
    site.node.ip("rule", "add", "pref", "91", "from", "10.9.0.0/24", "lookup", "77")
    plugged(site)
    await site.machine.datapath.apply_node(TABLE)
    assert set(rules_of(site)) == {RULE, "from 10.9.0.0/24 lookup 77"}
    site.node.ip("link", "delete", "eth1")
    await site.machine.datapath.apply_node(TABLE)
    assert rules_of(site) == ["from 10.9.0.0/24 lookup 77"]


async def test_the_rules_stay_while_the_primary_address_is_away(site: Site) -> None:
    """A DHCP client that renews takes it off for a moment."""
    plugged(site)
    await site.machine.datapath.apply_node(TABLE)
    site.node.ip("address", "delete", f"{PRIMARY}/22", "dev", "eth0")
    await site.machine.datapath.apply_node(TABLE)
    assert rules_of(site) == [RULE]


@pytest.mark.parametrize("command", ["rule delete pref 91", "route flush table 1633906282"])
async def test_what_somebody_deletes_is_back_at_once(site: Site, command: str) -> None:
    plugged(site)
    await site.machine.datapath.apply_node(TABLE)
    async with watching(site.machine):
        site.node.ip(*command.split())
        await until(
            lambda: rules_of(site) == [RULE] and "via 10.240.0.1" in table_of(site),
            within_s=PATIENCE_S,
            say=lambda: (rules_of(site), table_of(site)),
        )


async def test_the_filter_of_the_second_nic_asks_with_the_mark(site: Site) -> None:
    plugged(site)
    await site.machine.datapath.apply_node(TABLE)
    switch = "net/ipv4/conf/eth1/src_valid_mark"
    assert site.node.sysctl(switch) == "1"
    site.node.sysctl(switch, "0")
    words = "sysctl net.ipv4.conf.eth1.src_valid_mark was 0: set to 1"
    assert (await site.machine.datapath.apply_node(TABLE)).repaired == (words,)
    assert site.node.sysctl(switch) == "1"
    assert site.node.sysctl("net/ipv4/conf/eth0/src_valid_mark") == "0"


async def test_a_nic_that_is_plugged_in_is_noticed(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    async with watching(site.machine):
        plugged(site)
        await until(lambda: rules_of(site) == [RULE], within_s=PATIENCE_S, say=lambda: rules_of(site))
        site.node.ip("link", "delete", "eth1")
        await until(lambda: rules_of(site) == [], within_s=PATIENCE_S, say=lambda: rules_of(site))


async def test_docs_uninstall_takes_all_of_it(site: Site) -> None:
    plugged(site)
    await site.machine.datapath.apply_node(TABLE)
    await site.machine.pod(B)
    steps = re.search(r"## What stays.*?```console\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert steps is not None
    site.node.run("sh", "-ec", "\n".join(line for line in steps[1].splitlines() if not line.startswith("rm ")))
    assert (rules_of(site), table_of(site)) == ([], "")
