"""The condition Ready of a VNetQuota: whether nodes are granted what they ask for, and what keeps them from it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest

from azure_cni.api import vnet_quota
from azure_cni.api.conditions import QuotaKind, holds
from azure_cni.api.node_ip_pool import parse
from azure_cni.api.vnet_quota import LedgerEntry, VNetQuota
from azure_cni.errors import AccessDenied, CloudNotFound
from azure_cni.quota.messages import NOTHING, Explanation
from azure_cni.quota.node_record import NodeRecord, node_record
from azure_cni.quota.quota_status import status_fields
from fakes.cluster import VNET, FakeCluster

NOW_S = 1_800_000_000.0
DENIED = Explanation(AccessDenied.reason, "cannot read usages of VNet vnet: denied")
NOT_FOUND = Explanation(CloudNotFound.reason, "cannot read usages of VNet vnet: not found")


def quota(*, limit: int = 100, granted: int = 8) -> VNetQuota:
    """One whose ledger answers the newest request of its one node."""
    spec = {"vnetID": VNET, "limit": limit, "perNodeLimit": 50, "writesPerMinute": 60, "reserved": 0}
    read = vnet_quota.parse({"metadata": {"name": "vnet", "uid": "u", "generation": 3}, "spec": spec, "status": {}})
    return replace(read, is_new=False, entries={"a": LedgerEntry(granted, 2, "g/a-nic")})


def node(*, requested: int = 8) -> NodeRecord:
    """The node that has the entry."""
    cluster = FakeCluster()
    cluster.node("a", requested=requested, number=2, nic="a-nic", allocated=8, granted=8, grantedFor=2)
    return node_record(parse(cluster.pools.objects["a"]), now_s=0.0)


def ready(
    read: VNetQuota, *, requested: int = 8, silence: Explanation = NOTHING, refused: Collection[str] = ()
) -> dict[str, Any]:
    fields = status_fields(read, [node(requested=requested)], silence=silence, now_s=NOW_S, refused=refused)
    condition: dict[str, Any] = next(one for one in fields["conditions"] if one["type"] == "Ready")
    return condition


def test_it_is_ready_while_all_that_is_asked_for_is_granted() -> None:
    found = ready(quota())
    assert (found["status"], found["reason"], found["observedGeneration"]) == ("True", "Granting", 3)
    assert "VNetQuota vnet allows 100, and 8 are granted" in found["message"]


def test_it_is_not_ready_while_nodes_ask_for_more_than_there_is() -> None:
    found = ready(quota(limit=8), requested=16)
    assert (found["status"], found["reason"]) == ("False", "QuotaExceeded")
    assert "kubectl edit vnetquota vnet" in found["message"]


def test_it_is_not_ready_while_azure_asks_to_wait() -> None:
    found = ready(replace(quota(), throttled_until_s=NOW_S + 60))
    assert (found["status"], found["reason"]) == ("False", "Throttled")


def test_it_is_not_ready_while_nodes_entries_are_refused_whatever_else_is_wrong() -> None:
    found = ready(replace(quota(limit=8), throttled_until_s=NOW_S + 60), requested=16, refused=["b"])
    assert (found["status"], found["reason"]) == ("False", "EntryRefused")
    assert "entries of b" in found["message"]


def test_it_is_not_ready_for_a_vnet_that_azure_does_not_have() -> None:
    found = ready(quota(), silence=NOT_FOUND)
    assert (found["status"], found["reason"]) == ("False", "NotFound")


def test_without_the_permission_to_read_the_use_it_is_ready_and_says_so() -> None:
    """An installation works without that permission, so `kubectl wait` must not wait for it for ever."""
    found = ready(quota(), silence=DENIED)
    assert (found["status"], found["reason"]) == ("True", "AccessDenied")
    assert "but cannot read usages of VNet vnet: denied" in found["message"]


@pytest.mark.parametrize("status", [{}, {"conditions": None}])
def test_a_quota_that_no_controller_has_looked_at_is_not_ready(status: dict[str, Any]) -> None:
    assert not holds(status, QuotaKind.READY)
