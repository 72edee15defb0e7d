"""The fabric and what is large: IPv4 fragments and their order, frames beyond a NIC's MTU, a VM with two NICs."""

import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import pytest

from azurebox.fabric.kernel import configure, links
from datapath.balancer_lab import (
    A_PUBLIC_RULE,
    BACK_PORT,
    FRONT_PORT,
    PUBLIC_FRONT,
    balanced,
    heard,
    nothing_came,
    with_security_group,
)
from datapath.fabric_lab import (
    MAIN,
    PRIMARY_1,
    PRIMARY_2,
    PUBLIC_IP,
    PUBLISHED_1,
    SECOND_1,
    SECOND_2,
    Lab,
    a_frame,
    a_lab,
    a_nic,
    an_address,
    arrivals,
    with_checksum,
)
from datapath.namespaces import NEEDS_ROOT
from fakeazure.effective import EffectiveSubnet

pytestmark = NEEDS_ROOT

PORT = 7000
INTERNET = "203.0.113.10"
MAC_1 = "00:0d:3a:00:00:01"
NUMBERS = count(1)


def fragments(source: str, target: str, payload: bytes, *, size: int = 512) -> list[bytes]:
    """A datagram of UDP as IPv4 fragments in their order."""
    datagram = struct.pack("!4H", 4000, PORT, 8 + len(payload), 0) + payload
    number = next(NUMBERS)
    made = []
    for offset in range(0, len(datagram), size):
        piece = datagram[offset : offset + size]
        flags = (0x2000 if offset + size < len(datagram) else 0) | offset // 8
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(piece), number, flags, 64, 17, 0)
        made.append(with_checksum(header + socket.inet_aton(source) + socket.inet_aton(target)) + piece)
    return made


def send(wire: socket.socket, packets: list[bytes]) -> None:
    for packet in packets:
        wire.send(a_frame(packet, source_mac=MAC_1))


@pytest.mark.parametrize("target", [PRIMARY_2, SECOND_2])
def test_fragments_pass_in_their_order_only(lab: Lab, target: str) -> None:
    receiver, wire = lab.udp(lab.vm2, target, PORT), lab.raw(lab.vm1)
    first, *rest = fragments(PRIMARY_1, target, b"a" * 1400)
    send(wire, [*rest, first])
    send(wire, fragments(PRIMARY_1, target, b"b" * 1400))
    assert arrivals(receiver, b"b" * 1400) == [(b"b" * 1400, PRIMARY_1)]


def test_fragments_of_a_large_datagram_pass_between_vms(lab: Lab) -> None:
    receiver = lab.udp(lab.vm2, SECOND_2, PORT)
    lab.udp(lab.vm1, SECOND_1).sendto(b"c" * 5000, (SECOND_2, PORT))
    assert receiver.recvfrom(9000) == (b"c" * 5000, (SECOND_1, receiver_port(lab)))


def receiver_port(lab: Lab) -> int:
    """The port of the socket that was opened last."""
    return int(lab.opened[-1].getsockname()[1])


def test_fragments_leave_by_a_public_ip_and_by_no_other_way(lab: Lab) -> None:
    receiver = lab.udp(lab.place("internet"), INTERNET, PORT)
    lab.udp(lab.vm2, PRIMARY_2).sendto(b"d" * 2000, (INTERNET, PORT))  # by what Azure lends
    assert nothing_came(receiver)
    lab.udp(lab.vm1, PUBLISHED_1).sendto(b"e" * 2000, (INTERNET, PORT))
    assert heard(receiver) == PUBLIC_IP


def test_fragments_from_the_internet_reach_no_frontend(lab: Lab) -> None:
    rule = replace(A_PUBLIC_RULE, protocol="Udp")
    lab.apply(with_security_group(balanced(lab.network, SECOND_2, rule=rule), 1))
    receiver = lab.udp(lab.vm2, SECOND_2, BACK_PORT)
    client = lab.udp(lab.place("internet"), INTERNET)
    client.sendto(b"f" * 2000, (PUBLIC_FRONT, FRONT_PORT))
    assert nothing_came(receiver)
    client.sendto(b"f" * 200, (PUBLIC_FRONT, FRONT_PORT))
    assert heard(receiver) == INTERNET


def test_a_frame_beyond_the_nics_mtu_is_dropped_on_its_way_out_and_in(lab: Lab) -> None:
    receiver = lab.udp(lab.vm2, PRIMARY_2, PORT)
    configure(lab.vm1, ["link set eth0 mtu 9000"])  # what a VM makes of its own end changes nothing
    try:
        sender = lab.udp(lab.vm1, PRIMARY_1)
        sender.sendto(b"g" * 4000, (PRIMARY_2, PORT))
        sender.sendto(b"g" * 1472, (PRIMARY_2, PORT))
        assert arrivals(receiver, b"g" * 1472) == [(b"g" * 1472, PRIMARY_1)]

        lab.fabric.attach(lab.vm1, MAC_1, mtu=9000)
        lab.attach_all_addresses(0)
        lab.apply()
        sender.sendto(b"h" * 4000, (PRIMARY_2, PORT))  # the NIC of the other is still one of 1500
        sender.sendto(b"h" * 1472, (PRIMARY_2, PORT))
        assert arrivals(receiver, b"h" * 1472) == [(b"h" * 1472, PRIMARY_1)]
    finally:
        lab.fabric.attach(lab.vm1, MAC_1)
        lab.attach_all_addresses(0)
    assert links(lab.vm1)["eth0"]["mtu"] == 1500


@pytest.fixture
def two_nics() -> Iterator[Lab]:
    """A lab whose first VM has a second NIC, in a subnet of its own."""
    with a_lab("f2") as lab:
        back = EffectiveSubnet("/vnets/main/subnets/back", prefix="10.240.8.0/24", default_outbound=False)
        second = replace(
            a_nic(lab.vm1, "00:0d:3a:00:00:08", (an_address("10.240.8.4", primary=True), an_address("10.240.8.5"))),
            nic_id=f"/nics/{lab.vm1}-nic2",
            name=f"{lab.vm1}-nic2",
            subnet_id=back.subnet_id,
            is_primary=False,
        )
        main = replace(MAIN, subnets=(*MAIN.subnets, back))
        lab.network = replace(lab.network, vnets=(main, *lab.network.vnets[1:]), nics=(*lab.network.nics, second))
        lab.fabric.attach(lab.vm1, second.mac, interface="eth1")
        configure(lab.vm1, [f"address replace {address}/24 dev eth1" for address in ("10.240.8.4", "10.240.8.5")])
        lab.apply()
        yield lab


def test_a_second_nic_is_a_nic_of_its_own(two_nics: Lab) -> None:
    lab = two_nics
    configure(
        lab.vm1,
        ["rule add from 10.240.8.0/24 lookup 8", "route replace default dev eth1 table 8 onlink via 10.240.8.1"],
    )
    listener = lab.listener(lab.vm1, "10.240.8.5", PORT)
    lab.connect(lab.vm2, PRIMARY_2, ("10.240.8.5", PORT))
    accepted, caller = listener.accept()
    accepted.close()
    assert caller[0] == PRIMARY_2
    # IMDS, wireserver and DNS answer the primary address of the primary NIC, and know the VM by it.
    lab.listener(lab.fabric.namespace, "169.254.169.254", 80)
    assert lab.connects(lab.vm1, PRIMARY_1, ("169.254.169.254", 80))
    assert lab.unanswered(lab.vm1, "10.240.8.4", ("169.254.169.254", 80))
    wire, receiver = lab.raw(lab.vm1), lab.udp(lab.vm2, PRIMARY_2, PORT)
    for packet in fragments("10.240.8.4", PRIMARY_2, b"by the wrong NIC"):
        wire.send(a_frame(packet, source_mac=MAC_1))
    send(wire, fragments(PRIMARY_1, PRIMARY_2, b"by its own"))
    assert arrivals(receiver, b"by its own") == [(b"by its own", PRIMARY_1)]
    lab.fabric.detach(lab.vm1)
    assert not [name for name in links(lab.fabric.namespace) if name.startswith("p-vm1")]
