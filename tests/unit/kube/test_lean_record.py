"""What the controller reads of a pool is all that it decides by."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import msgspec

from azure_cni.api import node_ip_pool
from azure_cni.kube.lean_objects import lean_pool
from azure_cni.quota.node_record import NodeRecord, node_record

NETWORK = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network"
STATUS: dict[str, Any] = {
    "nicID": f"{NETWORK}/networkInterfaces/n",
    "vnetID": f"{NETWORK}/virtualNetworks/v",
    "subnetID": f"{NETWORK}/virtualNetworks/v/subnets/x",
    "requested": 48,
    "requestID": 7,
    "writeIntent": "Grow",
    "granted": 32,
    "grantedFor": 6,
    "grantReason": "QuotaExceeded",
    "grantNotBefore": "2100-01-01T00:00:00Z",
    "allocated": 32,
    "assigned": 20,
    "free": 3,
    "waiting": 4,
    "target": 48,
    "releasable": 5,
    "blocks": 28,
    "recall": {"number": 2, "hold": 30},
    "recallMet": 1,
    "recalling": 6,
    "subnetRefusedTime": "2026-01-01T00:00:00Z",
    "throttledUntil": "2100-01-01T00:00:00Z",
}
UNSEEN = {"asking_since_s"}
"""It is not in the pool: the controller notes it."""


def _record(body: dict[str, Any]) -> NodeRecord:
    return node_record(node_ip_pool.parse(body), now_s=100.0)


def test_the_controller_sees_all_of_a_pool_that_it_decides_by():
    """A node of blocks that looked like another was granted parts of one, which nobody could use."""
    body = {"metadata": {"name": "n", "uid": "u", "resourceVersion": "9"}, "status": STATUS}
    lean = lean_pool(msgspec.json.encode(body))
    assert lean is not None
    assert _record(lean) == _record(body)
    assert _record(lean).by_blocks


def test_each_part_of_the_record_differs_from_that_of_a_pool_that_says_nothing():
    """Else the comparison above would not see that it is missing."""
    empty = {"metadata": {}, "status": {}}
    full = {"metadata": {"name": "n", "uid": "u", "resourceVersion": "9"}, "status": STATUS}
    same = {
        one.name for one in fields(NodeRecord) if getattr(_record(full), one.name) == getattr(_record(empty), one.name)
    }
    assert same <= UNSEEN
