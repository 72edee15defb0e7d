"""How long a verdict on a token counts, how many are kept, and how often the API server may be asked."""

from __future__ import annotations

from azure_cni.entrypoints.verdicts import (
    BAD_S,
    GOOD_S,
    MOST_BAD,
    MOST_GOOD,
    Access,
    ReviewBudget,
    TokenVerdict,
    Verdicts,
)

HERE, ELSEWHERE = "10.240.0.9", "10.240.0.66"
GOOD = TokenVerdict(Access.ALLOWED, "prometheus")
STRANGER = TokenVerdict(Access.UNAUTHENTICATED)
WITHOUT = TokenVerdict(Access.FORBIDDEN, "somebody")


def key(number: int) -> bytes:
    return number.to_bytes(4)


def test_a_verdict_counts_for_its_time_and_a_refusal_for_less():
    verdicts = Verdicts()
    for number, verdict in enumerate((GOOD, STRANGER, WITHOUT)):
        verdicts.keep(key(number), verdict, source=HERE, now_s=1000.0)
    assert [verdicts.find(key(number), 1000.0 + BAD_S - 0.1) for number in range(3)] == [GOOD, STRANGER, WITHOUT]
    assert [verdicts.find(key(number), 1000.0 + BAD_S) for number in range(3)] == [GOOD, None, None]
    assert verdicts.find(key(0), 1000.0 + GOOD_S) is None
    assert [verdicts.known(key(number), ELSEWHERE) for number in range(3)] == [True, False, False]


def test_a_token_that_loses_its_right_is_known_no_longer():
    verdicts = Verdicts()
    verdicts.keep(key(0), GOOD, source=HERE, now_s=0.0)
    verdicts.keep(key(0), WITHOUT, source=HERE, now_s=GOOD_S)
    assert verdicts.find(key(0), GOOD_S) == WITHOUT
    assert not verdicts.known(key(0), ELSEWHERE)


def test_invented_tokens_displace_no_good_one_and_take_bounded_memory():
    verdicts = Verdicts()
    verdicts.keep(key(0), GOOD, source=HERE, now_s=0.0)
    for number in range(1, 10 * MOST_BAD):
        verdicts.keep(key(number), STRANGER, source=HERE, now_s=1.0)
    assert verdicts.find(key(0), 2.0) == GOOD
    assert sum(verdicts.find(key(number), 2.0) is not None for number in range(1, 10 * MOST_BAD)) == MOST_BAD


def test_good_tokens_are_bounded_too_and_the_oldest_goes():
    verdicts = Verdicts()
    for number in range(MOST_GOOD + 1):
        verdicts.keep(key(number), GOOD, source=HERE, now_s=0.0)
    assert [verdicts.known(key(number), ELSEWHERE) for number in (0, 1, MOST_GOOD)] == [False, True, True]


def test_an_address_is_known_by_good_tokens_only_and_64_are_kept():
    verdicts = Verdicts()
    verdicts.keep(key(0), STRANGER, source=ELSEWHERE, now_s=0.0)
    assert not verdicts.known(key(1), ELSEWHERE)
    verdicts.keep(key(0), GOOD, source=HERE, now_s=0.0)
    assert verdicts.known(key(1), HERE)
    for number in range(1, MOST_GOOD + 1):
        verdicts.keep(key(number), GOOD, source=f"10.0.0.{number}", now_s=0.0)
    assert [verdicts.known(key(1_000), source) for source in (HERE, "10.0.0.1")] == [False, True]


def test_strangers_get_a_dozen_reviews_a_minute_and_leave_the_scrapers_theirs():
    budget = ReviewBudget()
    start_s = 5000.0
    taken = sum(budget.take(start_s + tick / 50, known=False) for tick in range(50 * 60))
    assert taken == 5 + 11
    assert sum(budget.take(start_s + 60.0, known=True) for _ in range(50)) == 8
    assert sum(budget.take(start_s + 60.0 + tick / 50, known=True) for tick in range(50 * 10)) == 9


def test_a_clock_that_stands_gives_no_more():
    budget = ReviewBudget()
    assert sum(budget.take(0.0, known=False) for _ in range(100)) == 5
