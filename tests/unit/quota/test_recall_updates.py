"""What pools are told about recalls, and when the next round follows."""

from __future__ import annotations

from typing import Any

import pytest

from azure_cni.quota import messages
from azure_cni.quota.node_record import NodeRecord
from azure_cni.quota.pool_updates import (
    NEXT_STEP_S,
    PoolUpdate,
    in_order,
    next_step_s,
    with_recalls,
)
from azure_cni.quota.recalls import RecallPlan
from unit.quota.recall_nodes import ledger, rich, starving

WISH = {"recall": {"number": 7, "hold": 13}, "recallMet": 7}
GAVE = rich("b", 13, 0, **WISH)
LOWER = ledger(GAVE).entries["b"]


def told(node: NodeRecord, plan: RecallPlan, *updates: PoolUpdate, limit: int | None = None) -> dict[str, Any]:
    written = with_recalls(ledger(node, limit=limit), [node], plan, updates)
    return dict(written[0].status) if written else {}


def test_who_waits_for_the_write_budget_is_told_so_when_what_was_recalled_has_come():
    waits = starving("a", 10, 3, recalling=3, grantReason="QuotaExceeded")
    budget = messages.while_paced(ledger(waits)).status()
    status = told(waits, RecallPlan(), PoolUpdate(waits, budget, result="delayed"))
    assert (status["grantReason"], status["recalling"]) == ("WriteBudget", None)


def test_who_gave_is_told_once_that_nothing_is_left_and_once_that_something_is():
    shows = rich("b", 13, 0, **WISH, grantReason="QuotaExceeded")
    assert told(GAVE, RecallPlan())["grantReason"] == "QuotaExceeded"
    assert told(shows, RecallPlan()) == {}
    assert told(shows, RecallPlan(), limit=14)["grantReason"] is None
    assert told(GAVE, RecallPlan(), limit=14) == {}
    assert told(shows, RecallPlan(ended=["b"]))["grantReason"] is None


@pytest.mark.parametrize("plan", [RecallPlan(starving={"a": 3}), RecallPlan(short=1)])
def test_room_that_waiting_pods_will_take_is_none(plan: RecallPlan):
    """Also while it is only their turn that they wait for: else hundreds hear of it, and again when it is gone."""
    assert told(GAVE, plan, limit=14)["grantReason"] == "QuotaExceeded"
    assert told(GAVE, RecallPlan(short=1), limit=15) == {}


def test_grants_come_first_then_wishes_then_words_to_those_who_wait():
    told_so = PoolUpdate(rich("b", 13, 0), {"grantReason": None}, "told")
    asked = PoolUpdate(rich("c", 13, 0), {"recall": {"number": 8, "hold": 3}}, "recalled")
    waits = PoolUpdate(starving("z", 10, 3), {"grantReason": "WriteBudget"}, "delayed")
    grant = PoolUpdate(starving("y", 10, 3), {"granted": 13, "grantedFor": 6}, "full")
    lowered = PoolUpdate(GAVE, {"granted": 12}, "taken_back", lowers=LOWER)
    assert in_order([told_so, waits, lowered, asked, grant]) == [grant, lowered, asked, waits, told_so]


@pytest.mark.parametrize(
    "node",
    [
        rich("b", 13, 0),  # it has no wish
        rich("b", 13, 0, **WISH, requestID=6),  # its request has no answer yet
        rich("b", 12, 0, **WISH, requested=13, granted=13, writeIntent="Grow"),  # it grows for its pods
        rich("b", 13, 0, **WISH, requested=15, grantReason="NodeAtLimit"),  # it was told why it has less
    ],
)
def test_who_is_not_told(node: NodeRecord):
    assert told(node, RecallPlan()) == {}


@pytest.mark.parametrize(
    ("update", "starving_nodes", "soon"),
    [
        (PoolUpdate(starving("a", 10, 3), {"grantedFor": 6, "grantReason": "QuotaExceeded"}, "short"), False, True),
        (PoolUpdate(starving("a", 10, 3), {"grantedFor": 6, "grantReason": None}, "full"), False, False),
        (PoolUpdate(starving("a", 10, 3), {"grantReason": "WriteBudget"}, "delayed"), True, False),
        (PoolUpdate(GAVE, {"grantedFor": 6}, "full"), False, True),
        (PoolUpdate(GAVE, {"recall": None}, "told"), True, False),
        (PoolUpdate(GAVE, {"granted": 12}, "taken_back", lowers=LOWER), True, True),
        (
            PoolUpdate(GAVE, {"granted": 12}, "taken_back", lowers=LOWER),
            False,
            False,
        ),
    ],
)
def test_a_round_follows_at_once_where_a_write_made_the_next_step_possible(
    update: PoolUpdate, *, starving_nodes: bool, soon: bool
):
    assert (next_step_s([update], starving=starving_nodes) == NEXT_STEP_S) is soon
