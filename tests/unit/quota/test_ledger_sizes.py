"""One object holds the ledger of a VNet: how many nodes fit into it, and what each write takes of the controller."""

from __future__ import annotations

import msgspec
import pytest

from azure_cni.api import vnet_quota
from azure_cni.api.vnet_quota import Draft
from unit.chart.crds import QUOTA_STATUS
from unit.quota.ledger_sizes import KUBERNETES_MOST, entries

ETCD = 1.5 * 2**20
"""Bytes of one request to etcd (its --max-request-bytes); a larger object cannot be written."""
OF_THE_REST = 0.15
"""Of an object, at most: everything but the ledger."""


@pytest.mark.parametrize(("names", "bytes_each"), [("plain", 94), ("scale set", 192)])
def test_the_nodes_of_the_largest_cluster_fit_with_room_for_a_third_as_many_again(names: str, bytes_each: int):
    ledger = msgspec.json.encode(Draft(entries=entries(KUBERNETES_MOST, names, each=13)).status())
    assert len(ledger) // KUBERNETES_MOST in {bytes_each - 1, bytes_each}
    assert 4 / 3 * len(ledger) < (1 - OF_THE_REST) * ETCD


def test_the_definition_takes_more_entries_than_the_largest_cluster_has_nodes():
    grants = QUOTA_STATUS["properties"]["grants"]
    assert grants["maxProperties"] > 1.5 * KUBERNETES_MOST


def test_one_entry_is_written_by_a_patch_that_does_not_grow_with_the_ledger():
    ledger = entries(KUBERNETES_MOST, "plain", each=13)
    quota = vnet_quota.parse({"spec": {"vnetID": "v"}, "status": Draft(entries=ledger).status()})
    one = dict([next(iter(quota.entries.items()))])
    assert len(msgspec.json.encode(Draft(entries=one).status())) < 200
