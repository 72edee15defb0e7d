"""Whose a configuration in a NIC's document is: azure-cni's, a pod's by what it has attached, or somebody else's."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest

from azure_cni.azure import nic_document
from azure_cni.ipam.attachment_plan import admitted
from azure_cni.model.attachments import AttachedResource
from azure_cni.model.nic import Adopt, AttachmentChange, ConfigName
from contract.nic_documents import PRIMARY, PROVIDERS, config, nic

ATTACHMENTS = {
    "publicIPAddress": {"id": f"{PROVIDERS}/publicIPAddresses/front"},
    "loadBalancerInboundNatRules": [{"id": f"{PROVIDERS}/loadBalancers/lb/inboundNatRules/front"}],
    "loadBalancerBackendAddressPools": [{"id": f"{PROVIDERS}/loadBalancers/lb/backendAddressPools/front"}],
    "applicationGatewayBackendAddressPools": [{"id": f"{PROVIDERS}/applicationGateways/gw/backendAddressPools/front"}],
    "gatewayLoadBalancer": {"id": f"{PROVIDERS}/loadBalancers/gw/frontendIPConfigurations/front"},
}


@pytest.mark.parametrize("attachment", ATTACHMENTS)
@pytest.mark.parametrize("name", ["theirs", "azure-cni-00000001"])
def test_what_serves_somebody_else_is_for_no_pod_and_never_deleted(name: str, attachment: str) -> None:
    odd = config(name, "10.0.0.9", privateIPAllocationMethod="Dynamic", **{attachment: ATTACHMENTS[attachment]})
    document = nic(PRIMARY, odd)
    view = admitted(nic_document.view(document, working={}), frozenset())
    assert view.secondaries == ()
    assert [(it.name, it.address, it.public) for it in view.excluded] == [
        (name, IPv4Address("10.0.0.9"), attachment == "publicIPAddress")
    ]
    assert view.excluded[0].why.endswith(("front", "lb/front"))
    assert nic_document.changed(document, add=[], remove=[ConfigName(name)]) == document


POOL, OTHER = (f"{PROVIDERS}/loadBalancers/lb/backendAddressPools/{name}" for name in ("front", "other"))
ADDRESS = f"{PROVIDERS}/publicIPAddresses/front"


def resources(*ids: str) -> frozenset[AttachedResource]:
    return frozenset(found for one in ids if (found := AttachedResource.parse(one)) is not None)


def test_a_change_of_attachments_leaves_the_rest_as_it_was() -> None:
    theirs = {"id": OTHER, "properties": {"kept": "as it is"}}
    ours = config(
        "azure-cni-1a2b3c4d", "10.0.0.9", privateIPAllocationMethod="Dynamic", unknown={"a": 1},
        loadBalancerBackendAddressPools=[theirs],
    )  # fmt: skip
    document = nic(PRIMARY, ours)
    change = AttachmentChange(ConfigName("azure-cni-1a2b3c4d"), add=resources(POOL, OTHER.upper(), ADDRESS))
    written = nic_document.changed(document, add=[], remove=[], attach=[change])
    properties = written["properties"]["ipConfigurations"][1]["properties"]
    assert properties["loadBalancerBackendAddressPools"] == [theirs, {"id": POOL}]
    assert properties["publicIPAddress"] == {"id": ADDRESS}
    back = AttachmentChange(ConfigName("azure-cni-1a2b3c4d"), remove=resources(POOL.lower(), ADDRESS.upper()))
    assert nic_document.changed(written, add=[], remove=[], attach=[back]) == document


def test_a_pool_of_another_kind_is_somebody_elses_in_our_configurations_too() -> None:
    odd = [{"id": f"{PROVIDERS}/loadBalancers/lb/outboundPools/x"}]
    ours = config(
        "azure-cni-1a2b3c4d", "10.0.0.9", privateIPAllocationMethod="Dynamic", loadBalancerBackendAddressPools=odd
    )
    view = nic_document.view(nic(PRIMARY, ours), working={})
    assert [it.why for it in view.excluded] == ["is in the load balancer pool x"]


@pytest.mark.parametrize(
    ("name", "properties", "ours"),
    [
        ("azure-cni-1a2b3c4d", {"privateIPAllocationMethod": "Dynamic"}, True),
        ("azure-cni-1a2b3c4d", {"privateIPAllocationMethod": "dynamic"}, True),
        ("azure-cni-1a2b3c4d", {"privateIPAllocationMethod": "Static"}, False),
        ("azure-cni-1a2b3c4d", {"privateIPAllocationMethod": None}, False),
        ("azure-cni-1a2b3c4d", {}, False),
        ("azure-cni-egress", {"privateIPAllocationMethod": "Dynamic"}, False),
        ("azure-cni-frontend", {"privateIPAllocationMethod": "Dynamic"}, False),
        ("azure-cni-1A2B3C4D", {"privateIPAllocationMethod": "Dynamic"}, False),
        ("azure-cni-1a2b3c4d5", {"privateIPAllocationMethod": "Dynamic"}, False),
        ("not-azure-cni-1a2b3c4d", {"privateIPAllocationMethod": "Dynamic"}, False),
    ],
)
def test_only_what_is_as_this_product_makes_it_is_ours_to_delete(
    name: str, properties: dict[str, Any], *, ours: bool
) -> None:
    document = nic(PRIMARY, config(name, "10.0.0.9", **properties))
    view = nic_document.view(document, working={})
    assert [it.ours for it in view.secondaries] == [ours]
    left = nic_document.changed(document, add=[], remove=[ConfigName(name)])["properties"]["ipConfigurations"]
    assert len(left) == (1 if ours else 2)


def test_a_primary_with_a_name_like_ours_is_not_ours() -> None:
    document = nic(config("azure-cni-1a2b3c4d", "10.0.0.4", primary=True, privateIPAllocationMethod="Dynamic"))
    assert not nic_document.view(document, working={}).primary.ours
    assert nic_document.changed(document, add=[], remove=[ConfigName("azure-cni-1a2b3c4d")]) == document


@pytest.mark.parametrize(
    ("adopt", "shown"), [(Adopt.PLAIN, ["theirs", "azure-cni-1a2b3c4d"]), (Adopt.NONE, ["azure-cni-1a2b3c4d"])]
)
def test_plain_secondaries_of_others_are_adopted_unless_that_is_turned_off(adopt: Adopt, shown: list[str]) -> None:
    document = nic(
        PRIMARY,
        config("theirs", "10.0.0.5"),
        config("azure-cni-1a2b3c4d", "10.0.0.6", privateIPAllocationMethod="Dynamic"),
    )
    view = nic_document.view(document, working={}, adopt=adopt)
    assert [it.name for it in view.secondaries] == shown
    assert len(view.excluded) == 2 - len(shown)


def test_an_address_that_serves_somebody_under_another_name_is_for_no_pod() -> None:
    serving = config("front", "10.0.0.5", publicIPAddress=ATTACHMENTS["publicIPAddress"])
    assert nic_document.view(nic(PRIMARY, config("a", "10.0.0.5"), serving), working={}).secondaries == ()


def test_everything_on_the_nic_is_put_into_other_groups_and_what_cannot_be_read_goes_back_as_it_is() -> None:
    document = nic(
        config("ipconfig1", "10.0.0.4", primary=True, applicationSecurityGroups=[{"id": "/old"}]),
        config("theirs", "10.0.0.5", publicIPAddress={"id": "/ip"}),
        {"odd": True},
    )
    assert nic_document.view(document, working={}).security_groups == ("/old",)
    written = nic_document.regrouped(document, ["/web", "/db"])["properties"]["ipConfigurations"]
    assert [one["properties"]["applicationSecurityGroups"] for one in written[:2]] == 2 * [
        [{"id": "/web"}, {"id": "/db"}]
    ]
    assert written[1]["properties"]["publicIPAddress"] == {"id": "/ip"}
    assert written[2] == {"odd": True}
    left = nic_document.regrouped(document, [])["properties"]["ipConfigurations"]
    assert all("applicationSecurityGroups" not in one["properties"] for one in left[:2])
