"""Writes of scale sets' instances in a subscription: granted within Azure's limit, whatever the VNets' budgets are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from azure_cni.quota.instance_budget import InstanceBudget, InstanceTokens
from azure_cni.quota.node_record import NodeRecord
from azure_cni.quota.pacing import ReservationPlan, plan_reservations
from azure_cni.quota.pool_updates import delays
from azure_cni.quota.throttling import ThrottleState
from unit.quota.test_pacing_due import asking, quota

VNET = "/subscriptions/S/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v"


def instance(name: str) -> NodeRecord:
    return replace(asking(name), nic=f"g/set/{name}/nic")


def planned(nodes: list[NodeRecord], instances: InstanceTokens) -> ReservationPlan:
    return plan_reservations(
        replace(quota(), limits=replace(quota().limits, writes_per_minute=1000)),
        nodes,
        vanished={},
        throttling=ThrottleState(),
        uses={},
        now_s=0.0,
        monotonic_s=0.0,
        instances=instances,
    )


def test_instances_wait_for_one_another_and_plain_vms_for_none_of_them() -> None:
    nodes = [*(instance(f"i{index}") for index in range(4)), *(asking(f"n{index}") for index in range(3))]
    plan = planned(nodes, InstanceTokens(writes=1, next_s=7.0))
    assert len(plan.instances) == 3
    assert plan.instances == plan.delayed
    assert {"n0", "n1", "n2"} < plan.costs.keys()
    assert plan.due_s == pytest.approx(7.0)


def test_an_instance_that_waits_is_told_for_what() -> None:
    nodes = [instance("i0")]
    plan = planned(nodes, InstanceTokens(writes=0, next_s=7.0))
    (update,) = delays(quota(), nodes, plan, monotonic_s=1e6)
    assert update.status["grantReason"] == "WriteBudget"
    assert "500 such writes a minute in a subscription" in update.status["grantMessage"]


def test_nobody_waits_where_there_are_no_instances() -> None:
    plan = planned([asking("n0")], InstanceTokens(writes=0, next_s=7.0))
    assert (plan.delayed, plan.costs) == (frozenset(), {"n0": 1})


def test_all_vnets_of_a_subscription_share_one_budget() -> None:
    now_s = [0.0]
    budget = InstanceBudget(lambda: now_s[0])
    assert (budget.tokens(VNET).writes, budget.shown()) == (475, {})
    budget.note(f"{VNET}2".replace("/S/", "/s/"), writes=475)
    assert budget.tokens(VNET).writes == 0
    assert budget.tokens(VNET).next_s == pytest.approx(60 / 475)
    assert budget.tokens(VNET.replace("/S/", "/another/")).writes == 475
    now_s[0] = 60.0
    assert budget.tokens(VNET).writes == 475
    assert budget.shown() == {"s": pytest.approx((475.0, 1425.0, 475.0))}
    now_s[0] = 1e6
    assert budget.tokens(VNET).writes == 1425
