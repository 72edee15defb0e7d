"""What pods of both families cannot do by IPv6, on a real kernel: be another one, a router, or a voice to all."""

from __future__ import annotations

import socket

import pytest

from azure_cni.model.identity import ModeName
from datapath.dual_site import (
    A6,
    B6,
    DUAL,
    PEER6,
    PRIMARY6,
    ROUTER,
    UNUSED6,
    advertisement,
    connected,
    datagram,
    default_routes,
    neighbour_claim,
    neighbour_question,
    pod,
    pods_of,
    seen,
    send,
    spec_of,
)
from datapath.machine import Machine
from datapath.namespaces import IN_EACH_MODE, SILENCE_S
from datapath.node_site import PORT, A, B, Site

pytestmark = IN_EACH_MODE

MAC_OF_ALL = "33:33:00:00:00:01"


@pytest.fixture
def site(machine: Machine) -> Site:
    return connected(machine)


FORGED = {
    "another pod's": B6,
    "the node's": PRIMARY6,
    "an address that no pod has": UNUSED6,
    "an address from elsewhere": PEER6,
    "a link-local one": "fe80::7",
    "none": "::",
    "a loopback": "::1",
}


@pytest.mark.parametrize("whose", FORGED)
async def test_a_pod_sends_from_no_address_but_its_own(site: Site, whose: str) -> None:
    one, other = await pods_of(site)
    spec = spec_of(site.machine, A, A6)
    site.node.ip("address", "add", "fe80::1/64", "dev", site.machine.way_to(A), "nodad")  # by a person, say
    with (
        site.node.socket(socket.SOCK_DGRAM, family=socket.AF_INET6) as on_node,
        other.socket(socket.SOCK_DGRAM, family=socket.AF_INET6) as on_pod,
        site.outside.socket(socket.SOCK_DGRAM, family=socket.AF_INET6) as beyond,
    ):
        places = {PRIMARY6: on_node, B6: on_pod, PEER6: beyond}
        for address, server in places.items():
            server.bind((address, PORT))
        packets = [datagram(source, target, b"from") for source in (FORGED[whose], A6) for target in places]
        send(one, "eth0", packets, source=spec.pod_mac, target=site.machine.gateway_mac(A))
        for server in places.values():
            assert server.recvfrom(64)[1][0] == A6  # the forged one was sent before
            server.settimeout(0.05)
            with pytest.raises(TimeoutError):
                server.recv(64)


async def test_a_pod_speaks_to_nobody_who_listens_for_all_that_are_near(site: Site) -> None:
    one, _ = await pods_of(site)
    spec = spec_of(site.machine, A, A6)
    with site.node.socket(socket.SOCK_DGRAM, family=socket.AF_INET6) as server:
        server.bind(("::", PORT))
        near = [datagram(A6, target, b"to all") for target in ("ff02::1", "ff01::1", "ff05::1")]
        send(one, "eth0", [*near, datagram(A6, PRIMARY6, b"to you")], source=spec.pod_mac, target=MAC_OF_ALL)
        send(one, "eth0", [datagram(A6, PRIMARY6, b"to you")], source=spec.pod_mac, target=site.machine.gateway_mac(A))
        assert server.recv(64) == b"to you"
        send(one, "eth0", near, source=spec.pod_mac, target=site.machine.gateway_mac(A))
        server.settimeout(SILENCE_S)
        while True:
            try:
                assert server.recv(64) == b"to you"
            except TimeoutError:
                break


async def test_a_pod_does_not_take_another_ones_place_by_a_neighbours_word(site: Site) -> None:
    """Not even where somebody has made a neighbour that the kernel learns again of a permanent one."""
    one, other = await pods_of(site)
    spec, way, mac = spec_of(site.machine, A, A6), site.machine.way_to(B), spec_of(site.machine, B, B6).pod_mac
    site.node.ip(*f"neigh replace {B6} dev {way} lladdr {mac} nud reachable".split())
    said = [neighbour_claim(A6, target, B6, spec.pod_mac) for target in (PRIMARY6, "ff02::1")]
    said += [neighbour_claim(B6, PRIMARY6, B6, spec.pod_mac), neighbour_question(B6, PRIMARY6, PRIMARY6, spec.pod_mac)]
    send(one, "eth0", said, source=spec.pod_mac, target=site.machine.gateway_mac(A))
    assert seen(one, site.node, PRIMARY6) == A6
    assert [n["lladdr"] for n in site.node.show("neigh", "show", B6, "dev", way)] == [mac]
    assert seen(site.node, other, B6) == PRIMARY6


def lies(site: Site) -> list[bytes]:
    """What makes the node believe that the pod is its router, another pod or a neighbour that nobody has."""
    mac = spec_of(site.machine, A, A6).pod_mac
    sources = ("fe80::7", A6, "::")
    return [
        *(advertisement(source, target, mac=mac) for source in sources for target in ("ff02::1", PRIMARY6)),
        *(
            neighbour_claim(source, target, claimed, mac)
            for source in sources
            for target in ("ff02::1", PRIMARY6)
            for claimed in (B6, ROUTER, "2001:db8::bad")
        ),
        *(
            neighbour_question(f"2001:db8::bad:{number}", target, PRIMARY6, mac)
            for number in range(500)
            for target in (PRIMARY6, "ff02::1:ff00:4")
        ),
        *(neighbour_question(A6, target, PRIMARY6, mac) for target in (PRIMARY6, "ff02::1:ff00:4")),
    ]


async def test_a_pod_is_nobodys_router_and_no_neighbour_but_itself(site: Site) -> None:
    for scope in ("default", "all"):
        site.node.sysctl(f"net/ipv6/conf/{scope}/accept_ra", "2")
    one, other = await pods_of(site)
    site.node.sysctl(f"net/ipv6/conf/{site.machine.way_to(A)}/accept_ra", "2")
    spec = spec_of(site.machine, A, A6)
    for target in (site.machine.gateway_mac(A), MAC_OF_ALL, spec_of(site.machine, B, B6).pod_mac):
        send(one, "eth0", lies(site), source=spec.pod_mac, target=target)
    assert seen(one, site.node, PRIMARY6) == A6  # what came before has been taken in
    assert default_routes(site.node) == [(ROUTER, "boot")]
    assert default_routes(other) == [("fe80::1", "static")]
    way = site.machine.way_to(A)
    near = {(n["dst"], n["lladdr"]) for n in site.node.show("-6", "neigh", "show", "nud", "all") if n["dev"] != "eth0"}
    permanent = {(A6, spec.pod_mac), (B6, spec_of(site.machine, B, B6).pod_mac)}
    assert {(dst, mac) for dst, mac in near if not dst.startswith("ff")} == permanent, way
    assert seen(site.node, other, B6) == PRIMARY6


async def test_a_pod_takes_no_routers_word_whoever_speaks(site: Site) -> None:
    """Not even from the node's end, where the runtime has told it to listen."""
    await site.machine.datapath.apply_node(DUAL)
    one = await pod(site.machine, A, A6)
    spec = spec_of(site.machine, A, A6)
    said = advertisement("fe80::bad", mac="02:00:00:00:00:99")
    send(site.node, spec.host_ifname, [said], source="02:00:00:00:00:99", target=MAC_OF_ALL)
    assert seen(one, site.node, PRIMARY6) == A6
    assert default_routes(one) == [("fe80::1", "static")]


@pytest.mark.parametrize(
    "damage",
    [
        "flush ruleset",
        "flush chain inet azure_cni ipv6_from_pods",
        "add element inet azure_cni pool_ipv6 { 2001:db8::bad }",
    ],
)
async def test_the_guards_are_back_after_somebody_changed_them(site: Site, damage: str) -> None:
    await site.machine.datapath.apply_node(DUAL)
    right = site.node.run("nft", "-s", "list", "ruleset")
    site.node.run("nft", *damage.split())
    assert len((await site.machine.datapath.apply_node(DUAL)).repaired) == 1 + (
        damage == "flush ruleset" and site.machine.mode is ModeName.BRIDGE
    )
    assert site.node.run("nft", "-s", "list", "ruleset") == right


def idle(site: Site, family: str, chain: str) -> list[str]:
    """The guards of IPv6 in a chain that have dropped nothing, as nft writes them."""
    listed = site.node.run("nft", "list", "chain", family, "azure_cni", chain).splitlines()
    guards = [line.strip() for line in listed if " drop" in line and ("ip6 saddr" in line or chain == "ipv6_from_pods")]
    assert len(guards) == (4 if chain == "ipv6_from_pods" else 1), listed
    return [line for line in guards if "packets 0 " in line]


async def test_every_guard_of_ipv6_matches(site: Site) -> None:
    """A guard that asks for the wrong interface never does, without a word. Those at a bridge's ports come first."""
    one, _ = await pods_of(site)
    spec = spec_of(site.machine, A, A6)
    attack = [
        *(datagram(source, PRIMARY6, b"from") for source in (B6, PEER6, "fe80::7")),
        datagram(A6, "ff02::1", b"to all"),
        neighbour_question(A6, PRIMARY6, PRIMARY6, spec.pod_mac),
    ]

    def strike() -> None:
        send(one, "eth0", attack, source=spec.pod_mac, target=site.machine.gateway_mac(A))
        assert seen(one, site.node, PRIMARY6) == A6  # sent later: the attack has had its time

    if site.machine.mode is ModeName.BRIDGE:
        strike()
        assert idle(site, "bridge", "from_ports") == []
        site.node.run("nft", "flush", "chain", "bridge", "azure_cni", "from_ports")
    strike()
    assert idle(site, "inet", "ipv6_from_pods") == []
