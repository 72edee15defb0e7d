"""Addresses whose configurations are for no pod: a living pod keeps its own, and nobody gets one after it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from azure_cni.ipam.address_state import Event, moved
from azure_cni.ipam.ledger import Ledger, State
from azure_cni.ipam.plan import Grow, NoOp, next_step
from azure_cni.ipam.sizing import Policy
from azure_cni.model.nic import ExcludedConfiguration, NicView
from unit.ipam.views import address, assign, config, holder, seen, unassign, view


def excluding(*numbers: int, kept: tuple[int, ...] = ()) -> NicView:
    """A NIC with these configurations excluded, and those for pods."""
    excluded = tuple(ExcludedConfiguration(config(it).name, address(it), "serves somebody") for it in numbers)
    return replace(view(kept), excluded=excluded)


def observe(ledger: Ledger, nic: NicView, *, now_s: float = 1.0) -> None:
    ledger.apply(ledger.observe(nic, now_s=now_s).change)


def test_it_never_enters_the_ledger() -> None:
    ledger = Ledger()
    observe(ledger, excluding(1))
    assert ledger.slots == ()


@pytest.mark.parametrize("state", [State.PROGRAMMING, State.FREE, State.COOLING])
def test_no_pod_gets_it_from_then_on(state: State) -> None:
    ledger = seen(config(1, ready=state is not State.PROGRAMMING))
    if state is State.COOLING:
        assign(ledger, 1)
        unassign(ledger, 1)
    assert [slot.state for slot in ledger.slots] == [state]
    observation = ledger.observe(excluding(1), now_s=1.0)
    ledger.apply(observation.change)
    assert ledger.slots == ()
    assert (observation.excluded, observation.vanished) == ((address(1),), ())


def test_a_living_pod_keeps_it_and_nobody_gets_it_after() -> None:
    ledger = seen(1)
    assign(ledger, 1)
    for now_s in (1.0, 2.0):
        observe(ledger, excluding(1), now_s=now_s)
    (slot,) = ledger.slots
    assert (slot.state, slot.on_nic, slot.in_pool, slot.holder) == (State.ASSIGNED, True, False, holder(1))
    assert (ledger.counts().allocated, ledger.counts().assigned, ledger.counts().missing) == (0, 1, 1)
    unassign(ledger, 1)
    assert ledger.slots == ()


def test_what_was_never_wired_is_not_given_again_either() -> None:
    ledger = seen(1)
    assign(ledger, 1)
    observe(ledger, excluding(1))
    ledger.apply(ledger.abandon(holder(1).sandbox, now_s=2.0))
    assert ledger.slots == ()


@pytest.mark.parametrize("ready", [True, False])
def test_it_is_for_pods_again_once_nothing_is_attached(*, ready: bool) -> None:
    ledger = seen(1)
    assign(ledger, 1)
    observe(ledger, excluding(1))
    observe(ledger, view([config(1, ready=ready)]))
    assert ledger.slots[0].in_pool
    unassign(ledger, 1)
    assert [slot.state for slot in ledger.slots] == [State.COOLING]


def test_one_that_then_leaves_the_nic_has_drifted() -> None:
    ledger = seen(1)
    assign(ledger, 1)
    observe(ledger, excluding(1))
    observe(ledger, view())
    assert [slot.on_nic for slot in ledger.slots] == [False]


def test_what_a_write_may_still_take_off_is_withheld_though_it_is_excluded() -> None:
    ledger = seen(1)
    ledger.apply(ledger.release([address(1)], now_s=0.0))
    ledger.apply(ledger.observe(excluding(1), now_s=1.0, write_pending=True).change)
    assert [slot.state for slot in ledger.slots] == [State.RELEASING]
    observe(ledger, excluding(1))
    assert ledger.slots == ()


def test_the_node_grows_for_the_one_that_it_lost() -> None:
    ledger, policy = seen(*range(16)), Policy(min_free=8, max_free=24, batch=8)
    assign(ledger, 0)
    nic = excluding(0, kept=tuple(range(1, 16)))
    observe(ledger, nic)
    step = next_step(ledger, nic, replace(policy, size=None), waiting=0, now_s=1, surplus_since_s=None, granted=16).step
    assert step == NoOp()  # 15 free are more than eight: the address that its pod still has is neither wanted nor held
    sized = next_step(ledger, nic, Policy(size=16), waiting=0, now_s=1, surplus_since_s=None, granted=16).step
    assert sized == Grow(add=1)


def test_the_same_value_when_nothing_changes() -> None:
    ledger = seen(1)
    assign(ledger, 1)
    observe(ledger, excluding(1))
    (slot,) = ledger.slots
    assert moved(slot, Event.EXCLUDED, now_s=5.0) is slot
