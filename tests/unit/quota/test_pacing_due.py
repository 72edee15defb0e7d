"""When a round is due again, by what each of the delayed nodes waits for."""

from __future__ import annotations

import pytest

from azure_cni.api import vnet_quota
from azure_cni.api.node_ip_pool import parse
from azure_cni.quota.node_record import NodeRecord, node_record
from azure_cni.quota.pacing import plan_reservations
from azure_cni.quota.throttling import ThrottleState
from azure_cni.quota.write_budget import MOST_ANSWERS, RecentUse
from fakes.cluster import VNET, FakeCluster

NOW_S = 1_800_000_000.0


def asking(name: str) -> NodeRecord:
    """A node that asks for eight addresses and holds none."""
    cluster = FakeCluster()
    cluster.node(name, requested=8, number=2, nic=f"{name}-nic", writeIntent="Grow", waiting=1)
    return node_record(parse(cluster.pools.objects[name]), now_s=0.0)


def quota() -> vnet_quota.VNetQuota:
    spec = {"vnetID": VNET, "limit": 100, "perNodeLimit": 50, "writesPerMinute": 60, "reserved": 0}
    return vnet_quota.parse({"metadata": {"name": "vnet", "uid": "u"}, "spec": spec, "status": {"grants": {}}})


@pytest.mark.parametrize(("slowed_s", "spent_s"), [(7.0, 40.0), (40.0, 7.0)])
def test_the_round_is_due_for_whichever_node_may_go_on_first(slowed_s: float, spent_s: float) -> None:
    """Found in reading: the time of a node that Azure slowed was lost when another one had spent its answers."""
    plan = plan_reservations(
        quota(),
        [asking("slowed"), asking("spent")],
        vanished={},
        throttling=ThrottleState(slowed={"slowed": NOW_S + slowed_s}),
        uses={"spent": RecentUse(answers=MOST_ANSWERS, free_s=1000.0 + spent_s)},
        now_s=NOW_S,
        monotonic_s=1000.0,
    )
    assert plan.delayed == {"slowed", "spent"}
    assert plan.due_s == pytest.approx(7.0)
