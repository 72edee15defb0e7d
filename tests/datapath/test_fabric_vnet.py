"""The fabric inside the VNet: who may send, who gets what, and from when to when."""

import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from azurebox.fabric.kernel import configure
from azurebox.steps import StepError
from datapath.fabric_lab import (
    FABRIC_MAC,
    PATIENCE_S,
    PRIMARY_1,
    PRIMARY_2,
    SECOND_1,
    SECOND_2,
    SILENCE_S,
    Lab,
    a_datagram,
    a_frame,
    an_address,
    arp_request,
    arrivals,
    mac,
    with_nic,
    without_address,
)
from datapath.namespaces import NEEDS_ROOT

pytestmark = NEEDS_ROOT

MAC_1, MAC_2 = "00:0d:3a:00:00:01", "00:0d:3a:00:00:02"
PORT = 7000
SO_RCVBUFFORCE = 33  # asm-generic/socket.h


@pytest.mark.parametrize("source", [PRIMARY_1, SECOND_1])
@pytest.mark.parametrize("target", [PRIMARY_2, SECOND_2])
def test_vms_reach_each_other_with_their_own_addresses(lab: Lab, source: str, target: str) -> None:
    listener = lab.listener(lab.vm2, target, PORT)
    lab.connect(lab.vm1, source, (target, PORT))
    accepted, caller = listener.accept()
    accepted.close()
    assert caller[0] == source


def test_no_hop_shows_between_vms(lab: Lab) -> None:
    receiver = lab.udp(lab.vm2, PRIMARY_2, PORT)
    lab.udp(lab.vm1, PRIMARY_1).sendto(b"hello", (PRIMARY_2, PORT))
    _, ancillary, _, _ = receiver.recvmsg(100, 100)
    assert [struct.unpack("i", data)[0] for level, kind, data in ancillary if kind == socket.IP_TTL] == [64]


def test_a_frame_arrives_with_the_mac_of_the_nic_that_holds_the_destination(lab: Lab) -> None:
    wire = lab.raw(lab.vm2, protocol=0x0800)
    lab.udp(lab.vm1, SECOND_1).sendto(b"hello", (SECOND_2, PORT))
    while not (frame := wire.recv(2048)).endswith(b"hello"):
        pass
    assert frame[:6] == mac(MAC_2)
    assert frame[6:12] == mac(FABRIC_MAC)


@pytest.mark.parametrize("target", [PRIMARY_2, "10.240.0.1", "10.240.2.99", "192.0.2.7", "8.8.8.8", "169.254.169.254"])
def test_arp_for_any_other_address_is_answered_by_the_fabric(lab: Lab, target: str) -> None:
    assert answers_to_arp(lab, target) == [(FABRIC_MAC, target)]


@pytest.mark.parametrize("target", [PRIMARY_1, SECOND_1])
def test_arp_for_an_address_of_the_vm_itself_is_not_answered(lab: Lab, target: str) -> None:
    assert answers_to_arp(lab, target, "10.240.0.1") == [(FABRIC_MAC, "10.240.0.1")]


def test_arp_with_another_mac_is_not_answered(lab: Lab) -> None:
    wire = lab.raw(lab.vm1, protocol=0x0806)
    wire.settimeout(SILENCE_S)
    wire.send(arp_request(source_mac="02:00:00:00:00:99", source=PRIMARY_1, target=PRIMARY_2))
    with pytest.raises(TimeoutError):
        wire.recv(100)


def answers_to_arp(lab: Lab, *targets: str) -> list[tuple[str, str]]:
    """The answers until the one for the last of `targets`: MAC and address shown."""
    wire = lab.raw(lab.vm1, protocol=0x0806)
    for target in targets:
        wire.send(arp_request(source_mac=MAC_1, source=PRIMARY_1, target=target))
    answers: list[tuple[str, str]] = []
    while not answers or answers[-1][1] != targets[-1]:
        frame = wire.recv(100)
        if frame[20:22] == b"\0\2":
            answers.append((frame[22:28].hex(":"), socket.inet_ntoa(frame[28:32])))
    return answers


def test_a_frame_with_another_mac_is_dropped(lab: Lab) -> None:
    receiver, wire = lab.udp(lab.vm2, PRIMARY_2, PORT), lab.raw(lab.vm1)
    for source_mac, payload in (("02:00:00:00:00:99", b"forged"), (MAC_2, b"theirs"), (MAC_1, b"honest")):
        wire.send(a_frame(a_datagram(PRIMARY_1, PRIMARY_2, payload, port=PORT), source_mac=source_mac))
    assert arrivals(receiver, b"honest") == [(b"honest", PRIMARY_1)]


def test_a_frame_that_is_not_for_the_fabrics_mac_is_dropped(lab: Lab) -> None:
    receiver, wire = lab.udp(lab.vm2, PRIMARY_2, PORT), lab.raw(lab.vm1)
    for target_mac, payload in (("ff:ff:ff:ff:ff:ff", b"to all"), (MAC_2, b"switched"), (FABRIC_MAC, b"routed")):
        packet = a_datagram(PRIMARY_1, PRIMARY_2, payload, port=PORT)
        wire.send(a_frame(packet, source_mac=MAC_1, target_mac=target_mac))
    assert arrivals(receiver, b"routed") == [(b"routed", PRIMARY_1)]


@pytest.mark.parametrize("foreign", ["10.240.0.200", PRIMARY_2, "172.16.0.1"])
def test_a_source_that_is_not_on_the_nic_is_dropped_unless_it_forwards(lab: Lab, foreign: str) -> None:
    receiver, wire = lab.udp(lab.vm2, SECOND_2, PORT), lab.raw(lab.vm1)

    def send(source: str, payload: bytes) -> None:
        wire.send(a_frame(a_datagram(source, SECOND_2, payload, port=PORT), source_mac=MAC_1))

    configure(lab.vm2, ["route replace 172.16.0.0/12 dev eth0"])  # a way back, or the VM itself would not take it
    send(foreign, b"spoofed")
    send(PRIMARY_1, b"honest")
    assert arrivals(receiver, b"honest") == [(b"honest", PRIMARY_1)]
    if foreign == PRIMARY_2:
        return  # no host takes a packet from its own address, whatever the fabric does
    lab.apply(with_nic(lab.network, 0, ip_forwarding=True))
    send(foreign, b"forwarded")
    assert arrivals(receiver, b"forwarded") == [(b"forwarded", foreign)]


def test_an_address_works_once_it_is_effective_and_not_before(lab: Lab) -> None:
    configure(lab.vm2, ["address replace 10.240.0.100/22 dev eth0"])
    receiver, sender = lab.udp(lab.vm2, "10.240.0.100", PORT), lab.udp(lab.vm1, SECOND_1)
    own = lab.udp(lab.vm2, "10.240.0.100")
    witness, back = lab.udp(lab.vm2, PRIMARY_2, PORT), lab.udp(lab.vm1, PRIMARY_1, PORT)

    sender.sendto(b"too early", ("10.240.0.100", PORT))
    sender.sendto(b"witness", (PRIMARY_2, PORT))
    arrivals(witness, b"witness")
    own.sendto(b"too early", (PRIMARY_1, PORT))
    witness.sendto(b"witness", (PRIMARY_1, PORT))
    assert arrivals(back, b"witness") == [(b"witness", PRIMARY_2)]

    grown = (*lab.network.nics[1].addresses, an_address("10.240.0.100"))
    lab.apply(with_nic(lab.network, 1, addresses=grown))
    sender.sendto(b"effective", ("10.240.0.100", PORT))
    own.sendto(b"effective", (PRIMARY_1, PORT))
    assert arrivals(receiver, b"effective") == [(b"effective", SECOND_1)]
    assert arrivals(back, b"effective") == [(b"effective", "10.240.0.100")]


def test_a_running_flow_stops_with_its_address_and_goes_on_when_it_is_back(lab: Lab) -> None:
    listener = lab.listener(lab.vm2, SECOND_2, PORT)
    client = lab.connect(lab.vm1, PRIMARY_1, (SECOND_2, PORT))
    server, _ = listener.accept()
    with server:
        client.sendall(b"1")
        server.settimeout(PATIENCE_S)
        assert server.recv(10) == b"1"

        lab.apply(without_address(lab.network, 1, SECOND_2))
        client.sendall(b"2")
        server.settimeout(SILENCE_S)
        with pytest.raises(TimeoutError):
            server.recv(10)
        lab.apply()
        server.settimeout(PATIENCE_S)
        assert server.recv(10) == b"2"  # sent again by tcp: the flow was held up, not cut


def test_an_address_moves_from_nic_to_nic(lab: Lab) -> None:
    moved = without_address(lab.network, 1, SECOND_2)
    moved = with_nic(moved, 0, addresses=(*moved.nics[0].addresses, an_address(SECOND_2)))
    lab.apply(moved)
    wire = lab.raw(lab.vm1, protocol=0x0800)
    configure(lab.vm2, [f"address delete {SECOND_2}/22 dev eth0"])
    try:
        lab.udp(lab.vm2, PRIMARY_2).sendto(b"moved too", (SECOND_2, PORT))
        while not (frame := wire.recv(2048)).endswith(b"moved too"):
            pass
        assert frame[:6] == mac(MAC_1)
    finally:
        configure(lab.vm2, [f"address replace {SECOND_2}/22 dev eth0"])


def test_a_block_of_28_admits_its_16_addresses_and_no_more(lab: Lab) -> None:
    assert "10.240.0.16/28" in [address.address for address in lab.network.nics[1].addresses]
    configure(lab.vm2, [f"address replace 10.240.0.{last}/22 dev eth0" for last in range(15, 33)])
    receiver, back = lab.udp(lab.vm2, "", PORT), lab.udp(lab.vm1, PRIMARY_1, PORT)
    sender = lab.udp(lab.vm1, PRIMARY_1)
    for last in range(15, 33):
        sender.sendto(str(last).encode(), (f"10.240.0.{last}", PORT))
        lab.udp(lab.vm2, f"10.240.0.{last}").sendto(b"", (PRIMARY_1, PORT))
    sender.sendto(b"end", (PRIMARY_2, PORT))
    receiver.sendto(b"end", (PRIMARY_1, PORT))
    assert [payload for payload, _ in arrivals(receiver, b"end")][:-1] == [str(n).encode() for n in range(16, 32)]
    assert [source for _, source in arrivals(back, b"end")][:-1] == [f"10.240.0.{n}" for n in range(16, 32)]


def test_the_gateway_does_not_answer_ping_and_vms_do(lab: Lab) -> None:
    assert lab.no_echo(lab.vm1, "10.240.0.1")
    assert lab.pings(lab.vm1, PRIMARY_2)


@pytest.mark.parametrize("target", ["255.255.255.255", "10.240.3.255", "224.0.0.1", "239.1.2.3"])
def test_there_is_no_broadcast_and_no_multicast(lab: Lab, target: str) -> None:
    wire, sender, raw = lab.raw(lab.vm2, protocol=0x0800), lab.udp(lab.vm1, PRIMARY_1), lab.raw(lab.vm1)
    sender.sendto(b"to many", (target, PORT))
    raw.send(a_frame(a_datagram(PRIMARY_1, target, b"to many", port=PORT), source_mac=MAC_1))
    sender.sendto(b"to one", (PRIMARY_2, PORT))
    while not (frame := wire.recv(2048)).endswith(b"to one"):
        assert not frame.endswith(b"to many")


def test_there_are_no_tunnels_and_no_reserved_port(lab: Lab) -> None:
    wire, raw = lab.raw(lab.vm2, protocol=0x0800), lab.raw(lab.vm1)
    for protocol in (4, 47):
        packet = a_datagram(PRIMARY_1, PRIMARY_2, b"tunnel", port=PORT, protocol=protocol)
        raw.send(a_frame(packet, source_mac=MAC_1))
    lab.udp(lab.vm1, PRIMARY_1, 65330).sendto(b"reserved", (PRIMARY_2, PORT))
    lab.udp(lab.vm1, PRIMARY_1).sendto(b"plain", (PRIMARY_2, PORT))
    while not (frame := wire.recv(2048)).endswith(b"plain"):
        assert not frame.endswith((b"tunnel", b"reserved"))


def test_a_flow_goes_on_while_the_network_is_applied_again_and_again(lab: Lab) -> None:
    receiver, sender = lab.udp(lab.vm2, SECOND_2, PORT), lab.udp(lab.vm1, SECOND_1)
    receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 26)
    grown = with_nic(lab.network, 0, addresses=(*lab.network.nics[0].addresses, an_address("10.240.0.128/28")))
    sent = 0

    def change() -> None:
        for network in (grown, lab.network) * 10:
            enough, deadline = sent + 5, time.monotonic() + PATIENCE_S
            lab.apply(network)
            while sent < enough and time.monotonic() < deadline:
                time.sleep(0.0001)

    with ThreadPoolExecutor() as thread:
        changes = thread.submit(change)
        while not changes.done():
            sender.sendto(b"%d" % sent, (SECOND_2, PORT))
            sent += 1
            time.sleep(0.0001)
        changes.result()
    sender.sendto(b"end", (SECOND_2, PORT))
    lost = sent - len(arrivals(receiver, b"end")[:-1])
    assert sent >= 100, "the flow stood still between two changes"
    assert lost < 10  # a change takes about a microsecond; careless ones lost a packet each, of these twenty


def test_an_address_on_two_nics_is_refused_and_the_old_rules_stay(lab: Lab) -> None:
    twice = with_nic(lab.network, 0, addresses=(*lab.network.nics[0].addresses, an_address(PRIMARY_2)))
    with pytest.raises(StepError, match="cannot load the rules"):
        lab.apply(twice)
    receiver = lab.udp(lab.vm2, PRIMARY_2, PORT)
    lab.udp(lab.vm1, PRIMARY_1).sendto(b"still here", (PRIMARY_2, PORT))
    assert arrivals(receiver, b"still here") == [(b"still here", PRIMARY_1)]


def test_a_vnet_that_is_not_peered_is_out_of_reach(lab: Lab) -> None:
    stranger = replace(
        lab.network.vnets[0],
        vnet_id="/vnets/stranger",
        prefixes=("10.250.0.0/16",),
        subnets=(replace(lab.network.vnets[0].subnets[0], subnet_id="/vnets/stranger/subnets/nodes"),),
        peered_vnet_ids=("/vnets/main",),  # one side alone makes no peering
    )
    network = replace(lab.network, vnets=(*lab.network.vnets, stranger))
    network = with_nic(network, 1, subnet_id="/vnets/stranger/subnets/nodes")
    lab.apply(network)
    receiver, sender = lab.udp(lab.vm2, PRIMARY_2, PORT), lab.udp(lab.vm1, PRIMARY_1)
    sender.sendto(b"unpeered", (PRIMARY_2, PORT))
    main = replace(network.vnets[0], peered_vnet_ids=("/vnets/peer", "/vnets/stranger"))
    lab.apply(replace(network, vnets=(main, *network.vnets[1:])))
    sender.sendto(b"peered", (PRIMARY_2, PORT))
    assert arrivals(receiver, b"peered") == [(b"peered", PRIMARY_1)]
