"""Which subnet a node's pods get, by the chart's rules, and what is said where the VM has no NIC there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from azure_cni.model.identity import PRIMARY_NIC
from azure_cni.model.nic import SubnetID
from azure_cni.model.pod_subnets import PodSubnetRule, nic_missing, read_rules, subnet_for, subnet_id, vnet_of
from fakes.cloud import IDENTITY, VNET_ID

WEB, REST = SubnetID(f"{VNET_ID}/subnets/web"), SubnetID(f"{VNET_ID}/subnets/rest")
INSTANCE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/set/virtualMachines/0"


@pytest.mark.parametrize(
    ("labels", "subnet"),
    [
        ({"pool": "web", "zone": "1"}, WEB),
        ({"pool": "web"}, REST),
        ({}, REST),
    ],
)
def test_the_first_rule_counts_whose_labels_the_node_has(labels: dict[str, str], subnet: SubnetID) -> None:
    rules = read_rules([{"nodeLabels": {"pool": "web", "zone": "1"}, "subnet": WEB}, {"subnet": REST}])
    assert subnet_for(rules, labels) == subnet


def test_without_a_rule_for_it_a_node_has_its_primary_nic() -> None:
    assert subnet_for((PodSubnetRule({"a": "b"}, WEB),), {"a": "c"}) == PRIMARY_NIC


@pytest.mark.parametrize(
    ("subnet", "vnet"),
    [(WEB, VNET_ID), (WEB.upper(), VNET_ID.upper()), (VNET_ID, None), (f"{WEB}/x", None), ("web", None), ("", None)],
)
def test_the_id_of_a_subnet_says_in_which_vnet_it_is(subnet: str, vnet: str | None) -> None:
    assert vnet_of(subnet) == vnet
    assert subnet_id(subnet) == (subnet if vnet else None)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({}, "it must be a list"),
        (["web"], "is not {nodeLabels"),
        ([{"subnet": WEB, "labels": {}}], "is not {nodeLabels"),
        ([{"subnet": "web"}], "subnet web is not the resource ID of a subnet"),
        ([{"nodeLabels": {"a": "b"}}], "is not the resource ID of a subnet"),
        ([{"subnet": f"{WEB}\n"}], "is not the resource ID of a subnet"),
        ([{"subnet": WEB, "nodeLabels": {"a": 1}}], "are not labels and their values"),
        ([{"subnet": WEB, "nodeLabels": ["a"]}], "are not labels and their values"),
    ],
)
def test_odd_rules_are_refused(written: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_rules(written)


def test_an_instance_of_a_scale_set_gets_its_nics_from_the_sets_model() -> None:
    said = nic_missing(WEB, replace(IDENTITY, vm_resource_id=INSTANCE), {})
    assert said.endswith("add a second NIC in that subnet to the model of its scale set, and upgrade the instance")
    assert "az " not in said


def test_names_are_quoted_for_the_shell() -> None:
    odd = IDENTITY.vm_resource_id.replace("/g/", "/g;reboot/")
    said = nic_missing(WEB, replace(IDENTITY, vm_resource_id=odd), {})
    assert "--resource-group 'g;reboot' --name vm1-pods" in said
