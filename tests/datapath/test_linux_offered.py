"""Links that the runtime moves into its container itself: this test plays Docker, on a real kernel."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address

import pytest

from azure_cni.datapath.interface import Wiring
from azure_cni.errors import DatapathError
from azure_cni.linux.docker_firewall import DockerFirewall
from datapath.machine import MTU, Machine
from datapath.namespaces import NEEDS_ROOT, PATIENCE_S, Namespace, caller_of, neighbours_of, routes_of
from datapath.node_site import IMDS, INTERNET, PEER, PORT, PRIMARY, TABLE, A, B, Site
from fakes.veth import VethSandbox

pytestmark = NEEDS_ROOT


def into(container: Namespace, wiring: Wiring, address: str, *, node: Namespace) -> None:
    """What Docker does with an endpoint that was joined, in its order (libnetwork, osl/interface_linux.go)."""
    name = wiring.pod.name
    node.ip("link", "set", name, "netns", container.name)
    container.ip("link", "set", name, "down")
    container.ip("link", "set", name, "name", "eth0")
    container.ip("link", "set", "eth0", "address", wiring.pod.mac)
    container.ip("address", "add", f"{address}/32", "dev", "eth0")
    container.ip("link", "set", "eth0", "up")
    on_link, default = wiring.pod.routes
    container.ip("route", "add", str(on_link.destination), "dev", "eth0", "scope", "link")
    container.ip("route", "add", "default", "via", str(default.gateway), "dev", "eth0")


async def container(machine: Machine, address: str) -> Namespace:
    """One with its link, as Docker starts it."""
    spec = machine.spec(address)
    into(machine.pods[address], await machine.datapath.offer(spec), address, node=machine.node)
    return machine.pods[address]


async def test_the_node_has_all_of_the_link_before_it_is_moved(machine: Machine) -> None:
    spec = machine.spec(A, node_address=IPv4Address(PRIMARY))
    machine.node.ip("address", "add", f"{PRIMARY}/32", "dev", "lo")
    wiring = await machine.datapath.offer(spec)
    (offered,) = machine.node.show("link", "show", "dev", wiring.pod.name)
    assert (offered["mtu"], offered["address"], offered["operstate"]) == (MTU, spec.pod_mac, "DOWN")
    assert "NOARP" in offered["flags"]
    assert neighbours_of(machine.node) == [(A, spec.pod_mac, ("PERMANENT",))]
    assert [(route["dst"], route.get("prefsrc")) for route in machine.node.show("route")] == [(A, PRIMARY), (A, None)]
    (observed,) = await machine.datapath.sandboxes()
    assert machine.datapath.is_complete(observed, spec)


async def test_traffic_passes_and_is_seen_as_a_pods(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    one, other = await container(site.machine, A), await container(site.machine, B)
    assert site.seen(one, PEER) == A
    assert site.seen(one, INTERNET) == PRIMARY
    with other.listen(B, PORT) as listener:
        assert caller_of(listener, one.socket(), (B, PORT)) == A
        assert caller_of(listener, site.node.socket(), (B, PORT)) == PRIMARY
        assert caller_of(listener, site.outside.socket(), (B, PORT)) == "10.240.0.1"
    assert neighbours_of(one) == []


async def test_the_guards_are_a_pods_too(site: Site) -> None:
    """Neither the metadata service nor a foreign source."""
    await site.machine.datapath.apply_node(TABLE)
    one = await container(site.machine, A)
    assert site.refusal(one, IMDS, 80)
    one.ip("address", "add", f"{B}/32", "dev", "eth0")
    with site.outside.listen(PEER, PORT), one.socket() as client:
        client.settimeout(0.5)
        client.bind((B, 0))
        with pytest.raises(OSError, match=r"timed out|refused|prohibited|unreachable"):
            client.connect((PEER, PORT))


async def test_large_packets_keep_to_the_mtu_of_the_nic(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    one = await container(site.machine, A)
    (link,) = one.show("link", "show", "dev", "eth0")
    assert link["mtu"] == MTU
    with site.outside.socket(socket.SOCK_DGRAM) as listener, one.socket(socket.SOCK_DGRAM) as sender:
        listener.bind((PEER, PORT))
        sender.sendto(bytes(4000), (PEER, PORT))
        assert len(listener.recv(5000)) == 4000


async def test_a_repeat_before_the_move_is_the_same_and_afterwards_refused(machine: Machine) -> None:
    spec = machine.spec(A)
    wiring = await machine.datapath.offer(spec)
    assert await machine.datapath.offer(spec) == wiring
    into(machine.pods[A], wiring, A, node=machine.node)
    with pytest.raises(DatapathError, match="has been moved into a container already"):
        await machine.datapath.offer(spec)


@pytest.mark.parametrize("moved", [True, False])
async def test_nothing_is_left_after_the_end_and_it_can_be_offered_again(machine: Machine, *, moved: bool) -> None:
    spec: VethSandbox = machine.spec(A)
    wiring = await machine.datapath.offer(spec)
    if moved:
        into(machine.pods[A], wiring, A, node=machine.node)
    await machine.datapath.detach(spec.sandbox)
    assert await machine.datapath.offer(spec) == wiring
    await machine.datapath.detach(spec.sandbox)
    await machine.datapath.settle()
    assert machine.node.links() == {"lo"}
    assert (routes_of(machine.node), neighbours_of(machine.node)) == ([], [])
    assert await machine.datapath.sandboxes() == ()


async def test_the_link_goes_with_its_container(machine: Machine) -> None:
    await container(machine, A)
    machine.pods[A].delete()
    async with asyncio.timeout(PATIENCE_S):
        while await machine.datapath.sandboxes():  # noqa: ASYNC110  # the kernel does not say when it is done
            await asyncio.sleep(0.01)


async def test_lost_routes_are_put_back(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    one = await container(site.machine, A)
    site.node.ip("route", "flush", "to", f"{A}/32")
    site.node.ip("neigh", "delete", A, "dev", site.machine.way_to(A))
    assert await site.machine.datapath.restore_routes(site.machine.spec(A))
    assert site.seen(one, PEER) == A


async def test_it_passes_dockers_firewall_and_nothing_else_does(site: Site) -> None:
    """Docker drops what a host forwards; what an administrator denies in DOCKER-USER stays denied."""
    await site.machine.datapath.apply_node(TABLE)
    one, other = await container(site.machine, A), await container(site.machine, B)
    for rule in ("-P FORWARD DROP", "-N DOCKER-USER", "-A DOCKER-USER -j RETURN", "-A FORWARD -j DOCKER-USER"):
        site.node.run("iptables", "-w", "5", *rule.split())
    assert site.silent(one, PEER)
    firewall = DockerFirewall(("nsenter", f"--net={site.node.path}", "iptables"))
    for _ in range(2):
        await firewall.admit("eth0")
    assert site.seen(one, PEER) == A
    with other.listen(B, PORT) as listener:
        assert caller_of(listener, one.socket(), (B, PORT)) == A
        assert caller_of(listener, site.outside.socket(), (B, PORT)) == "10.240.0.1"
    site.node.run("iptables", "-w", "5", "-I", "DOCKER-USER", "-s", A, "-j", "DROP")
    assert site.silent(one, PEER)
    assert site.node.run("iptables", "-S", "FORWARD").count("--comment azure-cni") == 2
