"""Idle addresses come back a few at a time, and each grant is a write of a NIC: few grants bring them to the pods."""

from __future__ import annotations

from dataclasses import replace

import pytest

from azure_cni.quota.node_record import NodeRecord
from azure_cni.quota.pacing import plan_reservations
from azure_cni.quota.recalls import RecallPlan
from azure_cni.quota.throttling import ThrottleState
from unit.quota.recall_nodes import ledger, rich, starving
from unit.quota.test_recall_updates import told

GIVERS = [rich(f"rich-{number}", 25, 15) for number in range(4)]


def granted(*nodes: NodeRecord, room: int, slowed: tuple[str, ...] = (), **coming: int) -> dict[str, int]:
    """What more each gets in one round: `room` addresses have come back, others are to follow."""
    quota = ledger(*nodes, *GIVERS, decided=5, limit=sum(node.view.granted for node in (*nodes, *GIVERS)) + room)
    state = ThrottleState(slowed=dict.fromkeys(slowed, 60.0))
    plan = plan_reservations(
        quota, [*nodes, *GIVERS], vanished={}, throttling=state, uses={}, now_s=0.0, monotonic_s=0.0, recalled=coming
    )
    held = {node.name: node.view.granted for node in nodes}
    more = {name: entry.count - held[name] for name, entry in plan.changes.items() if entry is not None}
    return {name: count for name, count in more.items() if count}


def asking(name: str, waiting: int) -> NodeRecord:
    return starving(name, 10, waiting, requestID=6)


def test_what_has_come_back_is_one_nodes_while_as_much_is_to_follow_for_the_others() -> None:
    hungry = [asking(name, 15) for name in ("a", "b", "c")]
    assert granted(*hungry, room=15, **{"rich-0": 15, "rich-1": 15}) == {"a": 15}
    assert granted(*hungry, room=30, **{"rich-0": 15}) == {"a": 15, "b": 15}
    assert granted(*hungry, room=15) == {"a": 5, "b": 5, "c": 5}, "nothing more comes"


def test_nobody_has_more_than_its_share_of_all_that_comes() -> None:
    hungry = [asking(name, 30) for name in ("a", "b", "c")]
    assert granted(*hungry, room=15, **{"rich-0": 15}) == {"a": 10, "b": 5}
    assert granted(asking("a", 3), asking("b", 30), room=15, **{"rich-0": 15}) == {"a": 3, "b": 12}


def test_what_comes_is_nobodys_reserve() -> None:
    """`a` asks for eight spare addresses beside what its pods need."""
    assert granted(asking("a", 3), room=3, **{"rich-0": 15}) == {"a": 3}
    assert granted(asking("a", 3), asking("b", 3), room=6, **{"rich-0": 15}) == {"a": 3, "b": 3}


def test_a_node_that_azure_asked_to_wait_keeps_no_room_from_others() -> None:
    hungry = [asking(name, 15) for name in ("a", "b")]
    assert granted(*hungry, room=15, slowed=("a",), **{"rich-0": 15}) == {"b": 15}


def test_less_than_a_block_is_no_share_of_a_node_of_blocks_while_others_wait() -> None:
    """It would get none of it, and stay the reason why the others get no more."""
    of_blocks = replace(asking("a", 40), by_blocks=True)
    assert granted(of_blocks, asking("b", 14), room=14) == {"b": 14}
    assert granted(of_blocks, asking("b", 30), room=40) == {"a": 32, "b": 8}
    assert granted(of_blocks, asking("b", 14), room=15, **{"rich-0": 15}) == {"b": 14}, "a block is still to come"


@pytest.mark.parametrize(
    ("shown", "comes", "waiting", "is_told"),
    [
        (0, 1, 50, True),
        (40, 39, 50, False),
        (40, 31, 50, False),
        (40, 30, 50, True),
        (40, 50, 50, True),  # as many as wait
        (50, 49, 50, True),
        (3, 2, 50, True),
        (1, 0, 50, True),
    ],
)
def test_a_count_that_hardly_changed_is_no_write_of_the_pool(
    shown: int, comes: int, waiting: int, *, is_told: bool
) -> None:
    node = starving("a", 10, waiting, recalling=shown, grantReason="QuotaExceeded")
    status = told(node, RecallPlan(starving={"a": comes}))
    assert ("recalling" in status) is is_told
    assert (status.get("recalling") or 0) == (comes if is_told else 0)


def test_in_a_full_subnet_each_count_is_told() -> None:
    """The node tries again as soon as less is coming."""
    node = starving("a", 10, 50, recalling=40)
    assert told(node, RecallPlan(starving={"a": 39}, in_subnets={"a": "s"}))["recalling"] == 39
