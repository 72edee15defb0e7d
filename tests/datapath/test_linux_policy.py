"""Policy routing of others in a real kernel: pods stay whole, and it is said who did what."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address

import pytest

from azure_cni.datapath.conflicts import ConflictReason
from datapath.cloud_setup import cloud_netconfig, nm_cloud_setup
from datapath.namespaces import NEEDS_ROOT, OUR_RULE, Namespace, caller_of
from datapath.node_site import INTERNET, PEER, POOL, PORT, PRIMARY, TABLE, A, B, Site

pytestmark = NEEDS_ROOT

Program = Callable[[Namespace, Iterable[str]], None]
PROGRAMS = pytest.mark.parametrize("program", [nm_cloud_setup, cloud_netconfig])
EVERYONE = (PRIMARY, *POOL)


async def everything_works(site: Site) -> None:
    """Node to pod, pod to node, pod to pod, pod to the VNet and to the internet, and callers from outside."""
    node, source = site.node, IPv4Address(PRIMARY)
    one, other = await site.machine.pod(A, node_address=source), await site.machine.pod(B, node_address=source)
    with other.listen(B, PORT) as listener:
        assert caller_of(listener, one.socket(), (B, PORT)) == A
        assert caller_of(listener, node.socket(), (B, PORT)) == PRIMARY
        client = site.outside.socket()
        client.bind((PEER, 0))
        assert caller_of(listener, client, (B, PORT)) == PEER
    with node.listen(PRIMARY, PORT) as listener:
        assert caller_of(listener, one.socket(), (PRIMARY, PORT)) == A
    assert site.seen(one, PEER) == A
    assert site.seen(one, INTERNET) == PRIMARY
    assert site.seen(node, INTERNET) == PRIMARY


@PROGRAMS
async def test_pods_stay_whole_when_another_program_takes_their_addresses(site: Site, program: Program) -> None:
    await site.machine.datapath.apply_node(TABLE)
    await everything_works(site)
    program(site.node, EVERYONE)
    await site.machine.datapath.apply_node(TABLE)  # takes the addresses off the NIC; the rules stay
    assert len(site.node.show("rule")) > len(EVERYONE)
    await everything_works(site)


@PROGRAMS
async def test_pods_that_start_after_it_are_whole_too(site: Site, program: Program) -> None:
    program(site.node, EVERYONE)
    await site.machine.datapath.apply_node(TABLE)
    await everything_works(site)


@pytest.mark.parametrize(
    ("program", "name", "command"),
    [
        (nm_cloud_setup, "nm-cloud-setup", "systemctl disable --now nm-cloud-setup.timer nm-cloud-setup.service"),
        (cloud_netconfig, "cloud-netconfig", "CLOUD_NETCONFIG_MANAGE='no'"),
    ],
)
async def test_the_program_is_named_with_the_command(site: Site, program: Program, name: str, command: str) -> None:
    assert (await site.machine.datapath.apply_node(TABLE)).conflicts == ()
    program(site.node, EVERYONE)
    report = await site.machine.datapath.apply_node(TABLE)
    (removed,) = report.repaired
    (conflict,) = report.conflicts
    assert conflict.reason is ConflictReason.FOREIGN_POLICY_RULES
    for words in (removed, conflict.message):
        assert name in words
        assert command in words
        assert "cloud-init" not in words
    assert removed.startswith(f"eth0 had addresses of pods ({', '.join(sorted(POOL, key=IPv4Address))}): removed")
    again = await site.machine.datapath.apply_node(TABLE)
    assert (again.repaired, again.conflicts) == ((), report.conflicts)


async def test_without_our_rule_pods_are_cut_off_and_check_says_why(site: Site) -> None:
    datapath, source = site.machine.datapath, IPv4Address(PRIMARY)
    await datapath.apply_node(TABLE)
    one, other = await site.machine.pod(A), await site.machine.pod(B, node_address=source)
    nm_cloud_setup(site.node, EVERYONE)
    await datapath.apply_node(TABLE)
    site.node.ip("rule", "del", "pref", OUR_RULE.split()[0])
    with other.listen(B, PORT), one.socket() as client:
        client.settimeout(1)
        with pytest.raises(OSError, match=r"timed out|No route|unreachable"):
            client.connect((B, PORT))
    (finding,) = await datapath.check(site.machine.spec(A))
    assert "policy rule 90" in finding
    (repair,) = (await datapath.apply_node(TABLE)).repaired
    assert repair == f"{finding.removeprefix('node: ')}: added"
    assert await datapath.check(site.machine.spec(A)) == ()
    await everything_works(site)


async def test_a_rule_before_ours_is_a_finding_of_check(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    await site.machine.pod(A)
    site.node.ip("rule", "add", "pref", "50", "from", "10.240.0.0/22", "lookup", "4711")
    words = "node: policy rule 50: from 10.240.0.0/22 lookup 4711 comes before rule 90"
    assert await site.machine.datapath.check(site.machine.spec(A)) == (words,)
    (conflict,) = (await site.machine.datapath.apply_node(TABLE)).conflicts
    assert "'50: from 10.240.0.0/22 lookup 4711'" in conflict.message
    assert "cut off" in conflict.message


async def test_a_link_in_another_group_is_put_back_into_ours(site: Site) -> None:
    """As an agent of before this rule made it."""
    await site.machine.datapath.apply_node(TABLE)
    await site.machine.pod(A)
    spec = site.machine.spec(A)
    site.node.ip("link", "set", spec.host_ifname, "group", "default")
    (finding,) = await site.machine.datapath.check(spec)
    assert finding == f"node: interface {spec.host_ifname} is in link group 0, not 1633906282"
    (repair,) = (await site.machine.datapath.apply_node(TABLE)).repaired
    assert spec.host_ifname in repair
    assert await site.machine.datapath.check(spec) == ()


async def test_the_rule_decides_about_packets_to_pods_and_about_no_others(site: Site) -> None:
    """A second NIC whose source rule must win: also for the host route by eth0 that Azure's DHCP hands out."""
    node = site.node
    node.batch(
        "link add eth1 type bridge",
        "address add 10.250.0.4/24 dev eth1",
        "link set eth1 up",
        "route add 168.63.129.16/32 via 10.240.0.1 dev eth0",
        "route add default via 10.250.0.1 dev eth1 table 201",
        "rule add pref 1000 from 10.250.0.4 lookup 201",
    )
    await site.machine.datapath.apply_node(TABLE)
    await site.machine.pod(A)

    def way(target: str, source: str) -> str:
        return node.show("route", "get", target, "from", source)[0]["dev"]

    assert way("168.63.129.16", "10.250.0.4") == way(PEER, "10.250.0.4") == way("10.240.0.1", "10.250.0.4") == "eth1"
    assert way("168.63.129.16", PRIMARY) == way(PEER, PRIMARY) == "eth0"
    assert way(A, "10.250.0.4") == site.machine.spec(A).host_ifname
    assert (await site.machine.datapath.apply_node(TABLE)).conflicts == ()


async def test_a_new_node_gets_the_rule_marked_so_that_systemd_networkd_leaves_it(site: Site) -> None:
    site.node.ip("rule", "del", "pref", OUR_RULE.split()[0])
    report = await site.machine.datapath.apply_node(TABLE)
    lost = "policy rule 90: from all lookup main suppress_prefixlength 31 suppress_ifgroup default was missing"
    assert f"{lost}: added" in report.repaired
    (rule,) = [rule for rule in site.node.show("rule") if rule["priority"] == 90]
    assert (rule["table"], rule["suppress_prefixlen"], rule["protocol"]) == ("main", 31, "kernel")
