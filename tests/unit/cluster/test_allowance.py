"""How tokens are counted, and how what there is gets shared."""

from __future__ import annotations

import pytest

from azure_cni.api.quota import Tokens
from azure_cni.cluster.allowance import BELIEVED_AHEAD_S, Ask, counted, shares

NOW_S = 1_800_000_000.0


def test_what_cannot_be_shared_evenly_goes_to_the_first_that_have_no_more_than_others():
    asks = [Ask(0, 32, 32)] * 3

    assert shares(asks, 92) == [31, 31, 30]


def test_who_holds_more_than_an_even_share_is_given_nothing_of_what_is_left_over():
    """Found at full size: a node that was served first got one address more in each round, for a permit each."""
    asks = [Ask(25, 32, 32), Ask(0, 32, 32), Ask(0, 32, 32)]

    assert shares(asks, 66) == [25, 21, 20]


def test_what_is_left_over_is_given_out_whole():
    asks = [Ask(granted, 32, 32) for granted in (31, 24, 0, 0, 25)]

    assert sum(shares(asks, 125)) == 125


def test_what_is_left_over_goes_first_to_those_that_have_nothing():
    """To raise a node that was answered costs one more write of its NIC; the answer to the others is to come anyway."""
    asks = [Ask(24, 32, 32), Ask(24, 32, 32), Ask(0, 32, 32)]

    assert shares(asks, 73) == [24, 24, 25]


@pytest.mark.parametrize("ahead_s", [BELIEVED_AHEAD_S + 1, 3600.0, 86_400_000.0])
def test_the_budget_goes_on_at_once_after_a_clock_that_was_far_ahead(ahead_s: float) -> None:
    """Found in review: it stood still until real time had caught up with it."""
    left = counted(Tokens(0.0, NOW_S + ahead_s, 1.0), per_minute=60, now_s=NOW_S, throttled_until_s=0.0)
    assert left == Tokens(0.0, NOW_S, 1.0)
    later = counted(left, per_minute=60, now_s=NOW_S + 2.0, throttled_until_s=0.0)
    assert later.tokens == pytest.approx(1.9)


def test_clocks_that_differ_a_little_make_no_tokens() -> None:
    ahead = Tokens(0.5, NOW_S + BELIEVED_AHEAD_S - 1, 1.0)
    assert counted(ahead, per_minute=60, now_s=NOW_S, throttled_until_s=0.0) == ahead
