"""The fabric's load balancer: who gets a flow, who sees whom, and what ends one."""

import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from itertools import chain

import pytest

from azurebox.fabric.kernel import configure
from datapath.balancer_lab import (
    A_PUBLIC_RULE,
    A_RULE,
    ALIVE,
    BACK_PORT,
    FRONT,
    FRONT_PORT,
    PUBLIC_FRONT,
    Ending,
    answered,
    balanced,
    callers_of,
    callers_of_each,
    connect_often,
    ending,
    healthy,
    heard,
    nothing_came,
    with_security_group,
)
from datapath.fabric_lab import (
    PATIENCE_S,
    PRIMARY_1,
    PRIMARY_2,
    PUBLISHED_1,
    SECOND_1,
    SECOND_2,
    Lab,
    a_datagram,
    a_frame,
    arrivals,
    without_address,
)
from datapath.namespaces import NEEDS_ROOT

pytestmark = NEEDS_ROOT

ONPREM, PEER, INTERNET = "192.168.50.10", "10.241.0.4", "203.0.113.10"
MANY = 40  # the chance that one of two members gets none of these by luck is 2 in 10^12
FRONTEND = (FRONT, FRONT_PORT)


@pytest.fixture
def servers(lab: Lab) -> tuple[socket.socket, socket.socket]:
    """A server on a secondary address of each VM."""
    return lab.listener(lab.vm1, SECOND_1, BACK_PORT), lab.listener(lab.vm2, SECOND_2, BACK_PORT)


@contextmanager
def on_loopback(address: str, *vms: str) -> Iterator[None]:
    """The VMs take this address as their own, as floating IP asks of them."""
    for vm in vms:
        configure(vm, [f"address replace {address}/32 dev lo"])
    try:
        yield
    finally:
        for vm in vms:
            configure(vm, [f"address delete {address}/32 dev lo"])


@pytest.mark.parametrize(("place", "source"), [("onprem", ONPREM), ("peer", PEER)])
def test_connections_are_spread_over_the_members_who_see_the_client(
    lab: Lab, servers: tuple[socket.socket, socket.socket], place: str, source: str
) -> None:
    lab.apply(balanced(lab.network, SECOND_1, SECOND_2))
    connect_often(lab, lab.place(place), source, MANY)
    callers = callers_of_each(*servers, count=MANY)
    assert all(callers)
    assert [*chain(*callers)] == [source] * MANY


def test_a_vm_of_the_vnet_is_a_client_like_any_other(lab: Lab) -> None:
    servers = [lab.listener(lab.vm2, address, BACK_PORT) for address in (PRIMARY_2, SECOND_2)]
    lab.apply(balanced(lab.network, PRIMARY_2, SECOND_2))
    connect_often(lab, lab.vm1, PRIMARY_1, MANY)
    callers = callers_of_each(*servers, count=MANY)
    assert all(callers)
    assert [*chain(*callers)] == [PRIMARY_1] * MANY


def test_a_flow_goes_both_ways_and_keeps_its_member(lab: Lab, servers: tuple[socket.socket, socket.socket]) -> None:
    lab.apply(balanced(lab.network, SECOND_1))
    client = lab.connect(lab.place("onprem"), ONPREM, FRONTEND)
    server, _ = servers[0].accept()
    with server:
        lab.apply(balanced(lab.network, SECOND_1, SECOND_2))
        assert answered(client, server)


@pytest.mark.parametrize("affinity", ["SourceIP", "SourceIPProtocol"])
def test_by_source_address_a_client_stays_with_one_member(
    lab: Lab, servers: tuple[socket.socket, socket.socket], affinity: str
) -> None:
    lab.apply(balanced(lab.network, SECOND_1, SECOND_2, rule=replace(A_RULE, affinity=affinity)))
    for place, source in (("onprem", ONPREM), ("peer", PEER)):
        connect_often(lab, lab.place(place), source, 10)
        assert sorted(map(len, callers_of_each(*servers, count=10))) == [0, 10]


def test_members_that_are_down_get_no_new_connections(lab: Lab, servers: tuple[socket.socket, socket.socket]) -> None:
    network = balanced(lab.network, SECOND_1, SECOND_2, rule=replace(A_RULE, probe=ALIVE))
    lab.fabric.apply(network, healthy=healthy(SECOND_2))
    connect_often(lab, lab.place("onprem"), ONPREM, 10)
    assert [*map(len, callers_of_each(*servers, count=10))] == [0, 10]
    lab.fabric.apply(network)
    assert lab.unanswered(lab.place("onprem"), ONPREM, FRONTEND)
    up = replace(A_RULE, probe=replace(ALIVE, used_when_all_down=True))
    lab.fabric.apply(balanced(lab.network, SECOND_1, SECOND_2, rule=up))
    assert lab.connects(lab.place("onprem"), ONPREM, FRONTEND)


def test_established_connections_outlive_a_probe_that_fails_but_not_the_membership(
    lab: Lab, servers: tuple[socket.socket, socket.socket]
) -> None:
    probing = replace(A_RULE, probe=ALIVE)
    network = balanced(lab.network, SECOND_1, SECOND_2, rule=probing)
    lab.fabric.apply(network, healthy=healthy(SECOND_1))
    client = lab.connect(lab.place("onprem"), ONPREM, FRONTEND)
    server, _ = servers[0].accept()
    with server:
        lab.fabric.apply(network, healthy=healthy(SECOND_2))
        assert answered(client, server)
        lab.fabric.apply(network)
        assert answered(client, server)
        lab.fabric.apply(balanced(lab.network, SECOND_2, rule=probing), healthy=healthy(SECOND_2))
        # What the member sends is no answer of the frontend any more: it comes from its own address, to a client that
        # knows no such connection.
        assert ending(client, server) is Ending.RESET


def test_datagrams_move_from_a_member_that_is_down(lab: Lab) -> None:
    network = balanced(lab.network, SECOND_1, SECOND_2, rule=replace(A_RULE, protocol="Udp", probe=ALIVE))
    first = lab.udp(lab.vm1, SECOND_1, BACK_PORT)
    second = lab.udp(lab.vm2, SECOND_2, BACK_PORT)
    client = lab.udp(lab.place("onprem"), ONPREM)
    lab.fabric.apply(network, healthy=healthy(SECOND_1))
    client.sendto(b"1", FRONTEND)
    payload, caller = first.recvfrom(10)
    first.sendto(payload, caller)
    assert client.recvfrom(10) == (b"1", FRONTEND)
    lab.fabric.apply(network, healthy=healthy(SECOND_2))
    client.sendto(b"2", FRONTEND)
    assert heard(second) == ONPREM
    lab.fabric.apply(network)
    client.sendto(b"3", FRONTEND)
    assert nothing_came(first, second)
    lab.fabric.apply(network, healthy=healthy(SECOND_1, SECOND_2))
    client.sendto(b"4", FRONTEND)
    (chosen,), _, _ = select.select([first, second], [], [], PATIENCE_S)
    heard(chosen)
    stayed, left = (SECOND_2, SECOND_1) if chosen is first else (SECOND_1, SECOND_2)
    lab.apply(balanced(lab.network, stayed, rule=replace(A_RULE, protocol="Udp")))  # nor does a member that has left
    client.sendto(b"5", FRONTEND)
    assert heard({SECOND_1: first, SECOND_2: second}[stayed]) == ONPREM, f"{left} is still asked"


def test_datagrams_with_floating_ip_move_too(lab: Lab) -> None:
    rule = replace(A_RULE, protocol="Udp", probe=ALIVE, floating_ip=True, backend_port=FRONT_PORT)
    network = balanced(lab.network, PRIMARY_1, PRIMARY_2, rule=rule)
    with on_loopback(FRONT, lab.vm1, lab.vm2):
        first, second = (lab.udp(vm, FRONT, FRONT_PORT) for vm in (lab.vm1, lab.vm2))
        client = lab.udp(lab.place("onprem"), ONPREM)
        for member, receiver in ((PRIMARY_1, first), (PRIMARY_2, second)):
            lab.fabric.apply(network, healthy=healthy(member))
            client.sendto(b"?", FRONTEND)
            assert heard(receiver) == ONPREM


def test_a_member_that_reaches_itself_through_the_frontend_hears_nothing(
    lab: Lab, servers: tuple[socket.socket, socket.socket]
) -> None:
    lab.apply(balanced(lab.network, SECOND_1))
    assert lab.unanswered(lab.vm1, SECOND_1, FRONTEND)
    lab.apply(balanced(lab.network, SECOND_1, SECOND_2))
    reached = [not lab.unanswered(lab.vm1, SECOND_1, FRONTEND) for _ in range(20)]
    assert set(reached) == {True, False}  # as often as the choice falls on the other
    accepted, caller = servers[1].accept()
    accepted.close()
    assert caller[0] == SECOND_1


@pytest.mark.parametrize("back_port", [FRONT_PORT, BACK_PORT])
def test_with_floating_ip_the_destination_is_kept(lab: Lab, back_port: int) -> None:
    rule = replace(A_RULE, floating_ip=True, backend_port=back_port)
    with on_loopback(FRONT, lab.vm1, lab.vm2):
        servers = [lab.listener(vm, FRONT, back_port) for vm in (lab.vm1, lab.vm2)]
        lab.apply(balanced(lab.network, PRIMARY_1, PRIMARY_2, rule=rule))
        connect_often(lab, lab.place("onprem"), ONPREM, MANY)
        callers = callers_of_each(*servers, count=MANY)
        assert all(callers)
        assert [*chain(*callers)] == [ONPREM] * MANY
        client = lab.connect(lab.place("onprem"), ONPREM, FRONTEND)
        (called,), _, _ = select.select(servers, [], [], PATIENCE_S)
        number = servers.index(called)
        server, _ = called.accept()
        with server:
            assert answered(client, server)
            lab.apply(balanced(lab.network, (PRIMARY_2, PRIMARY_1)[number], rule=rule))  # its own member has left
            assert ending(client, server) is Ending.SILENCE  # the member sends as the frontend, which it is no more


def test_floating_ip_is_for_primary_configurations_unless_there_is_a_nat_gateway(lab: Lab) -> None:
    rule = replace(A_RULE, floating_ip=True, backend_port=FRONT_PORT)
    network = balanced(lab.network, SECOND_1, rule=rule)
    with on_loopback(FRONT, lab.vm1):
        lab.listener(lab.vm1, FRONT, FRONT_PORT)
        lab.apply(network)
        assert lab.unanswered(lab.place("onprem"), ONPREM, FRONTEND)
        main = network.vnets[0]
        gateway = replace(main.subnets[0], nat_addresses=("198.51.100.160",))
        lab.apply(replace(network, vnets=(replace(main, subnets=(gateway,)), *network.vnets[1:])))
        assert lab.connects(lab.place("onprem"), ONPREM, FRONTEND)


def test_a_frontends_address_is_no_source_of_a_members_own_flows(lab: Lab) -> None:
    lab.apply(balanced(lab.network, PRIMARY_1, rule=replace(A_RULE, floating_ip=True, backend_port=FRONT_PORT)))
    receiver, wire = lab.udp(lab.vm2, PRIMARY_2, 7000), lab.raw(lab.vm1)
    wire.send(a_frame(a_datagram(FRONT, PRIMARY_2, b"as the frontend", port=7000), source_mac=lab.network.nics[0].mac))
    wire.send(a_frame(a_datagram(PRIMARY_1, PRIMARY_2, b"as itself", port=7000), source_mac=lab.network.nics[0].mac))
    assert arrivals(receiver, b"as itself") == [(b"as itself", PRIMARY_1)]


def test_all_ports_are_balanced_by_one_rule(lab: Lab) -> None:
    lab.apply(balanced(lab.network, SECOND_2, rule=replace(A_RULE, protocol="All", frontend_port=0, backend_port=0)))
    for port in (80, 7001):
        server = lab.listener(lab.vm2, SECOND_2, port)
        lab.connect(lab.vm1, PRIMARY_1, (FRONT, port))
        assert callers_of(server) == [PRIMARY_1]
    receiver, client = lab.udp(lab.vm2, SECOND_2, 53), lab.udp(lab.vm1, PRIMARY_1)
    client.sendto(b"?", (FRONT, 53))
    assert heard(receiver) == PRIMARY_1


def test_members_are_reached_directly_too_and_by_whom_they_were(
    lab: Lab, servers: tuple[socket.socket, socket.socket]
) -> None:
    stranger = replace(lab.network.vnets[0], vnet_id="/vnets/stranger", prefixes=("10.250.0.0/16",), subnets=())
    network = balanced(lab.network, SECOND_1, SECOND_2)
    lab.apply(replace(network, vnets=(*network.vnets, stranger)))
    for place, source in (("onprem", ONPREM), ("vm1", PRIMARY_1)):
        client = lab.connect(lab.place(place), source, (SECOND_2, BACK_PORT))
        server, caller = servers[1].accept()
        with server:
            assert caller[0] == source
            assert answered(client, server)
    main, peer = network.vnets
    lab.apply(replace(network, vnets=(replace(main, peered_vnet_ids=()), peer)))
    assert lab.unanswered(lab.place("peer"), PEER, (SECOND_2, BACK_PORT))
    assert lab.unanswered(lab.place("peer"), PEER, FRONTEND)
    receiver = lab.udp(lab.place("peer"), PEER, 7000)
    lab.udp(lab.vm2, SECOND_2, BACK_PORT).sendto(b"out of sight", (PEER, 7000))
    assert nothing_came(receiver)  # what looks like an answer of a member sees no more than the member does


def test_fragments_do_not_pass_a_rule_with_ports(lab: Lab) -> None:
    rule = replace(A_RULE, protocol="Udp")
    lab.apply(balanced(lab.network, SECOND_2, rule=rule))
    receiver = lab.udp(lab.vm2, SECOND_2, BACK_PORT)
    sender = lab.udp(lab.vm1, PRIMARY_1)
    sender.sendto(bytes(1800), FRONTEND)
    assert nothing_came(receiver)
    sender.sendto(bytes(18), FRONTEND)
    assert heard(receiver) == PRIMARY_1


def test_a_public_frontend_opens_with_a_security_group(lab: Lab, servers: tuple[socket.socket, socket.socket]) -> None:
    network = balanced(lab.network, SECOND_1, SECOND_2, rule=A_PUBLIC_RULE)
    public = (PUBLIC_FRONT, FRONT_PORT)
    lab.apply(network)
    assert lab.unanswered(lab.place("internet"), INTERNET, public)
    lab.apply(with_security_group(network, 0, 1))
    connect_often(lab, lab.place("internet"), INTERNET, MANY, public)
    callers = callers_of_each(*servers, count=MANY)
    assert all(callers)
    assert [*chain(*callers)] == [INTERNET] * MANY
    assert lab.unanswered(lab.place("internet"), INTERNET, (SECOND_1, BACK_PORT))
    lab.apply(with_security_group(network, 1))
    reached = [not lab.unanswered(lab.place("internet"), INTERNET, public) for _ in range(20)]
    assert set(reached) == {True, False}  # a closed member is no member that is down


def test_a_public_frontend_with_floating_ip(lab: Lab) -> None:
    rule = replace(A_PUBLIC_RULE, floating_ip=True, backend_port=FRONT_PORT)
    network = balanced(lab.network, PRIMARY_1, rule=rule)
    with on_loopback(PUBLIC_FRONT, lab.vm1):
        server = lab.listener(lab.vm1, PUBLIC_FRONT, FRONT_PORT)
        lab.apply(network)
        assert lab.unanswered(lab.place("internet"), INTERNET, (PUBLIC_FRONT, FRONT_PORT))
        lab.apply(with_security_group(network, 0))
        client = lab.connect(lab.place("internet"), INTERNET, (PUBLIC_FRONT, FRONT_PORT))
        accepted, caller = server.accept()
        with accepted:
            assert caller[0] == INTERNET
            assert answered(client, accepted)


def test_a_vm_calls_a_public_frontend_as_the_internet_knows_it(
    lab: Lab, servers: tuple[socket.socket, socket.socket]
) -> None:
    network = balanced(without_address(lab.network, 0, PUBLISHED_1), SECOND_1, rule=A_PUBLIC_RULE)
    lab.apply(with_security_group(network, 0))
    lab.connect(lab.vm2, PRIMARY_2, (PUBLIC_FRONT, FRONT_PORT))
    assert callers_of(servers[0]) == [str(lab.fabric.public_addresses()[IPv4Address(PRIMARY_2)])]
    assert lab.unanswered(lab.vm2, SECOND_2, (PUBLIC_FRONT, FRONT_PORT))  # it has no way out
