"""How tokens are counted."""

from __future__ import annotations

import pytest

from azure_cni.api.vnet_quota import Tokens
from azure_cni.quota.write_budget import BELIEVED_AHEAD_S, counted

NOW_S = 1_800_000_000.0


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
