"""Which IPv6 address goes with which of IPv4."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest

from azure_cni.ipam.address_state import Holder, Sandbox, Slot, State
from azure_cni.ipam.ipv6_binding import bound, kept_beside, lacking, most_on_nic, singles_of, unbound
from azure_cni.ipam.sizing import Policy
from azure_cni.model.ipv6 import IPv6Configuration, IPv6Growth
from azure_cni.model.nic import ConfigName, IPConfiguration, NicID, NicView

BLOCK = IPv6Configuration(ConfigName("b"), IPv6Network("fd00::1:0/112"), ready=True, block=True)
HOLDER = Holder(Sandbox("n", "c", "eth0"))


def single(last: int, *, ready: bool = True) -> IPv6Configuration:
    return IPv6Configuration(ConfigName(f"s{last}"), IPv6Network(f"fd00::{last:x}"), ready=ready)


def slot(address: str, state: State = State.FREE, ipv6: str = "") -> Slot:
    holder = HOLDER if state is State.ASSIGNED else None
    return Slot(IPv4Address(address), ConfigName(address), state, 0.0, holder, ipv6=IPv6Address(ipv6) if ipv6 else None)


def after(slots: list[Slot], *ipv6: IPv6Configuration) -> dict[str, str]:
    moves = [(one.address, one, one) for one in slots]
    return {str(address): str(now.ipv6 or "") for address, _, now in bound(moves, ipv6) if now}


def test_by_the_last_sixteen_bits_of_a_block():
    assert after([slot("10.240.3.17"), slot("10.240.0.4")], BLOCK) == {
        "10.240.3.17": "fd00::1:311",
        "10.240.0.4": "fd00::1:4",
    }


def test_the_next_place_where_two_end_alike_and_never_the_first_of_a_block():
    found = after([slot("10.0.3.17"), slot("10.1.3.17"), slot("10.1.0.0"), slot("10.1.0.1")], BLOCK)
    assert found["10.0.3.17"] == "fd00::1:311"
    assert found["10.1.3.17"] == "fd00::1:312"
    assert found["10.1.0.0"] == "fd00::1:1"
    assert found["10.1.0.1"] == "fd00::1:2"


def test_the_end_of_a_block_goes_on_at_its_start():
    found = after([slot("10.0.255.255"), slot("10.1.255.255")], BLOCK)
    assert found == {"10.0.255.255": "fd00::1:ffff", "10.1.255.255": "fd00::1:1"}


@pytest.mark.parametrize("state", [State.FREE, State.COOLING, State.PROGRAMMING, State.RELEASING])
def test_what_is_bound_stays(state: State):
    assert after([slot("10.0.0.5", state, "fd00::1:99")], BLOCK) == {"10.0.0.5": "fd00::1:99"}


def test_what_is_on_the_nic_no_more_is_let_go():
    assert after([slot("10.0.0.5", ipv6="fd00::2:5")], BLOCK) == {"10.0.0.5": "fd00::1:5"}
    assert after([slot("10.0.0.5", ipv6="fd00::2:5")]) == {"10.0.0.5": ""}


def test_a_pod_keeps_what_it_was_wired_with_and_gets_nothing_later():
    assert after([slot("10.0.0.5", State.ASSIGNED, "fd00::2:5")], BLOCK) == {"10.0.0.5": "fd00::2:5"}
    assert after([slot("10.0.0.5", State.ASSIGNED)], BLOCK) == {"10.0.0.5": ""}


def test_what_a_pod_has_goes_to_nobody_else():
    slots = [slot("10.0.0.5"), slot("10.1.0.5", State.ASSIGNED, "fd00::1:5")]
    assert after(slots, BLOCK) == {"10.0.0.5": "fd00::1:6", "10.1.0.5": "fd00::1:5"}


def test_nothing_is_bound_before_azure_has_finished_and_nothing_let_go_meanwhile():
    pending = replace(BLOCK, ready=False)
    assert after([slot("10.0.0.5")], pending) == {"10.0.0.5": ""}
    assert after([slot("10.0.0.5", ipv6="fd00::1:5")], pending) == {"10.0.0.5": "fd00::1:5"}
    assert after([slot("10.0.0.5")], replace(BLOCK, network=None)) == {"10.0.0.5": ""}


def test_single_addresses_one_each():
    slots = [slot("10.0.0.5"), slot("10.0.0.6"), slot("10.0.0.7")]
    assert after(slots, single(9), single(8)) == {"10.0.0.5": "fd00::9", "10.0.0.6": "fd00::8", "10.0.0.7": ""}


def test_unbound_leaves_pods_alone():
    slots = [slot("10.0.0.5", ipv6="fd00::1:5"), slot("10.0.0.6", State.ASSIGNED, "fd00::1:6")]
    moves = unbound([(one.address, one, one) for one in slots])
    assert [str(now and now.ipv6) for _, _, now in moves] == ["None", "fd00::1:6"]


def view(held: int, *ipv6: IPv6Configuration, beside: int = 0) -> NicView:
    names = [(f"c{number}", f"10.0.0.{number + 4}") for number in range(held + 1)]
    configs = tuple(
        IPConfiguration(ConfigName(name), IPv4Address(address), primary=name == "c0", ready=True)
        for name, address in names
    )
    return NicView(NicID("n"), "e", settled=True, configs=configs, ipv6=ipv6, beside=beside)


@pytest.mark.parametrize(
    ("seen", "singles", "expected"),
    [
        (view(3), False, IPv6Growth(block=True)),
        (view(3), True, IPv6Growth(singles=3)),
        (view(3, BLOCK), False, IPv6Growth()),
        (view(3, BLOCK), True, IPv6Growth()),
        (view(3, single(1)), True, IPv6Growth(singles=2)),
        (view(3, single(1), single(2), single(3)), False, IPv6Growth()),
        (view(0), False, IPv6Growth()),
    ],
)
def test_what_is_lacking(seen: NicView, singles: bool, expected: IPv6Growth):  # noqa: FBT001  # a parameter of the table
    assert lacking(seen, held=seen.held, singles=singles) == expected


def test_a_pod_whose_ipv4_address_was_lost_keeps_its_other_one_from_all():
    lost = replace(slot("10.0.0.9", ipv6="fd00::1"), on_nic=False)
    others = [slot("10.0.0.5", ipv6="fd00::2"), replace(slot("10.0.0.6"), on_nic=False)]
    seen = view(2, single(1), single(2))
    assert kept_beside(seen, [lost, *others]) == 1
    assert kept_beside(seen, [replace(lost, on_nic=True, excluded=True)]) == 1
    assert kept_beside(view(2, BLOCK), [replace(lost, ipv6=IPv6Address("fd00::1:0:9"))]) == 0
    assert lacking(seen, held=2, singles=True, kept=1) == IPv6Growth(singles=1)
    assert not lacking(view(2, BLOCK), held=2, singles=True, kept=1)
    policy = Policy(ipv6=True)
    assert most_on_nic(view(10), policy, singles=True, kept=10) == most_on_nic(view(10), policy, singles=True) - 5


@pytest.mark.parametrize(
    ("seen", "singles", "size", "most"),
    [
        (view(0), False, 1, 254),
        (view(10, BLOCK), False, 1, 254),
        (view(0, beside=1), False, 1, 253),
        (view(0), True, 1, 127),
        (view(10), True, 1, 127),
        (view(10, *map(single, range(1, 11))), True, 1, 127),
        (view(0), False, 16, 16 * 254),
        (view(0), True, 16, 16 * 15),
    ],
)
def test_how_much_fits_on_a_nic(seen: NicView, singles: bool, size: int, most: int):  # noqa: FBT001  # the same
    policy = Policy(ipv6=True, blocks=28 if size > 1 else 0, batch=16)
    assert most_on_nic(seen, policy, singles=singles) == most


def test_without_dual_stack_as_before():
    assert most_on_nic(view(3, BLOCK), Policy(), singles=True) == view(3, BLOCK).most() == 254


def test_the_single_addresses_that_leave():
    slots = [slot("10.0.0.5", ipv6="fd00::9"), slot("10.0.0.6")]
    assert singles_of([single(8), single(9), BLOCK], slots) == (single(9),)
    assert singles_of([BLOCK], [slot("10.0.0.5", ipv6="fd00::1:0")]) == ()
