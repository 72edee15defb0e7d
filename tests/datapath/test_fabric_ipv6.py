"""IPv6 in the fabric: addresses that NICs hold, by the one router that Azure's VMs know, and nothing else."""

import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from azurebox.fabric.kernel import configure, inside, set_sysctls
from azurebox.fabric.topology import ROUTER6
from azurebox.steps import capture
from datapath.dual_site import (
    advertisement,
    datagram,
    icmpv6,
    neighbour_claim,
    neighbour_question,
)
from datapath.fabric_lab import FABRIC_MAC, PATIENCE_S, SILENCE_S, Lab, a_lab, mac, with_nic
from datapath.namespaces import NEEDS_ROOT
from datapath.node_site import PORT
from fakeazure.effective import EffectiveNetwork

pytestmark = NEEDS_ROOT

MAC_1, MAC_2 = "00:0d:3a:00:00:01", "00:0d:3a:00:00:02"
ONE, TWO, TWO_SINGLE = "fd00:240::4", "fd00:240::5", "fd00:240::9"
BLOCK_1, POD_1 = "fd00:240::1:0/112", "fd00:240::1:17"
BLOCK_2, POD_2 = "fd00:240::2:0/112", "fd00:240::2:18"
PEER6, ONPREM6 = "fd00:241::4", "fd00:50::10"
NOBODY, UNHELD_BLOCK, BEYOND = "fd00:240::77", "fd00:240::3:17", "2001:db8:ffff::10"
IMDS_MAPPED = "::ffff:169.254.169.254"
ALL_ROUTERS_MAC, ALL_NODES_MAC = "33:33:00:00:00:02", "33:33:00:00:00:01"
SOLICITED, SOLICITED_MAC = "ff02::1:ff78:9abc", "33:33:ff:78:9a:bc"


def dual(network: EffectiveNetwork) -> EffectiveNetwork:
    """The same with IPv6: a primary address and a block on each NIC, one more single address on the second."""
    main, peered = network.vnets
    subnet = replace(main.subnets[0], ipv6="fd00:240::/64")
    vnets = (replace(main, ipv6_prefixes=("fd00:240::/64",), subnets=(subnet,)),
             replace(peered, ipv6_prefixes=("fd00:241::/64",)))  # fmt: skip
    network = with_nic(replace(network, vnets=vnets), 0, ipv6=(ONE, BLOCK_1))
    return with_nic(network, 1, ipv6=(TWO, TWO_SINGLE, BLOCK_2))


@dataclass
class DualLab:
    """Both VMs as Azure's: their addresses are /128, and their default route is what the router has said."""

    lab: Lab
    network: EffectiveNetwork

    @property
    def vm1(self) -> str:
        return self.lab.vm1

    @property
    def vm2(self) -> str:
        return self.lab.vm2

    def udp(self, namespace: str, address: str, port: int = PORT) -> socket.socket:
        def make() -> socket.socket:
            made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((address, port))
            made.settimeout(PATIENCE_S)
            return made

        return self.lab.open(namespace, make)

    def frames(self, packets: list[bytes], *, source_mac: str = MAC_1, target_mac: str = FABRIC_MAC) -> None:
        """Sent by the first VM."""
        wire = self.lab.raw(self.vm1, protocol=0x86DD)
        for packet in packets:
            wire.send(mac(target_mac) + mac(source_mac) + b"\x86\xdd" + packet)

    def arrive_at(self, receiver: socket.socket, last: bytes) -> list[tuple[bytes, str]]:
        seen: list[tuple[bytes, str]] = []
        while not seen or seen[-1][0] != last:
            payload, source = receiver.recvfrom(2048)
            seen.append((payload, source[0]))
        return seen

    def whoami(self, namespace: str, source: str, target: str) -> str:
        """Whom a host beyond sees."""

        def call() -> bytes:
            with socket.create_connection((target, 80), PATIENCE_S, (source, 0)) as calling:
                calling.sendall(b"GET /whoami HTTP/1.0\r\n\r\n")
                with calling.makefile("rb") as reply:
                    return reply.read()

        answer: dict[str, str] = json.loads(inside(namespace, call).partition(b"\r\n\r\n")[2])
        return answer["caller"]


@pytest.fixture(scope="module")
def whole() -> Iterator[DualLab]:
    with a_lab("f6") as lab:
        both = DualLab(lab, dual(lab.network))
        for vm, addresses in ((lab.vm1, (ONE, POD_1)), (lab.vm2, (TWO, TWO_SINGLE, POD_2))):
            set_sysctls(vm, {"ipv6/conf/eth0/accept_dad": "0"})
            configure(vm, [f"address replace {address}/128 dev eth0 nodad" for address in addresses])
        lab.apply(both.network)
        for vm in (lab.vm1, lab.vm2):
            await_router(vm)
        yield both


@pytest.fixture
def both(whole: DualLab) -> Iterator[DualLab]:
    whole.lab.apply(whole.network)
    yield whole
    whole.lab.close()


def await_router(namespace: str) -> None:
    """Until a VM has the default route that its router advertises."""
    deadline = time.monotonic() + PATIENCE_S
    while default_routes(namespace) != [(str(ROUTER6), "ra")]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def default_routes(namespace: str) -> list[tuple[str, str]]:
    text = capture(["ip", "-netns", namespace, "-json", "-6", "route", "show", "default"], what="list routes")
    return [(route["gateway"], route["protocol"]) for route in json.loads(text)]


def addresses(both: DualLab, device: str) -> list[str]:
    """Of IPv6, on an end of the fabric: the router speaks where it has one."""
    command = ["ip", "-netns", both.lab.fabric.namespace, "-json", "-6", "address", "show", "dev", device]
    shown = json.loads(capture(command, what=f"list the addresses of {device}"))
    return [one["local"] for link in shown for one in link.get("addr_info", [])]


@pytest.mark.parametrize("source", [ONE, POD_1])
@pytest.mark.parametrize("target", [TWO, TWO_SINGLE, POD_2])
def test_what_nics_hold_is_reached_by_the_router_and_seen_as_itself(both: DualLab, source: str, target: str) -> None:
    """A single address, and any of a block; the hop limit says that nobody was between them."""
    receiver = both.udp(both.vm2, target)
    inside(both.vm2, lambda: receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1))
    both.udp(both.vm1, source, 0).sendto(b"hello", (target, PORT))
    _, ancillary, _, caller = receiver.recvmsg(100, 100)
    assert caller[0] == source
    assert [int.from_bytes(data, "little") for _, kind, data in ancillary if kind == socket.IPV6_HOPLIMIT] == [64]


@pytest.mark.parametrize("target", [PEER6, ONPREM6])
@pytest.mark.parametrize("source", [ONE, POD_1])
def test_a_peered_network_and_on_premises_see_who_calls(both: DualLab, source: str, target: str) -> None:
    assert both.whoami(both.vm1, source, target) == source


def test_a_peering_without_ipv6_carries_none(both: DualLab) -> None:
    main, peered = both.network.vnets
    both.lab.apply(replace(both.network, vnets=(main, replace(peered, ipv6_prefixes=()))))
    with pytest.raises(TimeoutError):
        inside(both.vm1, lambda: socket.create_connection((PEER6, 80), SILENCE_S))


FOREIGN = {
    "of the other NIC": TWO,
    "in the other NIC's block": POD_2,
    "in no block": UNHELD_BLOCK,
    "of nobody": NOBODY,
    "from elsewhere": BEYOND,
    "link-local": "fe80::7",
    "none": "::",
}


@pytest.mark.parametrize("whose", FOREIGN)
def test_a_source_that_is_not_on_the_nic_is_dropped(both: DualLab, whose: str) -> None:
    receiver = both.udp(both.vm2, TWO_SINGLE)
    both.frames([datagram(source, TWO_SINGLE, b"from") for source in (FOREIGN[whose], ONE)])
    assert both.arrive_at(receiver, b"from") == [(b"from", ONE)]
    receiver.settimeout(SILENCE_S)
    with pytest.raises(TimeoutError):
        receiver.recv(64)


def test_a_frame_with_another_mac_or_for_another_one_is_dropped(both: DualLab) -> None:
    receiver = both.udp(both.vm2, TWO)
    both.frames([datagram(ONE, TWO, b"forged")], source_mac=MAC_2)
    both.frames([datagram(ONE, TWO, b"switched")], target_mac=MAC_2)
    both.frames([datagram(ONE, TWO, b"routed")])
    assert both.arrive_at(receiver, b"routed") == [(b"routed", ONE)]


@pytest.mark.parametrize("removed", [BLOCK_2, TWO_SINGLE])
def test_what_has_left_the_nic_is_silent_at_once_both_ways(both: DualLab, removed: str) -> None:
    address = POD_2 if removed == BLOCK_2 else removed
    receiver, sender = both.udp(both.vm2, address), both.udp(both.vm1, ONE)
    sender.sendto(b"before", (address, PORT))
    assert receiver.recv(64) == b"before"
    kept = tuple(one for one in both.network.nics[1].ipv6 if one != removed)
    both.lab.apply(with_nic(both.network, 1, ipv6=kept))
    sender.sendto(b"after", (address, PORT))
    receiver.sendto(b"back", (ONE, PORT))
    for silent in (receiver, sender):
        silent.settimeout(SILENCE_S)
        with pytest.raises(TimeoutError):
            silent.recv(64)


@pytest.mark.parametrize("target", [NOBODY, UNHELD_BLOCK, BEYOND, IMDS_MAPPED])
def test_nobody_answers_for_what_no_nic_holds(both: DualLab, target: str) -> None:
    """Beyond the VNet there is no way, and platform addresses have none of IPv6."""
    wire = both.lab.raw(both.vm2, protocol=0x86DD)
    both.frames([datagram(ONE, target, b"lost"), datagram(ONE, TWO, b"last")])
    seen: list[bytes] = []
    while not seen or not seen[-1].endswith(b"last"):
        seen.append(wire.recv(2048))
    assert not [frame for frame in seen if frame.endswith(b"lost")]
    beyond = both.lab.raw(both.lab.place("internet"), protocol=0x86DD)
    beyond.settimeout(SILENCE_S)
    with pytest.raises(TimeoutError):
        beyond.recv(2048)


def answers(both: DualLab, *questions: tuple[str, str]) -> set[str]:
    """For whom the fabric answers the first VM, which asks for each target by multicast and by unicast."""
    wire = both.lab.raw(both.vm1, protocol=0x86DD)
    for target, at in questions:
        both.frames(
            [neighbour_question(ONE, at, target, MAC_1)], target_mac=FABRIC_MAC if at == target else SOLICITED_MAC
        )
    wire.settimeout(2 * SILENCE_S)
    found = set()
    try:
        while True:
            frame = wire.recv(2048)
            if frame[20] == 58 and frame[54] == 136 and frame[6:12] == mac(FABRIC_MAC):
                found.add(socket.inet_ntop(socket.AF_INET6, frame[62:78]))
    except TimeoutError:
        return found


def test_neighbour_discovery_finds_the_router_and_nobody_else(both: DualLab) -> None:
    others = (TWO, POD_2, NOBODY, ONE, "fd00:240::1")
    asked = [(target, at) for target in others for at in (SOLICITED, target)]
    assert answers(both, *asked, (str(ROUTER6), SOLICITED)) == {str(ROUTER6)}


def test_the_router_says_itself_and_that_nothing_is_on_the_link(both: DualLab) -> None:
    wire = both.lab.raw(both.vm1, protocol=0x86DD)
    both.frames([icmpv6("fe80::20d:3aff:fe00:1", "ff02::2", 133, bytes(4))], target_mac=ALL_ROUTERS_MAC)
    while (frame := wire.recv(2048))[54] != 134:
        pass
    source = socket.inet_ntop(socket.AF_INET6, frame[22:38])
    assert (source, frame[21], frame[6:12]) == (str(ROUTER6), 255, mac(FABRIC_MAC))
    assert int.from_bytes(frame[60:62], "big") == 9000
    assert frame[70:] == b"\1\1" + mac(FABRIC_MAC)  # its MAC, and no prefix


def test_no_vm_is_a_router_or_a_neighbour_of_another(both: DualLab) -> None:
    wire = both.lab.raw(both.vm2, protocol=0x86DD)
    lies = [
        *(advertisement(source, target, mac=MAC_1) for source in (ONE, "fe80::7") for target in ("ff02::1", TWO)),
        *(
            neighbour_claim(ONE, target, claimed, MAC_1)
            for target in ("ff02::1", TWO)
            for claimed in (TWO, str(ROUTER6))
        ),
        *(neighbour_question(ONE, target, TWO, MAC_1) for target in ("ff02::1", TWO)),
        datagram(ONE, "ff02::1", b"to all"),
        datagram(ONE, "fe80::20d:3aff:fe00:2", b"near"),
    ]
    for target_mac in (FABRIC_MAC, ALL_NODES_MAC, MAC_2):
        both.frames(lies, target_mac=target_mac)
    both.frames([datagram(ONE, TWO, b"last")])
    seen: list[bytes] = []
    while not seen or not seen[-1].endswith(b"last"):
        seen.append(wire.recv(2048))
    theirs = [frame for frame in seen if frame[6:12] == mac(FABRIC_MAC) and not frame.endswith(b"last")]
    routers = [frame for frame in theirs if frame[20] == 58 and frame[54] in {134, 135}]
    assert theirs == routers  # the router's own words only
    assert {socket.inet_ntop(socket.AF_INET6, frame[22:38]) for frame in routers} <= {str(ROUTER6)}
    assert default_routes(both.vm2) == [(str(ROUTER6), "ra")]


def test_a_vm_without_ipv6_hears_no_router_and_sends_nothing(both: DualLab) -> None:
    both.lab.apply(with_nic(both.network, 0, ipv6=()))
    receiver = both.udp(both.vm2, TWO)
    both.frames([datagram(ONE, TWO, b"lost")])
    assert answers(both, (str(ROUTER6), SOLICITED)) == set()
    assert addresses(both, "p-vm1") == []
    receiver.settimeout(SILENCE_S)
    with pytest.raises(TimeoutError):
        receiver.recv(64)
    both.lab.apply(both.network)
    both.frames([datagram(ONE, TWO, b"here")])
    assert receiver.recv(64) == b"here"


def test_a_cable_that_is_plugged_in_again_has_its_router_again(both: DualLab) -> None:
    """As when a VM boots again: what it had learnt is gone with its end."""
    both.lab.fabric.pull(both.vm1, "eth0")
    both.lab.fabric.attach(both.vm1, MAC_1)
    set_sysctls(both.vm1, {"ipv6/conf/eth0/accept_dad": "0"})
    configure(both.vm1, [f"address replace {address}/128 dev eth0 nodad" for address in (ONE, POD_1)])
    both.lab.apply(both.network)
    await_router(both.vm1)
    receiver = both.udp(both.vm2, TWO)
    both.udp(both.vm1, ONE, 0).sendto(b"hello", (TWO, PORT))
    assert receiver.recv(64) == b"hello"
