"""Conditions as they are written: those of a pool and those of a quota by the same rules."""

from __future__ import annotations

import pytest

from azure_cni.api import conditions
from azure_cni.api.conditions import Condition, PoolKind, QuotaKind

NOON = [f"2026-11-24T12:00:0{second}Z" for second in range(3)]
KINDS = pytest.mark.parametrize("kind", [PoolKind.THROTTLED, QuotaKind.EXHAUSTED])


@KINDS
def test_a_condition_keeps_its_time_while_its_status_does_not_turn(kind: PoolKind | QuotaKind) -> None:
    first = conditions.merge((), [Condition(kind, True, "A", "a")], now=NOON[0], generation=1)
    second = conditions.merge(first, [Condition(kind, True, "B", "b")], now=NOON[1], generation=1)
    third = conditions.merge(second, [Condition(kind, False, "C", "c")], now=NOON[2], generation=1)
    assert [one[0]["lastTransitionTime"] for one in (first, second, third)] == [NOON[0], NOON[0], NOON[2]]
    assert (second[0]["reason"], third[0]["status"]) == ("B", "False")


@KINDS
@pytest.mark.parametrize("written", ["soon", "", None, 7])
def test_what_is_no_time_is_not_written_again(kind: PoolKind | QuotaKind, written: object) -> None:
    """The pool's own merge kept it, and the API server would have refused its whole status from then on."""
    before = [{"type": kind.value, "status": "True", "lastTransitionTime": written}]
    (merged,) = conditions.merge(before, [Condition(kind, True, "A", "a")], now=NOON[0], generation=1)
    assert merged["lastTransitionTime"] == NOON[0]


def test_whether_one_holds_is_read_from_whatever_is_there() -> None:
    (written,) = conditions.merge((), [Condition(QuotaKind.READY, True, "A", "a")], now=NOON[0], generation=1)
    assert conditions.holds({"conditions": [None, written]}, QuotaKind.READY)
    assert not conditions.holds({"conditions": "none"}, QuotaKind.READY)
    assert not conditions.holds({"conditions": [{**written, "status": "Unknown"}]}, QuotaKind.READY)
