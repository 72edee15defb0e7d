"""A pod inherits nothing of the connections of the pod that had its address before."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from azure_cni.ipam.address_state import Sandbox
from datapath.namespaces import IN_EACH_MODE, SILENCE_S, Namespace
from datapath.node_site import INTERNET, PEER, PRIMARY, TABLE, A, Site

pytestmark = IN_EACH_MODE

TUNNEL = 4500
OWN = frozenset({IPv4Address(A)})


@pytest.mark.parametrize(("former", "later"), [(A, PRIMARY), (PRIMARY, A)])
async def test_keepalives_of_a_peer_hold_no_translation_for_the_next_pod(site: Site, former: str, later: str) -> None:
    """A tunnel's peer goes on sending after the pod has ended, which renews the connection in the kernel."""
    own_egress = {A: OWN, PRIMARY: frozenset[IPv4Address]()}
    await site.machine.datapath.apply_node(replace(TABLE, own_egress=own_egress[former]))
    with site.outside.socket(socket.SOCK_DGRAM) as peer:
        peer.bind((INTERNET, TUNNEL))
        assert exchange(await site.machine.pod(A), peer)[0] == former
        await end(site, peer)
        await site.machine.datapath.set_egress(own_egress[later])
        assert exchange(await successor(site), peer)[0] == later


async def test_what_a_peer_goes_on_sending_reaches_no_later_pod(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    with site.outside.socket(socket.SOCK_DGRAM) as peer:
        peer.bind((INTERNET, TUNNEL))
        translated = exchange(await site.machine.pod(A), peer)
        await end(site, peer)
        pod = await successor(site)
        with pod.socket(socket.SOCK_DGRAM) as heard:
            heard.bind((A, TUNNEL))
            heard.settimeout(SILENCE_S)
            peer.sendto(b"keepalive", translated)
            with pytest.raises(TimeoutError):
                heard.recv(64)


async def test_connections_of_other_pods_go_on(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    pod = await site.machine.pod(A)
    with site.outside.listen(PEER, 8080) as listener, pod.socket() as client:
        client.connect((PEER, 8080))
        server, _ = listener.accept()
        await site.machine.datapath.forget_connections(frozenset({IPv4Address("10.240.0.8")}))
        with server:
            client.sendall(b"still")
            assert server.recv(5) == b"still"


def exchange(pod: Namespace, peer: socket.socket) -> tuple[str, int]:
    """A datagram there and one back; as whom the peer has seen the pod.

    The kernel drops what it sends by a link that has just come up, until its worker has given it a queue.
    """
    peer.settimeout(5)
    with pod.socket(socket.SOCK_DGRAM) as own:
        own.bind((A, TUNNEL))
        own.settimeout(0.5)
        for _ in range(10):
            own.sendto(b"here", (INTERNET, TUNNEL))
            _, seen = peer.recvfrom(64)
            peer.sendto(b"there", seen)
            with contextlib.suppress(TimeoutError):
                assert own.recv(64) == b"there"
                return str(seen[0]), int(seen[1])
    raise AssertionError(f"the pod hears nothing of its peer, which has seen it as {seen}")


async def end(site: Site, peer: socket.socket) -> None:
    """The pod with the address ends, and its peer does not notice."""
    await site.machine.datapath.detach(site.machine.spec(A).sandbox)
    await site.machine.datapath.settle()
    peer.sendto(b"keepalive", (PRIMARY, TUNNEL))
    peer.sendto(b"keepalive", (A, TUNNEL))
    await site.machine.datapath.forget_connections(OWN)


async def successor(site: Site) -> Namespace:
    """Another pod that has the address now."""
    pod = site.machine.namespaces.new()
    await site.machine.datapath.attach(
        replace(site.machine.spec(A, pod=pod), sandbox=Sandbox("azure-cni", "successor", "eth0"))
    )
    return pod
