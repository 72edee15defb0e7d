"""The node's table and its uplink in a real kernel: made, kept as they must be, and what was wrong reported."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from azure_cni.datapath.leaving import Ways
from azure_cni.datapath.modes import MODES
from azure_cni.datapath.node_table import ruleset
from azure_cni.errors import DatapathError
from azure_cni.linux import rtnetlink_format
from azure_cni.linux.datapath import LinuxDatapath
from azure_cni.linux.netlink import Netlink
from azure_cni.model.identity import ModeName
from datapath.namespaces import IN_EACH_MODE
from datapath.node_site import (
    IMDS,
    INTERNET,
    NIC_MAC,
    PEER,
    PRIMARY,
    TABLE,
    A,
    B,
    Site,
    service,
)

pytestmark = IN_EACH_MODE


async def test_a_first_pass_reports_what_it_made_and_a_second_has_nothing_to_do(site: Site) -> None:
    site.node.sysctl("net/ipv4/ip_forward", "0")
    of_bridge = ("nftables table bridge azure_cni was missing: made", "bridge azure0 was missing: made")
    assert (await site.machine.datapath.apply_node(TABLE)).repaired == (
        "nftables table inet azure_cni was missing: made",
        *(of_bridge if site.machine.mode is ModeName.BRIDGE else ()),
        "sysctl net.ipv4.ip_forward was 0: set to 1",
    )
    assert site.node.sysctl("net/ipv4/ip_forward") == "1"
    assert (await site.machine.datapath.apply_node(TABLE)).repaired == ()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("delete table inet azure_cni", "was missing: made"),
        ("flush chain inet azure_cni postrouting", "was different: replaced"),
        (f"add element inet azure_cni public {{ {A} }}", "was different: replaced"),
        (f"delete element inet azure_cni pool {{ {A} }}", "was different: replaced"),
        ("add chain inet azure_cni extra", "was different: replaced"),
    ],
)
async def test_what_somebody_changed_is_put_right_and_reported(site: Site, damage: str, words: str) -> None:
    await site.machine.datapath.apply_node(TABLE)
    right = site.node.run("nft", "-s", "list", "ruleset")
    site.node.run("nft", *damage.split())
    assert (await site.machine.datapath.apply_node(TABLE)).repaired == (f"nftables table inet azure_cni {words}",)
    assert site.node.run("nft", "-s", "list", "ruleset") == right


async def test_other_words_for_the_same_table_are_not_drift(site: Site) -> None:
    """An agent before this one, with another nft in its image: the table that it left means the same."""
    await site.machine.datapath.apply_node(TABLE)
    links = MODES[site.machine.mode].links
    other_words = ruleset(TABLE, ways=Ways("eth0"), pods=links).replace("typeof ip saddr", "type ipv4_addr")
    listed = site.node.run("nft", "-s", "list", "ruleset")
    site.node.run("nft", "-f", "-", stdin=other_words)
    assert site.node.run("nft", "-s", "list", "ruleset") != listed
    assert (await site.machine.datapath.apply_node(TABLE)).repaired == ()
    site.node.run("nft", "-f", "-", stdin=other_words)
    successor = site.machine.successor()
    assert (await successor.apply_node(TABLE)).repaired == ()
    await successor.close()


async def test_use_is_not_drift(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    site.refusal(await site.machine.pod(A), IMDS, 80)  # counted by its rule
    assert (await site.machine.datapath.apply_node(TABLE)).repaired == ()


async def test_others_tables_are_left_alone(site: Site) -> None:
    with service(site.node, B):
        theirs = site.node.run("nft", "list", "table", "ip", "kube")
        await site.machine.datapath.apply_node(TABLE)
        assert site.node.run("nft", "list", "table", "ip", "kube") == theirs


async def test_the_uplinks_own_forwarding_switch_counts_too(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    site.node.sysctl("net/ipv4/conf/eth0/forwarding", "0")
    assert (await site.machine.datapath.apply_node(TABLE)).repaired == (
        "sysctl net.ipv4.conf.eth0.forwarding was 0: set to 1",
    )
    assert site.seen(await site.machine.pod(A), PEER) == A


@pytest.mark.parametrize("first", [PRIMARY, A])
async def test_pods_addresses_leave_the_uplink_and_the_nodes_own_stays(site: Site, first: str) -> None:
    """In either order: the kernel takes all others of the subnet along with the first, by default."""
    node = site.node
    node.sysctl("net/ipv4/conf/eth0/promote_secondaries", "0")
    node.ip("address", "flush", "dev", "eth0")
    for address in (first, *({PRIMARY, A, B} - {first})):
        node.ip("address", "add", f"{address}/22", "dev", "eth0")
    node.ip("route", "add", "default", "via", "10.240.0.1", "src", PRIMARY)

    reported = (await site.machine.datapath.apply_node(TABLE)).repaired

    (entry,) = node.show("-4", "address", "show", "dev", "eth0")
    assert [found["local"] for found in entry["addr_info"]] == [PRIMARY]
    (removed,) = [words for words in reported if words.startswith("eth0 had addresses of pods")]
    assert f"({A}, {B}): removed; cloud-init puts them there" in removed
    assert site.seen(node, INTERNET) == PRIMARY
    assert site.seen(await site.machine.pod(A), PEER) == A


async def test_the_uplink_is_reported_with_its_mtu(site: Site) -> None:
    site.node.ip("link", "set", "eth0", "mtu", "1420")
    uplink = await site.machine.datapath.uplink(NIC_MAC, IPv4Address(PRIMARY))
    (link,) = site.node.show("link", "show", "dev", "eth0")
    assert (uplink.name, uplink.index, uplink.mtu) == ("eth0", link["ifindex"], 1420)


async def test_neither_a_slave_nor_what_is_stacked_on_the_nic_is_mistaken_for_it(site: Site) -> None:
    """A macvlan in passthrough has its parent's MAC, a virtual function its master's (here: a bridge and a veth)."""
    node = site.node
    node.ip("link", "add", "link", "eth0", "name", "above", "type", "macvlan", "mode", "passthru")
    assert (await site.machine.datapath.uplink(NIC_MAC, IPv4Address(PRIMARY))).name == "eth0"
    node.ip("link", "delete", "above")
    node.ip(*f"link add name master address {NIC_MAC} type bridge".split())
    node.ip("link", "set", "eth0", "master", "master")
    assert (await site.machine.datapath.uplink(NIC_MAC, IPv4Address(PRIMARY))).name == "master"


async def test_a_mac_that_nobody_has_is_an_error_and_nothing_is_made(site: Site) -> None:
    with pytest.raises(DatapathError, match="no interface has the NIC's MAC 00:0d:3a:ff:ff:ff"):
        await site.machine.datapath.apply_node(replace(TABLE, uplink_mac="00:0d:3a:ff:ff:ff"))
    assert "azure_cni" not in site.node.run("nft", "list", "ruleset")


async def test_without_nft_it_says_what_to_install(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(DatapathError, match="no program nft in PATH; install nftables"):
        await site.machine.datapath.apply_node(TABLE)


async def test_a_switch_that_cannot_be_set_is_named(site: Site, tmp_path: Path) -> None:
    datapath = LinuxDatapath(node_netns=site.node.path, sysctls=tmp_path)
    with pytest.raises(DatapathError, match=r"cannot turn on sysctl net.ipv4.ip_forward: .*; set it to 1 on the node"):
        await datapath.apply_node(TABLE)
    await datapath.close()


@contextlib.contextmanager
def mounted(source: str, target: Path) -> Iterator[None]:
    target.mkdir()
    subprocess.run(["mount", "--bind", source, str(target)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(target)], check=True)


async def test_a_mount_elsewhere_shows_the_nodes_own_switches(site: Site, tmp_path: Path) -> None:
    """As the agent's container has it."""
    with mounted("/proc/sys/net", tmp_path / "net"):
        datapath = LinuxDatapath(node_netns=site.node.path, sysctls=tmp_path)
        site.node.sysctl("net/ipv4/conf/eth0/forwarding", "0")
        assert "sysctl net.ipv4.conf.eth0.forwarding was 0: set to 1" in (await datapath.apply_node(TABLE)).repaired
        assert site.node.sysctl("net/ipv4/conf/eth0/forwarding") == "1"
        await datapath.close()


class CountingNetlink(Netlink):
    """Counts how often it lists all interfaces."""

    lists = 0

    def dump(self, what: str, *, kind: int, body: bytes) -> list[bytes]:
        self.lists += kind == rtnetlink_format.RTM_GETLINK
        return super().dump(what, kind=kind, body=body)


async def test_a_pass_lists_the_interfaces_once_whatever_it_has_to_repair(site: Site) -> None:
    """With 250 pods a list takes longer than all else that a pass asks of the kernel by netlink."""
    datapath = site.machine.datapath
    await site.machine.pod(A)

    def count(keeping: Any) -> CountingNetlink:
        keeping.host._kernel.close()
        keeping.host._kernel = CountingNetlink()
        return keeping.host._kernel

    kernel = await datapath._housekeeping.run(count)
    await datapath.apply_node(TABLE)
    site.node.ip("link", "set", site.machine.way_to(A), "group", "default")
    site.node.ip("address", "add", f"{A}/32", "dev", "lo")
    site.node.ip("link", "add", "wg0", "type", "bridge")
    site.node.ip("link", "set", "wg0", "up")
    site.node.ip("route", "replace", "default", "dev", "wg0")
    kernel.lists = 0
    report = await datapath.apply_node(TABLE)
    assert len(report.repaired) == 1
    assert {conflict.reason.value for conflict in report.conflicts} == {"AddressElsewhere", "DefaultRouteElsewhere"}
    assert report.uplink.name == "eth0"
    assert kernel.lists == 1
