"""What is written of the model of an instance of a Uniform scale set: what is not ours goes back as it was read."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from azure_cni.azure import nic_document, scale_set_model
from azure_cni.azure.nic_document import NicDocument
from azure_cni.azure.scale_set_model import InstanceModel
from azure_cni.errors import CloudUnreachable
from azure_cni.model.nic import ConfigName, NicView

RECORDED = Path(__file__).parent.parent.parent / "contract" / "recorded" / "vmss-vm-get.json"
SUBNET = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/vnet1/subnets/subnet1"
GROUPS = [{"id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/applicationSecurityGroups/web"}]
NEW = ConfigName("azure-cni-0new0000")
OURS = "azure-cni-0aaaaaaa"

Document = dict[str, Any]


def recorded() -> Document:
    return copy.deepcopy(json.loads(RECORDED.read_text())["response"]["body"])


def profile(document: Document) -> list[Document]:
    found: list[Document] = document["properties"]["networkProfileConfiguration"]["networkInterfaceConfigurations"]
    return found


def configs(document: Document, nic: int = 0) -> list[Document]:
    found: list[Document] = profile(document)[nic]["properties"]["ipConfigurations"]
    return found


def model_of(document: Document) -> InstanceModel:
    return scale_set_model.decoded(document, "VMSS1", what="read it")


def nic(*names: str) -> NicDocument:
    shown = [
        {
            "name": name,
            "properties": {
                "provisioningState": "Succeeded",
                "privateIPAddress": f"10.0.0.{4 + index}",
                "privateIPAllocationMethod": "Dynamic",
                "primary": index == 0,
                "subnet": {"id": SUBNET},
            },
        }
        for index, name in enumerate(names)
    ]
    properties = {"provisioningState": "Succeeded", "ipConfigurations": shown}
    return nic_document.check({"id": "/nic", "etag": "1", "properties": properties}, what="read it")


def seen(document: NicDocument) -> NicView:
    return nic_document.view(document, working={})


def test_names_of_model_and_nic_may_differ_in_case() -> None:
    """Azure takes them for the same: the primary one's subnet is found, and nothing is written twice."""
    document, shown = recorded(), nic("VMSS1")
    assert configs(document)[0]["name"] == "vmss1"
    body = scale_set_model.changed(model_of(document), shown, observed=seen(shown), add=[NEW])
    assert [config["name"] for config in configs(body)] == ["vmss1", NEW]
    assert configs(body)[1]["properties"]["subnet"] == configs(document)[0]["properties"]["subnet"]


def test_what_leaves_the_nic_leaves_the_model_whatever_its_case_there() -> None:
    document, shown = recorded(), nic("vmss1", OURS)
    configs(document).append({"name": OURS.upper(), "properties": {"subnet": {"id": SUBNET}}})
    body = scale_set_model.changed(model_of(document), shown, observed=seen(shown), remove={ConfigName(OURS)})
    assert [config["name"] for config in configs(body)] == ["vmss1"]


def test_a_growth_sends_the_network_profile_alone() -> None:
    document = recorded()
    body = scale_set_model.changed(model_of(document), nic("vmss1"), observed=seen(nic("vmss1")), add=[NEW])
    assert body["location"] == "eastus2"
    assert body.keys() == {"location", "properties"}
    assert body["properties"].keys() == {"networkProfileConfiguration"}
    read, written = configs(document)[0], configs(body)
    assert written[0] == {**read, "properties": {**read["properties"], "primary": True}}
    assert written[1] == {
        "name": NEW,
        "properties": {
            "primary": False,
            "privateIPAddressVersion": "IPv4",
            "subnet": read["properties"]["subnet"],
        },
    }
    assert {**profile(body)[0], "properties": 0} == {**profile(document)[0], "properties": 0}


def test_the_nodes_own_pools_stay_and_are_not_the_pods() -> None:
    document = recorded()
    pools = [{"id": "/pool"}]
    configs(document)[0]["properties"] |= {
        "loadBalancerBackendAddressPools": pools,
        "applicationSecurityGroups": GROUPS,
    }
    primary, new = configs(
        scale_set_model.changed(model_of(document), nic("vmss1"), observed=seen(nic("vmss1")), add=[NEW])
    )
    assert primary["properties"]["loadBalancerBackendAddressPools"] == pools
    assert "loadBalancerBackendAddressPools" not in new["properties"]
    assert new["properties"]["applicationSecurityGroups"] == GROUPS


def test_another_nic_goes_back_as_it_was_read() -> None:
    document = recorded()
    second = {"name": "second", "properties": {"primary": False, "ipConfigurations": [{"name": "x", "properties": {}}]}}
    profile(document).insert(0, second)
    body = scale_set_model.changed(model_of(document), nic("vmss1"), observed=seen(nic("vmss1")), add=[NEW])
    assert profile(body)[0] == second
    assert [config["name"] for config in configs(body, 1)] == ["vmss1", NEW]


def test_what_only_the_nic_has_is_put_back_if_it_is_ours() -> None:
    body = scale_set_model.changed(
        model_of(recorded()), nic("vmss1", OURS, "theirs"), observed=seen(nic("vmss1", OURS, "theirs"))
    )
    assert [config["name"] for config in configs(body)] == ["vmss1", OURS]


def test_what_was_not_there_when_the_write_was_decided_is_not_put_back() -> None:
    body = scale_set_model.changed(model_of(recorded()), nic("vmss1", OURS), observed=seen(nic("vmss1")))
    assert [config["name"] for config in configs(body)] == ["vmss1"]


def test_all_are_put_into_security_groups() -> None:
    grown = scale_set_model.changed(model_of(recorded()), nic("vmss1"), observed=seen(nic("vmss1")), add=[NEW])
    document = {**recorded(), **grown, "etag": "2"}
    body = scale_set_model.regrouped(
        model_of(document), nic("vmss1", NEW), [GROUPS[0]["id"]], observed=seen(nic("vmss1", NEW))
    )
    assert [config["properties"]["applicationSecurityGroups"] for config in configs(body)] == [GROUPS, GROUPS]
    nobody = scale_set_model.regrouped(
        model_of({**document, **body}), nic("vmss1", NEW), [], observed=seen(nic("vmss1", NEW))
    )
    assert not any("applicationSecurityGroups" in config["properties"] for config in configs(nobody))


@pytest.mark.parametrize("key", ["etag", "networkProfileConfiguration"])
def test_without_what_a_write_needs_it_is_not_understood(key: str) -> None:
    document = recorded()
    document.pop(key, None)
    document["properties"].pop(key, None)
    with pytest.raises(CloudUnreachable, match="is it an instance of a Uniform scale set"):
        model_of(document)


def test_two_of_one_name_are_not_understood() -> None:
    document = recorded()
    configs(document).append(configs(document)[0])
    with pytest.raises(CloudUnreachable, match="have one name"):
        model_of(document)
