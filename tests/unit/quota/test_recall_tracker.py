"""Whom a recall counts on, for how long, and when wishes end."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest

from azure_cni.api.node_ip_pool import Recall, WriteIntent
from azure_cni.quota.node_record import NodeRecord
from azure_cni.quota.recall_tracker import DEAF_S, GATHERS_S, GIVES_S, OBEYS_S, REST_S, TOO_LATE_S, RecallTracker
from azure_cni.quota.recalls import RecallPlan
from unit.quota.recall_nodes import NUMBER, ledger, rich, starving


def holds(found: RecallPlan) -> dict[str, int]:
    return {name: recall.hold for name, recall in found.asked.items()}


class Time:
    """A tracker's rounds."""

    def __init__(self) -> None:
        self.tracker, self.now_s, self.decided = RecallTracker(), 0.0, 5

    def round(
        self,
        *nodes: NodeRecord,
        after_s: float = 5.0,
        halted: bool = False,
        limit: int | None = None,
        slowed: Collection[str] = (),
    ) -> RecallPlan:
        self.now_s += after_s
        return self.tracker.plan(
            *(ledger(*nodes, limit=limit, decided=self.decided), nodes),
            now_s=self.now_s,
            utc_s=self.now_s + NUMBER,
            halted=halted,
            slowed=slowed,
        )


def asked(node: NodeRecord, found: RecallPlan) -> NodeRecord:
    return replace(node, recall=found.asked[node.name])


def test_a_node_that_does_nothing_is_not_counted_on_and_not_asked_for_long():
    time, waits, poorer = Time(), starving("a", 10, 3), rich("c", 20, 4)
    deaf = asked(rich("b", 30, 20), time.round(waits, rich("b", 30, 20), poorer))
    assert time.round(waits, deaf, poorer).asked == {}
    assert holds(time.round(waits, deaf, poorer, after_s=OBEYS_S)) == {"c": 17}
    assert "b" not in time.round(waits, deaf, rich("c", 20, 0), after_s=DEAF_S - 10).asked
    assert "b" in time.round(waits, deaf, rich("c", 20, 0), after_s=20).under_way


def test_what_pods_lack_that_came_within_a_moment_is_asked_for_together():
    time, rest = Time(), (rich("c", 20, 12), rich("d", 20, 12))
    gives = asked(rich("b", 30, 20), time.round(starving("a", 10, 1), rich("b", 30, 20), *rest))
    for waiting in (2, 3):
        found = time.round(starving("a", 10, waiting), gives, *rest, after_s=GATHERS_S / 4)
        assert (found.asked, found.starving) == ({}, {"a": 1})
    assert holds(time.round(starving("a", 10, 4), gives, *rest, after_s=GATHERS_S)) == {"c": 17}


def test_a_node_that_gives_late_is_asked_again():
    """It was away when it was asked, or the API server was: found by the simulation, with faults."""
    time, waits = Time(), starving("a", 10, 30)
    away = asked(rich("b", 30, 20), time.round(waits, rich("b", 30, 20)))
    time.round(waits, away)
    assert time.round(waits, away, after_s=OBEYS_S).under_way == {}
    gave = replace(rich("b", 11, 1), recall=away.recall, recall_met=away.recall.number)
    assert time.round(waits, gave).asked["b"].hold == 10


def test_a_write_may_wait_for_its_turn_but_not_for_ever():
    time, waits, poorer = Time(), starving("a", 10, 3), rich("c", 20, 4)
    slow = asked(rich("b", 30, 20, writeIntent="Shrink"), time.round(waits, rich("b", 30, 20), poorer))
    assert time.round(waits, slow, poorer).asked == {}
    assert time.round(waits, slow, poorer, after_s=OBEYS_S + 10).asked == {}
    assert holds(time.round(waits, slow, poorer, after_s=GIVES_S)) == {"c": 17}


def test_a_node_that_says_it_gave_and_did_not_is_left_alone_for_a_while():
    time, waits = Time(), starving("a", 10, 3)
    says = asked(rich("b", 30, 20), time.round(waits, rich("b", 30, 20)))
    says = replace(says, recall_met=says.recall.number)
    assert time.round(waits, says).asked == {}
    assert "b" in time.round(waits, says, after_s=TOO_LATE_S).asked


def test_a_node_that_gave_may_be_asked_again_at_once():
    time, waits = Time(), starving("a", 10, 3)
    before = asked(rich("b", 30, 20), time.round(waits, rich("b", 30, 20)))
    time.round(waits, before)
    gave = replace(rich("b", 27, 17), recall=before.recall, recall_met=before.recall.number)
    assert holds(time.round(waits, gave)) == {"b": 24}


def test_nothing_new_is_recalled_in_a_stop():
    time, nodes = Time(), (starving("a", 10, 3), rich("b", 30, 20))
    found = time.round(*nodes, halted=True)
    assert (found.asked, found.starving) == ({}, {"a": 0})
    assert time.round(*nodes).asked


def test_wishes_end_when_no_pod_has_waited_for_a_while():
    time, waits = Time(), starving("a", 10, 3)
    gave = replace(rich("b", 27, 17), recall=Recall(3, 27), recall_met=3)
    fed = rich("a", 13, 0)
    time.round(waits, gave)
    assert time.round(fed, gave, after_s=REST_S - 1).ended == ()
    assert time.round(fed, gave).ended == ["b"]


@pytest.mark.parametrize(("limit", "ended"), [(58, ["b"]), (57, [])])
def test_wishes_end_at_once_where_the_quota_is_no_longer_near_its_limit(limit: int, ended: list[str]):
    """It was raised, or many pods ended: spare addresses for all are no longer at anybody's cost."""
    time, gave = Time(), replace(rich("b", 27, 17), recall=Recall(3, 27), recall_met=3)
    fed = rich("a", 13, 0)
    time.round(starving("a", 10, 3), gave)
    assert list(time.round(fed, gave, limit=limit, after_s=1).ended) == ended


@pytest.mark.parametrize("why", [{"slowed": {"a"}}, {"limit": 1000}])
def test_a_node_that_waits_for_something_else_than_room_keeps_no_wish(why: dict[str, Any]):
    """For what Azure told it, or for its turn: with room for its pods, the reserves of others are no hindrance."""
    time, gave = Time(), replace(rich("b", 27, 17), recall=Recall(3, 27), recall_met=3)
    time.round(starving("a", 10, 3), gave)
    assert time.round(starving("a", 10, 3), gave, after_s=REST_S, **why).ended == ["b"]


def test_the_time_of_a_node_that_azure_asked_to_wait_begins_afterwards():
    time, waits = Time(), starving("a", 10, 3)
    slow = asked(rich("b", 30, 20), time.round(waits, rich("b", 30, 20)))
    time.round(waits, slow, after_s=2 * GIVES_S, slowed={"b"})
    assert time.round(waits, slow, after_s=OBEYS_S - 1).under_way == {"b": 3}
    assert time.round(waits, slow).under_way == {}


def test_what_was_given_back_a_moment_ago_is_no_plenty():
    time, gave = Time(), replace(rich("b", 27, 17), recall=Recall(3, 27), recall_met=3)
    time.round(starving("a", 10, 23), gave)
    assert time.round(starving("a", 10, 23), gave, limit=60).ended == ()
    assert time.round(rich("a", 13, 0), gave, limit=60).ended == ["b"]


def test_a_new_term_does_not_know_for_how_long_nobody_waited():
    time, gave = Time(), replace(rich("b", 27, 17), recall=Recall(3, 27), recall_met=3)
    assert time.round(rich("a", 13, 0), gave, after_s=10 * REST_S).ended == ()


def test_a_new_term_knows_that_a_wish_was_met_before():
    time, gave = Time(), replace(rich("b", 27, 17), recall=Recall(3, 27), recall_met=3)
    assert holds(time.round(starving("a", 10, 3), gave)) == {"b": 24}


def test_a_node_that_gives_one_address_now_and_then_has_no_more_time_for_it():
    time, waits, poorer = Time(), starving("a", 10, 30), rich("c", 60, 40)
    drips = asked(rich("b", 200, 150, writeIntent="Shrink"), time.round(waits, rich("b", 200, 150), poorer))
    time.round(waits, drips, poorer)
    waits, less = starving("a", 11, 29), replace(drips, view=replace(drips.view, granted=199))
    assert time.round(waits, less, poorer, after_s=GIVES_S - 10).asked == {}
    assert "c" in time.round(waits, less, poorer, after_s=10).asked
    less = replace(less, view=replace(less.view, granted=198))
    assert "b" not in time.round(starving("a", 12, 28), less, poorer).under_way


def test_who_keeps_others_waiting_for_nothing_does_so_once_an_hour():
    """It shrinks, as it says, and has nothing left to give when its time is nearly up."""
    time, waits = Time(), starving("a", 10, 3)
    says = asked(rich("b", 30, 20, writeIntent="Shrink"), time.round(waits, rich("b", 30, 20)))
    time.round(waits, says, after_s=GIVES_S - 10)
    says = replace(says, recall_met=says.recall.number, write_intent=WriteIntent.NONE)
    time.round(waits, says)
    assert time.round(waits, says, after_s=DEAF_S - 1).asked == {}
    assert "b" in time.round(waits, says, after_s=1).asked


def test_who_has_nothing_left_each_time_rests_twice_as_long_each_time():
    time, waits, node = Time(), starving("a", 10, 3), rich("b", 30, 20)
    for rest_s in (TOO_LATE_S, 2 * TOO_LATE_S, 4 * TOO_LATE_S):
        node = asked(node, time.round(waits, node))
        node = replace(node, recall_met=node.recall.number)
        assert time.round(waits, node, after_s=1).asked == {}
        assert time.round(waits, node, after_s=rest_s - 1).asked == {}


def test_a_node_that_was_away_and_has_nothing_left_is_asked_again_soon():
    time, waits = Time(), starving("a", 10, 3)
    away = asked(rich("b", 30, 20), time.round(waits, rich("b", 30, 20)))
    assert time.round(waits, away, after_s=OBEYS_S).under_way == {}
    back = replace(rich("b", 30, 0), recall=away.recall, recall_met=away.recall.number)
    time.round(waits, back)
    again = replace(back, releasable=20, free=20)
    assert time.round(waits, again, after_s=TOO_LATE_S - 1).asked == {}
    assert "b" in time.round(waits, again, after_s=1).asked


@pytest.mark.parametrize("intent", [WriteIntent.ATTACH, WriteIntent.REWRITE, WriteIntent.SHRINK])
def test_a_node_gives_after_the_write_that_it_makes(intent: WriteIntent):
    time, waits = Time(), starving("a", 10, 3)
    busy = asked(rich("b", 30, 20), time.round(waits, rich("b", 30, 20)))
    busy = replace(busy, write_intent=intent)
    time.round(waits, busy)
    assert time.round(waits, busy, after_s=GIVES_S - 10).under_way == {"b": 3}
    assert time.round(waits, busy, after_s=10).under_way == {}


def test_a_node_that_asks_to_grow_and_may_not_has_no_such_write():
    time, waits = Time(), starving("a", 10, 3)
    rests = rich("b", 30, 20, requested=40, target=40, writeIntent="Grow")
    rests = asked(rests, time.round(waits, rests))
    assert time.round(waits, rests, after_s=OBEYS_S).under_way == {}


def test_the_time_to_give_begins_when_the_ledger_has_the_request():
    """The write budget is used up, so its turn is still to come; raising the number again and again gains nothing."""
    time, waits, poorer = Time(), starving("a", 10, 3), rich("c", 20, 4)
    slow = asked(rich("b", 30, 20), time.round(waits, rich("b", 30, 20), poorer))
    slow = replace(slow, write_intent=WriteIntent.SHRINK)

    def numbered(number: int) -> NodeRecord:
        return replace(slow, view=replace(slow.view, request=replace(slow.view.request, number=number)))

    for _ in range(4):
        assert time.round(waits, numbered(6), poorer, after_s=GIVES_S - 1).asked == {}
    time.decided = 6
    assert time.round(waits, numbered(7), poorer, after_s=GIVES_S - 1).asked == {}
    assert holds(time.round(waits, numbered(8), poorer, after_s=GIVES_S - 1)) == {"c": 17}


def test_a_node_that_gave_grew_and_shrank_since_owes_nothing():
    time, waits = Time(), starving("a", 10, 3)
    gave = replace(rich("b", 27, 17), recall=Recall(3, 27), recall_met=3)
    time.round(waits, gave)
    time.round(waits, gave, after_s=DEAF_S)
    shrank = rich("b", 27, 17, granted=35)
    assert time.round(waits, replace(shrank, recall=Recall(3, 27), recall_met=3)).under_way == {"b": 8}
