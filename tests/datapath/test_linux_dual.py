"""Sandboxes of both families in a real kernel: wired, compared thing by thing, put back, and gone without a trace."""

from __future__ import annotations

import socket
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest

from azure_cni.errors import DatapathError
from azure_cni.model.identity import ModeName
from datapath.dual_site import IPV6_RULE, pod, seen, spec_of
from datapath.machine import MTU, Machine
from datapath.namespaces import IN_EACH_MODE, Namespace

pytestmark = IN_EACH_MODE

A, B, PRIMARY = "10.240.0.7", "10.240.0.8", "10.240.0.4"
A6, B6, PRIMARY6 = "2001:db8::7", "2001:db8::8", "2001:db8::4"
PORT = 8080


def ipv6_routes(namespace: Namespace) -> list[tuple[object, ...]]:
    """Those of the main table."""
    return sorted((r["dst"], r.get("gateway"), r["dev"], r["metric"]) for r in namespace.show("-6", "route"))


def ipv6_neighbours(namespace: Namespace) -> list[tuple[object, ...]]:
    return sorted((n["dst"], n["lladdr"], tuple(n["state"])) for n in namespace.show("-6", "neigh"))


@pytest.fixture
def node(machine: Machine) -> Namespace:
    """The node with an address of each family, and what a data plane makes of a node with both."""
    machine.node.ip("address", "add", f"{PRIMARY}/32", "dev", "lo")
    machine.node.ip("address", "add", f"{PRIMARY6}/128", "dev", "lo", "nodad")
    machine.node.sysctl("net/ipv6/conf/all/forwarding", "1")
    machine.node.ip("-6", "rule", "add", "pref", *IPV6_RULE.split())
    return machine.node


async def test_both_ends_are_as_asked_for(machine: Machine, node: Namespace) -> None:
    spec = spec_of(machine, A, A6)
    wiring = await machine.datapath.attach(spec)
    inside = machine.pods[A]
    assert [str(address) for address in wiring.addresses] == [A, A6]
    (eth0,) = inside.show("address", "show", "dev", "eth0")
    found = [(it["local"], it["prefixlen"], it.get("tentative"), it.get("nodad")) for it in eth0["addr_info"]]
    assert found == [(A, 32, None, None), (A6, 128, None, True)]
    assert ipv6_routes(inside) == [(A6, None, "eth0", 256), ("default", "fe80::1", "eth0", 1024)]
    assert ipv6_neighbours(inside) == [("fe80::1", machine.gateway_mac(A), ("PERMANENT",))]
    assert (A6, None, machine.way_to(A), 1) in ipv6_routes(node)
    assert ipv6_neighbours(node) == [(A6, spec.pod_mac, ("PERMANENT",))]
    (end,) = node.show("address", "show", "dev", spec.host_ifname)
    assert "inet6" not in {it["family"] for it in end["addr_info"]}
    assert inside.sysctl("net/ipv6/conf/eth0/accept_ra") == "0"
    taken_in = [route for route in inside.show("-6", "route", "show", A6, "table", "local") if route["metric"]]
    assert [0 < route["expires"] <= 10 for route in taken_in] == [True]  # then the kernel's own is all that is left


async def test_pods_and_node_reach_one_another_at_once_by_their_own_addresses(
    machine: Machine, node: Namespace
) -> None:
    for number in range(10, 20):
        one6, other6 = f"2001:db8::1:{number}", f"2001:db8::2:{number}"
        one = await pod(machine, f"10.240.1.{number}", one6)
        other = await pod(machine, f"10.240.2.{number}", other6)
        assert seen(one, other, other6) == one6
        assert seen(node, other, other6) == PRIMARY6
        assert seen(one, node, PRIMARY6) == one6
    assert {state for _, _, state in ipv6_neighbours(node)} == {("PERMANENT",)}


async def test_what_is_sent_to_a_pod_as_soon_as_it_is_wired_arrives(machine: Machine, node: Namespace) -> None:
    """The kernel takes it in only once a worker of its own has added the address to the table `local`."""
    for number in range(40):
        address = f"2001:db8::3:{number}"
        inside = await pod(machine, f"10.240.3.{number}", address)
        with node.socket(socket.SOCK_DGRAM, family=socket.AF_INET6) as client:
            client.connect((address, PORT))
            client.send(b"to nobody")
            with pytest.raises(ConnectionRefusedError):  # by the pod itself, which took it in
                client.recv(1)
        assert inside.links() == {"lo", "eth0"}


async def test_a_packet_of_the_whole_mtu_passes(machine: Machine, node: Namespace) -> None:
    one, other = await pod(machine, A, A6), await pod(machine, B, B6)
    with (
        one.socket(socket.SOCK_DGRAM, family=socket.AF_INET6) as sender,
        other.socket(socket.SOCK_DGRAM, family=socket.AF_INET6) as receiver,
    ):
        receiver.bind((B6, PORT))
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_DONTFRAG, 1)
        sender.sendto(bytes(MTU - 48), (B6, PORT))
        assert len(receiver.recv(2000)) == MTU - 48
        with pytest.raises(OSError, match="Message too long"):
            sender.sendto(bytes(MTU - 47), (B6, PORT))


async def test_a_repeat_changes_nothing_and_another_address_is_another_sandbox(
    machine: Machine, node: Namespace
) -> None:
    spec = spec_of(machine, A, A6)
    first = await machine.datapath.attach(spec)
    before = node.show("link", "show", spec.host_ifname)[0]["ifindex"]
    assert await machine.datapath.attach(spec) == first
    assert node.show("link", "show", spec.host_ifname)[0]["ifindex"] == before
    changed = replace(spec, addresses=(IPv4Address(A), IPv6Address(B6)))
    await machine.datapath.attach(changed)
    assert await machine.datapath.check(changed) == ()
    assert ipv6_neighbours(node) == [(B6, spec.pod_mac, ("PERMANENT",))]
    assert A6 not in {route[0] for route in ipv6_routes(node)}


DAMAGE = {
    "node route": ("node", "-6 route delete {a6}", "node: interface {way} lacks route {a6}/128 metric 1"),
    "node neighbour": ("node", "neigh delete {a6} dev {way}", "node: interface {way} lacks permanent neighbour {a6}"),
    "pod address": ("pod", "address delete {a6}/128 dev eth0", "pod: interface eth0 lacks address {a6}"),
    "pod default": ("pod", "-6 route delete default", "pod: interface eth0 lacks route ::/0 via fe80::1 metric 1024"),
    "pod neighbour": (
        "pod",
        "neigh delete fe80::1 dev eth0",
        "pod: interface eth0 lacks permanent neighbour fe80::1 at {gateway_mac}",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
async def test_check_finds_each_single_thing_and_attach_repairs_it(
    machine: Machine, node: Namespace, name: str
) -> None:
    where, command, words = DAMAGE[name]
    spec = spec_of(machine, A, A6)
    facts = machine.facts_about(A) | {"a6": A6}
    await machine.datapath.attach(spec)
    assert await machine.datapath.check(spec) == ()
    (node if where == "node" else machine.pods[A]).ip(*command.format(**facts).split())
    assert any(words.format(**facts) in found for found in await machine.datapath.check(spec))
    await machine.datapath.attach(spec)
    assert await machine.datapath.check(spec) == ()


@pytest.mark.parametrize("command", ["-6 route flush dev {way}", "-6 neigh flush dev {way} nud permanent"])
async def test_what_leads_to_a_pod_is_put_back_and_only_that(machine: Machine, node: Namespace, command: str) -> None:
    spec = spec_of(machine, A, A6)
    inside = await pod(machine, A, A6)
    node.ip(*command.format(way=machine.way_to(A)).split())
    (observed,) = await machine.datapath.sandboxes()
    assert not machine.datapath.is_complete(observed, spec)
    restored = await machine.datapath.restore_routes(spec)
    assert restored
    assert all(A6 in words for words in restored)
    (observed,) = await machine.datapath.sandboxes()
    assert machine.datapath.is_complete(observed, spec)
    assert observed.addresses == {IPv4Address(A), IPv6Address(A6)}
    assert seen(node, inside, A6) == PRIMARY6


@pytest.mark.parametrize("lost", ["nothing", "its namespace", "its entry of the bridge"])
async def test_the_end_of_a_pod_leaves_nothing_and_harms_no_other(machine: Machine, node: Namespace, lost: str) -> None:
    spec = spec_of(machine, A, A6)
    one, other = await pod(machine, A, A6), await pod(machine, B, B6)
    if lost == "its namespace":
        one.delete()
    elif lost == "its entry of the bridge" and machine.mode is ModeName.BRIDGE:
        node.run("bridge", "fdb", "delete", spec.pod_mac, "dev", spec.host_ifname, "master")
    await machine.datapath.detach(spec.sandbox)
    await machine.datapath.settle()
    assert A6 not in {route[0] for route in ipv6_routes(node)}
    assert [neighbour[0] for neighbour in ipv6_neighbours(node)] == [B6]
    assert seen(node, other, B6) == PRIMARY6
    await machine.datapath.detach(spec_of(machine, B, B6).sandbox)
    await machine.datapath.settle()
    assert ipv6_neighbours(node) == []
    assert [key.key for key in await machine.datapath.sandboxes()] == []


async def test_a_live_pod_stays_when_the_bridge_has_lost_the_entry_for_it(machine: Machine, node: Namespace) -> None:
    """A list of sandboxes removes what leads to nobody. A port's group names its IPv4 address, and nothing of IPv6."""
    spec = spec_of(machine, A, A6)
    await pod(machine, A, A6)
    if machine.mode is ModeName.BRIDGE:
        node.run("bridge", "fdb", "delete", spec.pod_mac, "dev", spec.host_ifname, "master")
    await machine.datapath.sandboxes()
    assert ipv6_neighbours(node) == [(A6, spec.pod_mac, ("PERMANENT",))]


async def test_a_pod_whose_runtime_turned_ipv6_off_has_it(machine: Machine, node: Namespace) -> None:
    spec = spec_of(machine, A, A6)
    machine.pods[A].sysctl("net/ipv6/conf/default/disable_ipv6", "1")
    await machine.datapath.attach(spec)
    assert seen(node, machine.pods[A], A6) == PRIMARY6


async def test_a_node_without_ipv6_on_its_links_refuses_and_keeps_nothing(machine: Machine, node: Namespace) -> None:
    node.sysctl("net/ipv6/conf/default/disable_ipv6", "1")
    with pytest.raises(DatapathError, match=rf"cannot add route {A6}/128 .*IPv6 is disabled"):
        await pod(machine, A, A6)
    assert machine.pods[A].links() == {"lo"}
    assert node.links() <= {"lo", "azure0"}


async def test_a_further_interface_is_answered_from_and_is_not_the_way_out(machine: Machine, node: Namespace) -> None:
    inside = await pod(machine, A, A6)
    sandbox = spec_of(machine, A, A6).sandbox._replace(ifname="net1")
    further = replace(spec_of(machine, B, B6, pod=inside), sandbox=sandbox)
    await machine.datapath.attach(further)
    assert await machine.datapath.check(further) == ()
    assert seen(node, inside, B6) == PRIMARY6
    assert [route for route in ipv6_routes(inside) if route[0] == "default"] == [("default", "fe80::1", "eth0", 1024)]
    inside.ip("-6", "rule", "delete", "from", B6)
    assert any(f"lacks policy rule 1000: from {B6}" in words for words in await machine.datapath.check(further))
