"""Who may read the metrics, what the API server is asked for it, and how often."""

from __future__ import annotations

import asyncio
import logging

import pytest

from azure_cni.entrypoints import metrics_auth
from azure_cni.entrypoints.metrics_auth import BAD_TOKEN, NO_ANSWER, NO_TOKEN, TOO_MANY, MetricsAuth, Refusal
from azure_cni.entrypoints.verdicts import BAD_S, GOOD_S
from azure_cni.errors import KubeDenied, KubeUnreachable
from fakes.reviews import Account, FakeReviews

MAY = {("get", "/metrics")}
STRANGER = "10.240.0.66"
PROMETHEUS, SOMEBODY = "Bearer token.of-prometheus", "Bearer token.of-somebody"


class Place:
    """The judge, the API server behind it, and a clock."""

    def __init__(self) -> None:
        self.reviews = FakeReviews()
        self.reviews.accounts = {
            "token.of-prometheus": Account("prometheus", MAY),
            "token.of-somebody": Account("somebody"),
        }
        self.now_s = 1000.0
        self.auth = MetricsAuth(self.reviews, now_s=lambda: self.now_s)

    async def refusal(self, authorization: str, *, source: str = "10.240.0.9") -> Refusal | None:
        return await self.auth.refusal(authorization, source=source)


@pytest.fixture
def place() -> Place:
    return Place()


async def test_who_may_get_metrics_reads_them_and_is_asked_about_once(place: Place):
    for _ in range(10):
        assert await place.refusal(PROMETHEUS) is None
    assert place.reviews.asked == ["token.of-prometheus", "prometheus get /metrics"]


async def test_a_token_without_the_right_gets_whose_it_is_and_what_it_needs(place: Place):
    for _ in range(3):
        refusal = await place.refusal(SOMEBODY)
        assert refusal is not None
        assert refusal.status == 403
        assert refusal.text.startswith("cannot show metrics: somebody may not get /metrics; bind it to")
    assert len(place.reviews.asked) == 2


async def test_a_token_that_is_nobodys_is_refused_and_asked_about_once(place: Place):
    for _ in range(3):
        assert await place.refusal("Bearer invented") == BAD_TOKEN
    assert place.reviews.asked == ["invented"]


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "token.of-prometheus", "Bearer a b", "Bearer a\x00", "Bearer é",
     "Bearer =a", "Bearer a=b"],
)  # fmt: skip
async def test_what_is_no_bearer_token_is_refused_without_asking(place: Place, header: str):
    assert await place.refusal(header) == NO_TOKEN
    assert place.reviews.asked == []


async def test_the_scheme_is_of_any_case(place: Place):
    assert await place.refusal(PROMETHEUS.replace("Bearer", "bearer")) is None


async def test_a_right_that_is_taken_away_counts_when_its_time_is_over(place: Place):
    assert await place.refusal(PROMETHEUS) is None
    place.reviews.accounts["token.of-prometheus"].may = set()
    place.now_s += GOOD_S - 1
    assert await place.refusal(PROMETHEUS) is None
    place.now_s += 1
    assert (await place.refusal(PROMETHEUS) or NO_TOKEN).status == 403


async def test_a_right_that_is_given_counts_after_half_a_minute(place: Place):
    assert await place.refusal(SOMEBODY) is not None
    place.reviews.accounts["token.of-somebody"].may = MAY
    place.now_s += BAD_S
    assert await place.refusal(SOMEBODY) is None


async def test_strangers_with_new_tokens_have_the_api_server_asked_a_bounded_number_of_times(place: Place):
    """As fast as the listener accepts them, for a minute; Prometheus is served all the while."""
    assert await place.refusal(PROMETHEUS) is None
    place.reviews.asked.clear()
    await use_up(place, seconds=60.0)
    assert len(place.reviews.asked) <= 5 + 12
    assert await place.refusal(PROMETHEUS) is None
    await use_up(place, seconds=GOOD_S)
    assert await place.refusal(PROMETHEUS) is None


async def test_a_token_that_replaces_a_good_one_is_not_kept_waiting_by_strangers(place: Place):
    """The kubelet gives Prometheus a new one each hour. Prometheus is known by its address then; others are not."""
    assert await place.refusal(PROMETHEUS) is None
    await use_up(place, seconds=1.0)
    place.reviews.accounts["token.of-prometheus.next"] = Account("prometheus", MAY)
    assert await place.refusal(f"{PROMETHEUS}.next", source=STRANGER) == TOO_MANY
    assert await place.refusal(f"{PROMETHEUS}.next") is None


async def use_up(place: Place, *, seconds: float) -> None:
    """Invented tokens from elsewhere, fifty a second."""
    for number in range(round(seconds * 50)):
        place.now_s += 0.02
        answer = await place.refusal(f"Bearer invented-{place.now_s}-{number}", source=STRANGER)
        assert answer in {BAD_TOKEN, TOO_MANY}


async def test_one_token_that_comes_many_times_at_once_is_asked_about_once(place: Place):
    place.reviews.go.clear()
    waiting = [asyncio.create_task(place.refusal(PROMETHEUS)) for _ in range(24)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    place.reviews.go.set()
    assert set(await asyncio.gather(*waiting)) == {None}
    assert place.reviews.asked == ["token.of-prometheus", "prometheus get /metrics"]


async def test_who_waits_for_a_review_that_is_cancelled_gets_an_answer(place: Place):
    place.reviews.go.clear()
    first = asyncio.create_task(place.refusal(PROMETHEUS))
    await asyncio.sleep(0)
    second = asyncio.create_task(place.refusal(PROMETHEUS))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == NO_ANSWER


async def test_an_api_server_that_cannot_be_asked_is_a_refusal_and_said_once(
    place: Place, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    place.reviews.failure = KubeDenied("cannot create tokenreviews: forbidden (HTTP 403)")
    for _ in range(3):
        assert await place.refusal(PROMETHEUS) == NO_ANSWER
    place.reviews.failure = None
    assert await place.refusal(PROMETHEUS) is None
    assert [record.getMessage() for record in caplog.records] == [
        "bearer tokens for metrics cannot be checked",
        "bearer tokens for metrics are checked again",
    ]


async def test_a_token_that_counted_before_an_outage_is_refused_after_its_time(place: Place):
    assert await place.refusal(PROMETHEUS) is None
    place.reviews.failure = KubeUnreachable("cannot create tokenreviews: unreachable")
    place.now_s += GOOD_S - 1
    assert await place.refusal(PROMETHEUS) is None
    place.now_s += 1
    assert await place.refusal(PROMETHEUS) == NO_ANSWER
    assert [await place.refusal(PROMETHEUS) for _ in range(20)].count(TOO_MANY) == 20 - 7  # 8 at once
    place.reviews.failure = None
    place.now_s += 1
    assert await place.refusal(PROMETHEUS) is None


async def test_an_api_server_that_is_silent_does_not_keep_the_caller(place: Place, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(metrics_auth, "REVIEW_S", 0.05)
    place.reviews.go.clear()
    assert await place.refusal(PROMETHEUS) == NO_ANSWER


async def test_no_token_is_in_the_log_or_kept(place: Place, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    place.reviews.failure = KubeUnreachable("cannot create tokenreviews: unreachable")
    await place.refusal(PROMETHEUS)
    place.reviews.failure = None
    await place.refusal(PROMETHEUS)
    await place.refusal("Bearer invented")
    assert "token.of-prometheus" not in caplog.text
    assert "invented" not in caplog.text
    kept = repr({name: vars(part) if hasattr(part, "__dict__") else part for name, part in vars(place.auth).items()
                 if name != "_reviews"})  # fmt: skip
    assert "token.of-prometheus" not in kept
