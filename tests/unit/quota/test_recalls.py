"""Whose idle addresses are recalled, how many, and when nobody's are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest

from azure_cni.api import vnet_quota
from azure_cni.api.node_ip_pool import Recall, WriteIntent, parse
from azure_cni.api.vnet_quota import VNetQuota
from azure_cni.quota.node_record import NodeRecord, node_record
from azure_cni.quota.recalls import (
    DEAF_S,
    GIVES_S,
    OBEYS_S,
    REST_S,
    TOO_LATE_S,
    RecallPlan,
    RecallTracker,
    plan_recalls,
)
from fakes.cluster import NICS, VNET

NUMBER = 1000


def rich(name: str, held: int, idle: int, **status: Any) -> NodeRecord:
    """A node at rest, with idle addresses."""
    asked = {"requested": held, "allocated": held, "granted": held, "free": idle, "releasable": idle, "target": held}
    return record(name, **{"assigned": held - idle, "writeIntent": "None", **asked, **status})


def starving(name: str, held: int, waiting: int, **status: Any) -> NodeRecord:
    """A node that was told that there is no room for the pods that wait on it."""
    asked = {"requested": held + waiting + 8, "allocated": held, "granted": held, "free": 0}
    return record(name, **{"assigned": held, "waiting": waiting, "writeIntent": "Grow", **asked, **status})


def record(name: str, **status: Any) -> NodeRecord:
    told = {"requestID": 5, "grantedFor": 5, "vnetID": VNET, "nicID": f"{NICS}/{name}-nic", **status}
    return node_record(parse({"metadata": {"name": name, "uid": "u"}, "status": told}), now_s=0.0)


def ledger(*nodes: NodeRecord, limit: int | None = None, per_node: int = 250) -> VNetQuota:
    """What these nodes were granted; by default as many as may be."""
    grants = {node.name: {"count": node.view.granted, "requestID": 5, "nic": node.nic} for node in nodes}
    most = sum(node.view.granted for node in nodes) if limit is None else limit
    spec = {"vnetID": VNET, "limit": most, "perNodeLimit": per_node, "writesPerMinute": 100, "reserved": 0}
    return vnet_quota.parse({"metadata": {"name": "vnet"}, "spec": spec, "status": {"grants": grants}})


def plan(*nodes: NodeRecord, quota: VNetQuota | None = None, slowed: Collection[str] = ()) -> RecallPlan:
    return plan_recalls(quota or ledger(*nodes), nodes, counted=lambda _: True, number=NUMBER, slowed=slowed)


def holds(found: RecallPlan) -> dict[str, int]:
    return {name: recall.hold for name, recall in found.asked.items()}


def test_the_richest_gives_what_is_missing_and_no_more():
    found = plan(starving("a", 10, 3), rich("b", 20, 8), rich("c", 20, 12))
    assert holds(found) == {"c": 17}
    assert (found.under_way, found.starving) == ({"c": 3}, {"a": 3})
    assert found.asked["c"].number == NUMBER


def test_few_give_at_first_half_of_what_they_have_and_all_of_it_only_when_that_is_not_enough():
    nodes = (starving("a", 10, 9), rich("b", 20, 8), rich("c", 20, 12))
    assert holds(plan(*nodes)) == {"c": 14, "b": 17}
    assert holds(plan(starving("a", 10, 40), *nodes[1:])) == {"b": 12, "c": 8}


def test_a_node_without_pods_keeps_one():
    assert holds(plan(starving("a", 10, 40), rich("b", 8, 8))) == {"b": 1}


@pytest.mark.parametrize(
    "waits",
    [
        starving("a", 10, 0),  # only its reserve lacks
        starving("a", 10, 3, writeIntent="None"),  # paused, or resting after a failure
        starving("a", 10, 3, requestID=6),  # its newest request is not decided yet
        starving("a", 10, 3, requested=10),  # its pool's max
    ],
)
def test_nobody_gives_for_a_node_that_would_not_use_it(waits: NodeRecord):
    assert plan(waits, rich("b", 20, 8)) == RecallPlan()


def test_nobody_gives_what_the_limit_of_a_node_forbids():
    nodes = (starving("a", 10, 3), rich("b", 20, 8))
    assert plan(*nodes, quota=ledger(*nodes, per_node=10)) == RecallPlan()


def test_what_is_left_of_the_quota_is_not_recalled():
    nodes = (starving("a", 10, 3), rich("b", 20, 8))
    assert holds(plan(*nodes, quota=ledger(*nodes, limit=32))) == {"b": 19}
    assert plan(*nodes, quota=ledger(*nodes, limit=33)).asked == {}


def test_what_lies_over_the_limit_goes_first_or_nothing_does():
    nodes = (starving("a", 10, 3), rich("b", 20, 8))
    found = plan(*nodes, quota=ledger(*nodes, limit=26))
    assert (holds(found), found.starving) == ({"b": 13}, {"a": 3})
    assert plan(*nodes, quota=ledger(*nodes, limit=22)).asked == {}


@pytest.mark.parametrize(
    "giver",
    [
        rich("b", 20, 8, releasable=0),  # paused, others' addresses, or an older agent
        rich("b", 20, 8, waiting=1),
        rich("b", 20, 8, granted=28, writeIntent="Grow"),
    ],
)
def test_who_is_not_asked(giver: NodeRecord):
    assert plan(starving("a", 10, 3), giver).asked == {}


def test_nobody_gives_for_a_node_that_azure_asked_to_wait_nor_does_such_a_node():
    waits, giver, other = starving("a", 10, 3), rich("b", 20, 8), rich("c", 20, 4)
    assert plan(waits, giver, other, slowed={"a"}).asked == {}
    assert holds(plan(waits, giver, other, slowed={"b"})) == {"c": 17}
    obeys = rich("b", 20, 8, recall={"number": 7, "hold": 17})
    assert holds(plan(waits, obeys, other, slowed={"b"})) == {"c": 17}


def test_what_others_use_of_a_nodes_configurations_stays_and_its_idle_addresses_do_not():
    """Its grant covers those as well, so it is larger than what it has for pods."""
    giver = rich("b", 18, 8, requested=20, granted=20)
    assert holds(plan(starving("a", 10, 3), giver)) == {"b": 15}
    wish = replace(giver, recall=Recall(7, 15))
    assert plan(starving("a", 10, 3), wish).under_way == {"b": 3}
    shrinks = replace(wish, target=15, write_intent=WriteIntent.SHRINK)
    assert plan(starving("a", 10, 3), shrinks).under_way == {"b": 3}


def test_what_a_node_was_granted_and_cannot_have_comes_back_without_a_write():
    """Its subnet is full."""
    giver = rich("b", 20, 8, requested=28, granted=28, target=28)
    found = plan(starving("a", 10, 3), giver)
    assert (holds(found), found.under_way) == ({"b": 25}, {"b": 3})
    assert holds(plan(starving("a", 10, 40), giver)) == {"b": 12}


def test_what_is_under_way_is_not_recalled_again_from_when_it_is_asked_until_the_ledger_has_it():
    waits, wish = starving("a", 10, 3), {"number": 7, "hold": 17}
    others = rich("c", 20, 8)
    for status in (
        {"recall": wish},  # asked
        {"recall": wish, "writeIntent": "Shrink"},
        {"recall": wish, "recallMet": 7, "allocated": 17, "requested": 17, "free": 5, "releasable": 5},  # given
    ):
        found = plan(waits, rich("b", 20, 8, **status), others)
        assert (found.asked, found.under_way, found.starving) == ({}, {"b": 3}, {"a": 3})
    short = rich("b", 20, 8, recall=wish, free=1, releasable=1)  # pods took the rest of what it had
    assert holds(plan(waits, short, others)) == {"c": 18}


def test_a_wish_that_was_met_is_followed_by_one_of_a_higher_number():
    again = rich("b", 17, 5, recall={"number": 2 * NUMBER, "hold": 17}, recallMet=2 * NUMBER)
    assert plan(starving("a", 10, 3), again).asked == {"b": Recall(2 * NUMBER + 1, 14)}


class Time:
    """A tracker's rounds."""

    def __init__(self) -> None:
        self.tracker, self.now_s = RecallTracker(), 0.0

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
            *(ledger(*nodes, limit=limit), nodes),
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
