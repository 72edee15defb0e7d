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
    LAG_S,
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


def looked(shown: frozenset[Address], held: frozenset[Address] = ALL, *, at_s: float = 0.0) -> HintState:
    """After a first look that gave no hint, or whose hint a reading has judged."""
    return judged(weighed(HintState(), shown, held, now_s=at_s), held, now_s=at_s)


def hints(state: HintState, shown: frozenset[Address], held: frozenset[Address] = ALL, *, at_s: float) -> bool:
    return weighed(state, shown, held, now_s=at_s).given is not None


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
        pytest.param(ALL, some(1, 2), some(1, 2, 3, 4), True, id="lags behind a growth, and one is lost"),
        pytest.param(ALL, some(), ALL, True, id="all lost"),
    ],
)
def test_what_service_and_nic_differ_in_is_a_hint_unless_the_nic_changed_just_now(before, shown, held, hinted):
    state = HintState() if before is None else looked(before)
    assert hints(state, shown, held, at_s=100.0) is hinted


def test_a_service_that_lags_for_long_gives_one_hint():
    grown = some(1, 2, 3, 4)
    state = weighed(looked(ALL), ALL, grown, now_s=100.0)
    assert state.given is None
    assert not hints(state, ALL, grown, at_s=100.0 + LAG_S / 2)
    state = weighed(state, ALL, grown, now_s=100.0 + LAG_S)
    assert state.given is not None
    state = judged(state, grown, now_s=121.0)
    for at_s in range(130, 2000, 15):
        state = weighed(state, ALL, grown, now_s=float(at_s))
        assert state.given is None
    assert hints(state, some(1, 2), grown, at_s=2000.0)


def test_no_other_hint_before_the_first_is_judged_and_none_is_lost():
    given = weighed(looked(ALL), some(1, 2), ALL, now_s=0.0)
    assert weighed(given, some(1), ALL, now_s=15.0).given == given.given
    assert withdrawn(given).given is None
    assert hints(withdrawn(given), some(1), at_s=15.0)
    true = judged(given, some(1, 2), now_s=20.0)
    assert (true.given, true.false) == (None, 0)
    assert hints(true, some(1), some(1, 2), at_s=30.0)
    assert judged(true, ALL, now_s=30.0) == true


def test_what_a_reading_disproved_is_no_hint_again_and_what_changes_in_the_pause_is_one_after_it():
    given = weighed(looked(ALL), some(1, 2), ALL, now_s=0.0)
    false = judged(given, ALL, now_s=1.0)
    assert not hints(false, some(1), at_s=1.0 + FALSE_PAUSE_S / 2)
    assert not hints(false, some(1, 2), at_s=1.0 + FALSE_PAUSE_S)
    assert hints(false, some(1), at_s=1.0 + FALSE_PAUSE_S)
    agreed = weighed(false, ALL, ALL, now_s=20.0)
    assert hints(agreed, some(1, 2), at_s=1.0 + FALSE_PAUSE_S)


def test_what_comes_back_by_a_write_of_ours_can_be_lost_again_at_once():
    lost = judged(weighed(looked(ALL), some(1), ALL, now_s=0.0), some(1), now_s=1.0)
    back = weighed(lost, ALL, ALL, now_s=15.0)
    assert back.given is None
    assert hints(back, some(1), at_s=30.0)
    unseen = weighed(lost, some(1), ALL, now_s=15.0)  # lost again before the next look
    assert hints(unseen, some(1), at_s=15.0 + LAG_S)


def test_pauses_double_up_to_a_limit_and_are_forgotten():
    state, now_s, pauses = looked(ALL), 0.0, []
    for _ in range(8):
        state = weighed(state, ALL, ALL, now_s=now_s)
        state = judged(weighed(state, some(1), ALL, now_s=now_s), ALL, now_s=now_s)
        pauses.append(state.quiet_until_s - now_s)
        now_s = state.quiet_until_s
    assert pauses == [30.0, 60.0, 120.0, 240.0, 480.0, 600.0, 600.0, 600.0]
    later = now_s + FORGOTTEN_S + 1
    state = weighed(state, ALL, ALL, now_s=later)
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
    """As long as it has shown the address once more before: by the end of the pause."""
    state = HintState()
    for number, found in enumerate([*shown, {1, 2, 3}]):
        now_s = number * PERIOD_S
        state = weighed(state, some(*found), ALL, now_s=now_s)
        if state.given is not None:
            state = judged(state, ALL, now_s=now_s)
    assert hints(state, ALL - some(lost), at_s=max(now_s, state.quiet_until_s))
