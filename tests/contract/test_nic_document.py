"""What a NIC's document shows and how it is changed, for shapes that the fake Azure does not make by itself."""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from azure_cni.api.nic import ConfigName
from azure_cni.azure import nic_document
from azure_cni.errors import CloudUnreachable

RECORDED = Path(__file__).parent / "recorded"


def nic(*configs: dict[str, Any], state: str = "Succeeded") -> dict[str, Any]:
    return {
        "id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/n",
        "etag": 'W/"1"',
        "properties": {"provisioningState": state, "ipConfigurations": list(configs)},
    }


def config(name: str, address: str | None, **properties: Any) -> dict[str, Any]:
    shown = {"provisioningState": "Succeeded", "subnet": {"id": "/subnets/s"}, **properties}
    return {"name": name, "properties": shown if address is None else {"privateIPAddress": address, **shown}}


PRIMARY = config("ipconfig1", "10.0.0.4", primary=True)


def test_the_recorded_nic_is_read() -> None:
    document = json.loads((RECORDED / "nic-get.json").read_text())["response"]["body"]
    view = nic_document.view(nic_document.check(document, what="read"), known={})
    assert view.settled
    assert view.primary.address == IPv4Address("10.0.0.4")
    assert view.primary.ready


def test_a_sole_configuration_is_primary_without_saying_so() -> None:
    view = nic_document.view(nic(config("only", "10.0.0.4")), known={})
    assert view.primary.name == "only"


def test_what_no_pod_can_use_is_not_shown_and_goes_back() -> None:
    block = config("block", "10.0.0.16/28", privateIPAddressPrefixLength=28)
    six = config("six", "fd00::4", privateIPAddressVersion="IPv6")
    document = nic(PRIMARY, block, six, config("one", "10.0.0.5"))
    assert [shown.name for shown in nic_document.view(document, known={}).configs] == ["ipconfig1", "one"]
    written = nic_document.changed(document, add=[ConfigName("azure-cni-a")], remove=[])
    assert written["properties"]["ipConfigurations"][:4] == document["properties"]["ipConfigurations"]


def test_an_address_not_chosen_yet_is_not_ready() -> None:
    view = nic_document.view(nic(PRIMARY, config("azure-cni-a", None)), known={})
    assert view.secondaries[0].address is None
    assert not view.secondaries[0].ready


@pytest.mark.parametrize(
    ("state", "settled", "failed"),
    [
        ("Succeeded", True, False),
        ("Failed", True, True),
        ("Canceled", True, True),
        ("Updating", False, False),
        ("Creating", False, False),
        ("Deleting", False, False),
    ],
)
def test_states(state: str, *, settled: bool, failed: bool) -> None:
    document = nic(PRIMARY, state=state)
    assert nic_document.is_settled(document) is settled
    assert nic_document.has_failed(document) is failed


def test_what_worked_before_works_while_azure_updates() -> None:
    known = {ConfigName("ipconfig1"): IPv4Address("10.0.0.4"), ConfigName("a"): IPv4Address("10.0.0.5")}
    updating = {"provisioningState": "Updating"}
    document = nic(
        config("ipconfig1", "10.0.0.4", primary=True, **updating),
        config("a", "10.0.0.9", **updating),  # made anew under an old name, with another address
        state="Updating",
    )
    assert [shown.ready for shown in nic_document.view(document, known=known).configs] == [True, False]


def test_changing_leaves_the_original_alone() -> None:
    document = nic(PRIMARY, config("azure-cni-a", "10.0.0.5"))
    before = json.dumps(document)
    nic_document.changed(document, add=[ConfigName("azure-cni-b")], remove=[ConfigName("azure-cni-a")])
    assert json.dumps(document) == before


@pytest.mark.parametrize(
    "document",
    [{}, {"etag": "1"}, nic(), {**nic(PRIMARY), "etag": ""}, nic(config("a", "10.0.0.4"), config("b", "10.0.0.5"))],
    ids=["empty", "bare", "no configuration", "no etag", "no primary"],
)
def test_what_is_not_a_whole_nic_is_never_written_back(document: dict[str, Any]) -> None:
    with pytest.raises(CloudUnreachable, match="is it a NIC"):
        nic_document.check(document, what="read NIC n")
