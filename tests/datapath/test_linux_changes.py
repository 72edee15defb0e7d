"""What is heard of others' changes in a real kernel, and what is not: our own, and what concerns no pod."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address

import pytest

from azure_cni.linux.datapath import LinuxDatapath
from azure_cni.node.ports import HostChange
from datapath.namespaces import IN_EACH_MODE, PATIENCE_S
from datapath.node_site import PRIMARY, TABLE, A, B, Site
from fakes.waiting import until

pytestmark = IN_EACH_MODE

SILENCE_S = 0.3
NODE, SANDBOXES, BOTH = (True, False), (False, True), (True, True)


class Ear:
    """What a data plane hears, one change after the other."""

    def __init__(self, datapath: LinuxDatapath) -> None:
        self._datapath = datapath

    async def heard(self) -> HostChange:
        async with asyncio.timeout(PATIENCE_S):
            return await self._datapath.changed()

    async def is_silent(self) -> bool:
        try:
            async with asyncio.timeout(SILENCE_S):
                self.last = await self._datapath.changed()
        except TimeoutError:
            return True
        return False


@pytest.fixture
async def ear(site: Site) -> Ear:
    """The node is as it should be, with two pods, and somebody listens."""
    await site.machine.datapath.apply_node(TABLE)
    for address in (A, B):
        await site.machine.pod(address, node_address=IPv4Address(PRIMARY))
    await until(lambda: settled(site), within_s=PATIENCE_S, say=lambda: site.node.show("link"))
    ear = Ear(site.machine.datapath)
    assert await ear.is_silent() or await ear.is_silent()  # the kernel may say only now that the bridge has a port
    return ear


def settled(site: Site) -> bool:
    """Whether the kernel has said all about the carriers of pods' links and the bridge."""
    links = [link for link in site.node.show("link") if link["ifname"].startswith(("acni", "azure0"))]
    return len(links) >= 2 and all(link["operstate"] == "UP" for link in links)


def pods_link(site: Site) -> str:
    return site.machine.way_to(A)


@pytest.mark.parametrize(
    ("what", "concerns", "cause"),
    [
        ("nft flush ruleset", NODE, r"nftables table azure_cni was changed by process nft ("),
        ("nft delete table inet azure_cni", NODE, r"changed by process nft ("),
        ("nft flush chain inet azure_cni guard", NODE, r"changed by process nft ("),
        ("nft add element inet azure_cni public { 10.240.0.7 }", NODE, r"changed by process nft ("),
        ("sysctl -q net.ipv4.ip_forward=0", NODE, "forwarding of all links was turned off"),
        ("sysctl -q net.ipv4.conf.all.forwarding=0", NODE, "forwarding of all links was turned off"),
        ("sysctl -q net.ipv4.conf.eth0.forwarding=0", NODE, "forwarding of link "),
        ("sysctl -q net.ipv4.conf.LINK.forwarding=0", NODE, "forwarding of link "),
        ("ip link set eth0 mtu 1400", NODE, "link eth0 changed"),
        ("ip rule add from 10.240.0.7 lookup 30200", NODE, "policy routing rules changed"),
        ("ip route add default via 10.240.0.2 dev eth0 metric 7", NODE, "a default route changed"),
        ("ip route delete default", NODE, "a default route changed"),
        ("ip address add 10.240.0.7/22 dev eth0", BOTH, "address 10.240.0.7/22 was added"),
        ("ip address delete 10.240.0.4/22 dev eth0", BOTH, "address 10.240.0.4/22 was removed"),
        ("ip route delete 10.240.0.7 dev LINK metric 1", SANDBOXES, "route 10.240.0.7/32 was removed"),
        ("ip route replace blackhole 10.240.0.7", SANDBOXES, "route 10.240.0.7/32 was added"),
        ("ip route replace 10.240.0.7 dev eth0", SANDBOXES, "route 10.240.0.7/32 was added"),
        ("ip route flush dev LINK", SANDBOXES, "route 10.240.0.7/32 was removed"),
        ("ip neigh flush 10.240.0.7 dev LINK nud permanent", SANDBOXES, "neighbour 10.240.0.7 was removed"),
    ],
)
async def test_what_may_concern_pods_is_heard(
    site: Site, ear: Ear, what: str, concerns: tuple[bool, bool], cause: str
) -> None:
    site.node.run(*what.replace("LINK", pods_link(site)).split())
    change = await ear.heard()
    assert (change.node, change.sandboxes) == concerns
    assert cause in change.cause


async def test_a_flush_among_thousands_of_rules_is_one_change(site: Site, ear: Ear) -> None:
    rules = "".join(f"add rule ip busy services ip daddr 10.96.{n >> 8}.{n & 255} counter\n" for n in range(3000))
    site.node.run("nft", "-f", "-", stdin=f"add table ip busy\nadd chain ip busy services\n{rules}")
    assert await ear.is_silent()
    site.node.run("nft", "flush", "ruleset")
    assert "azure_cni was changed" in (await ear.heard()).cause
    assert await ear.is_silent()


async def test_pods_that_come_and_go_are_not_heard(site: Site, ear: Ear) -> None:
    for _ in range(3):
        await site.machine.pod("10.240.0.9", node_address=IPv4Address(PRIMARY))
        spec = site.machine.spec("10.240.0.9")
        await site.machine.datapath.detach(spec.sandbox)
        await site.machine.datapath.settle()
    assert await ear.is_silent(), ear.last


async def test_what_we_put_right_ourselves_is_not_heard(site: Site, ear: Ear) -> None:
    site.node.sysctl("net/ipv4/ip_forward", "0")
    site.node.ip("route", "flush", "dev", pods_link(site))
    site.node.ip("neigh", "flush", "dev", pods_link(site), "nud", "permanent")
    change = await ear.heard()
    assert change.node
    assert change.sandboxes
    datapath = site.machine.datapath
    assert len((await datapath.apply_node(TABLE)).repaired) == 1
    assert await datapath.restore_routes(site.machine.spec(A, node_address=IPv4Address(PRIMARY)))
    assert await ear.is_silent(), ear.last


@pytest.mark.parametrize(
    "what",
    [
        "sysctl -q net.ipv4.conf.all.rp_filter=1",
        "sysctl -q net.ipv4.conf.default.forwarding=0",
        "ip route add 203.0.113.0/24 via 10.240.0.1",
        "ip neigh add 10.240.1.1 lladdr 12:34:56:78:9a:bc dev eth0",
        "nft add table ip other",
    ],
)
async def test_harmless_changes_are_not_heard(site: Site, ear: Ear, what: str) -> None:
    site.node.run(*what.split())
    assert await ear.is_silent(), ear.last


async def test_an_overrun_means_that_everything_may_have_changed(site: Site, ear: Ear) -> None:
    """The loop does not read while this runs, and the kernel drops what finds no room."""
    batch = "".join(
        f"address add 10.9.{n >> 8}.{n & 255}/32 dev lo\naddress delete 10.9.{n >> 8}.{n & 255}/32 dev lo\n"
        for n in range(4000)
    )
    site.node.run("ip", "-batch", "-", stdin=batch)
    change = await ear.heard()
    assert (change.node, change.sandboxes) == BOTH
    site.node.run("nft", "flush", "ruleset")
    while "azure_cni was changed" not in change.cause:
        change = await ear.heard()
