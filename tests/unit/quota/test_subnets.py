"""What a VNetQuota says of the subnets that its nodes are in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from azure_cni.api import vnet_quota
from azure_cni.api.quota_usage import AzureUse, SubnetUse, subnet_document
from azure_cni.api.vnet_quota import VNetQuota
from azure_cni.model.nic import SubnetID, SubnetUsage
from azure_cni.quota.messages import Explanation
from azure_cni.quota.node_record import NodeRecord
from azure_cni.quota.quota_status import status_fields
from azure_cni.quota.subnets import has_plenty, subnet_full, subnet_uses
from fakes.cluster import VNET
from unit.quota.recall_nodes import record

NOW_S = 1_800_000_000.0


def quota(*uses: SubnetUse) -> VNetQuota:
    """One that a controller wrote and another reads."""
    body: dict[str, Any] = {"metadata": {"name": "vnet"}, "spec": {"vnetID": VNET}}
    return vnet_quota.parse({**body, "status": {"subnets": [subnet_document(use) for use in uses]}})


def usage(name: str, used: int, limit: int = 100) -> SubnetUsage:
    return SubnetUsage(SubnetID(f"{VNET}/subnets/{name}"), used, limit)


def node(subnet: str) -> NodeRecord:
    return record("a", subnetID=f"{VNET}/subnets/{subnet}")


def test_only_subnets_of_nodes_count_whatever_the_case_of_their_names() -> None:
    found = subnet_uses(quota(), [node("NODES"), node("b")], [usage("nodes", 10), usage("others", 99)], now_s=NOW_S)
    assert found == (SubnetUse("nodes", 10, 100),)


def test_a_subnet_for_which_azure_shows_no_size_is_left_out() -> None:
    assert subnet_uses(quota(), [node("GatewaySubnet")], [usage("GatewaySubnet", 0, 0)], now_s=NOW_S) == ()


@pytest.mark.parametrize(("used", "scattered"), [(84, 1), (85, 0), (100, 0)])
def test_a_subnet_with_room_and_no_block_is_fragmented(used: int, scattered: int) -> None:
    waits = record("a", subnetID=f"{VNET}/subnets/nodes", subnetRefusedTime="2027-01-15T08:00:00Z", blocks=28)
    single = record("b", subnetID=f"{VNET}/subnets/nodes", subnetRefusedTime="2027-01-15T08:00:00Z")
    (found,) = subnet_uses(quota(), [waits, single, node("nodes")], [usage("nodes", used)], now_s=NOW_S)
    assert found.without_block == scattered
    assert quota(found).subnets == (found,)  # as the next controller reads it
    said = subnet_full(quota(found))
    assert said.holds == (scattered or used == 100)
    assert (said.reason == "SubnetFragmented") == bool(scattered)
    if scattered:
        assert "subnet nodes (84 of 100 addresses): the free ones are scattered, " in said.message


def test_without_an_answer_the_last_one_stays() -> None:
    known = SubnetUse("nodes", 90, 100, NOW_S)
    assert subnet_uses(quota(known), [node("nodes")], (), now_s=NOW_S + 60) == (known,)


@pytest.mark.parametrize(
    ("used", "was", "near"), [(80, False, False), (81, False, True), (71, True, True), (70, True, False)]
)
def test_it_is_near_above_four_fifths_and_until_seven_tenths_across_controllers(
    used: int, *, was: bool, near: bool
) -> None:
    known = SubnetUse("nodes", 75, 100, NOW_S - 600 if was else None)
    (found,) = subnet_uses(quota(known), [node("nodes")], [usage("nodes", used)], now_s=NOW_S)
    assert found.near_since_s == ((NOW_S - 600 if was else NOW_S) if near else None)
    assert has_plenty(replace(quota(), subnets=(found,)), node("nodes").subnet) is not near


def test_a_subnet_of_which_nothing_is_known_has_no_plenty() -> None:
    assert not has_plenty(quota(), node("nodes").subnet)


def test_the_fullest_are_shown() -> None:
    many = [usage(f"s{number}", number) for number in range(90)]
    found = subnet_uses(quota(), [node(f"s{number}") for number in range(90)], many, now_s=NOW_S)
    assert {use.used for use in found} == set(range(26, 90))


NEAR, FULL = SubnetUse("m", 90, 100, NOW_S), SubnetUse("n", 100, 100, NOW_S)


@pytest.mark.parametrize(
    ("uses", "holds", "reason", "says"),
    [
        ((), False, "UsageUnknown", "not said yet"),
        ((SubnetUse("n", 3, 100),), False, "SubnetsHaveRoom", "1 subnet of nodes has room"),
        ((NEAR,), False, "NearLimit", "subnet m (90 of 100 addresses); azure-cni forecast"),
        ((NEAR, FULL), True, "SubnetFull", "no address is left in subnet n (100 of 100 addresses)"),
        ([replace(FULL, name=f"n{one}") for one in range(6)], True, "SubnetFull", "n3 (100 of 100 addresses), 2 more;"),
    ],
)
def test_what_is_said_of_it(uses: Sequence[SubnetUse], *, holds: bool, reason: str, says: str) -> None:
    found = subnet_full(quota(*uses))
    assert (found.holds, found.reason) == (holds, reason)
    assert says in found.message


@pytest.mark.parametrize("use", [NEAR, FULL])
def test_a_count_that_is_old_because_azure_is_silent_has_its_time(use: SubnetUse) -> None:
    """Else one that nobody could read for a week is taken for today's."""
    read = replace(quota(use), azure=AzureUse(100, 0, NOW_S))
    assert "2027" not in subnet_full(read).message  # it would be another sentence at each reading
    assert "of 100 addresses, as at 2027-01-15T08:00:00Z); " in subnet_full(read, silent=True).message
    said = status_fields(read, [], silence=Explanation("AccessDenied", "denied"), now_s=NOW_S)["conditions"]
    assert "as at 2027" in next(one["message"] for one in said if one["type"] == "SubnetFull")


def test_who_reads_of_a_full_subnet_learns_what_is_taken_back_for_the_pods_that_wait() -> None:
    found = subnet_full(quota(SubnetUse("n", 9, 9, NOW_S)), recalled=3)
    assert "3 idle addresses are taken back for pods that wait; nodes there" in found.message
