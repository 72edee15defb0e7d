"""A limit that is nearly reached is told above 80 % and until 70 %, and never twice in between."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azure_cni.api.conditions import PoolKind, QuotaKind, merge
from azure_cni.ipam.near_limit import below_limit, is_near, judge, not_throttled, room_left, was_near


@pytest.mark.parametrize(
    ("used", "was", "near"),
    [(80, False, False), (81, False, True), (71, True, True), (70, True, False), (100, False, True), (0, True, False)],
)
def test_it_begins_above_one_share_and_ends_at_another(used: int, was: bool, near: bool):  # noqa: FBT001
    assert is_near(used, 100, was=was) is near


@given(st.lists(st.integers(71, 80)))
def test_a_use_that_swings_between_the_two_is_no_news(uses: list[int]):
    for first in (60, 90):
        said = near = is_near(first, 100, was=False)
        for used in uses:
            near = is_near(used, 100, was=near)
            assert near == said


def written(*conditions: object) -> dict[str, object]:
    return {"conditions": merge([], conditions, now="2026-11-28T06:00:00Z", generation=1)}  # type: ignore[arg-type]


def test_what_was_said_is_read_from_the_status():
    status = written(room_left({}, 90, 100, limit="VNetQuota vnet allows 100"))
    assert was_near(status, QuotaKind.EXHAUSTED)
    assert not was_near({}, QuotaKind.EXHAUSTED)
    assert judge(status, QuotaKind.EXHAUSTED, 75, 100)
    assert not judge({}, QuotaKind.EXHAUSTED, 75, 100)
    after = room_left(status, 75, 100, limit="VNetQuota vnet allows 100")
    assert (after.holds, after.reason) == (False, "NearLimit")
    assert after.message.startswith("75 of 100 addresses are granted: VNetQuota vnet allows 100; azure-cni forecast")
    assert room_left(status, 70, 100, limit="").reason == "RoomLeft"


def test_a_node_near_its_limit_says_how_near():
    found = below_limit(201, 250, near=True, held="much")
    assert (found.kind, found.holds, found.reason) == (PoolKind.AT_LIMIT, False, "NearLimit")
    assert found.message.startswith("pods of this node have 201 of the 250 addresses that it may hold, 80%; azure-cni")
    assert below_limit(9, 0, near=True, held="nothing").reason == "BelowLimit"


def test_a_budget_of_writes_is_near_its_end_until_that_is_known_to_be_over():
    near = not_throttled({}, 900, 1000)
    assert (near.kind, near.holds, near.reason) == (QuotaKind.THROTTLED, False, "NearLimit")
    assert near.message.startswith("900 of 1000 NIC writes that the budget allows in ten minutes are made")
    assert not_throttled({}, 800, 1000).reason == "NotThrottled"
    for writes in (750, None):
        assert not_throttled(written(near), writes, 1000).reason == "NearLimit"
        assert not_throttled({}, writes, 1000).reason == "NotThrottled"
    assert not_throttled(written(near), 700, 1000).reason == "NotThrottled"
