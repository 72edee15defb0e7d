"""What pods and callers from elsewhere must not reach by way of a node, and what the guard leaves alone."""

from __future__ import annotations

import contextlib
import errno
import re
import socket
import time
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from azure_cni.datapath.node_table import NodeTable
from datapath.namespaces import IN_EACH_MODE, PATIENCE_S, Namespace, caller_of
from datapath.node_site import (
    IMDS,
    IMDS_OPEN,
    INTERNET,
    PEER,
    PORT,
    PRIMARY,
    SERVICE,
    TABLE,
    WIRESERVER,
    A,
    Site,
    refusal,
    service,
)
from datapath.packets import wire

pytestmark = IN_EACH_MODE

NODE_PORT = 30080
GUARD = ("inet", "azure_cni", "guard")
UNTRACKED = """table ip nodelocaldns {
    chain in { type filter hook prerouting priority raw; ip daddr 169.254.20.10 notrack; }
    chain out { type filter hook output priority raw; ip saddr 169.254.20.10 notrack; }
}"""


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


async def test_node_local_dns_answers_though_nothing_of_it_is_tracked(site: Site) -> None:
    """As its own rules have it, so that questions take no room in conntrack's table."""
    own = "169.254.20.10"
    site.node.ip("address", "add", f"{own}/32", "dev", "lo")
    site.node.run("nft", "-f", "-", stdin=UNTRACKED)
    assert (await site.machine.datapath.apply_node(TABLE)).conflicts == ()
    pod = await site.machine.pod(A)
    with site.node.socket(socket.SOCK_DGRAM) as server, pod.socket(socket.SOCK_DGRAM) as client:
        server.bind((own, 53))
        client.connect((own, 53))
        client.settimeout(1)
        assert any(_answered(server, client) for _ in range(5)), "as a resolver asks: again after a while"


def _answered(server: socket.socket, client: socket.socket) -> bool:
    client.send(b"question")
    question, (asker, port) = server.recvfrom(64)
    assert (question, asker) == (b"question", A)
    server.sendto(b"answer", (asker, port))
    try:
        return client.recv(64) == b"answer"
    except TimeoutError:
        return False


@pytest.mark.parametrize(("port", "arrives"), [(53, True), (67, False), (8037, False)])
async def test_of_the_wireserver_pods_get_its_dns(site: Site, port: int, *, arrives: bool) -> None:
    await site.machine.datapath.apply_node(TABLE)
    pod = await site.machine.pod(A)
    with wire(site) as seen, pod.socket(socket.SOCK_DGRAM) as client:
        client.sendto(b"question", (WIRESERVER, port))
        with site.outside.listen(PEER, PORT) as listener:  # what is sent later shows that the first has had its time
            caller_of(listener, pod.socket(), (PEER, PORT))
        assert any(b"question" in data for data in seen()) is arrives


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


def ended(outside: Namespace, address: str) -> None:
    """The end that listened at `address` has had its last acknowledgement."""
    deadline = time.monotonic() + PATIENCE_S
    while outside.run("ss", "-Htn", "src", address):
        assert time.monotonic() < deadline
        time.sleep(0.01)
