"""Packets that belong to no connection, or to no pod: none leaves under an address that is not its sender's."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from ipaddress import IPv4Address

import pytest

from datapath.namespaces import IN_EACH_MODE, Namespace, caller_of
from datapath.node_site import INTERNET, PEER, PORT, PRIMARY, TABLE, UNUSED, A, B, Site, refusal
from datapath.packets import ETH_P_IP, discover, fragment, reset, wire

pytestmark = IN_EACH_MODE


async def test_what_conntrack_does_not_follow_leaves_the_vnet_with_no_pods_address(site: Site) -> None:
    """A reset without a connection is invalid to conntrack, which then translates nothing."""
    await site.machine.datapath.apply_node(TABLE)
    pod = await site.machine.pod(A)
    node_end = bytes.fromhex(site.machine.gateway_mac(A).replace(":", ""))
    with wire(site) as seen, pod.socket(socket.SOCK_DGRAM, family=socket.AF_PACKET) as raw:
        for target in (INTERNET, PEER):
            raw.sendto(reset(A, target), ("eth0", ETH_P_IP, 0, 0, node_end))
        with site.outside.listen(PEER, PORT) as listener:
            caller_of(listener, pod.socket(), (PEER, PORT))
        went = {str(IPv4Address(data[16:20])) for data in seen() if data[12:16] == IPv4Address(A).packed}
    assert went == {PEER}


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


async def test_a_pod_adds_nothing_to_a_datagram_of_another(site: Site) -> None:
    """The kernel puts fragments together by their addresses and number, whichever links they came in by."""
    await site.machine.datapath.apply_node(TABLE)
    liar, other = await site.machine.pod(A), await site.machine.pod(B)
    first = struct.pack("!HHHH", 4711, PORT, 24, 0) + b"of B and"
    with site.outside.socket(socket.SOCK_DGRAM) as receiver, liar.socket(socket.SOCK_DGRAM) as honest:
        receiver.bind((PEER, PORT))
        send(site, liar, A, fragment(B, PEER, b" of A   ", number=77, offset=16))
        honest.sendto(b"me", (PEER, PORT))
        assert receiver.recv(100) == b"me"
        send(site, other, B, fragment(B, PEER, first, number=77, more=True))
        send(site, other, B, fragment(B, PEER, b" of B   ", number=77, offset=16))
        assert receiver.recv(100) == b"of B and of B   "


def send(site: Site, pod: Namespace, address: str, data: bytes) -> None:
    """By the link of the pod with this address, whatever the packet says."""
    to = bytes.fromhex(site.machine.gateway_mac(address).replace(":", ""))
    with pod.socket(socket.SOCK_DGRAM, family=socket.AF_PACKET) as raw:
        raw.sendto(data, ("eth0", ETH_P_IP, 0, 0, to))


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
