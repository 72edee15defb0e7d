"""The fabric beyond the VMs: the platform answers primaries only, and each place sees the caller as in Azure."""

import socket
import struct
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from azurebox.fabric.kernel import configure
from datapath.fabric_lab import (
    PRIMARY_1,
    PRIMARY_2,
    PUBLIC_IP,
    PUBLISHED_1,
    SECOND_1,
    SECOND_2,
    SILENCE_S,
    Lab,
    a_datagram,
    a_frame,
    an_address,
    arrivals,
    with_nic,
    without_address,
)
from datapath.namespaces import NEEDS_ROOT
from fakeazure.effective import EffectiveNetwork

pytestmark = NEEDS_ROOT

PORT = 7000
PEER, ONPREM, INTERNET = "10.241.0.4", "192.168.50.10", "203.0.113.10"
IMDS, WIRESERVER, ARM = ("169.254.169.254", 80), "168.63.129.16", ("198.51.100.1", 443)


@pytest.mark.parametrize("service", [IMDS, (WIRESERVER, 53), (WIRESERVER, 80), (WIRESERVER, 32526)])
def test_imds_and_wireserver_answer_primary_addresses_only(lab: Lab, service: tuple[str, int]) -> None:
    listener = lab.listener(lab.fabric.namespace, *service)
    assert lab.unanswered(lab.vm1, SECOND_1, service)
    assert lab.unanswered(lab.vm1, PUBLISHED_1, service)
    for vm, primary in ((lab.vm1, PRIMARY_1), (lab.vm2, PRIMARY_2)):
        assert lab.connects(vm, primary, service)
        accepted, caller = listener.accept()
        accepted.close()
        assert caller[0] == primary


@pytest.mark.parametrize("service", [(IMDS[0], 443), (WIRESERVER, 22), (ARM[0], 80)])
def test_no_other_port_of_the_platform_is_open(lab: Lab, service: tuple[str, int]) -> None:
    lab.listener(lab.fabric.namespace, *service)
    assert lab.unanswered(lab.vm1, PRIMARY_1, service)


def test_places_beyond_are_no_vms_to_the_platform(lab: Lab) -> None:
    lab.listener(lab.fabric.namespace, *IMDS)
    assert lab.unanswered(lab.place("peer"), PEER, IMDS)
    assert lab.unanswered(lab.place("onprem"), ONPREM, IMDS)


def test_a_probe_of_the_platform_reaches_any_address_and_its_answer_comes_back(lab: Lab) -> None:
    listener = lab.listener(lab.vm2, SECOND_2, PORT)
    lab.connect(lab.fabric.namespace, WIRESERVER, (SECOND_2, PORT))
    accepted, caller = listener.accept()
    accepted.close()
    assert caller[0] == WIRESERVER


def test_arm_is_reached_by_who_has_a_way_out(lab: Lab) -> None:
    lab.listener(lab.fabric.namespace, *ARM)
    assert lab.connects(lab.vm2, PRIMARY_2, ARM)
    assert lab.connects(lab.vm1, PUBLISHED_1, ARM)
    assert lab.connects(lab.place("peer"), PEER, ARM)
    assert lab.connects(lab.place("onprem"), ONPREM, ARM)
    assert lab.unanswered(lab.vm2, SECOND_2, ARM)
    lab.apply(without_outbound(lab.network))
    assert lab.unanswered(lab.vm2, PRIMARY_2, ARM)


@pytest.mark.parametrize("source", [PRIMARY_1, SECOND_1])
@pytest.mark.parametrize(("name", "target"), [("peer", PEER), ("onprem", ONPREM)])
def test_peer_and_onprem_see_the_vnet_address(lab: Lab, source: str, name: str, target: str) -> None:
    assert lab.whoami(lab.vm1, source, target) == {"host": name, "caller": source}


@pytest.mark.parametrize(("name", "source"), [("peer", PEER), ("onprem", ONPREM)])
def test_peer_and_onprem_reach_vnet_addresses_as_themselves(lab: Lab, name: str, source: str) -> None:
    listener = lab.listener(lab.vm2, SECOND_2, PORT)
    lab.connect(lab.place(name), source, (SECOND_2, PORT))
    accepted, caller = listener.accept()
    accepted.close()
    assert caller[0] == source


def test_the_peer_is_out_of_reach_without_the_peering(lab: Lab) -> None:
    main, peer = lab.network.vnets
    lab.apply(replace(lab.network, vnets=(replace(main, peered_vnet_ids=()), peer)))
    assert lab.unanswered(lab.vm1, PRIMARY_1, (PEER, 80))
    assert lab.connects(lab.vm1, PRIMARY_1, (ONPREM, 80))


def test_the_internet_sees_the_public_address_of_a_primary(lab: Lab) -> None:
    lab.apply(without_address(lab.network, 0, PUBLISHED_1))
    known_as = lab.fabric.public_addresses()
    for vm, primary in ((lab.vm1, PRIMARY_1), (lab.vm2, PRIMARY_2)):
        caller = str(known_as[IPv4Address(primary)])
        assert caller.startswith("198.51.100.")
        assert lab.whoami(vm, primary, INTERNET) == {"host": "internet", "caller": caller}
    assert known_as[IPv4Address(PRIMARY_1)] != known_as[IPv4Address(PRIMARY_2)]


def test_the_internet_sees_the_public_ip_of_the_configuration_that_has_one(lab: Lab) -> None:
    assert lab.whoami(lab.vm1, PUBLISHED_1, INTERNET) == {"host": "internet", "caller": PUBLIC_IP}


def test_a_public_ip_on_any_configuration_takes_the_default_from_its_vm(lab: Lab) -> None:
    assert lab.unanswered(lab.vm1, PRIMARY_1, (INTERNET, 80))
    lab.apply(without_address(lab.network, 0, PUBLISHED_1))
    assert lab.connects(lab.vm1, PRIMARY_1, (INTERNET, 80))


def test_a_primary_with_its_own_public_ip_is_known_by_it(lab: Lab) -> None:
    published = (an_address(PRIMARY_1, primary=True, public_ip="198.51.100.99"),)
    lab.apply(with_nic(lab.network, 0, addresses=published))
    assert lab.whoami(lab.vm1, PRIMARY_1, INTERNET)["caller"] == "198.51.100.99"


def test_a_secondary_has_no_way_to_the_internet(lab: Lab) -> None:
    assert lab.unanswered(lab.vm1, SECOND_1, (INTERNET, 80))


def test_without_default_outbound_only_a_public_ip_leads_out(lab: Lab) -> None:
    lab.apply(without_outbound(lab.network))
    assert lab.unanswered(lab.vm1, PRIMARY_1, (INTERNET, 80))
    assert lab.connects(lab.vm1, PUBLISHED_1, (INTERNET, 80))


@pytest.mark.parametrize("loss", ["the address", "its public address"])
def test_a_running_flow_to_the_internet_stops_with_either_address(lab: Lab, loss: str) -> None:
    listener = lab.listener(lab.place("internet"), INTERNET, PORT)
    client = lab.connect(lab.vm1, PUBLISHED_1, (INTERNET, PORT))
    server, caller = listener.accept()
    with server:
        assert caller[0] == PUBLIC_IP
        less = without_address(lab.network, 0, PUBLISHED_1)
        if loss == "its public address":
            less = with_nic(less, 0, addresses=(*less.nics[0].addresses, an_address(PUBLISHED_1)))
        lab.apply(less)
        client.sendall(b"outwards")
        server.sendall(b"inwards")
        for end in (client, server):
            end.settimeout(SILENCE_S)
            with pytest.raises(TimeoutError):
                end.recv(10)


def test_a_flow_does_not_keep_a_public_address_that_was_exchanged(lab: Lab) -> None:
    listener = lab.listener(lab.place("internet"), INTERNET, PORT)
    client = lab.connect(lab.vm1, PUBLISHED_1, (INTERNET, PORT))
    server, _ = listener.accept()
    with server:
        less = without_address(lab.network, 0, PUBLISHED_1)
        exchanged = an_address(PUBLISHED_1, public_ip="198.51.100.78")
        lab.apply(with_nic(less, 0, addresses=(*less.nics[0].addresses, exchanged)))
        client.sendall(b"outwards")
        server.settimeout(SILENCE_S)
        with pytest.raises(TimeoutError):
            server.recv(10)
    assert lab.whoami(lab.vm1, PUBLISHED_1, INTERNET)["caller"] == "198.51.100.78"


def test_a_nic_that_forwards_does_not_leave_as_another_vm(lab: Lab) -> None:
    lab.apply(with_nic(lab.network, 0, ip_forwarding=True))
    receiver, wire = lab.udp(lab.place("internet"), INTERNET, PORT), lab.raw(lab.vm1)
    wire.send(a_frame(a_datagram(PRIMARY_2, INTERNET, b"as another", port=PORT), source_mac=lab.network.nics[0].mac))
    wire.send(a_frame(a_datagram(PUBLISHED_1, INTERNET, b"as itself", port=PORT), source_mac=lab.network.nics[0].mac))
    assert arrivals(receiver, b"as itself") == [(b"as itself", PUBLIC_IP)]


def test_nothing_comes_in_from_the_internet_unasked(lab: Lab) -> None:
    lab.listener(lab.vm1, PUBLISHED_1, PORT)
    lab.listener(lab.vm1, PRIMARY_1, PORT)
    assert lab.unanswered(lab.place("internet"), INTERNET, (PUBLIC_IP, PORT))
    assert lab.unanswered(lab.place("internet"), INTERNET, (PUBLISHED_1, PORT))
    assert lab.unanswered(lab.place("internet"), INTERNET, (PRIMARY_1, PORT))


def test_outbound_addresses_stay_with_their_vms(lab: Lab) -> None:
    before = lab.fabric.public_addresses()
    lab.apply(replace(lab.network, nics=lab.network.nics[1:]))
    assert lab.fabric.public_addresses()[IPv4Address(PRIMARY_2)] == before[IPv4Address(PRIMARY_2)]


def test_an_unused_public_address_is_silent(lab: Lab) -> None:
    assert lab.unanswered(lab.vm1, PRIMARY_1, ("198.51.100.200", 80))
    assert lab.unanswered(lab.vm1, PRIMARY_1, ("8.8.8.8", 53))


@pytest.mark.parametrize(
    ("name", "kind", "answer"),
    [
        ("management.azure.com", 1, "198.51.100.1"),
        ("Management.Azure.COM", 1, "198.51.100.1"),
        ("login.microsoftonline.com", 1, "198.51.100.1"),
        ("{vm2}", 1, PRIMARY_2),
        ("{vm2}", 28, None),  # AAAA: the name exists, such a record does not
    ],
)
def test_dns_answers_for_its_names(lab: Lab, name: str, kind: int, answer: str | None) -> None:
    code, address = resolve(lab, name.format(vm2=lab.vm2), kind)
    assert (code, address) == (0, answer)


def test_dns_knows_no_other_names(lab: Lab) -> None:
    assert resolve(lab, "example.com", 1) == (3, None)
    lab.apply(replace(lab.network, nics=lab.network.nics[:1]))
    assert resolve(lab, lab.vm2, 1) == (3, None)


def test_dns_does_not_answer_a_secondary_address(lab: Lab) -> None:
    asking = lab.udp(lab.vm1, SECOND_1)
    asking.settimeout(SILENCE_S)
    asking.sendto(question("management.azure.com", 1), (WIRESERVER, 53))
    with pytest.raises(TimeoutError):
        asking.recv(512)


def test_dns_outlives_nonsense(lab: Lab) -> None:
    asking = lab.udp(lab.vm1, PRIMARY_1)
    for nonsense in (b"", b"\0" * 5, b"\1" * 12, b"\0\7\0\0\0\1" + b"\0" * 6 + b"\x3f", b"\xff" * 40):
        asking.sendto(nonsense, (WIRESERVER, 53))
    assert resolve(lab, "management.azure.com", 1) == (0, "198.51.100.1")


def without_outbound(network: EffectiveNetwork) -> EffectiveNetwork:
    main, *others = network.vnets
    private = tuple(replace(subnet, default_outbound=False) for subnet in main.subnets)
    return replace(network, vnets=(replace(main, subnets=private), *others))


def question(name: str, kind: int) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", kind, 1)


def resolve(lab: Lab, name: str, kind: int) -> tuple[int, str | None]:
    """Response code and address of the first answer."""
    asking = lab.udp(lab.vm1, PRIMARY_1)
    asking.sendto(question(name, kind), (WIRESERVER, 53))
    reply = asking.recv(512)
    number, flags, questions, answers, *_ = struct.unpack_from("!6H", reply)
    assert (number, questions) == (7, 1)
    return flags & 15, socket.inet_ntoa(reply[-4:]) if answers else None


def test_a_host_beyond_says_so_when_it_is_asked_for_something_else(lab: Lab) -> None:
    calling = lab.connect(lab.vm1, PRIMARY_1, (ONPREM, 80))
    calling.sendall(b"GET / HTTP/1.0\r\n\r\n")
    with calling.makefile("rb") as reply:
        assert b" 404 " in reply.readline()


def test_traffic_of_a_vm_that_is_not_applied_goes_nowhere(lab: Lab) -> None:
    newcomer = f"{lab.fabric.prefix}-new"
    lab.fabric.attach(newcomer, "00:0d:3a:00:00:03")
    try:
        configure(newcomer, ["address add 10.240.0.50/22 dev eth0", "route add default via 10.240.0.1 dev eth0"])
        for _ in range(2):  # before an apply knows the cable, and after one that has no NIC for it
            sender, witness = lab.udp(newcomer, "10.240.0.50"), lab.udp(lab.vm1, PRIMARY_1)
            receiver = lab.udp(lab.vm2, PRIMARY_2, PORT)
            configure(newcomer, ["neighbour replace 10.240.0.1 lladdr 12:34:56:78:9a:bc dev eth0 nud permanent"])
            configure(newcomer, [f"neighbour replace {PRIMARY_2} lladdr 12:34:56:78:9a:bc dev eth0 nud permanent"])
            sender.sendto(b"stray", (PRIMARY_2, PORT))
            witness.sendto(b"known", (PRIMARY_2, PORT))
            assert arrivals(receiver, b"known") == [(b"known", PRIMARY_1)]
            receiver.close()
            assert lab.unanswered(newcomer, "10.240.0.50", (INTERNET, 80))
            lab.apply()
    finally:
        lab.fabric.detach(newcomer)
