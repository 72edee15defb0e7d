"""Public addresses: who leaves the VNet by which way, in Azure's order, and who comes in by a public IP."""

import socket
from collections.abc import Callable
from ipaddress import IPv4Address

import pytest

from datapath.balancer_lab import (
    GATEWAY,
    PUBLIC_FRONT,
    balanced,
    by_balancer,
    callers_of,
    heard,
    nothing_came,
    with_gateway,
    with_security_group,
    without_default,
)
from datapath.fabric_lab import (
    PRIMARY_1,
    PRIMARY_2,
    PUBLIC_IP,
    PUBLISHED_1,
    SECOND_1,
    SECOND_2,
    SILENCE_S,
    Lab,
    an_address,
    with_nic,
    without_address,
)
from datapath.namespaces import NEEDS_ROOT
from fakeazure.effective import EffectiveNetwork

PORT = 7000
INTERNET, ARM = "203.0.113.10", ("198.51.100.1", 443)

pytestmark = NEEDS_ROOT


def test_all_of_a_subnet_leave_by_its_nat_gateway(lab: Lab) -> None:
    lab.apply(with_gateway(lab.network))
    for vm, source in ((lab.vm1, PRIMARY_1), (lab.vm1, SECOND_1), (lab.vm1, PUBLISHED_1), (lab.vm2, SECOND_2)):
        assert lab.whoami(vm, source, INTERNET)["caller"] == GATEWAY
    lab.listener(lab.fabric.namespace, *ARM)
    assert lab.connects(lab.vm1, SECOND_1, ARM)
    receiver = lab.udp(lab.place("internet"), INTERNET, PORT)
    lab.udp(lab.vm2, SECOND_2).sendto(b"?", (INTERNET, PORT))
    assert heard(receiver) == GATEWAY
    assert lab.no_echo(lab.vm1, INTERNET)  # no ICMP
    lab.apply(without_address(lab.network, 0, PUBLISHED_1))
    assert lab.pings(lab.vm1, INTERNET)  # by the default address


@pytest.mark.parametrize("change", [without_default, lambda network: balanced(network, PRIMARY_1)])
def test_where_nothing_gives_a_way_out_nothing_leaves(
    lab: Lab, change: Callable[[EffectiveNetwork], EffectiveNetwork]
) -> None:
    lab.listener(lab.fabric.namespace, *ARM)
    lab.apply(change(without_address(lab.network, 0, PUBLISHED_1)))
    assert lab.unanswered(lab.vm1, PRIMARY_1, (INTERNET, 80))
    assert lab.unanswered(lab.vm1, PRIMARY_1, ARM)
    assert lab.no_echo(lab.vm1, INTERNET)


def test_an_outbound_rule_gives_its_protocol_a_way(lab: Lab) -> None:
    network = without_address(lab.network, 0, PUBLISHED_1)
    lab.apply(by_balancer(network, PRIMARY_1, protocol="Tcp"))
    assert lab.whoami(lab.vm1, PRIMARY_1, INTERNET)["caller"] == PUBLIC_FRONT
    receiver = lab.udp(lab.place("internet"), INTERNET, PORT)
    sender = lab.udp(lab.vm1, PRIMARY_1)
    sender.sendto(b"?", (INTERNET, PORT))
    assert nothing_came(receiver)
    lab.apply(by_balancer(network, PRIMARY_1))
    sender.sendto(b"?", (INTERNET, PORT))
    assert heard(receiver) == PUBLIC_FRONT


def test_a_flow_ends_with_its_way_out(lab: Lab) -> None:
    listener = lab.listener(lab.place("internet"), INTERNET, PORT)
    lab.apply(with_gateway(lab.network))
    client = lab.connect(lab.vm2, SECOND_2, (INTERNET, PORT))
    server, caller = listener.accept()
    with server:
        assert caller[0] == GATEWAY
        lab.apply()
        assert silent(client, server)


def silent(one: socket.socket, other: socket.socket) -> bool:
    """Whether neither end of a connection hears the other."""
    for sender, receiver in ((one, other), (other, one)):
        sender.sendall(b"?")
        receiver.settimeout(SILENCE_S)
        try:
            receiver.recv(10)
        except TimeoutError:
            continue
        return False
    return True


def test_a_public_ip_is_closed_until_a_security_group_opens_it(lab: Lab) -> None:
    listener = lab.listener(lab.vm1, PUBLISHED_1, PORT)
    lab.apply()
    assert lab.unanswered(lab.place("internet"), INTERNET, (PUBLIC_IP, PORT))
    lab.apply(with_security_group(lab.network, 0))
    client = lab.connect(lab.place("internet"), INTERNET, (PUBLIC_IP, PORT))
    server, caller = listener.accept()
    with server:
        assert caller[0] == INTERNET
        client.sendall(b"?")
        assert server.recv(10) == b"?"
        server.sendall(b"!")
        assert client.recv(10) == b"!"
        for private in (PUBLISHED_1, PRIMARY_1):
            assert lab.unanswered(lab.place("internet"), INTERNET, (private, PORT))
        bare = without_address(lab.network, 0, PUBLISHED_1)
        bare = with_nic(bare, 0, addresses=(*bare.nics[0].addresses, an_address(PUBLISHED_1)))
        lab.apply(with_security_group(bare, 0))
        assert silent(client, server)


def test_what_came_in_by_a_public_ip_is_answered_by_it_also_with_a_nat_gateway(lab: Lab) -> None:
    lab.apply(with_security_group(with_gateway(lab.network), 0))
    listener = lab.listener(lab.vm1, PUBLISHED_1, PORT)
    assert lab.connects(lab.place("internet"), INTERNET, (PUBLIC_IP, PORT))
    assert callers_of(listener) == [INTERNET]


def test_a_vm_calls_a_public_ip_as_the_internet_knows_it(lab: Lab) -> None:
    lab.apply(with_security_group(lab.network, 0))
    listener = lab.listener(lab.vm1, PUBLISHED_1, PORT)
    lab.connect(lab.vm2, PRIMARY_2, (PUBLIC_IP, PORT))
    assert callers_of(listener) == [str(lab.fabric.public_addresses()[IPv4Address(PRIMARY_2)])]
    assert lab.unanswered(lab.vm2, SECOND_2, (PUBLIC_IP, PORT))
