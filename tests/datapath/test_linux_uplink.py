"""Several interfaces with the NIC's MAC in a real kernel: the node works on, by the one that is the NIC."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from azure_cni.datapath.conflicts import ConflictReason
from azure_cni.linux import netns
from azure_cni.linux.datapath import LinuxDatapath
from azure_cni.linux.node_kernel import driver
from datapath.namespaces import NEEDS_ROOT
from datapath.node_site import INTERNET, NIC_MAC, PEER, PRIMARY, TABLE, A, Site

pytestmark = NEEDS_ROOT


async def uplink(datapath: LinuxDatapath) -> str:
    return (await datapath.uplink(NIC_MAC, IPv4Address(PRIMARY))).name


async def works(site: Site) -> None:
    pod = await site.machine.pod(A)
    assert site.seen(pod, PEER) == A
    assert site.seen(pod, INTERNET) == PRIMARY


def copy(site: Site, kind: str) -> str:
    """Another link with the NIC's MAC, older or newer than it, that is neither its slave nor stacked on it here."""
    name = f"copy{kind}"
    match kind:
        case "bridge":
            site.node.batch(f"link add {name} address {NIC_MAC} type bridge")
        case "veth":
            site.node.batch(f"link add {name} address {NIC_MAC} type veth peer name other netns {site.outside.name}")
            site.outside.ip("link", "set", "other", "up")
        case "macvlan":  # of a link in another namespace: here it is stacked on nothing
            site.outside.batch(f"link add link vm name {name} address {NIC_MAC} type macvlan mode bridge")
            site.outside.ip("link", "set", name, "netns", site.node.name)
    site.node.ip("link", "set", name, "up")
    return name


@pytest.mark.parametrize("kind", ["bridge", "veth", "macvlan"])
async def test_a_copy_of_the_mac_disturbs_nobody(site: Site, kind: str) -> None:
    copy(site, kind)
    report = await site.machine.datapath.apply_node(TABLE)
    assert report.conflicts == ()
    assert await uplink(site.machine.datapath) == "eth0"
    await works(site)


async def test_an_interface_in_use_stays_in_use_while_it_has_the_primary_address(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    name = copy(site, "veth")
    site.node.batch(f"address add {PRIMARY}/32 dev {name}", f"route replace default dev {name}")
    assert await uplink(site.machine.datapath) == "eth0"
    successor = LinuxDatapath(node_netns=site.node.path)  # knows nothing: both have the address, one the default route
    assert await uplink(successor) == name
    await successor.close()


async def test_a_nic_that_is_put_into_a_bridge_hands_over_to_it(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    assert await uplink(site.machine.datapath) == "eth0"
    site.node.batch(
        f"link add br0 address {NIC_MAC} type bridge",
        "link set br0 up",
        f"address add {PRIMARY}/22 dev br0",
    )
    assert await uplink(site.machine.datapath) == "eth0"  # still with its address
    site.node.batch(
        f"address delete {PRIMARY}/22 dev eth0",
        "link set eth0 master br0",
        "route add default via 10.240.0.1 dev br0",
    )
    report = await site.machine.datapath.apply_node(TABLE)
    assert report.conflicts == ()
    assert await uplink(site.machine.datapath) == "br0"
    await works(site)


async def test_a_guess_is_a_conflict(site: Site) -> None:
    site.node.batch("route delete default", "address flush dev eth0")
    name = copy(site, "veth")
    (conflict,) = (await site.machine.datapath.apply_node(TABLE)).conflicts
    assert conflict.reason is ConflictReason.AMBIGUOUS_UPLINK
    assert f"({name}, eth0)" in conflict.message
    site.node.ip("address", "add", f"{PRIMARY}/22", "dev", "eth0")
    assert (await site.machine.datapath.apply_node(TABLE)).conflicts == ()
    assert await uplink(site.machine.datapath) == "eth0"


def test_the_kernel_names_drivers(site: Site) -> None:
    copy(site, "bridge")
    home = netns.own()
    with netns.opened(site.node.path) as node:
        netns.enter(node)
        try:
            drivers = [driver(name) for name in ("eth0", "copybridge", "lo", "missing")]
        finally:
            netns.enter(home)
    assert drivers == ["veth", "bridge", "", ""]
