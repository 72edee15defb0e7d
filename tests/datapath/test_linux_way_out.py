"""A default route by another interface than the NIC, in a real kernel: a second NIC, a VPN."""

from __future__ import annotations

import pytest

from azure_cni.datapath.conflicts import ConflictReason
from datapath.namespaces import NEEDS_ROOT
from datapath.node_site import INTERNET, ON_PREM, PEER, PRIMARY, PUBLIC, TABLE, A, Site

pytestmark = NEEDS_ROOT

SECOND, ITS_GATEWAY = "10.250.0.4", "10.250.0.1"


def turned(site: Site, how: str) -> None:
    """A second interface, beyond which only its own address is carried, and the default route by it."""
    site.node.batch(f"link add eth1 type veth peer name vm2 netns {site.outside.name}")
    site.outside.batch(f"address add {ITS_GATEWAY}/24 dev vm2", "link set vm2 up")
    site.outside.sysctl("net/ipv4/conf/all/rp_filter", "0")
    site.outside.run(
        "nft",
        "-f",
        "-",
        stdin=f"""table ip fabric {{
        chain pre {{
            type filter hook prerouting priority raw
            iifname "vm2" ip saddr != {SECOND} drop
        }}
    }}""",
    )
    site.node.batch(f"address add {SECOND}/24 dev eth1", "link set eth1 up")
    match how:
        case "metric":  # a DHCP client of a second NIC
            site.node.batch(
                "route delete default",
                f"route add default via {ITS_GATEWAY} dev eth1 metric 100",
                "route add default via 10.240.0.1 dev eth0 metric 200",
            )
        case "rules":  # wg-quick
            site.node.batch(
                f"route add default via {ITS_GATEWAY} dev eth1 table 51820",
                "rule add pref 32765 not fwmark 51820 lookup 51820",
                "rule add pref 32764 lookup main suppress_prefixlength 0",
            )


WAYS = pytest.mark.parametrize("how", ["metric", "rules"])


@WAYS
async def test_pods_reach_the_internet_with_the_address_of_that_interface(site: Site, how: str) -> None:
    turned(site, how)
    await site.machine.datapath.apply_node(TABLE)
    assert site.seen(site.node, INTERNET) == SECOND
    for address in (A, PUBLIC):
        assert site.seen(await site.machine.pod(address), INTERNET) == SECOND


@WAYS
async def test_it_is_reported_with_the_networks_that_are_lost_until_they_have_a_route_by_the_nic(
    site: Site, how: str
) -> None:
    turned(site, how)
    (conflict,) = (await site.machine.datapath.apply_node(TABLE)).conflicts
    assert conflict.reason is ConflictReason.DEFAULT_ROUTE_ELSEWHERE
    assert "leaves by eth1 and not by the NIC's eth0" in conflict.message
    assert ": 10.241.0.0/16, 192.168.50.0/24. For each of them run: ip route add" in conflict.message
    site.node.batch(
        "route add 10.241.0.0/16 via 10.240.0.1 dev eth0",
        "route add 192.168.50.0/24 via 10.240.0.1 dev eth0",
    )
    (conflict,) = (await site.machine.datapath.apply_node(TABLE)).conflicts
    assert "fail" not in conflict.message
    pod = await site.machine.pod(A)
    assert (site.seen(pod, PEER), site.seen(pod, ON_PREM), site.seen(pod, INTERNET)) == (A, A, SECOND)


async def test_a_default_route_that_comes_back_is_followed(site: Site) -> None:
    turned(site, "metric")
    await site.machine.datapath.apply_node(TABLE)
    site.node.ip("route", "delete", "default", "dev", "eth1")
    assert (await site.machine.datapath.apply_node(TABLE)).conflicts == ()
    assert "masquerade" not in site.node.run("nft", "list", "table", "inet", "azure_cni")
    assert site.seen(await site.machine.pod(A), INTERNET) == PRIMARY


async def test_a_tunnel_to_a_certain_network_still_sees_pods(site: Site) -> None:
    """As a VPN to a site that knows the VNet."""
    turned(site, "none")
    site.outside.run("nft", "delete", "table", "ip", "fabric")
    site.node.ip("route", "add", f"{INTERNET}/32", "via", ITS_GATEWAY, "dev", "eth1")
    site.outside.ip("route", "add", f"{A}/32", "via", SECOND, "dev", "vm2")
    assert (await site.machine.datapath.apply_node(TABLE)).conflicts == ()
    assert site.seen(await site.machine.pod(A), INTERNET) == A


async def test_a_node_without_a_default_route_is_none_of_our_business(site: Site) -> None:
    site.node.ip("route", "delete", "default")
    assert (await site.machine.datapath.apply_node(TABLE)).conflicts == ()
