"""A node is asked for idle addresses: what the plan makes of it, once, and never at the cost of its own pods."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from azure_cni.api.node_ip_pool import Recall
from azure_cni.ipam.ledger import Ledger
from azure_cni.ipam.plan import Grow, NoOp, Plan, Shrink, next_step
from azure_cni.ipam.removals import releasable
from azure_cni.ipam.sizing import Policy, under_recall
from azure_cni.model.nic import NicView
from fakes.nic import FakeNic
from fakes.simulated_node import holder

POLICY = Policy(min_free=8, batch=8, max_free=24)
LONG_AGO_S, NOW_S = 0.0, 1000.0


async def nic(held: int, **options: Any) -> NicView:
    return await FakeNic(ours=[f"10.240.0.{5 + number}" for number in range(held)], **options).read()


def ledger_of(view: NicView, *, assigned: int = 0) -> Ledger:
    ledger = Ledger()
    ledger.apply(ledger.observe(view, now_s=LONG_AGO_S).change)
    for number in range(assigned):
        ledger.apply(ledger.assign(holder(f"p{number}"), now_s=LONG_AGO_S, at_limit=False))
    return ledger


def plan(ledger: Ledger, view: NicView, recall: Recall | None, *, waiting: int = 0, **options: Any) -> Plan:
    policy = options.pop("policy", POLICY)
    return next_step(
        ledger, view, policy, waiting=waiting, now_s=NOW_S, surplus_since_s=None, granted=0, recall=recall, **options
    )


def test_a_recall_lowers_what_is_wanted_and_not_what_is_needed():
    assert under_recall(16, needed=5, recall=None) == 16
    assert under_recall(16, needed=5, recall=Recall(1, 10)) == 10
    assert under_recall(16, needed=12, recall=Recall(1, 10)) == 12
    assert under_recall(8, needed=5, recall=Recall(1, 10)) == 8


async def test_it_shrinks_at_once_and_once_for_each_number():
    view = await nic(16)
    ledger = ledger_of(view, assigned=3)
    found = plan(ledger, view, Recall(7, 13))
    assert isinstance(found.step, Shrink)
    assert len(found.step.addresses) == 3
    assert (found.target, found.requested, found.recall_met) == (13, 16, 0)
    given = await nic(13)
    after = plan(ledger_of(given, assigned=3), given, Recall(7, 13))
    assert (after.step, after.requested, after.recall_met) == (NoOp(), 13, 7)
    grew_since = plan(ledger, view, Recall(7, 13), recall_met=7)
    assert (grew_since.step, grew_since.recall_met) == (NoOp(), 7)
    assert isinstance(plan(ledger, view, Recall(8, 12), recall_met=7).step, Shrink)


async def test_what_pods_have_wait_for_or_gave_back_a_moment_ago_stays():
    view = await nic(16)
    ledger = ledger_of(view, assigned=12)
    found = plan(ledger, view, Recall(7, 4), waiting=3)
    assert isinstance(found.step, Shrink)
    assert len(found.step.addresses) == 1
    ledger.apply(ledger.unassign(holder("p0").sandbox, now_s=NOW_S - 1))
    found = plan(ledger, view, Recall(7, 4), waiting=4)
    assert (found.step, found.target, found.recall_met) == (NoOp(), 16, 7)


async def test_what_waiting_pods_will_take_is_not_offered():
    """Pods may wait although addresses are free: of some no sandbox is made, because a volume or an image lacks."""
    view = await nic(16)
    ledger = ledger_of(view, assigned=3)
    needed = plan(ledger, view, None, waiting=5).needed
    assert (needed, releasable(ledger, view, POLICY, needed=needed)) == (8, 8)
    assert releasable(ledger, view, POLICY, needed=20) == 0


async def test_until_it_is_withdrawn_it_grows_for_pods_alone():
    view = await nic(4)
    ledger = ledger_of(view, assigned=4)
    at_rest = plan(ledger, view, Recall(7, 4))
    assert (at_rest.step, at_rest.requested) == (NoOp(), 4)
    pods_wait = next_step(
        *(ledger, view, POLICY), waiting=2, now_s=NOW_S, surplus_since_s=None, granted=6, recall=Recall(7, 4)
    )
    assert pods_wait.step == Grow(2)
    assert plan(ledger, view, None).requested == 16


async def test_a_paused_pool_gives_nothing_and_has_not_met_it():
    view = await nic(16)
    ledger, paused = ledger_of(view, assigned=3), replace(POLICY, paused=True)
    found = plan(ledger, view, Recall(7, 13), policy=paused)
    assert (found.step, found.recall_met, releasable(ledger, view, paused, needed=3)) == (NoOp(), 0, 0)
    assert releasable(ledger, view, POLICY, needed=3) == 13


async def test_what_others_put_there_is_not_given_back():
    view = await nic(2, adopted=["10.240.1.1", "10.240.1.2"])
    ledger = ledger_of(view)
    assert releasable(ledger, view, POLICY, needed=0) == 2
    found = plan(ledger, view, Recall(7, 1))
    assert isinstance(found.step, Shrink)
    assert len(found.step.addresses) == 2


@pytest.mark.parametrize("size", [16, 12])
async def test_a_pool_of_a_fixed_size_gives_too(size: int):
    view = await nic(size)
    found = plan(ledger_of(view, assigned=3), view, Recall(7, size - 4), policy=Policy(size=size))
    assert isinstance(found.step, Shrink)
    assert len(found.step.addresses) == 4


async def test_of_blocks_a_whole_one_is_given_for_a_part_and_never_the_last():
    nic, of_blocks = FakeNic(), Policy(blocks=28)
    view = await nic.write(await nic.read(), add=32, size=16)
    ledger = ledger_of(view, assigned=3)
    assert releasable(ledger, view, of_blocks, needed=3) == 16
    found = plan(ledger, view, Recall(7, 28), policy=of_blocks)
    assert isinstance(found.step, Shrink)
    assert len(found.step.addresses) == 16
    idle = ledger_of(view)
    assert releasable(idle, view, of_blocks, needed=0) == 16
    one = await nic.write(view, remove=found.step.names)
    assert releasable(ledger_of(one), one, of_blocks, needed=0) == 0
    met = plan(ledger_of(one), one, Recall(8, 1), policy=of_blocks)
    assert (met.step, met.recall_met) == (NoOp(), 8)
