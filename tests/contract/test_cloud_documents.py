"""What Azure's documents of a VM, its NIC and its VNet must have, and what odd ones of them are taken to mean."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import IPv4Network
from typing import Any

import pytest

from azure_cni.azure.arm import Arm
from azure_cni.azure.resources import Resource
from azure_cni.azure.vm_identity import ArmVmIdentity
from azure_cni.errors import CloudError, CloudUnreachable
from contract.identify_world import AzureWorld, open_world
from fakes.cloud import IDENTITY


@pytest.fixture
async def world() -> AsyncIterator[AzureWorld]:
    async with open_world() as opened:
        yield opened


async def test_prefixes_of_the_vnet_and_its_peers(world: AzureWorld) -> None:
    async with world.arm() as arm:
        cloud = ArmVmIdentity(world.imds, arm)
        view = await cloud.vnet(await cloud.identify())
    assert view.prefixes == (IPv4Network("10.240.0.0/16"), IPv4Network("10.250.0.0/16"))
    assert view.peered == (IPv4Network("10.241.0.0/16"),)


class OneDocument:
    """An Arm that has one thing to say."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    async def get(self, _: Resource) -> dict[str, Any]:
        return self.document


def peering(state: str, now: list[str], then: list[str] | None = None) -> dict[str, Any]:
    remote = {"remoteVirtualNetworkAddressSpace": {"addressPrefixes": now}}
    old = {"remoteAddressSpace": {"addressPrefixes": then}} if then else {}
    return {"properties": {"peeringState": state, **remote, **old}}


async def test_only_connected_peers_count_with_all_their_ipv4_prefixes(world: AzureWorld) -> None:
    document = {
        "properties": {
            "addressSpace": {"addressPrefixes": ["10.0.0.0/16", "fd00::/48"]},
            "virtualNetworkPeerings": [
                peering("Connected", ["10.2.0.0/16", "fd01::/48"], ["10.1.0.0/16"]),
                peering("Disconnected", ["10.3.0.0/16"]),
                peering("Initiated", ["10.4.0.0/16"]),
            ],
        }
    }
    view = await ArmVmIdentity(world.imds, OneDocument(document)).vnet(IDENTITY)  # type: ignore[arg-type]
    assert view.prefixes == (IPv4Network("10.0.0.0/16"),)
    assert view.peered == (IPv4Network("10.1.0.0/16"), IPv4Network("10.2.0.0/16"))


@pytest.mark.parametrize(
    ("properties", "prefixes", "peered"),
    [
        ({"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}, "virtualNetworkPeerings": None}, 1, 0),
        ({"addressSpace": {"addressPrefixes": ["10.0.0.0/16", None, 5, "10.9.0.0/33", "10.8.3.1/16"]}}, 2, 0),
        (
            {
                "addressSpace": {"addressPrefixes": ["10.0.0.0/16"]},
                "virtualNetworkPeerings": [
                    None, {}, {"properties": None}, {"properties": {"peeringState": None}},
                    {"properties": {"peeringState": "Connected", "remoteVirtualNetworkAddressSpace": None}},
                    {"properties": {"peeringState": "Connected", "remoteAddressSpace": {"addressPrefixes": None}}},
                    peering("connected", ["10.2.0.0/16"]),
                ],
            },
            1,
            1,
        ),
    ],
    ids=["null peerings", "odd prefixes", "odd peerings"],
)  # fmt: skip
async def test_what_cannot_be_read_of_a_vnet_is_left_aside(
    world: AzureWorld, properties: dict[str, Any], prefixes: int, peered: int
) -> None:
    view = await ArmVmIdentity(world.imds, OneDocument({"properties": properties})).vnet(IDENTITY)  # type: ignore[arg-type]
    assert (len(view.prefixes), len(view.peered)) == (prefixes, peered)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"properties": None},
        {"properties": {}},
        {"properties": {"addressSpace": None}},
        {"properties": {"addressSpace": {"addressPrefixes": ["fd00::/48"]}}},
        {"properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}, "virtualNetworkPeerings": "none"}},
    ],
)
async def test_what_is_not_a_vnet_is_reported(world: AzureWorld, document: dict[str, Any]) -> None:
    with pytest.raises(CloudUnreachable, match=r"cannot read VNet .*: the answer"):
        await ArmVmIdentity(world.imds, OneDocument(document)).vnet(IDENTITY)  # type: ignore[arg-type]


class Edited:
    """An Arm whose documents are edited on their way."""

    def __init__(self, arm: Arm, edits: dict[str, Any]) -> None:
        self.arm, self.edits = arm, edits

    async def get(self, resource: Resource) -> dict[str, Any]:
        document = await self.arm.get(resource)
        self.edits.get(resource.noun, lambda _: None)(document)
        return document


def put(*path: str | int, value: Any) -> Any:
    """An edit: the value at that place in the document."""

    def edit(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value

    return edit


CONFIG = ("properties", "ipConfigurations", 0, "properties")


@pytest.mark.parametrize(
    ("noun", "edit", "words"),
    [
        ("vm", put("properties", value=None), "cannot read VM vm1: the answer is not what Azure documents"),
        ("vm", put("properties", "vmId", value=None), r"is VM \? in Azure"),
        ("vm", put("properties", "networkProfile", value=None), "no primary NIC"),
        ("vm", put("properties", "networkProfile", "networkInterfaces", value=None), "no primary NIC"),
        (
            "vm",
            put("properties", "networkProfile", "networkInterfaces", value=[None, {}, {"id": None}]),
            "no primary NIC",
        ),
        ("vm", put("properties", "networkProfile", "networkInterfaces", value="none"), "not what Azure documents"),
        ("nic", put("properties", value=None), "cannot read NIC vm1-nic: the answer is not what Azure documents"),
        ("nic", put("properties", "macAddress", value=None), "none yet"),
        ("nic", put("properties", "macAddress", value=5), "not what Azure documents"),
        ("nic", put("properties", "ipConfigurations", value=None), "shows no primary ipConfiguration"),
        ("nic", put(*CONFIG, "subnet", value=None), "names no subnet"),
        ("nic", put(*CONFIG, "subnet", "id", value=None), "names no subnet"),
        ("nic", put(*CONFIG, "subnet", "id", value="/subnets/s"), "names no subnet"),
        ("nic", put(*CONFIG, "privateIPAddress", value=None), "has no address yet"),
        ("nic", put(*CONFIG, "privateIPAddress", value="10.0.0.300"), "is no address"),
        ("nic", put(*CONFIG, "privateIPAddress", value="fd00::4"), "is IPv6"),
    ],
)
async def test_a_document_without_what_is_needed_is_reported(
    world: AzureWorld, noun: str, edit: Any, words: str
) -> None:
    async with world.arm() as arm:
        with pytest.raises(CloudError, match=words):
            await ArmVmIdentity(world.imds, Edited(arm, {noun: edit})).identify()  # type: ignore[arg-type]


async def test_an_odd_entry_beside_the_vms_primary_nic_does_no_harm(world: AzureWorld) -> None:
    def crowd(vm: dict[str, Any]) -> None:
        vm["properties"]["networkProfile"]["networkInterfaces"] += [None, {}, {"id": 5}]

    async with world.arm() as arm:
        identity = await ArmVmIdentity(world.imds, Edited(arm, {"vm": crowd})).identify()  # type: ignore[arg-type]
        assert identity == await ArmVmIdentity(world.imds, arm).identify()
