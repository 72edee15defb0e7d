"""When what the metadata service shows is a reason to read the NIC, and what a wrong one costs."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azure_cni.ipam.nic_hints import (
    FALSE_PAUSE_S,
    FORGOTTEN_S,
    LONGEST_PAUSE_S,
    HintState,
    held_addresses,
    judged,
    weighed,
    withdrawn,
)
from azure_cni.model.nic import Address, ExcludedConfiguration
from unit.ipam.views import address, config, view

PERIOD_S = 15.0


def some(*numbers: int) -> frozenset[Address]:
    return frozenset(map(address, numbers))


ALL = some(1, 2, 3)


@pytest.mark.parametrize(
    ("before", "shown", "held", "hinted"),
    [
        pytest.param(None, ALL, ALL, False, id="first look: as read"),
        pytest.param(None, some(1, 2), ALL, True, id="first look: one lost"),
        pytest.param(None, some(1, 2, 3, 4), ALL, True, id="first look: one added"),
        pytest.param(ALL, ALL, ALL, False, id="nothing new"),
        pytest.param(ALL, some(1, 2), ALL, True, id="one lost"),
        pytest.param(ALL, some(1, 2), some(1, 2), False, id="one that was read as gone"),
        pytest.param(ALL, some(1, 2, 3, 4), ALL, True, id="one added"),
        pytest.param(ALL, some(1, 2, 3, 4), some(1, 2, 3, 4), False, id="one that was read already"),
        pytest.param(ALL, ALL, some(1, 2, 3, 4), False, id="lags behind a growth"),
        pytest.param(ALL, ALL, some(1, 2), False, id="lags behind a removal"),
        pytest.param(some(1, 2), some(1, 2), ALL, False, id="never shows one"),
        pytest.param(some(1, 2), some(1), ALL, True, id="never shows one, and another is lost"),
        pytest.param(ALL, some(), ALL, True, id="all lost"),
    ],
)
def test_a_change_that_the_nic_as_read_does_not_explain_is_a_hint(before, shown, held, hinted):
    after = weighed(HintState(before), shown, held, now_s=100.0)
    assert (after.given is not None) is hinted
    assert hinted or after == HintState(shown)


def test_no_other_hint_before_the_first_is_judged_and_none_is_lost():
    given = weighed(HintState(ALL), some(1, 2), ALL, now_s=0.0)
    assert weighed(given, some(1), ALL, now_s=15.0) == given
    assert withdrawn(given) == HintState(ALL)
    assert weighed(withdrawn(given), some(1), ALL, now_s=15.0).given is not None
    true = judged(given, some(1, 2), now_s=20.0)
    assert true == HintState(some(1, 2))
    assert weighed(true, some(1), some(1, 2), now_s=30.0).given is not None
    assert judged(true, ALL, now_s=30.0) == true


def test_what_a_reading_disproved_is_no_hint_again_and_what_changes_in_the_pause_is_one_after_it():
    given = weighed(HintState(ALL), some(1, 2), ALL, now_s=0.0)
    false = judged(given, ALL, now_s=1.0)
    assert weighed(false, some(1), ALL, now_s=1.0 + FALSE_PAUSE_S / 2) == false
    assert weighed(false, some(1, 2), ALL, now_s=1.0 + FALSE_PAUSE_S).given is None
    assert weighed(false, some(1), ALL, now_s=1.0 + FALSE_PAUSE_S).given is not None


def test_pauses_double_up_to_a_limit_and_are_forgotten():
    state, now_s, pauses = HintState(ALL), 0.0, []
    for _ in range(8):
        state = judged(replace(weighed(state, some(1), ALL, now_s=now_s), shown=ALL), ALL, now_s=now_s)
        pauses.append(state.quiet_until_s - now_s)
        state, now_s = replace(state, shown=ALL), state.quiet_until_s
    assert pauses == [30.0, 60.0, 120.0, 240.0, 480.0, 600.0, 600.0, 600.0]
    later = now_s + FORGOTTEN_S + 1
    state = judged(weighed(state, some(1), ALL, now_s=later), ALL, now_s=later)
    assert state.quiet_until_s == later + FALSE_PAUSE_S


def test_all_that_the_service_could_show_of_a_nic_is_held():
    nic = view([1, config(2)])
    public = ExcludedConfiguration("theirs", IPv4Address("10.240.0.99"), "has a public IP address")
    unread = ExcludedConfiguration("block", None, "is a block of addresses")
    shown = held_addresses(replace(nic, excluded=(public, unread)))
    assert shown == some(1, 2) | {IPv4Address("10.240.0.99"), *nic.primary.addresses}


looks = st.lists(st.frozensets(st.integers(1, 6)), min_size=1, max_size=300)


@given(looks)
def test_a_service_that_shows_anything_costs_few_readings_of_a_nic_that_nobody_changes(shown):
    """For an hour and a quarter at most: as many as the pauses allow, and one more."""
    state, readings = HintState(), 0
    for number, found in enumerate(shown):
        now_s = number * PERIOD_S
        state = weighed(state, some(*found), ALL, now_s=now_s)
        if state.given is not None:
            readings, state = readings + 1, judged(state, ALL, now_s=now_s)
    pauses, reached_s = 0, 0.0
    while reached_s <= len(shown) * PERIOD_S:
        reached_s += min(FALSE_PAUSE_S * 2**pauses, LONGEST_PAUSE_S)
        pauses += 1
    assert readings <= pauses


@given(looks, st.integers(1, 3))
def test_what_the_service_shows_as_lost_is_found_after_whatever_it_showed_before(shown, lost):
    """As long as it showed the address before, and goes on not showing it: by the end of the pause."""
    state = HintState()
    for number, found in enumerate([*shown, {1, 2, 3}]):
        now_s = number * PERIOD_S
        state = weighed(state, some(*found), ALL, now_s=now_s)
        if state.given is not None:
            state = judged(state, ALL, now_s=now_s)
    if state.quiet_until_s > now_s:  # it has to show the NIC as it is once out of a pause
        now_s = state.quiet_until_s
        state = weighed(state, ALL, ALL, now_s=now_s)
        if state.given is not None:
            state = judged(state, ALL, now_s=now_s)
    begins_s = max(now_s, state.quiet_until_s)
    assert weighed(state, ALL - some(lost), ALL, now_s=begins_s).given is not None
