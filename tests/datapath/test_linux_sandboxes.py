"""Sandboxes in a real kernel: wired as asked, compared thing by thing, cut off at once, and gone without a trace."""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address

import pytest

from azure_cni.errors import DatapathError
from azure_cni.linux.datapath import _veth
from azure_cni.linux.veth import VethNetwork
from datapath.machine import MTU, Machine
from datapath.namespaces import IN_EACH_MODE, Namespace, caller_of, is_bare, neighbours_of, routes_of
from fakes.veth import VethSandbox

pytestmark = IN_EACH_MODE

A, B = "10.240.0.7", "10.240.0.8"
PORT = 8080
KERNEL = tuple(map(int, os.uname().release.split(".")[:2]))
IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2  # linux/in.h


def link_of(namespace: Namespace, name: str) -> dict:
    (link,) = [link for link in namespace.show("link") if link["ifname"] == name]
    return link


def addresses_of(namespace: Namespace, name: str) -> list[dict]:
    (entry,) = namespace.show("address", "show", "dev", name)
    return entry["addr_info"]


async def test_both_ends_are_as_asked_for(machine: Machine) -> None:
    spec = machine.spec(A)
    wiring = await machine.datapath.attach(spec)
    pod = machine.pods[A]

    assert (wiring.node[0].name, wiring.node[0].mac) == (spec.host_ifname, spec.host_mac)
    assert [end.name for end in wiring.node if end.routes] == [machine.way_to(A)]
    assert (wiring.pod.name, wiring.pod.mac, wiring.pod.mtu) == ("eth0", spec.pod_mac, MTU)
    for namespace, name, mac in (machine.node, spec.host_ifname, spec.host_mac), (pod, "eth0", spec.pod_mac):
        link = link_of(namespace, name)
        assert (link["address"], link["mtu"], link["linkinfo"]["info_kind"]) == (mac, MTU, "veth")
        assert "UP" in link["flags"]
        assert "inet6" not in {address["family"] for address in addresses_of(namespace, name)}
    (address,) = addresses_of(pod, "eth0")
    assert (address["local"], address["prefixlen"], address["scope"]) == (A, 32, "global")
    assert routes_of(pod) == [("169.254.1.1", None, "eth0", None), ("default", "169.254.1.1", "eth0", None)]
    assert routes_of(machine.node) == [(A, None, machine.way_to(A), None)]
    assert neighbours_of(pod) == [("169.254.1.1", machine.gateway_mac(A), ("PERMANENT",))]
    assert neighbours_of(machine.node) == [(A, spec.pod_mac, ("PERMANENT",))]


async def test_pods_and_node_reach_one_another_at_once_by_their_own_addresses(machine: Machine) -> None:
    machine.node.ip("address", "add", "10.240.0.4/32", "dev", "lo")
    for number in range(10, 20):  # ten pairs: what works at once must do so each time
        one, other = f"10.240.1.{number}", f"10.240.2.{number}"
        source = IPv4Address("10.240.0.4")
        first = await machine.pod(one, node_address=source)
        second = await machine.pod(other, node_address=source)
        with second.listen(other, PORT) as listener, machine.node.listen("10.240.0.4", PORT) as on_node:
            assert caller_of(listener, first.socket(), (other, PORT)) == one
            assert caller_of(listener, machine.node.socket(), (other, PORT)) == "10.240.0.4"
            assert caller_of(on_node, first.socket(), ("10.240.0.4", PORT)) == one
        assert {state for _, _, state in neighbours_of(first)} == {("PERMANENT",)}
    assert {state for _, _, state in neighbours_of(machine.node)} == {("PERMANENT",)}


async def test_the_nodes_own_traffic_has_the_address_it_was_given(machine: Machine) -> None:
    for address in ("10.240.3.3", "10.240.0.4"):
        machine.node.ip("address", "add", f"{address}/32", "dev", "lo")
    pod = await machine.pod(A, node_address=IPv4Address("10.240.0.4"))
    with pod.listen(A, PORT) as listener:
        assert caller_of(listener, machine.node.socket(), (A, PORT)) == "10.240.0.4"


async def test_a_packet_of_the_whole_mtu_passes_and_a_larger_one_does_not(machine: Machine) -> None:
    first, second = await machine.pod(A), await machine.pod(B)
    with first.socket(socket.SOCK_DGRAM) as sender, second.socket(socket.SOCK_DGRAM) as receiver:
        receiver.bind((B, PORT))
        sender.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
        sender.sendto(bytes(MTU - 28), (B, PORT))
        assert len(receiver.recv(2000)) == MTU - 28
        with pytest.raises(OSError, match="Message too long"):
            sender.sendto(bytes(MTU - 27), (B, PORT))


async def test_a_repeat_changes_nothing(machine: Machine) -> None:
    spec = machine.spec(A)
    first = await machine.datapath.attach(spec)
    before = link_of(machine.node, spec.host_ifname)["ifindex"]
    assert await machine.datapath.attach(spec) == first
    assert link_of(machine.node, spec.host_ifname)["ifindex"] == before


async def test_a_sandbox_with_another_address_is_recreated(machine: Machine) -> None:
    spec = machine.spec(A)
    await machine.datapath.attach(spec)
    changed = replace(spec, addresses=(IPv4Address(B),))
    await machine.datapath.attach(changed)
    assert await machine.datapath.check(changed) == ()
    assert routes_of(machine.node) == [(B, None, machine.way_to(A), None)]
    assert {neighbour[0] for neighbour in neighbours_of(machine.node)} == {B}


async def test_a_stranger_with_our_name_makes_room(machine: Machine) -> None:
    spec = machine.spec(A)
    machine.node.ip("link", "add", spec.host_ifname, "type", "bridge")
    await machine.datapath.attach(spec)
    assert await machine.datapath.check(spec) == ()


async def test_an_address_moves_to_its_new_sandbox(machine: Machine) -> None:
    old, new = machine.spec(A), replace(machine.spec(B), addresses=(IPv4Address(A),))
    await machine.datapath.attach(old)
    await machine.datapath.attach(new)
    assert routes_of(machine.node) == [(A, None, machine.way_to(B), None)]
    assert (A, new.pod_mac, ("PERMANENT",)) in neighbours_of(machine.node)


async def refused(machine: Machine, spec: VethSandbox) -> str:
    """The words of a refusal that left the node bare."""
    with pytest.raises(DatapathError) as caught:
        await machine.datapath.attach(spec)
    assert is_bare(machine.node)
    return str(caught.value)


async def test_a_missing_namespace_is_named(machine: Machine) -> None:
    words = await refused(machine, machine.spec(A, netns="/run/netns/no-such"))
    assert words == "cannot open network namespace /run/netns/no-such: No such file or directory"


@pytest.mark.parametrize("path", ["/proc/self/ns/mnt", "/etc/hostname"])
async def test_what_is_no_network_namespace_is_refused(machine: Machine, path: str) -> None:
    words = await refused(machine, machine.spec(A, netns=path))
    assert words.startswith(f"cannot use {path}: it is not a network namespace; ")
    assert "mountPropagation: HostToContainer" in words


async def test_the_nodes_own_namespace_is_refused(machine: Machine) -> None:
    words = await refused(machine, machine.spec(A, netns=machine.node.path))
    assert words == f"cannot use {machine.node.path}: it is the node's own network namespace"


async def test_an_interface_of_that_name_in_the_pod_is_not_touched(machine: Machine) -> None:
    spec = machine.spec(A)
    machine.pods[A].ip("link", "add", "eth0", "type", "bridge")
    words = await refused(machine, spec)
    assert "has an interface eth0 already" in words
    assert spec.netns in words
    assert link_of(machine.pods[A], "eth0")["linkinfo"]["info_kind"] == "bridge"


async def test_what_fails_half_way_leaves_nothing(machine: Machine) -> None:
    """A source that the node does not have is refused at the very last step, when all the rest is there."""
    words = await refused(machine, machine.spec(A, node_address=IPv4Address("10.240.0.99")))
    assert words.startswith(f"cannot add route {A}/32 src 10.240.0.99 to {machine.way_to(A)}")
    assert "Invalid" in words
    assert is_bare(machine.pods[A])


async def test_an_impossible_mtu_is_reported_in_the_kernels_words(machine: Machine) -> None:
    words = await refused(machine, machine.spec(A, mtu=10))
    assert words.startswith(("cannot create veth acni", "cannot create bridge azure0"))
    assert is_bare(machine.pods[A])


DAMAGE = {
    "node link gone": ("node", "link delete {host}", "node: interface {host} is missing"),
    "node link down": ("node", "link set {host} down", "node: interface {host} is down"),
    "node mac": ("node", "link set {host} address 02:00:00:00:00:99", "has MAC 02:00:00:00:00:99, not {host_mac}"),
    "node mtu": ("node", "link set {host} mtu 1300", "node: interface {host} has MTU 1300, not 1400"),
    "node route": ("node", "route delete {a}", "node: interface {way} lacks route {a}/32 src 10.240.0.4"),
    "node route without source": (
        "node",
        "route delete {a} metric 1",
        "node: interface {way} lacks route {a}/32 metric 1",
    ),
    "node neighbour": ("node", "neigh delete {a} dev {way}", "node: interface {way} lacks permanent neighbour {a}"),
    "pod link down": ("pod", "link set eth0 down", "pod: interface eth0 is down"),
    "pod renamed": ("pod", "link set eth0 down name eth9", "pod: interface eth0 is missing"),
    "pod mac": ("pod", "link set eth0 address 02:00:00:00:00:98", "has MAC 02:00:00:00:00:98, not {pod_mac}"),
    "pod mtu": ("pod", "link set eth0 mtu 1300", "pod: interface eth0 has MTU 1300, not 1400"),
    "pod address": ("pod", "address delete {a}/32 dev eth0", "pod: interface eth0 lacks address {a}"),
    "pod on-link": ("pod", "route delete 169.254.1.1", "pod: interface eth0 lacks route 169.254.1.1/32"),
    "pod default": ("pod", "route delete default", "pod: interface eth0 lacks route 0.0.0.0/0 via 169.254.1.1"),
    "pod neighbour": (
        "pod",
        "neigh delete 169.254.1.1 dev eth0",
        "pod: interface eth0 lacks permanent neighbour 169.254.1.1 at {gateway_mac}",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
async def test_check_finds_each_single_thing_and_attach_repairs_it(machine: Machine, name: str) -> None:
    where, command, words = DAMAGE[name]
    machine.node.ip("address", "add", "10.240.0.4/32", "dev", "lo")
    spec = machine.spec(A, node_address=IPv4Address("10.240.0.4"))
    facts = machine.facts_about(A)
    await machine.datapath.attach(spec)
    assert await machine.datapath.check(spec) == ()

    (machine.node if where == "node" else machine.pods[A]).ip(*command.format(**facts).split())

    assert any(words.format(**facts) in found for found in await machine.datapath.check(spec))
    await machine.datapath.attach(spec)
    assert await machine.datapath.check(spec) == ()


async def test_check_sees_a_learnt_neighbour_as_a_difference(machine: Machine) -> None:
    spec = machine.spec(A)
    await machine.datapath.attach(spec)
    machine.node.ip("neigh", "replace", A, "dev", machine.way_to(A), "lladdr", spec.pod_mac, "nud", "reachable")
    assert any("lacks permanent neighbour" in found for found in await machine.datapath.check(spec))


async def test_check_forgives_what_a_chained_plugin_added(machine: Machine) -> None:
    spec = machine.spec(A)
    pod = await machine.pod(A)
    pod.ip("address", "add", "192.0.2.1/32", "dev", "eth0")
    pod.ip("route", "add", "192.0.2.0/24", "via", "169.254.1.1")
    assert await machine.datapath.check(spec) == ()


async def test_check_without_the_namespace_says_so(machine: Machine) -> None:
    spec = machine.spec(A)
    await machine.datapath.attach(spec)
    machine.pods[A].delete()
    (words,) = await machine.datapath.check(spec)
    assert words == f"cannot open network namespace {spec.netns}: No such file or directory"


async def test_a_namespace_is_wired_by_a_descriptor_as_well(machine: Machine) -> None:
    """As it comes from a caller whose path means nothing here (/proc/PID/ns/net of cri-dockerd)."""
    pod = machine.namespaces.new()
    descriptor = os.open(pod.path, os.O_RDONLY)
    try:
        spec = machine.spec("10.240.0.7", pod=pod, netns=f"/proc/self/fd/{descriptor}")
        await machine.datapath.attach(spec)
        assert await machine.datapath.check(spec) == ()
    finally:
        os.close(descriptor)
    assert await machine.datapath.check(replace(spec, netns=pod.path)) == ()
    with pytest.raises(DatapathError, match=r"does not see the node's processes, whose namespaces cri-dockerd names"):
        await machine.datapath.attach(machine.spec("10.240.0.8", netns="/proc/4194304/ns/net"))


def attach_and_send(network: VethNetwork, *, spec: VethSandbox, client: socket.socket, target: str) -> None:
    network.attach(_veth(spec))
    client.sendto(str(spec.addresses[0]).encode(), (target, PORT))


FROM_A_MOMENT_LATER = pytest.mark.skipif(
    KERNEL < (6, 8), reason="an older kernel lets an interface send only when its worker has run"
)


@FROM_A_MOMENT_LATER
async def test_the_first_packet_of_a_pod_is_not_lost(machine: Machine) -> None:
    """The kernel lets an interface send a moment after its carrier came on, and drops what is sent before."""
    machine.node.ip("address", "add", "10.240.0.4/32", "dev", "lo")
    source = IPv4Address("10.240.0.4")
    pods = {f"10.240.1.{number}": machine.namespaces.new() for number in range(40)}
    with machine.node.socket(socket.SOCK_DGRAM) as server:
        server.bind(("10.240.0.4", PORT))
        arrived = []
        for address, pod in pods.items():
            with pod.socket(socket.SOCK_DGRAM) as client:
                spec = machine.spec(address, pod=pod, node_address=source)
                await machine.datapath._wiring.run(
                    partial(attach_and_send, spec=spec, client=client, target="10.240.0.4")
                )
        server.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while True:
                arrived.append(server.recv(20).decode())
    assert sorted(arrived) == sorted(pods)


@FROM_A_MOMENT_LATER
async def test_the_first_packet_for_a_pod_is_not_lost(machine: Machine) -> None:
    """So it is with the node's end, which a bridge passes nothing to before."""
    machine.node.ip("address", "add", "10.240.0.4/32", "dev", "lo")
    source = IPv4Address("10.240.0.4")
    silent = []
    for number in range(40):
        address, pod = f"10.240.1.{number}", machine.namespaces.new()
        with machine.node.socket(socket.SOCK_DGRAM) as client, pod.socket(socket.SOCK_DGRAM) as server:
            server.bind(("0.0.0.0", PORT))
            spec = machine.spec(address, pod=pod, node_address=source)
            await machine.datapath._wiring.run(partial(attach_and_send, spec=spec, client=client, target=address))
            server.settimeout(0.5)
            try:
                server.recv(20)
            except TimeoutError:
                silent.append(address)
    assert silent == []
