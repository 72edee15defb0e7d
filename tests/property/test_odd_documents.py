"""Whatever Azure's documents hold: one of our errors or a part left aside, and no other exception.

Of each NIC that can be read at all, what is written back is judged as well: nothing of others is dropped or changed.
And the ledger: no pod gets an address that is not alone, plain, a host's, and Succeeded.

PYTHONPATH=operator:tests:e2e python -m property.test_odd_documents 200000 [SEED]     longer than the tests do it
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from azure_cni.api.nic_view_codec import LONGEST_WHY
from azure_cni.api.operation_result_codec import read_result, result_document
from azure_cni.azure import nic_document, scale_set_model
from azure_cni.azure.imds import Imds
from azure_cni.azure.instance_document import ImdsInterface, Instance, parse_instance
from azure_cni.azure.observed import ObservedCloud, ObservedNic
from azure_cni.azure.vm_identity import ArmVmIdentity
from azure_cni.azure.vnets import ArmVNets
from azure_cni.errors import CloudError, NoAddress
from azure_cni.ipam.ledger import Holder, Ledger, Sandbox
from azure_cni.ipam.plan import next_step
from azure_cni.ipam.sizing import Policy
from azure_cni.model.config_names import LONGEST_CONFIG_NAME
from azure_cni.model.identity import NodeIdentity
from azure_cni.model.nic import Adopt, ConfigName, NicID, NicView, SubnetID, VNetID
from azure_cni.model.text import plain
from property.mutations import mutated, mutated_bytes

RECORDED: Final = Path(__file__).parent.parent / "contract" / "recorded"
GROUP: Final = "/subscriptions/s/resourceGroups/g/providers"
NETWORK: Final = f"{GROUP}/Microsoft.Network"
VM, NIC, VNET = (
    f"{GROUP}/Microsoft.Compute/virtualMachines/m",
    f"{NETWORK}/networkInterfaces/n",
    f"{NETWORK}/virtualNetworks/v",
)
SUBNET: Final = f"{VNET}/subnets/nodes"
LONGEST_TEXT: Final = 2000
GUID: Final = "11111111-1111-1111-1111-111111111111"
MAC: Final = "00:0d:3a:00:00:01"
WHO: Final = NodeIdentity(GUID, VM, NicID(NIC), SubnetID(SUBNET), VNetID(VNET), MAC, IPv4Address("10.0.0.4"))
NEW: Final = [ConfigName("azure-cni-0new0000"), ConfigName("azure-cni-0new0001")]
OURS: Final = re.compile("azure-cni-[0-9][a-z0-9]{7}")
ATTACHMENTS: Final = (
    "publicIPAddress", "loadBalancerInboundNatRules", "loadBalancerBackendAddressPools",
    "applicationGatewayBackendAddressPools", "gatewayLoadBalancer",
)  # fmt: skip


def _config(name: str, address: str, **properties: Any) -> dict[str, Any]:
    shown = {
        "provisioningState": "Succeeded", "privateIPAddress": address, "privateIPAllocationMethod": "Dynamic",
        "privateIPAddressVersion": "IPv4", "primary": False, "subnet": {"id": SUBNET}, **properties,
    }  # fmt: skip
    return {"name": name, "id": f"{NIC}/ipConfigurations/{name}", "etag": 'W/"1"', "properties": shown}


def _nic(*configs: dict[str, Any], state: str = "Succeeded") -> dict[str, Any]:
    properties = {
        "provisioningState": state, "macAddress": "00-0D-3A-00-00-01", "primary": True,
        "enableIPForwarding": False, "networkSecurityGroup": {"id": f"{NETWORK}/networkSecurityGroups/g"},
        "somethingNew": {"deep": [1, None]}, "ipConfigurations": list(configs),
    }  # fmt: skip
    return {"id": NIC, "name": "n", "etag": 'W/"1"', "location": "eastus", "tags": {"a": "b"}, "properties": properties}


PRIMARY: Final = _config("ipconfig1", "10.0.0.4", primary=True, applicationSecurityGroups=[{"id": f"{NETWORK}/a"}])
CROWD: Final = [
    PRIMARY,
    _config("azure-cni-0aaaaaaa", "10.0.0.5"),
    _config("azure-cni-1aaaaaaa", "10.0.0.6", provisioningState="Updating"),
    _config("azure-cni-frontend", "10.0.0.7", publicIPAddress={"id": f"{NETWORK}/publicIPAddresses/p"}),
    _config("theirs", "10.0.0.8", privateIPAllocationMethod="Static"),
    _config("six", "fd00::5", privateIPAddressVersion="IPv6"),
    _config("block", "10.0.0.16/28", privateIPAddressPrefixLength=28),
    _config("azure-cni-2aaaaaaa", "10.0.0.9", loadBalancerInboundNatRules=[{"id": f"{NETWORK}/r"}]),
]
NICS: Final[tuple[Any, ...]] = (
    json.loads((RECORDED / "nic-get.json").read_text())["response"]["body"],
    _nic(*CROWD),
    _nic(*CROWD[:3], state="Updating"),
    _nic(*CROWD[:2], state="Failed"),
    _nic(_config("only", "10.0.0.4")),
)
INSTANCES: Final[tuple[Any, ...]] = tuple(
    {
        "id": f"{GROUP}/Microsoft.Compute/virtualMachineScaleSets/s/virtualMachines/0", "location": "eastus",
        "etag": '"1"', "instanceId": "0", "properties": {
            "provisioningState": state, "vmId": GUID, "storageProfile": {"imageReference": {"id": "/elsewhere"}},
            "networkProfileConfiguration": {"networkInterfaceConfigurations": [
                {"name": "n", "properties": {"primary": True, "somethingNew": [1], "ipConfigurations": [
                    {"name": name, "properties": {"primary": name == "ipconfig1", "subnet": {"id": SUBNET}}}
                    for name in names]}},
                {"name": "n2", "properties": {"primary": False, "ipConfigurations": [{"name": "a", "properties": {}}]}},
            ]}}}
    for state, names in (
        ("Succeeded", [config["name"] for config in CROWD]),
        ("Failed", ["ipconfig1", "azure-cni-0aaaaaaa", "azure-cni-9bbbbbbb", "another"]),
        ("Updating", ["ipconfig1"]),
    )
)  # fmt: skip
VMS: Final[tuple[Any, ...]] = (
    {"id": VM, "name": "m", "properties": {
        "vmId": GUID, "networkProfile": {"networkInterfaces": [{"id": NIC, "properties": {"primary": True}}]}}},
    {"id": VM, "properties": {"vmId": GUID, "networkProfile": {"networkInterfaces": [{"id": NIC}, {"id": f"{NIC}2"}]}}},
)  # fmt: skip
VNETS: Final[tuple[Any, ...]] = (
    {"id": VNET, "properties": {
        "addressSpace": {"addressPrefixes": ["10.0.0.0/16", "fd00::/48"]},
        "virtualNetworkPeerings": [{"properties": {
            "peeringState": "Connected", "remoteVirtualNetworkAddressSpace": {"addressPrefixes": ["10.1.0.0/16"]},
            "remoteAddressSpace": {"addressPrefixes": ["10.1.0.0/16"]}}}]}},
)  # fmt: skip
USAGES: Final[tuple[Any, ...]] = (
    json.loads((RECORDED / "vnet-usages.json").read_text())["response"]["body"]["value"],
    [{"id": SUBNET, "currentValue": 7.0, "limit": 251.0, "unit": "Count"}, {"currentValue": -1.0}],
)
METADATA: Final[tuple[Any, ...]] = (
    json.loads((RECORDED / "imds-instance.json").read_text())["response"]["body"],
    {"compute": {"vmId": GUID, "resourceId": VM, "name": "m", "azEnvironment": "AzurePublicCloud"},
     "network": {"interface": [
         {"macAddress": "000D3A000001", "ipv4": {
             "ipAddress": [{"privateIpAddress": "10.0.0.4", "publicIpAddress": ""}, {"privateIpAddress": "10.0.0.5"}],
             "subnet": [{"address": "10.0.0.0", "prefix": "24"}]}, "ipv6": {"ipAddress": []}},
         {"macAddress": "000D3A000002", "ipv4": {"ipAddress": [], "subnet": [{"address": "", "prefix": ""}]}}]}},
)  # fmt: skip


class Documents:
    """An Arm that has these documents, by what they are of."""

    def __init__(self, **documents: Any) -> None:
        self.documents = documents

    async def get(self, resource: Any) -> Any:
        return self.documents[resource.noun]

    async def items(self, _: Any, collection: str) -> Any:
        return self.documents[collection]


class Here:
    """A metadata service that works."""

    async def instance(self) -> Instance:
        interfaces = (ImdsInterface(MAC, (), ()),)
        return Instance(GUID, "m", VM, "AzurePublicCloud", "", interfaces)


class Heard(Imds):
    """A metadata service that said this."""

    def __init__(self, instance: Instance) -> None:
        self.said = instance

    async def instance(self) -> Instance:
        return self.said


def _document(good: tuple[Any, ...], random: Random) -> dict[str, Any]:
    """A mutated one; whoever reads an answer of ARM has seen that it is an object."""
    document = mutated(random.choice(good), random)
    return document if isinstance(document, dict) else {}


async def nic(random: Random) -> str:
    """The NIC is read, its addresses are given to pods, and it is written back."""
    document = _document(NICS, random)
    before = json.dumps(document)
    seen = nic_document.check(document, what="read NIC n")
    views = {adopt: nic_document.view(seen, working={}, adopt=adopt) for adopt in Adopt}
    for view in views.values():
        assert view.config_count == len(document["properties"]["ipConfigurations"])
        assert read_result(result_document(1, view)) == _as_sent(view)
        _judge_given(view, document)
    _judge_written(seen, views[Adopt.PLAIN], document)
    assert json.dumps(document) == before
    return "settled" if seen.settled else "unsettled"


def _judge_given(view: NicView, document: dict[str, Any]) -> None:
    """No pod gets an address that does not work, or is another's."""
    ledger = Ledger()
    ledger.apply(ledger.observe(view, now_s=0.0).change)
    next_step(ledger, view, Policy(), waiting=0, now_s=1.0, surplus_since_s=None, granted=250)
    for number in range(view.held + 1):
        try:
            ledger.apply(ledger.assign(Holder(Sandbox("azure-cni", str(number), "eth0")), now_s=1.0, at_limit=False))
        except NoAddress:
            break
    raws = [raw for raw in document["properties"]["ipConfigurations"] if isinstance(raw, dict)]
    shown = [raw["properties"] for raw in raws if isinstance(raw.get("properties"), dict)]
    for slot in (slot for slot in ledger.slots if slot.holder):
        having = [properties for properties in shown if slot.address in _held(properties)]
        assert any(str(properties.get("provisioningState")).lower() == "succeeded" for properties in having)
        assert not any(properties.get(attached) for properties in having for attached in ATTACHMENTS)
        assert slot.address != view.primary.address


def _held(properties: dict[str, Any]) -> IPv4Network | tuple[()]:
    """What a configuration shows: an address, or the block that it is in; nothing where it shows neither."""
    text = str(properties.get("privateIPAddress"))
    length = properties.get("privateIPAddressPrefixLength") or 32
    try:
        return IPv4Network(text if "/" in text else f"{text}/{length}", strict=False)
    except ValueError:
        return ()


def _judge_written(seen: nic_document.NicDocument, view: NicView, document: dict[str, Any]) -> None:
    """Only ours leave, and all else goes back as it came, in its order."""
    leaving = [config.name for config in view.secondaries if config.ours]
    body = nic_document.changed(seen, add=[], remove=[*leaving, ConfigName("theirs"), ConfigName("azure-cni-frontend")])
    read, written = (it["properties"]["ipConfigurations"] for it in (document, body))
    kept = 0
    for raw in read:
        if kept < len(written) and _alike(written[kept], raw, sole=len(read) == 1):
            kept += 1
        else:
            _judge_dropped(raw)
    assert kept == len(written)
    assert {**body, "properties": 0} == {**document, "properties": 0}
    assert {**body["properties"], "ipConfigurations": 0} == {**document["properties"], "ipConfigurations": 0}
    try:
        grown = nic_document.changed(seen, add=NEW, remove=[])["properties"]["ipConfigurations"]
    except CloudError:  # the primary names no subnet
        return
    assert [raw["name"] for raw in grown[len(read) :]] == NEW
    assert sum(_is_primary(raw) for raw in grown if isinstance(raw, dict)) >= 1


def _is_primary(raw: dict[str, Any]) -> bool:
    properties = raw.get("properties")
    return isinstance(properties, dict) and properties.get("primary") is True


def _alike(written: Any, read: Any, *, sole: bool) -> bool:
    if sole and isinstance(read, dict):  # says from now on that it is the primary
        read = {**read, "properties": {**read["properties"], "primary": True}}
    return json.dumps(written) == json.dumps(read)


def _judge_dropped(raw: Any) -> None:
    assert OURS.fullmatch(raw["name"])
    properties = raw["properties"]
    assert properties["privateIPAllocationMethod"].lower() == "dynamic"
    assert not properties.get("primary")
    assert not any(properties.get(attached) for attached in ATTACHMENTS)


async def instance(random: Random) -> str:
    """The NIC of a scale set's instance: read with the model, one of the two odd, and the model is written back."""
    document, network = random.choice(INSTANCES), NICS[1]
    if random.random() < 0.7:
        document = _document(INSTANCES, random)
    else:
        network = _document(NICS[1:], random)
    before = json.dumps(document)
    seen = nic_document.check(network, what="read NIC n")
    model = scale_set_model.decoded(document, "n", what="read instance 0")
    view = scale_set_model.view(model, seen, nic_document.view(seen, working={}), shrink=False)
    there = {config.name.lower() for config in seen.configs}
    assert view.config_count == len(seen.configs) + sum(name.lower() not in there for name in model.configs)
    assert not any(config.removable for config in view.configs if config.address is not None)
    leaving = scale_set_model.removable(model, seen, shrink=True)
    body = scale_set_model.changed(model, seen, observed=view, remove=leaving)
    assert body.keys() == {"location", "properties"}
    assert body["properties"].keys() == {"networkProfileConfiguration"}
    read, written = (
        {one["name"]: one for one in it["properties"]["networkProfileConfiguration"]["networkInterfaceConfigurations"]}
        for it in (document, body)
    )
    assert {name: raw for name, raw in read.items() if name != model.nic} == {
        name: raw for name, raw in written.items() if name != model.nic
    }
    left = {raw["name"] for raw in written[model.nic]["properties"]["ipConfigurations"]}
    assert all(OURS.fullmatch(name) for name in model.configs.keys() - left)
    assert json.dumps(document) == before
    return "settled" if view.settled else "unsettled"


async def identity(random: Random) -> str:
    """Who the node is, by odd documents of VM and NIC."""
    documents = {"vm": VMS[0], "nic": NICS[1]}
    noun = random.choice(list(documents))
    documents[noun] = _document({"vm": VMS, "nic": NICS}[noun], random)
    found = await ArmVmIdentity(Here(), Documents(**documents)).identify()  # type: ignore[arg-type]
    assert found.mac == MAC
    assert found.subnet_id.startswith(f"{found.vnet_id}/")
    return "identified"


async def vnet(random: Random) -> str:
    """The prefixes of an odd VNet."""
    view = await ArmVmIdentity(Here(), Documents(vnet=_document(VNETS, random))).vnet(WHO)  # type: ignore[arg-type]
    assert view.prefixes
    return "with peers" if view.peered else "without peers"


async def usages(random: Random) -> str:
    """How full a VNet is, by odd numbers."""
    items = mutated(random.choice(USAGES), random)
    used = await ArmVNets(Documents(usages=items if isinstance(items, list) else [items])).used(WHO.vnet_id)  # type: ignore[arg-type]
    assert used >= 0
    return "counted"


async def metadata(random: Random) -> str:
    """What the metadata service says, on the wire."""
    content = json.dumps(mutated(random.choice(METADATA), random)).encode()
    instance = parse_instance(mutated_bytes(content, random) if random.random() < 0.3 else content)
    assert instance.vm_id
    assert instance.resource_id
    heard = Heard(instance)
    found = await ObservedCloud(heard).identify()
    await ObservedCloud(heard).vnet(found)
    view = await ObservedNic(heard, mac=found.mac).read()
    _judge_observed(view)
    return "observed"


def _judge_observed(view: NicView) -> None:
    addresses = [config.address for config in view.configs]
    assert len(addresses) == len(set(addresses))
    assert read_result(result_document(1, view)) == _as_sent(view)


def _as_sent(view: NicView) -> NicView:
    """As the result of an operation has it: names and words of others in plain characters, and not too long."""
    configs = (replace(it, name=ConfigName(plain(it.name, LONGEST_CONFIG_NAME))) for it in view.configs)
    excluded = (
        replace(it, name=plain(it.name, LONGEST_CONFIG_NAME), why=plain(it.why, LONGEST_WHY)) for it in view.excluded
    )
    return replace(view, configs=tuple(configs), excluded=tuple(excluded))


KINDS: Final[Mapping[str, Callable[[Random], Awaitable[str]]]] = {
    "nic": nic, "instance": instance, "identity": identity, "vnet": vnet, "usages": usages, "metadata": metadata,
}  # fmt: skip


async def walk(
    count: int, *, seed: int, kinds: Mapping[str, Callable[[Random], Awaitable[str]]] = KINDS
) -> Counter[str]:
    """That number of documents of each kind; how many of what came of them. AssertionError for what should not be."""
    ends: Counter[str] = Counter()
    for kind, look in kinds.items():
        for number in range(count):
            try:
                ends[f"{kind} {await look(Random(f'{seed}/{kind}/{number}'))}"] += 1
            except CloudError as error:
                ends[f"{kind} {type(error).__name__}"] += 1
                if not (
                    str(error).startswith("cannot ") and str(error).isprintable() and len(str(error)) < LONGEST_TEXT
                ):
                    raise AssertionError(f"{kind} {number} of seed {seed} says {error!r}") from error
            except Exception as error:
                raise AssertionError(f"{kind} {number} of seed {seed}: {type(error).__name__}: {error}") from error
    return ends


@pytest.mark.parametrize("kind", KINDS)
async def test_no_document_is_too_odd(kind: str) -> None:
    ends = await walk(3000, seed=1, kinds={kind: KINDS[kind]})
    assert ends.total() == 3000
    assert min(ends.values()) < ends.total()
    refused = sum(count for end, count in ends.items() if end.endswith(("Unreachable", "NotFound", "Refused")))
    assert refused > 50, ends
    assert ends.total() - refused > 500, ends


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    for end, count in asyncio.run(walk(int(sys.argv[1]), seed=int(sys.argv[2]) if len(sys.argv) > 2 else 1)).items():
        print(f"{count:8} {end}")
