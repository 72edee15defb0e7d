"""What a host or a pod may hold that nobody expects, on a real kernel: it stops no pass, and harms no other pod."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct
import subprocess
import time
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from azure_cni.datapath.conflicts import ConflictReason
from azure_cni.datapath.policy import OURS
from azure_cni.errors import DatapathError
from azure_cni.linux import rules
from datapath.namespaces import IN_EACH_MODE, PATIENCE_S, Namespace
from datapath.node_site import IMDS, INTERNET, PRIMARY, TABLE, WIRESERVER, A, B, Site
from datapath.packets import ETH_P_IP, checksum, packet
from datapath.watched_node import listen

pytestmark = IN_EACH_MODE

NODE = IPv4Address(PRIMARY)
ETH_P_ARP, ETH_P_IPV6 = 0x0806, 0x86DD


async def pods_of(site: Site) -> tuple[Namespace, Namespace]:
    await site.machine.datapath.apply_node(TABLE)
    return await site.machine.pod(A, node_address=NODE), await site.machine.pod(B, node_address=NODE)


@pytest.mark.parametrize("selector", ["from 10.240.0.7/22", "to 10.99.1.5/16"])
async def test_a_rule_with_bits_beyond_its_prefix_stops_nothing(site: Site, selector: str) -> None:
    """The kernel keeps such bits (`ip rule add from ADDRESS/22`), and compares without them."""
    await pods_of(site)
    site.node.ip("rule", "add", "pref", "200", *selector.split(), "lookup", "100")
    report = await site.machine.datapath.apply_node(TABLE)
    assert [conflict.reason for conflict in report.conflicts] == [ConflictReason.FOREIGN_POLICY_RULES] * (
        selector.startswith("from")
    )
    assert await site.machine.datapath.check(site.machine.spec(A, node_address=NODE)) == ()


async def test_a_link_whose_name_is_no_text_stops_nothing(site: Site) -> None:
    await pods_of(site)
    site.node.run("sh", "-c", r"ip link add $(printf '\377\376') type veth peer name other")
    assert (await site.machine.datapath.apply_node(TABLE)).repaired == ()
    assert len(await site.machine.datapath.sandboxes()) == 2


async def test_a_fifo_in_place_of_a_namespace_keeps_no_other_pod_waiting(site: Site, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    datapath = site.machine.datapath
    try:
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(DatapathError, match="not a network namespace"):
                await datapath.attach(site.machine.spec(A, netns=str(fifo)))
            await site.machine.pod(B)
    finally:
        os.close(os.open(fifo, os.O_RDWR))  # whoever still waits for a writer goes on


async def test_what_cannot_be_put_right_keeps_the_guards_from_nobody(site: Site, tmp_path: Path) -> None:
    one, _ = await pods_of(site)
    site.node.run("nft", "flush", "ruleset")
    datapath = site.machine.successor(sysctls=tmp_path)  # none can be set there
    with pytest.raises(DatapathError, match="cannot turn on sysctl"):
        await datapath.apply_node(TABLE)
    await datapath.close()
    assert site.refusal(one, IMDS, 80) == errno.EHOSTUNREACH


async def test_guards_are_put_back_while_the_nics_interface_is_away(site: Site) -> None:
    await pods_of(site)
    site.node.ip("link", "delete", "eth0")
    site.node.run("nft", "flush", "ruleset")
    with pytest.raises(DatapathError, match="cannot find the uplink"):
        await site.machine.datapath.apply_node(TABLE)
    assert site.node.run("nft", "list", "chain", "inet", "azure_cni", "guard").count("reject") == 3


def ask(pod: socket.socket, link: tuple[str, str], *, sender: bytes) -> None:
    """An ARP request for the node's address from a sender's; `link` is the MAC of the node's end and of the pod's."""
    host, own = (bytes.fromhex(mac.replace(":", "")) for mac in link)
    question = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + own + sender + bytes(6) + socket.inet_aton(PRIMARY)
    pod.send(host + own + struct.pack("!H", ETH_P_ARP) + question)


async def test_a_pod_cannot_fill_the_nodes_neighbour_table(site: Site) -> None:
    """By requests from invented addresses, each of which the kernel would remember."""
    one, other = await pods_of(site)
    spec = site.machine.spec(A)
    before = len(site.node.show("-4", "neigh", "show", "nud", "all"))
    with one.socket(socket.SOCK_RAW, family=socket.AF_PACKET) as raw:
        raw.bind(("eth0", 0))
        for number in range(3000):
            ask(raw, (site.machine.gateway_mac(A), spec.pod_mac), sender=struct.pack("!I", 0x0A140000 + number))
    assert len(site.node.show("-4", "neigh", "show", "nud", "all")) <= before + 1
    assert site.seen(other, INTERNET) == PRIMARY


async def test_no_frame_of_a_pod_passes_the_guards_by_the_mac_that_it_is_for(site: Site) -> None:
    """A bridge hands frames for the MACs that are reserved for bridges to the port that they came in by."""
    for name in ("all", "default"):
        site.node.sysctl(f"net/ipv4/conf/{name}/rp_filter", "0")
    one, _ = await pods_of(site)
    before = len(site.node.show("-4", "neigh", "show", "nud", "all"))
    datagram = struct.pack("!HHHH", 53, 5353, 14, 0) + b"not me"
    own = bytes.fromhex(site.machine.spec(A).pod_mac.replace(":", ""))
    request = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + own + bytes([10, 20, 0, 1]) + bytes(6)
    with site.node.socket(socket.SOCK_DGRAM) as server, one.socket(socket.SOCK_RAW, family=socket.AF_PACKET) as raw:
        server.bind((PRIMARY, 5353))
        raw.bind(("eth0", 0))
        for last in range(16):
            to = bytes.fromhex("0180c20000") + bytes([last]) + own
            raw.send(to + struct.pack("!H", ETH_P_IP) + packet(B, PRIMARY, socket.IPPROTO_UDP, datagram))
            raw.send(to + struct.pack("!H", ETH_P_ARP) + request + socket.inet_aton(PRIMARY))
            raw.send(to + struct.pack("!H", ETH_P_IPV6) + router_advertisement())
        with one.socket(socket.SOCK_DGRAM) as honest:
            honest.sendto(b"me", (PRIMARY, 5353))
        server.settimeout(0.3)  # they may come in any order
        got = []
        with contextlib.suppress(TimeoutError):
            while True:
                got.append(server.recv(100))
    assert got == [b"me"]
    assert site.node.show("-6", "route", "show", "default") == []
    assert len(site.node.show("-4", "neigh", "show", "nud", "all")) <= before + 1


def router_advertisement() -> bytes:
    """Of somebody on the link who says that all IPv6 goes by them."""
    ends = socket.inet_pton(socket.AF_INET6, "fe80::1") + socket.inet_pton(socket.AF_INET6, "ff02::1")
    said = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
    total = checksum(ends + struct.pack("!II", len(said), socket.IPPROTO_ICMPV6) + said)
    return struct.pack("!IHBB", 6 << 28, len(said), socket.IPPROTO_ICMPV6, 255) + ends + said[:2] + total + said[4:]


@pytest.mark.parametrize("target", [WIRESERVER, IMDS])
async def test_a_source_route_is_no_way_round_the_guards(site: Site, target: str) -> None:
    """Where somebody has turned source routes on for all: each link has a switch too."""
    one, _ = await pods_of(site)
    for name in ("all", "default", "eth0"):
        site.node.sysctl(f"net/ipv4/conf/{name}/accept_source_route", "1")
    with site.outside.socket(socket.SOCK_RAW, family=socket.AF_PACKET) as wire:
        wire.bind(("vm", 0x0800))
        with one.socket() as client:
            client.settimeout(0.5)
            options = b"\x01\x83\x07\x04" + socket.inet_aton(PRIMARY)  # loose source routing (RFC 791), by the node
            client.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, options)
            assert client.connect_ex((target, 80))
        assert socket.inet_aton(target) not in heard(wire)


def heard(wire: socket.socket) -> bytes:
    wire.settimeout(0.2)
    frames = b""
    try:
        while True:
            frames += wire.recv(2000)
    except TimeoutError:
        return frames


async def test_a_pod_does_not_reach_the_nodes_loopback(site: Site) -> None:
    """Where loopback is routed, as portmap has it for the links of pods with a hostPort."""
    one, _ = await pods_of(site)
    spec = site.machine.spec(A)
    site.node.sysctl(f"net/ipv4/conf/{site.machine.way_to(A)}/route_localnet", "1")
    with site.node.socket(socket.SOCK_DGRAM) as private, one.socket(socket.SOCK_RAW, family=socket.AF_PACKET) as raw:
        private.bind(("127.0.0.1", 10248))
        private.settimeout(0.5)
        raw.bind(("eth0", 0))
        datagram = struct.pack("!HHHH", 4444, 10248, 12, 0) + b"ping"
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 1, 0, 64, 17, 0)
        head += socket.inet_aton(A) + socket.inet_aton("127.0.0.1")
        total = sum(struct.unpack("!10H", head))
        head = head[:10] + struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + head[12:]
        macs = bytes.fromhex((site.machine.gateway_mac(A) + spec.pod_mac).replace(":", ""))
        raw.send(macs + struct.pack("!H", 0x0800) + head + datagram)
        with pytest.raises(TimeoutError):
            private.recv(100)


@pytest.mark.parametrize(("switch", "wrong"), [("arp_ignore", "0"), ("accept_source_route", "1"), ("forwarding", "0")])
async def test_switches_of_pods_links_are_put_right(site: Site, switch: str, wrong: str) -> None:
    """Also of pods that an older agent made."""
    await pods_of(site)
    path = f"net/ipv4/conf/{site.machine.way_to(A)}/{switch}"
    right, links = site.node.sysctl(path), site.machine.way_to(A)
    links = "acni*" if links.startswith("acni") else links
    site.node.sysctl(path, wrong)
    repaired = (await site.machine.datapath.apply_node(TABLE)).repaired
    assert repaired == (f"sysctl net.ipv4.conf.{links}.{switch} was {wrong}: set to {right}",)
    assert site.node.sysctl(path) == right


def started(node: Namespace, script: str) -> subprocess.Popen[bytes]:
    command = ["nsenter", f"--net={node.path}", "timeout", "3", "sh", "-c", script]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


async def test_changes_faster_than_they_can_be_read_do_not_hold_the_loop_up(site: Site) -> None:
    await pods_of(site)
    await listen(site.machine.datapath)
    hearing = asyncio.create_task(site.machine.datapath.changed())
    endless = "while :; do echo 'rule add pref 5000 from 10.9.0.1 lookup 77'; echo 'rule del pref 5000'; done"
    with started(site.node, f"{endless} | ip -force -batch -"):
        longest_s, end_s = 0.0, time.monotonic() + 2.5
        while time.monotonic() < end_s:
            began_s = time.thread_time()  # not the time of other processes
            await asyncio.sleep(0.01)
            longest_s = max(longest_s, time.thread_time() - began_s)
    assert longest_s < 1
    assert (await hearing).node


@pytest.mark.parametrize("name", ["lo", "kube-ipvs0"])
async def test_a_pods_address_on_another_interface_is_reported(site: Site, name: str) -> None:
    await pods_of(site)
    if name != "lo":
        site.node.ip("link", "add", name, "type", "bridge")
    site.node.ip("address", "add", f"{B}/32", "dev", name)
    (conflict,) = (await site.machine.datapath.apply_node(TABLE)).conflicts
    assert conflict.reason is ConflictReason.ADDRESS_ELSEWHERE
    assert f"ip address delete {B} dev {name}" in conflict.message
    site.node.ip("address", "delete", f"{B}/32", "dev", name)
    assert (await site.machine.datapath.apply_node(TABLE)).conflicts == ()


async def test_rules_that_change_while_they_are_read_hide_none_of_our_own(site: Site) -> None:
    """There are more of them than the kernel lists in one part, and others come and go in front of our own.

    The kernel does not say so, and a list may lack the rule at which one part ends and the next begins.
    """
    await pods_of(site)
    many = (f"rule add pref {1000 + number} from 10.9.{number >> 8}.{number & 255} lookup 77" for number in range(600))
    site.node.batch(*many)
    endless = "while :; do echo 'rule add pref 50 from 10.8.0.1 lookup 77'; echo 'rule del pref 50'; done"
    with started(site.node, f"{endless} | ip -force -batch -"):
        reads, end_s = 0, time.monotonic() + 2.5
        while time.monotonic() < end_s:
            found = await site.machine.datapath._housekeeping.run(lambda keeping: rules.read(keeping.host._kernel))
            assert found is not None
            assert OURS in found
            assert len([rule for rule in found if rule.preference >= 1000]) > 590  # of 602, with the kernel's own two
            reads += 1
    assert reads
