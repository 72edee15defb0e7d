"""What a pod had of IPv6 is held back as long as its IPv4 address would be, whoever takes that from the NIC."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network

import pytest

from azure_cni.ipam.ledger import Ledger, State
from azure_cni.model.ipv6 import IPv6Configuration
from azure_cni.model.nic import ConfigName, NicView
from unit.ipam.views import address, assign, holder, unassign, view

COOLING_S = 130.0
SINGLES = tuple(IPv6Configuration(ConfigName(f"s{last}"), IPv6Network(f"fd00::{last}"), ready=True) for last in (8, 9))
BLOCK = (IPv6Configuration(ConfigName("b"), IPv6Network("fd00::1:0/112"), ready=True, block=True),)


def nic(*numbers: int, ipv6: tuple[IPv6Configuration, ...]) -> NicView:
    return replace(view(list(numbers)), ipv6=ipv6)


def see(ledger: Ledger, *numbers: int, ipv6: tuple[IPv6Configuration, ...], now_s: float) -> None:
    ledger.apply(ledger.observe(nic(*numbers, ipv6=ipv6), now_s=now_s).change)


def used(ipv6: tuple[IPv6Configuration, ...], *, back_s: float = 100.0) -> tuple[Ledger, IPv6Address]:
    """A ledger of one address, which a pod has just given back, and what that had of IPv6."""
    ledger = Ledger(cooling_s=COOLING_S, dual=True)
    see(ledger, 1, ipv6=ipv6, now_s=0.0)
    assign(ledger, 1, now_s=1.0)
    (slot,) = ledger.holding(holder(1).sandbox)
    assert slot.ipv6 is not None
    unassign(ledger, 1, now_s=back_s)
    return ledger, slot.ipv6


def partner(ledger: Ledger, ipv6: IPv6Address) -> tuple[int, State, float]:
    (slot,) = (slot for slot in ledger.slots if slot.ipv6 == ipv6)
    return int(slot.address) - int(address(0)), slot.state, slot.since_s


@pytest.mark.parametrize("apart", [True, False])
def test_with_another_partner_it_cools_on(apart: bool) -> None:  # noqa: FBT001  # whether two reads show it
    """Another tool takes the IPv4 half, and the next address gets the single IPv6 address that is there."""
    ledger, ipv6 = used(SINGLES[:1])
    if apart:
        see(ledger, ipv6=SINGLES[:1], now_s=110.0)
        see(ledger, 2, ipv6=SINGLES[:1], now_s=120.0)
    else:
        see(ledger, 2, ipv6=SINGLES[:1], now_s=110.0)
    assert partner(ledger, ipv6) == (2, State.COOLING, 100.0)
    assert not ledger.cooled(now_s=100.0 + COOLING_S - 0.1)
    ledger.apply(ledger.cooled(now_s=100.0 + COOLING_S))
    assert partner(ledger, ipv6)[1] is State.FREE


def test_nor_is_it_free_when_its_own_partner_comes_back() -> None:
    """Of the block the same address is bound again: it ends as that of IPv4 does."""
    ledger, ipv6 = used(BLOCK)
    see(ledger, ipv6=BLOCK, now_s=110.0)
    see(ledger, 1, ipv6=BLOCK, now_s=120.0)
    assert partner(ledger, ipv6) == (1, State.COOLING, 100.0)


def test_what_left_while_a_pod_had_it_cools_from_when_that_ended() -> None:
    ledger = Ledger(cooling_s=COOLING_S, dual=True)
    see(ledger, 1, ipv6=SINGLES[:1], now_s=0.0)
    assign(ledger, 1, now_s=1.0)
    see(ledger, ipv6=SINGLES[:1], now_s=50.0)
    unassign(ledger, 1, now_s=100.0)
    see(ledger, 2, ipv6=SINGLES[:1], now_s=120.0)
    assert partner(ledger, IPv6Address("fd00::8")) == (2, State.COOLING, 100.0)


def test_what_has_cooled_meanwhile_is_free_at_once_or_with_the_next_look() -> None:
    ledger, ipv6 = used(SINGLES[:1])
    see(ledger, ipv6=SINGLES[:1], now_s=110.0)
    see(ledger, 2, ipv6=SINGLES[:1], now_s=900.0)
    ledger.apply(ledger.cooled(now_s=900.0))
    assert partner(ledger, ipv6)[1] is State.FREE


def test_what_no_pod_had_is_free_with_whatever_it_goes() -> None:
    ledger = Ledger(cooling_s=COOLING_S, dual=True)
    see(ledger, 1, ipv6=SINGLES[:1], now_s=0.0)
    see(ledger, 2, ipv6=SINGLES[:1], now_s=10.0)
    assert partner(ledger, IPv6Address("fd00::8"))[:2] == (2, State.FREE)


def test_an_address_of_ipv4_that_gets_another_partner_meanwhile_goes_on_as_it_was() -> None:
    """The one that rests is on the NIC no more; should it come back, it is not for the next pod at once."""
    ledger, ipv6 = used(SINGLES[:1])
    see(ledger, 1, ipv6=SINGLES[1:], now_s=110.0)
    assert partner(ledger, IPv6Address("fd00::9")) == (1, State.COOLING, 100.0)
    see(ledger, 1, 2, ipv6=SINGLES, now_s=120.0)
    assert partner(ledger, ipv6) == (2, State.COOLING, 100.0)
