"""Whose idle addresses are recalled, how many, and when nobody's are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pytest

from azure_cni.api.node_ip_pool import Recall, WriteIntent
from azure_cni.api.vnet_quota import VNetQuota
from azure_cni.quota.node_record import NodeRecord
from azure_cni.quota.recalls import RecallPlan, plan_recalls
from unit.quota.recall_nodes import NUMBER, ledger, rich, starving


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


def test_of_a_few_a_node_gives_all_that_is_missing():
    """By halves it would write its NIC for four, two and one."""
    assert holds(plan(starving("a", 10, 7), rich("b", 20, 8), rich("c", 20, 7))) == {"b": 13}


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


def test_each_learns_what_it_will_be_given_of_what_is_coming():
    """Who has less is given first."""
    assert plan(starving("a", 20, 3), starving("b", 4, 3), rich("c", 20, 3)).starving == {"a": 0, "b": 3}
