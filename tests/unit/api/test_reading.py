"""Fields that a hand has made something else count as absent, and numbers are held within what can be written again."""

from __future__ import annotations

from typing import Any

import pytest

from azure_cni.api import nic_operation, vnet_quota
from azure_cni.api.node_ip_pool import NodeIPPool, parse
from azure_cni.api.reading import LARGEST_NUMBER, MOST_ADDRESSES, decimal
from unit.chart.crds import POOLS, QUOTAS, schema


def with_status(**status: Any) -> NodeIPPool:
    return parse({"metadata": {"name": "vm1", "uid": "u", "resourceVersion": "7"}, "status": status})


@pytest.mark.parametrize("primary", ["999.1.1.1", "10.0.0.4/24", "", None, 7, [], {}])
def test_an_address_that_is_none_is_as_if_nobody_had_written_one(primary: object):
    assert with_status(macAddress="00:0d:3a:00:00:04", primaryIP=primary).uplink is None


@pytest.mark.parametrize("number", [2**63 - 1, 2**53, -1, "12", 1.5, True, None, [], {"id": 1}])
def test_a_number_that_nobody_gave_is_none_and_the_next_can_be_written(number: object):
    pool = with_status(
        requestID=number, grantedFor=number, nicOperation={"id": number}, nicOperationResult={"id": number}
    )
    assert (pool.view.request.number, pool.view.granted_for) == (0, 0)
    assert nic_operation.last_number(pool) == 0
    assert 0 <= pool.last_request(vm_id="v").number + 2**20 <= LARGEST_NUMBER


@pytest.mark.parametrize("number", [LARGEST_NUMBER, LARGEST_NUMBER - 2**20])
def test_a_number_that_few_could_follow_is_not_counted_on_from(number: int):
    pool = with_status(requestID=number, nicOperation={"id": number}, nicOperationResult={"id": number})
    assert nic_operation.last_number(pool) == 0
    assert pool.last_request(vm_id="v").number + 2**30 <= LARGEST_NUMBER


def test_where_a_number_makes_no_sense_the_next_are_far_from_those_before():
    usual = with_status().last_request(vm_id="v").number
    assert abs(with_status(requestID=2**63 - 1).last_request(vm_id="v").number - usual) > 2**20


@pytest.mark.parametrize(("count", "read"), [(300, MOST_ADDRESSES), (-5, 0), ("16", 0), (None, 0), (True, 0), (16, 16)])
def test_a_count_is_one_that_a_node_can_have(count: object, read: int):
    seen = with_status(requested=count, granted=count, allocated=count).view
    assert (seen.request.count, seen.granted, seen.allocated) == (read, read, read)


def test_the_definitions_allow_what_is_read_and_no_more():
    status = schema(POOLS)["properties"]["status"]["properties"]
    numbers = [
        status["requestID"],
        status["grantedFor"],
        *(status[key]["properties"]["id"] for key in ("nicOperation", "nicOperationResult")),
    ]
    entry = schema(QUOTAS)["properties"]["status"]["properties"]["grants"]["additionalProperties"]["properties"]
    assert {one["maximum"] for one in [*numbers, entry["requestID"]]} == {LARGEST_NUMBER}
    assert {status[key]["maximum"] for key in ("requested", "allocated")} == {MOST_ADDRESSES}


@pytest.mark.parametrize("grants", ["none", 7, ["vm1"]])
def test_a_ledger_that_is_none_is_a_new_one(grants: object):
    read = vnet_quota.parse({"metadata": {"name": "vnet"}, "spec": {"vnetID": "v"}, "status": {"grants": grants}})
    assert (read.is_new, dict(read.entries)) == (True, {})


@pytest.mark.parametrize(
    ("written", "number"),
    [("110", 110), ("0", 0), ("0110", 110), ("1000", 999), ("9" * 5000, 999), ("0" * 5000 + "7", 7),
     ("", 7), ("-1", 7), ("1.5", 7), ("²", 7), ("٣", 7), (12, 7), (None, 7)],
)  # fmt: skip
def test_a_number_written_as_text_is_held_below_the_most(written: object, number: int):
    assert decimal(written, most=999, default=7) == number
