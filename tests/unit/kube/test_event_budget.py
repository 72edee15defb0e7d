"""Whose events are left out when there are too many: those of whoever makes too many."""

import logging
from collections.abc import Iterator

import pytest

from azure_cni.kube.event_budget import BURST, NAMESPACES, REFILL_S, SHARE_BURST, SHARE_REFILL_S, EventBudget

HOUR_S = 3600
REASON = "EgressNotAllowed"
"""Of one that a pod's owner causes by an annotation."""
BEGINS = "too many events: some are left out, the log has their content"
ENDS = "no more events are left out"


def take(budget: EventBudget, now_s: float, namespace: str = "evil", reason: str = REASON, kind: str = "Pod") -> bool:
    return budget.take(kind=kind, namespace=namespace, reason=reason, now_s=now_s)


def flood(rate: float, from_s: float = 0, until_s: float = HOUR_S) -> Iterator[float]:
    """When each of so many events a second comes."""
    yield from (from_s + number / rate for number in range(int((until_s - from_s) * rate)))


@pytest.mark.parametrize("rate", [0.4, 1, 4, 10])
@pytest.mark.parametrize(("floods", "waits"), [(REASON, "NoAddress"), ("NoAddress", "NoAddress"), (REASON, REASON)])
def test_one_tenant_leaves_room_for_the_events_of_another(rate: float, floods: str, waits: str):
    """Pods started without end for an hour; after half of it forty pods of somebody else have something to say."""
    budget, told = EventBudget(), []
    others = [HOUR_S / 2 + 40 * number for number in range(40)]
    for now_s, namespace in sorted([*((at, "evil") for at in flood(rate)), *((at, "shop") for at in others)]):
        may = take(budget, now_s, namespace, floods if namespace == "evil" else waits)
        if namespace == "shop":
            told.append(may)
    assert told == [True] * 40


def test_a_node_makes_a_bounded_number_of_events_whoever_floods():
    """Of each budget: the common part and the shares, however many namespaces take part."""
    budget = EventBudget()
    made = sum(take(budget, now_s, f"ns-{number % 300}") for number, now_s in enumerate(flood(10)))
    most = 2 * (BURST + HOUR_S / REFILL_S)
    assert 0.99 * most < made <= most


def test_one_namespace_has_the_common_part_and_its_share():
    budget = EventBudget()
    made = sum(take(budget, now_s) for now_s in flood(10))
    most = BURST + HOUR_S / REFILL_S + SHARE_BURST + HOUR_S / SHARE_REFILL_S
    assert 0.99 * most < made <= most


def test_each_kind_of_object_has_a_budget_of_its_own():
    budget = EventBudget()
    while take(budget, 0):
        pass
    assert take(budget, 0, namespace="", kind="Node")
    assert take(budget, 0, reason="NoAddress")
    assert not take(budget, 0)


def test_no_more_shares_are_remembered_than_a_bound():
    budget = EventBudget()
    for number in range(BURST + 2 * NAMESPACES):
        take(budget, 0, f"ns-{number}")
    assert [len(one._share_of) for one in budget._budgets.values()] == [NAMESPACES]


@pytest.mark.parametrize("rate", [1, 2, 4])
def test_a_flood_is_one_line_in_the_log(rate: float, caplog: pytest.LogCaptureFixture):
    """At the edge of a budget every other event could be a beginning and an end."""
    caplog.set_level(logging.INFO)
    budget = EventBudget()
    for now_s in flood(rate):
        take(budget, now_s)
    assert [record.message for record in caplog.records] == [BEGINS]
    over_s = HOUR_S + BURST / 2 * REFILL_S
    assert take(budget, over_s)
    assert [record.message for record in caplog.records] == [BEGINS, ENDS]
    while take(budget, over_s):
        pass
    assert [record.message for record in caplog.records] == [BEGINS, ENDS, BEGINS]


def test_how_many_were_left_out_is_logged(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    budget = EventBudget()
    left_out = sum(not take(budget, 0) for _ in range(BURST + SHARE_BURST + 7))
    take(budget, BURST * REFILL_S)
    began, ended = caplog.records
    assert (began.about, began.event_reason, began.namespace) == ("Pod", REASON, "evil")  # type: ignore[attr-defined]
    assert (ended.message, ended.left_out, left_out) == (ENDS, 7, 7)  # type: ignore[attr-defined]
