import pytest

from azure_cni.ipam.grants import self_grant
from azure_cni.ipam.limits import BACKOFF_FIRST_S, BACKOFF_MAX_S, delay_s

ALMOST = 1 - 2**-53


@pytest.mark.parametrize(
    ("attempt", "most"), [(1, BACKOFF_FIRST_S), (2, 4.0), (3, 8.0), (7, 120.0), (10**6, BACKOFF_MAX_S)]
)
def test_doubles_up_to_a_cap_and_is_spread_over_its_upper_half(attempt, most):
    assert delay_s(attempt, retry_after_s=None, jitter=0.0) == most / 2
    assert delay_s(attempt, retry_after_s=None, jitter=ALMOST) == pytest.approx(most)


@pytest.mark.parametrize("attempt", [1, 5, 50])
def test_never_comes_before_azures_wish_and_spreads_after_it(attempt):
    assert delay_s(attempt, retry_after_s=30.0, jitter=0.0) == 30.0
    assert 30.0 < delay_s(attempt, retry_after_s=30.0, jitter=0.5) <= 30.0 + BACKOFF_MAX_S / 2


def test_attempts_count_from_one():
    with pytest.raises(ValueError, match="count from 1"):
        delay_s(0, retry_after_s=None, jitter=0.0)


@pytest.mark.parametrize(("requested", "maximum", "granted"), [(16, 250, 16), (260, 250, 250), (0, 250, 0)])
def test_a_node_allows_itself_what_it_asks_up_to_max(requested, maximum, granted):
    assert self_grant(requested, maximum) == granted
