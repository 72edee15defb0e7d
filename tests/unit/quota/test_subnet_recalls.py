"""Whose idle addresses are recalled in a full subnet, and that each refusal is answered once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from azure_cni.api.node_ip_pool import Recall
from azure_cni.quota.node_record import NodeRecord
from azure_cni.quota.recall_tracker import GATHERS_S, REST_S, TRIES_S, RecallTracker
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


class Rounds:
    """Rounds of a tracker, in a quota that has enough for all."""

    def __init__(self) -> None:
        self.tracker, self.now_s = RecallTracker(), 0.0

    def next(self, *nodes: NodeRecord, after_s: float = GATHERS_S) -> RecallPlan:
        self.now_s += after_s
        quota = ledger(*nodes, limit=1000)
        return self.tracker.plan(quota, nodes, now_s=self.now_s, utc_s=NUMBER + self.now_s, halted=False)


def asked(node: NodeRecord, found: RecallPlan) -> NodeRecord:
    return replace(node, recall=found.asked[node.name])


def gave(name: str, held: int, idle: int, number: int) -> NodeRecord:
    return giver(name, held, idle, recall={"number": number, "hold": held}, recallMet=number)


@pytest.mark.parametrize("intent", ["None", "Grow"])
def test_who_gave_to_a_node_that_never_tries_again_has_its_reserve_back(intent: str) -> None:
    """Its agent is away, or its pool is paused, while its kubelet is well: nothing else ends the wishes."""
    rounds, waits = Rounds(), refused("a", 10, 3)
    number = rounds.next(waits, giver("b", 20, 8)).asked["b"].number
    waits, rests = refused("a", 10, 3, writeIntent=intent), gave("b", 17, 5, number)
    assert not rounds.next(waits, rests, after_s=TRIES_S - 10).ended
    assert not rounds.next(waits, rests, after_s=20).starving
    assert list(rounds.next(waits, rests, after_s=REST_S).ended) == ["b"]
    back = giver("b", 20, 8)
    assert not rounds.next(waits, back, after_s=REST_S).asked
    again = refused("a", 10, 3, subnetRefusedTime=LATER)  # it is back
    assert holds(rounds.next(again, back)) == {"b": 17}


def test_pods_that_came_after_a_refusal_was_answered_are_given_for_once() -> None:
    rounds = Rounds()
    number = rounds.next(refused("a", 10, 3), giver("b", 20, 8)).asked["b"].number
    more, b, c = refused("a", 10, 5), gave("b", 17, 5, number), giver("c", 20, 4)
    found = rounds.next(more, b, c)
    assert holds(found) == {"b": 15}
    assert [rounds.next(more, asked(b, found), c).asked for _ in range(3)] == [{}] * 3
    given = gave("b", 15, 3, found.asked["b"].number)
    assert [rounds.next(more, given, c).asked for _ in range(3)] == [{}] * 3


def test_what_one_node_is_owed_already_does_not_count_for_another() -> None:
    rounds = Rounds()
    number = rounds.next(refused("a", 10, 3), giver("b", 20, 8)).asked["b"].number
    both, b, c = (refused("a", 10, 3), refused("z", 10, 2)), gave("b", 17, 5, number), giver("c", 20, 4)
    found = rounds.next(*both, b, c)
    assert holds(found) == {"b": 15}
    assert rounds.next(*both, asked(b, found), c).asked == {}
    assert rounds.next(*both, gave("b", 15, 3, found.asked["b"].number), c).asked == {}


def test_a_node_that_gets_nothing_of_what_others_give_empties_nobodys_pool() -> None:
    """Azure counts late, somebody else takes it, or the node lies."""
    rounds, idle, numbers = Rounds(), 100, []
    for number in range(20):
        found = rounds.next(refused("a", 10, 3, subnetRefusedTime=f"{number}"), giver("b", 20 + idle, idle))
        numbers += [number] * bool(found.asked)
        idle -= 3 * bool(found.asked)
    assert numbers == [0, 1, 2]
    got = refused("a", 12, 1, subnetRefusedTime="got two")
    assert rounds.next(got, giver("b", 20, 8)).asked
    lost = [refused("a", 12, 1, subnetRefusedTime=f"lost {number}") for number in range(5)]
    assert [bool(rounds.next(node, giver("b", 20, 8)).asked) for node in lost] == [True, True, False, False, False]
    later = refused("a", 12, 1, subnetRefusedTime="later")
    assert rounds.next(later, giver("b", 20, 8), after_s=TRIES_S).asked


def test_subnets_that_a_node_makes_up_are_not_remembered_for_ever() -> None:
    rounds = Rounds()
    for number in range(20):
        rounds.next(refused("a", 10, 3, subnetID=f"{VNET}/subnets/s{number}", subnetRefusedTime=f"{number}"))
    rounds.next(giver("b", 20, 8), after_s=REST_S)
    assert not rounds.tracker._starved_subnets


def test_a_node_that_also_waits_for_the_quota_is_one_of_those() -> None:
    """It tries again for what it has been granted, and asked for more than that."""
    both = refused("a", 10, 5, writeIntent="Grow", requested=18, granted=12)
    nodes = (both, giver("b", 20, 8))
    found = with_subnets(
        plan_recalls(ledger(*nodes), nodes, counted=lambda _: True, number=NUMBER),
        *(ledger(*nodes), nodes),
        counted=lambda _: True,
        number=NUMBER,
        answered={},
    )
    assert (found.starving, found.quota_starves, found.in_subnets) == ({"a": 3}, True, {})


def test_what_a_node_is_asked_for_is_shown_whatever_leaves_the_ledger_beside_it() -> None:
    """What it gave before is on no NIC and still in the ledger."""
    gives = giver("b", 17, 8, requested=17, granted=20, recall={"number": 7, "hold": 17}, recallMet=7)
    found = plan(refused("a", 10, 5), gives)
    assert (holds(found), found.asked_for) == ({"b": 12}, {"b": 5})
