"""How much a round computes: in proportion to the nodes, because nothing else runs in the controller meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from azure_cni.api import vnet_quota
from azure_cni.api.node_ip_pool import parse
from azure_cni.quota import pool_updates, quota_status
from azure_cni.quota.messages import Explanation
from azure_cni.quota.node_record import NodeRecord, node_record
from azure_cni.quota.pacing import plan_reservations
from azure_cni.quota.throttling import ThrottleState
from fakes.cluster import NICS, VNET

FEW, MANY = 100, 400
MORE_THAN_IN_PROPORTION = 1.5
"""Sorting is a little more; what looks through the ledger for each node is four times as much."""

Work = Callable[[vnet_quota.VNetQuota, Sequence[NodeRecord]], object]


def plan(quota: vnet_quota.VNetQuota, nodes: Sequence[NodeRecord]) -> object:
    state = ThrottleState(slowed={})
    return plan_reservations(quota, nodes, vanished={}, throttling=state, uses={}, now_s=0.0, monotonic_s=0.0)


def status(quota: vnet_quota.VNetQuota, nodes: Sequence[NodeRecord]) -> object:
    return quota_status.status_fields(quota, nodes, silence=Explanation(), now_s=0.0)


def answers(quota: vnet_quota.VNetQuota, nodes: Sequence[NodeRecord]) -> object:
    return list(pool_updates.answers(quota, nodes))


def cluster_of(count: int) -> tuple[vnet_quota.VNetQuota, list[NodeRecord]]:
    """Nodes that have an entry for their newest request in the ledger, and no answer yet."""
    names = [f"node{index:04}" for index in range(count)]
    grants = {name: {"count": 8, "requestID": 1, "nic": f"g/{name}-nic"} for name in names}
    spec = {"vnetID": VNET, "limit": 65_000, "perNodeLimit": 250, "writesPerMinute": 100, "reserved": 0}
    quota = vnet_quota.parse({"metadata": {"name": "vnet"}, "spec": spec, "status": {"grants": grants}})
    asked = {"vnetID": VNET, "requested": 16, "requestID": 1, "allocated": 8, "free": 8, "writeIntent": "Grow"}
    pools = [{"metadata": {"name": name}, "status": {**asked, "nicID": f"{NICS}/{name}-nic"}} for name in names]
    return quota, [node_record(parse(pool), now_s=0.0) for pool in pools]


def calls_of(work: Work, count: int) -> int:
    """How many calls of functions, Python's own included, that work takes for so many nodes."""
    quota, nodes = cluster_of(count)
    calls = 0

    def note(_frame: object, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work(quota, nodes)
    finally:
        sys.setprofile(before)
    return calls


@pytest.mark.parametrize("work", [plan, status, answers])
def test_four_times_the_nodes_are_four_times_the_work(work: Work) -> None:
    """Found by measuring: the ledger was looked through for each node; a round of 2,000 nodes took most of a second."""
    assert calls_of(work, MANY) < MORE_THAN_IN_PROPORTION * MANY / FEW * calls_of(work, FEW)
