"""Attachments in the documents of a NodeIPPool whose node is full, and whose pods are in as many pools as may be."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import msgspec
import pytest

from azure_cni.api.nic_operation import WriteNic
from azure_cni.api.nic_operation_codec import operation_document, read_operation
from azure_cni.api.operation_result_codec import read_result, result_document
from azure_cni.api.pod_annotations import MOST_POOLS
from azure_cni.errors import DecodeFailed
from azure_cni.kube.lean_objects import own_pool
from azure_cni.model.attachments import MOST_ATTACHED, AttachedResource
from azure_cni.model.identity import IdentityClaim
from azure_cni.model.nic import (
    MAX_ADDRESSES_PER_NODE,
    AttachmentChange,
    ConfigName,
    IPConfiguration,
    NicID,
    NicView,
)

BALANCERS = (
    "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/production-network-westeurope/providers"
    "/Microsoft.Network/loadBalancers"
)
VM = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm1"
CLAIM = IdentityClaim("vm", VM, macs=())


def balancer_pool(number: int) -> AttachedResource:
    found = AttachedResource.parse(f"{BALANCERS}/production-{number}/backendAddressPools/backend-of-the-web-shop")
    assert found is not None
    return found


POOLS = frozenset(map(balancer_pool, range(MOST_POOLS)))
CONFIGS = tuple(
    IPConfiguration(
        ConfigName(f"azure-cni-{number:08d}"),
        IPv4Address("10.0.0.10") + number,
        primary=False,
        ready=True,
        attached=POOLS if number else POOLS - {balancer_pool(0)},
    )
    for number in range(MAX_ADDRESSES_PER_NODE)
)
VIEW = NicView(NicID("/nic"), 'W/"1"', settled=True, configs=CONFIGS)
WRITE = WriteNic(
    CLAIM, NicID("/nic"), 'W/"1"', 0, (), 7, tuple(AttachmentChange(it.name, it.attached, POOLS) for it in CONFIGS)
)


def test_an_agent_sees_the_whole_of_its_full_pool() -> None:
    status = {"nicOperation": operation_document(1, WRITE), "nicOperationResult": result_document(1, VIEW)}
    seen = own_pool(msgspec.json.encode({"metadata": {"name": "vm1"}, "status": status}))
    assert seen is not None
    assert read_operation(seen["status"]["nicOperation"]) == WRITE
    found = read_result(seen["status"]["nicOperationResult"])
    assert isinstance(found, NicView)
    assert sorted(found.configs, key=lambda config: config.name) == list(CONFIGS)


def test_a_configuration_with_more_than_a_document_can_list_is_excluded_for_all_agents() -> None:
    """A part of it would look like all of it, and the next pod on its address have the rest."""
    crowd = frozenset(map(balancer_pool, range(MOST_ATTACHED + 1)))
    found = read_result(result_document(1, replace(VIEW, configs=(*CONFIGS[:2], replace(CONFIGS[2], attached=crowd)))))
    assert isinstance(found, NicView)
    assert [config.name for config in found.configs] == [config.name for config in CONFIGS[:2]]
    (left_out,) = found.excluded
    assert (left_out.name, left_out.address) == (CONFIGS[2].name, CONFIGS[2].address)


@pytest.mark.parametrize("place", [MOST_POOLS, -1])
def test_a_place_that_no_resource_has_is_refused(place: int) -> None:
    document: dict[str, Any] = operation_document(1, WRITE)
    document["attach"][0]["add"] = [place]
    with pytest.raises(DecodeFailed):
        read_operation(document)
    result = result_document(1, VIEW)
    result["nic"]["excluded"][0]["attached"] = [place]
    with pytest.raises(DecodeFailed):
        read_result(result)
