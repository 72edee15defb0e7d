"""Whose idle addresses are recalled in a full subnet, and that each refusal is answered once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from azure_cni.api.node_ip_pool import Recall
from azure_cni.quota.node_record import NodeRecord
from azure_cni.quota.recalls import RecallPlan, plan_recalls
from azure_cni.quota.subnet_recalls import Answered, with_subnets
from fakes.cluster import SUBNET, VNET
from unit.quota.recall_nodes import NUMBER, ledger, record, rich

AT, LATER = "2026-11-29T10:00:00Z", "2026-11-29T10:02:00Z"
HERE, ELSEWHERE = {"subnetID": SUBNET}, {"subnetID": f"{VNET}/subnets/others"}


def refused(name: str, held: int, waiting: int, **status: Any) -> NodeRecord:
    """A node that may hold more than it does, and rests after its subnet had too few for the pods that wait on it."""
    wants = {"requested": held + waiting + 8, "allocated": held, "granted": held + waiting + 8, "free": 0}
    says = {"assigned": held, "waiting": waiting, "writeIntent": "None", "subnetRefusedTime": AT}
    return record(name, **{**wants, **says, **HERE, **status})


def giver(name: str, held: int, idle: int, **status: Any) -> NodeRecord:
    return rich(name, held, idle, **{**HERE, **status})


def plan(*nodes: NodeRecord, answered: Mapping[str, Answered] | None = None, **options: Any) -> RecallPlan:
    quota = ledger(*nodes, limit=1000)
    before = plan_recalls(quota, nodes, counted=lambda _: True, number=NUMBER)
    assert (before.asked, before.starving) == ({}, {})  # the quota has enough for all
    options = {"counted": lambda _: True, **options}
    return with_subnets(before, quota, nodes, number=NUMBER, answered=answered or {}, **options)


def holds(found: RecallPlan) -> dict[str, int]:
    return {name: recall.hold for name, recall in found.asked.items()}


def test_the_richest_of_the_subnet_gives_what_is_missing_and_no_more() -> None:
    found = plan(refused("a", 10, 3), giver("b", 20, 8), giver("c", 20, 12), giver("d", 40, 30, **ELSEWHERE))
    assert holds(found) == {"c": 17}
    assert (found.under_way, found.starving) == ({"c": 3}, {"a": 3})
    assert found.in_subnets == {"a": SUBNET.lower()}
    assert (found.quota_starves, found.recalled_in_subnets) == (False, 3)


def test_each_subnet_is_served_from_itself() -> None:
    there = refused("x", 5, 2, **ELSEWHERE)
    found = plan(refused("a", 10, 3), giver("b", 20, 8), there, giver("y", 20, 8, **ELSEWHERE))
    assert holds(found) == {"b": 17, "y": 18}
    assert found.starving == {"a": 3, "x": 2}


def test_what_the_ledger_has_for_a_giver_beyond_its_nic_helps_nobody() -> None:
    """It wanted more for its own reserve, and the subnet refused that too."""
    wide = giver("b", 20, 2, requested=40, granted=40, target=40)
    found = plan(refused("a", 10, 3), wide)
    assert (holds(found), found.under_way) == ({"b": 18}, {"b": 2})


@pytest.mark.parametrize(
    "waits",
    [
        refused("a", 10, 0),  # only its reserve lacks
        refused("a", 10, 3, subnetRefusedTime=None),
        refused("a", 10, 3, granted=10, requested=10),  # its pool's max, or the quota
        refused("a", 10, 3, writeIntent="Shrink"),
        refused("a", 10, 3, writeIntent="Grow"),  # it tries again
        refused("a", 10, 3, subnetID=""),
    ],
)
def test_nobody_gives_for_a_node_that_the_subnet_does_not_keep_from_more(waits: NodeRecord) -> None:
    assert plan(waits, giver("b", 20, 8)).asked == {}


def test_what_is_coming_already_is_not_asked_for_again() -> None:
    gives = giver("b", 20, 8, recall={"number": 7, "hold": 17})
    found = plan(refused("a", 10, 3), gives, giver("c", 20, 8))
    assert (found.asked, found.starving) == ({}, {"a": 3})
    writes = replace(gives, write_intent=giver("b", 1, 0, writeIntent="Shrink").write_intent, releasable=0, free=5)
    assert plan(refused("a", 10, 3), writes, giver("c", 20, 8)).starving == {"a": 3}


def test_each_refusal_is_answered_once() -> None:
    """Given, and not tried since: Azure alone knows whether there is room now."""
    gave = giver("b", 17, 5, recall={"number": 7, "hold": 17}, recallMet=7)
    answered = {"a": Answered(AT, 3)}
    found = plan(refused("a", 10, 3), gave, answered=answered)
    assert (found.asked, found.starving) == ({}, {"a": 0})
    assert holds(plan(refused("a", 10, 3, subnetRefusedTime=LATER), gave, answered=answered)) == {"b": 14}
    more = plan(refused("a", 10, 5), gave, answered=answered)  # pods that came since
    assert holds(more) == {"b": 15}


def test_a_node_that_tries_again_still_learns_what_is_coming() -> None:
    gives = giver("b", 20, 8, recall={"number": 7, "hold": 17})
    found = plan(refused("a", 10, 3, writeIntent="Grow"), gives)
    assert (found.asked, found.starving) == ({}, {"a": 3})


def test_who_gives_for_the_quota_is_not_asked_twice_in_a_round() -> None:
    nodes = (refused("a", 10, 3), giver("b", 20, 8))
    before = RecallPlan({"b": Recall(NUMBER, 18)}, {"q": 2}, {"b": 2}, short=2)
    found = with_subnets(before, ledger(*nodes, limit=1000), nodes, counted=lambda _: True, number=NUMBER, answered={})
    assert (holds(found), found.under_way) == ({"b": 18}, {"b": 2})
    assert found.starving == {"q": 2, "a": 2}
    assert found.quota_starves


def test_nothing_is_asked_of_or_for_nodes_that_azure_asked_to_wait_nor_while_it_asks_all() -> None:
    nodes = (refused("a", 10, 3), giver("b", 20, 8))
    assert plan(*nodes, slowed={"a"}).asked == {}
    assert plan(*nodes, slowed={"b"}).asked == {}
    assert plan(*nodes, halted=True).asked == {}
    assert plan(*nodes, counted=lambda node: node.name != "b").asked == {}
