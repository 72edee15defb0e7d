"""The node's table at work in a real kernel: who sees which address, and what a pod may not reach."""

from __future__ import annotations

import contextlib
import errno
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from azure_cni.datapath.snat import NodeTable
from azure_cni.errors import DatapathError
from datapath.namespaces import NEEDS_ROOT, PATIENCE_S, Namespace, caller_of
from datapath.node_site import (
    IMDS,
    IMDS_OPEN,
    INTERNET,
    ON_PREM,
    PEER,
    PORT,
    PRIMARY,
    PUBLIC,
    SERVICE,
    TABLE,
    UNUSED,
    WIRESERVER,
    A,
    B,
    Site,
    refusal,
    service,
)

pytestmark = NEEDS_ROOT

ETH_P_IP = 0x0800
NODE_PORT = 30080
GUARD = ("inet", "azure_cni", "guard")


@pytest.mark.parametrize("target", [PEER, ON_PREM, "10.240.0.1"])
async def test_routable_destinations_see_the_pod(site: Site, target: str) -> None:
    await site.machine.datapath.apply_node(TABLE)
    assert site.seen(await site.machine.pod(A), target) == A


async def test_the_internet_sees_the_primary_address_unless_the_pod_has_a_public_one(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    assert site.seen(await site.machine.pod(A), INTERNET) == PRIMARY
    assert site.seen(await site.machine.pod(PUBLIC), INTERNET) == PUBLIC
    assert site.seen(site.node, INTERNET) == PRIMARY


async def test_whoever_may_not_be_translated_is_seen_as_he_is(site: Site) -> None:
    """An address that is not in the pool is none of our business."""
    await site.machine.datapath.apply_node(replace(TABLE, pool=TABLE.pool - {IPv4Address(A)}))
    assert site.seen(await site.machine.pod(A), INTERNET) == A


@pytest.mark.parametrize("address", [A, PUBLIC])
async def test_imds_and_the_wireserver_see_the_primary_address(site: Site, address: str) -> None:
    await site.machine.datapath.apply_node(IMDS_OPEN)
    pod = await site.machine.pod(address)
    assert site.seen(pod, IMDS, 80) == PRIMARY
    assert site.seen(pod, WIRESERVER, 53) == PRIMARY


async def test_they_see_it_also_where_they_count_as_routable(site: Site) -> None:
    everything = frozenset({IPv4Network("0.0.0.0/1"), IPv4Network("128.0.0.0/1")})
    await site.machine.datapath.apply_node(replace(IMDS_OPEN, routable=everything))
    pod = await site.machine.pod(A)
    assert site.seen(pod, IMDS, 80) == PRIMARY
    assert site.seen(pod, WIRESERVER, 53) == PRIMARY
    assert site.seen(pod, INTERNET) == A


@pytest.mark.parametrize(("target", "port"), [(WIRESERVER, 80), (WIRESERVER, 443), (IMDS, 80), (IMDS, 443)])
async def test_pods_are_refused_and_the_node_is_not(site: Site, target: str, port: int) -> None:
    await site.machine.datapath.apply_node(TABLE)
    assert site.refusal(await site.machine.pod(A), target, port) == errno.EHOSTUNREACH
    assert site.seen(site.node, target, port) == PRIMARY


async def test_opening_imds_does_not_open_the_wireserver(site: Site) -> None:
    await site.machine.datapath.apply_node(IMDS_OPEN)
    assert site.refusal(await site.machine.pod(A), WIRESERVER, 80) == errno.EHOSTUNREACH


@pytest.mark.parametrize("table", [TABLE, IMDS_OPEN], ids=["closed", "open to pods"])
async def test_link_local_addresses_beyond_the_node_are_refused_and_its_own_are_not(
    site: Site, table: NodeTable
) -> None:
    beyond, own = "169.254.10.1", "169.254.20.10"  # the second as NodeLocal DNS has it
    site.outside.ip("address", "add", f"{beyond}/32", "dev", "lo")
    site.node.ip("address", "add", f"{own}/32", "dev", "lo")
    await site.machine.datapath.apply_node(table)
    pod = await site.machine.pod(A)
    assert site.refusal(pod, beyond) == errno.EHOSTUNREACH
    assert site.seen(site.node, beyond) == PRIMARY
    with site.node.listen(own, 53) as listener:
        assert caller_of(listener, pod.socket(), (own, 53)) == A


@pytest.mark.parametrize(("port", "arrives"), [(53, True), (67, False), (8037, False)])
async def test_of_the_wireserver_pods_get_its_dns(site: Site, port: int, *, arrives: bool) -> None:
    await site.machine.datapath.apply_node(TABLE)
    pod = await site.machine.pod(A)
    with wire(site) as seen, pod.socket(socket.SOCK_DGRAM) as client:
        client.sendto(b"question", (WIRESERVER, port))
        with site.outside.listen(PEER, PORT) as listener:  # what is sent later shows that the first has had its time
            caller_of(listener, pod.socket(), (PEER, PORT))
        assert any(b"question" in data for data in seen()) is arrives


async def test_what_conntrack_does_not_follow_leaves_the_vnet_with_no_pods_address(site: Site) -> None:
    """A reset without a connection is invalid to conntrack, which then translates nothing."""
    await site.machine.datapath.apply_node(TABLE)
    pod = await site.machine.pod(A)
    node_end = bytes.fromhex(site.machine.spec(A).host_mac.replace(":", ""))
    with wire(site) as seen, pod.socket(socket.SOCK_DGRAM, family=socket.AF_PACKET) as raw:
        for target in (INTERNET, PEER):
            raw.sendto(reset(A, target), ("eth0", ETH_P_IP, 0, 0, node_end))
        with site.outside.listen(PEER, PORT) as listener:
            caller_of(listener, pod.socket(), (PEER, PORT))
        went = {str(IPv4Address(data[16:20])) for data in seen() if data[12:16] == IPv4Address(A).packed}
    assert went == {PEER}


def reset(source: str, target: str) -> bytes:
    """A TCP segment with RST, from port 4711 to 443."""
    head = struct.pack("!HHIIBBHHH", 4711, 443, 1, 0, 5 << 4, 0x04, 0, 0, 0)
    pseudo = IPv4Address(source).packed + IPv4Address(target).packed + struct.pack("!BBH", 0, 6, len(head))
    return packet(source, target, socket.IPPROTO_TCP, head[:16] + checksum(pseudo + head) + head[18:])


def packet(source: str, target: str, protocol: int, content: bytes) -> bytes:
    ends = IPv4Address(source).packed + IPv4Address(target).packed
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(content), 0, 0, 64, protocol, 0) + ends
    return head[:10] + checksum(head) + head[12:] + content


def checksum(data: bytes) -> bytes:
    """The internet checksum (RFC 1071) of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF)


async def test_a_pod_that_broadcasts_without_an_address_reaches_no_server_of_the_node(site: Site) -> None:
    """As a DHCP client does; from 0.0.0.0 to a broadcast the kernel looks up no route back."""
    await site.machine.datapath.apply_node(TABLE)
    pod = await site.machine.pod(A)
    with site.node.socket(socket.SOCK_DGRAM) as server, pod.socket(socket.SOCK_DGRAM) as honest:
        server.bind(("", 67))
        with pod.socket(socket.SOCK_DGRAM, family=socket.AF_PACKET) as liar:
            liar.sendto(discover(b"not me"), ("eth0", ETH_P_IP, 0, 0, b"\xff" * 6))
        honest.sendto(b"me", (PRIMARY, 67))
        server.settimeout(0.3)  # the two may come in any order
        got = []
        with contextlib.suppress(TimeoutError):
            while True:
                got.append(server.recvfrom(100)[0])
        assert got == [b"me"]


def discover(content: bytes) -> bytes:
    """A UDP datagram from 0.0.0.0:68 to 255.255.255.255:67."""
    udp = struct.pack("!HHHH", 68, 67, 8 + len(content), 0) + content
    return packet("0.0.0.0", "255.255.255.255", socket.IPPROTO_UDP, udp)


async def test_a_service_is_no_way_round_the_guard(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    pod = await site.machine.pod(A)
    with service(site.node, WIRESERVER), site.outside.listen(WIRESERVER, 80):
        assert refusal(pod, SERVICE, 80) == errno.EHOSTUNREACH
        assert refusal(site.node, SERVICE, 80) == errno.EHOSTUNREACH


@pytest.mark.parametrize("table", [TABLE, IMDS_OPEN], ids=["closed", "open to pods"])
@pytest.mark.parametrize(("target", "port"), [(WIRESERVER, 80), (WIRESERVER, 32526), (IMDS, 80)])
async def test_nor_is_a_node_port_called_from_elsewhere(site: Site, table: NodeTable, target: str, port: int) -> None:
    """It comes in by the NIC, not from a pod, and leaves by the NIC; opening IMDS to pods does not open it to these."""
    await site.machine.datapath.apply_node(table)
    with node_port(site, target, port), site.outside.listen(target, port):
        assert refusal(site.outside, PRIMARY, NODE_PORT) == errno.EHOSTUNREACH
    with node_port(site, INTERNET, port), site.outside.listen(INTERNET, port):
        assert refusal(site.outside, PRIMARY, NODE_PORT) == 0


@pytest.mark.parametrize(("target", "port"), [(WIRESERVER, 80), (IMDS, 80)])
async def test_nor_is_what_the_node_sends_on_without_forwarding(site: Site, target: str, port: int) -> None:
    """As IPVS does, which not every kernel has: packets that are sent in the output hook and belong to no socket."""
    await site.machine.datapath.apply_node(TABLE)
    arrived = {}
    for destination in (INTERNET, target):
        with sent_on(site, destination, port), wire(site) as seen, site.outside.socket() as caller:
            caller.settimeout(0.2)
            with contextlib.suppress(OSError):
                caller.connect((PRIMARY, NODE_PORT))
            arrived[destination] = destination in {str(IPv4Address(data[16:20])) for data in seen()}
    assert arrived == {INTERNET: True, target: False}


async def test_the_node_ends_its_own_connections_in_peace(site: Site) -> None:
    """Their last packets belong to no process any more."""
    await site.machine.datapath.apply_node(TABLE)
    for target in (WIRESERVER, IMDS):
        client = site.node.socket()
        with site.outside.listen(target, 80) as listener:
            client.connect((target, 80))
            server, _ = listener.accept()
            client.close()
            with server:
                assert server.recv(1) == b""
                server.shutdown(socket.SHUT_WR)
                ended(site.outside, target)
    assert set(re.findall(r"counter packets (\d+)", site.node.run("nft", "list", "chain", *GUARD))) == {"0"}


async def test_a_probe_is_answered_whatever_port_it_comes_from(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    pod = await site.machine.pod(A)
    with pod.listen(A, PORT) as listener:
        probe = site.outside.socket()
        probe.bind((WIRESERVER, 32526))
        assert caller_of(listener, probe, (A, PORT)) == WIRESERVER


async def test_the_guard_is_back_after_a_flush(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    pod = await site.machine.pod(A)
    site.node.run("nft", "flush", "ruleset")
    await site.machine.datapath.apply_node(TABLE)
    assert site.refusal(pod, WIRESERVER, 80) == errno.EHOSTUNREACH
    with node_port(site, IMDS, 80), site.outside.listen(IMDS, 80):
        assert refusal(site.outside, PRIMARY, NODE_PORT) == errno.EHOSTUNREACH


@contextlib.contextmanager
def node_port(site: Site, backend: str, port: int) -> Iterator[None]:
    """What kube-proxy makes of a NodePort whose endpoint is not on this node: DNAT and masquerade."""
    for interface in ("all", "eth0"):  # a redirect would count against the limit of ICMP errors to one host
        site.node.sysctl(f"net/ipv4/conf/{interface}/send_redirects", "0")
    script = f"""table ip node_port {{
        chain services {{
            type nat hook prerouting priority dstnat
            ip daddr {PRIMARY} tcp dport {NODE_PORT} meta mark set 0x4000 dnat to {backend}:{port}
        }}
        chain hairpin {{
            type nat hook postrouting priority srcnat
            meta mark 0x4000 masquerade
        }}
    }}"""
    site.node.run("nft", "-f", "-", stdin=script)
    yield
    site.node.run("nft", "delete", "table", "ip", "node_port")


@contextlib.contextmanager
def sent_on(site: Site, target: str, port: int) -> Iterator[None]:
    """Packets to the NodePort get another destination, and a copy of them is sent, by the node and by no socket."""
    script = f"""table ip sent_on {{
        chain services {{
            type filter hook prerouting priority mangle
            ip daddr {PRIMARY} tcp dport {NODE_PORT} ip daddr set {target} tcp dport set {port} \\
                dup to 10.240.0.1 device eth0 drop
        }}
    }}"""
    site.node.run("nft", "-f", "-", stdin=script)
    yield
    site.node.run("nft", "delete", "table", "ip", "sent_on")


@contextlib.contextmanager
def wire(site: Site) -> Iterator[Callable[[], list[bytes]]]:
    """What has come from the node until now, as IP packets."""
    with site.outside.socket(socket.SOCK_DGRAM, family=socket.AF_PACKET) as tap:
        tap.bind(("vm", ETH_P_IP))

        def arrived() -> list[bytes]:
            tap.setblocking(False)
            found = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    data, (_, _, direction, *_) = tap.recvfrom(2000)
                    if direction == socket.PACKET_HOST:
                        found.append(data)
            return found

        yield arrived


def ended(outside: Namespace, address: str) -> None:
    """The end that listened at `address` has had its last acknowledgement."""
    deadline = time.monotonic() + PATIENCE_S
    while outside.run("ss", "-Htn", "src", address):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("kube_proxy_first", [True, False])
async def test_a_service_translates_once_whoever_comes_first(site: Site, *, kube_proxy_first: bool) -> None:
    if not kube_proxy_first:
        await site.machine.datapath.apply_node(TABLE)
    caller, backend = await site.machine.pod(A), await site.machine.pod(B)
    with service(site.node, B), backend.listen(B, PORT) as listener:
        if kube_proxy_first:
            await site.machine.datapath.apply_node(TABLE)
        assert caller_of(listener, caller.socket(), (SERVICE, PORT)) == A
        assert caller_of(listener, backend.socket(), (SERVICE, PORT)) == PRIMARY  # itself, by way of its Service
    with service(site.node, INTERNET), site.outside.listen(INTERNET, PORT) as listener:
        assert caller_of(listener, caller.socket(), (SERVICE, PORT)) == PRIMARY
        assert caller_of(listener, site.node.socket(), (INTERNET, PORT)) == PRIMARY


async def test_the_node_reaches_a_service_whose_pod_is_its_own(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    pod = await site.machine.pod(A)
    with service(site.node, A), pod.listen(A, PORT) as listener:
        assert caller_of(listener, site.node.socket(), (SERVICE, PORT)) == PRIMARY


async def test_pods_of_the_node_see_each_other_whatever_is_routable(site: Site) -> None:
    await site.machine.datapath.apply_node(replace(TABLE, routable=frozenset()))
    one, other = await site.machine.pod(A), await site.machine.pod(B)
    with other.listen(B, PORT) as listener:
        assert caller_of(listener, one.socket(), (B, PORT)) == A


async def test_callers_from_outside_reach_the_pod_as_themselves(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    pod = await site.machine.pod(A)
    for source in (PEER, INTERNET, WIRESERVER):  # the last is the load balancer's probe
        with pod.listen(A, PORT) as listener:
            client = site.outside.socket()
            client.bind((source, 0))
            assert caller_of(listener, client, (A, PORT)) == source


async def test_running_connections_survive_a_change_of_the_table(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    pod = await site.machine.pod(A)
    with site.outside.listen(INTERNET, PORT) as listener, pod.socket() as client:
        client.connect((INTERNET, PORT))
        server, (seen, _) = listener.accept()
        with server:
            grown = replace(TABLE, pool=TABLE.pool | {IPv4Address("10.240.0.11")})
            assert (await site.machine.datapath.apply_node(grown)).repaired == ()
            client.sendall(b"still")
            assert (seen, server.recv(5)) == (PRIMARY, b"still")
            server.sendall(b"here")
            assert client.recv(4) == b"here"


async def test_pods_do_not_notice_that_the_primary_address_is_away_for_a_moment(site: Site) -> None:
    """A DHCP client takes it off when it is restarted, and the kernel drops each route that has it as its source."""
    datapath, primary = site.machine.datapath, IPv4Address(PRIMARY)
    await datapath.apply_node(TABLE)
    one, other = await site.machine.pod(A, node_address=primary), await site.machine.pod(B, node_address=primary)
    with other.listen(B, PORT) as listener:
        site.node.ip("address", "delete", f"{PRIMARY}/22", "dev", "eth0")
        assert caller_of(listener, one.socket(), (B, PORT)) == A
        with pytest.raises(DatapathError, match=f"cannot add route {A}/32 src {PRIMARY} to .*Invalid"):
            await datapath.mend(site.machine.spec(A, node_address=primary))

        site.node.ip("address", "add", "10.240.3.3/32", "dev", "lo")  # what the kernel would take, left alone
        site.node.ip("address", "add", f"{PRIMARY}/22", "dev", "eth0")
        site.node.ip("route", "add", "default", "via", "10.240.0.1")
        assert site.seen(one, PEER) == A
        for address in (A, B):
            spec = site.machine.spec(address, node_address=primary)
            assert await datapath.mend(spec) == (f"route {address}/32 src {PRIMARY}",)
            assert await datapath.check(spec) == ()
        assert caller_of(listener, site.node.socket(), (B, PORT)) == PRIMARY


@pytest.mark.parametrize("borrowed", [B, PRIMARY, "10.240.3.3"])
async def test_a_pod_cannot_speak_with_anothers_address(site: Site, borrowed: str) -> None:
    await site.machine.datapath.apply_node(TABLE)
    pod = await site.machine.pod(A)
    await site.machine.pod(B)
    pod.ip("address", "add", f"{borrowed}/32", "dev", "lo")
    with pod.socket(socket.SOCK_DGRAM) as liar, pod.socket(socket.SOCK_DGRAM) as honest:
        liar.bind((borrowed, PORT))
        with site.outside.socket(socket.SOCK_DGRAM) as receiver:
            receiver.bind((PEER, PORT))
            liar.sendto(b"not me", (PEER, PORT))
            honest.bind((A, 0))
            honest.sendto(b"me", (PEER, PORT))
            data, (source, _) = receiver.recvfrom(16)
            assert (data, source) == (b"me", A)


async def test_an_address_without_a_pod_is_refused_at_once(site: Site) -> None:
    """Its route is the subnet's: without the rule the fabric would bring the packet back, again and again."""
    await site.machine.datapath.apply_node(TABLE)
    for caller in (site.node, await site.machine.pod(A)):
        assert refusal(caller, UNUSED, PORT) == errno.EHOSTUNREACH


async def test_what_comes_from_outside_for_such_an_address_does_not_go_out_again(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    pod = await site.machine.pod(A)
    with wire(site) as seen, site.outside.socket(socket.SOCK_DGRAM) as sender:
        sender.sendto(b"to nobody", (UNUSED, PORT))
        with pod.listen(A, PORT) as listener:  # what is sent later and has come back shows that the first has not
            caller_of(listener, site.outside.socket(), (A, PORT))
        arrived = seen()
    assert arrived
    assert not [data for data in arrived if b"to nobody" in data and data[9] == socket.IPPROTO_UDP]


async def test_a_smaller_nic_is_found_out_by_the_pods_that_run(site: Site) -> None:
    """Pods keep the MTU that they were given: connections, also older ones, go on by path MTU discovery."""
    await site.machine.datapath.apply_node(TABLE)
    pod = await site.machine.pod(A)
    assert pod.show("link", "show", "eth0")[0]["mtu"] == 1400
    sent = bytes(200_000)
    with site.outside.listen(PEER, PORT) as listener, pod.socket() as client:
        client.connect((PEER, PORT))
        server, _ = listener.accept()
        with server:
            site.node.ip("link", "set", "eth0", "mtu", "1300")
            site.outside.ip("link", "set", "vm", "mtu", "1300")
            for sender, receiver in ((client, server), (server, client)):
                sender.sendall(sent[:100_000])
                got = 0
                while got < 100_000:
                    got += len(receiver.recv(65536))
            assert client.getsockopt(socket.IPPROTO_IP, 14) == 1300  # IP_MTU of linux/in.h: what its route allows now
