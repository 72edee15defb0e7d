"""What a NIC's document shows and how it is changed, for shapes that the fake Azure does not make."""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from azure_cni.azure import nic_document
from azure_cni.errors import CloudUnreachable
from azure_cni.model.nic import Adopt, ConfigName, StaticConfiguration
from contract.nic_documents import PRIMARY, PROVIDERS, config, nic

RECORDED = Path(__file__).parent / "recorded"


def test_the_recorded_nic_is_read() -> None:
    document = json.loads((RECORDED / "nic-get.json").read_text())["response"]["body"]
    view = nic_document.view(nic_document.check(document, what="read"), working={})
    assert view.settled
    assert view.primary.address == IPv4Address("10.0.0.4")
    assert view.primary.ready


def test_a_sole_configuration_is_primary_without_saying_so() -> None:
    view = nic_document.view(nic(config("only", "10.0.0.4")), working={})
    assert view.primary.name == "only"


def test_what_no_pod_can_use_is_not_shown_and_goes_back() -> None:
    odd = config("odd", "10.0.0.64/27", privateIPAddressPrefixLength=27)
    six = config("six", "fd00::4", privateIPAddressVersion="IPv6")
    document = nic(PRIMARY, odd, six, config("one", "10.0.0.5"))
    assert [shown.name for shown in nic_document.view(document, working={}).configs] == ["ipconfig1", "one"]
    written = nic_document.changed(document, add=[ConfigName("azure-cni-a")], remove=[])
    assert written["properties"]["ipConfigurations"][:4] == document["properties"]["ipConfigurations"]


@pytest.mark.parametrize(
    ("shown", "properties"),
    [
        ("10.0.0.16/28", {"privateIPAddressPrefixLength": 28}),
        ("10.0.0.16/28", {}),
        ("10.0.0.19", {"privateIPAddressPrefixLength": 28}),
    ],
)
def test_a_block_is_one_configuration_for_pods(shown: str, properties: dict[str, Any]) -> None:
    document = nic(PRIMARY, config("theirs", shown, **properties), config("inside", "10.0.0.20"))
    view = nic_document.view(document, working={})
    (block,) = view.secondaries
    assert (view.held, block.addresses[0], block.addresses[-1]) == (
        16,
        IPv4Address("10.0.0.16"),
        IPv4Address("10.0.0.31"),
    )
    assert not block.ours
    assert [(it.name, it.why) for it in view.excluded] == [("inside", "shows the address of theirs")]
    assert nic_document.view(document, working={}, adopt=Adopt.NONE).held == 0


def test_an_excluded_block_is_known_by_all_its_addresses() -> None:
    rule = {"loadBalancerInboundNatRules": [{"id": f"{PROVIDERS}/loadBalancers/lb/inboundNatRules/front"}]}
    document = nic(PRIMARY, config("azure-cni-1a2b3c4d-28", "10.0.0.16/28", **rule))
    (excluded,) = nic_document.view(document, working={}).excluded
    assert len(excluded.addresses) == 16


def test_blocks_bring_no_more_than_a_pool_can_have_and_ours_come_first() -> None:
    theirs = [config(f"theirs-{n}", f"10.1.0.{16 * n}/28") for n in range(10)]
    ours = [
        config(f"azure-cni-0000000{n}-28", f"10.2.0.{16 * n}/28", privateIPAllocationMethod="Dynamic") for n in range(9)
    ]
    view = nic_document.view(nic(PRIMARY, *theirs, *ours, config("one", "10.0.0.5")), working={})
    assert view.held == 16 * (9 + 6) + 1
    assert [it.name for it in view.excluded] == [f"theirs-{n}" for n in range(6, 10)]
    assert view.excluded[0].why == "would be more than the 255 addresses that a pool can have"


def test_what_its_name_says_is_a_block_is_made_as_one() -> None:
    names = [ConfigName("azure-cni-1a2b3c4d"), ConfigName("azure-cni-1a2b3c4e-28")]
    static = StaticConfiguration(ConfigName("azure-cni-1a2b3c4f-28-static"), IPv4Address("10.0.0.32"), 16)
    written = nic_document.changed(nic(PRIMARY), add=[*names, static], remove=[])
    made = [it["properties"] for it in written["properties"]["ipConfigurations"][1:]]
    assert [it.get("privateIPAddressPrefixLength") for it in made] == [None, 28, 28]
    assert [it.get("privateIPAddress") for it in made] == [None, None, "10.0.0.32/28"]


UNREADABLE = {
    "null": None,
    "a word": "x",
    "without properties": {"name": "x"},
    "with null properties": {"name": "x", "properties": None},
    "nameless": {"properties": {"privateIPAddress": "10.0.0.5"}},
    "with an empty name": config("", "10.0.0.5"),
    "with a null name": config("x", "10.0.0.5") | {"name": None},
    "without an address in its address": config("x", "10.0.0.300"),
    "with a number for an address": config("x", None, privateIPAddress=5),
    "with a word for primary": config("x", "10.0.0.5", primary="yes"),
    "with a list for a subnet": config("x", "10.0.0.5", subnet=[]),
}


@pytest.mark.parametrize("odd", UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_left_aside_and_goes_back_as_it_came(odd: Any) -> None:
    document = nic(PRIMARY, odd, config("one", "10.0.0.6"))
    view = nic_document.view(nic_document.check(document, what="read NIC n"), working={})
    assert [it.name for it in view.secondaries] == ["one"]
    assert len(view.excluded) == 1
    assert view.excluded[0].why
    assert view.config_count == 3
    written = nic_document.changed(document, add=[ConfigName("azure-cni-1aaaaaaa")], remove=[])
    assert written["properties"]["ipConfigurations"][:3] == document["properties"]["ipConfigurations"]


@pytest.mark.parametrize(
    ("address", "version", "shown"),
    [
        ("10.0.0.5", None, True),
        ("10.0.0.5", "", True),
        ("10.0.0.5", "ipv4", True),
        ("10.0.0.5", "IPv6", True),
        ("fd00::9", "IPv4", False),
        ("fd00::9", None, False),
        (None, "IPv6", False),
        (None, None, False),
    ],
)
def test_an_address_decides_its_family_and_not_the_label(
    address: str | None, version: str | None, *, shown: bool
) -> None:
    view = nic_document.view(nic(PRIMARY, config("a", address, privateIPAddressVersion=version)), working={})
    assert len(view.secondaries) == shown


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.4",
        "127.0.0.1",
        "169.254.169.254",
        "168.63.129.16",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
    ],
)
def test_no_pod_gets_an_address_that_is_the_nodes_or_no_hosts(address: str) -> None:
    view = nic_document.view(nic(PRIMARY, config("a", address)), working={})
    assert view.secondaries == ()
    assert [it.name for it in view.excluded] == ["a"]


def test_one_address_in_two_configurations_counts_once() -> None:
    view = nic_document.view(nic(PRIMARY, config("a", "10.0.0.5"), config("b", "10.0.0.5")), working={})
    assert [it.name for it in view.secondaries] == ["a"]
    assert list(map(str, view.excluded)) == ["b 10.0.0.5: shows the address of a"]


def test_a_second_primary_is_for_no_pod() -> None:
    view = nic_document.view(nic(PRIMARY, config("b", "10.0.0.5", primary=True)), working={})
    assert view.primary.name == "ipconfig1"
    assert [it.name for it in view.excluded] == ["b"]


def test_a_sole_configuration_says_in_the_body_that_it_is_the_primary() -> None:
    document = nic(config("only", "10.0.0.4"))
    written = nic_document.changed(document, add=[ConfigName("azure-cni-1aaaaaaa")], remove=[])
    assert [it["properties"]["primary"] for it in written["properties"]["ipConfigurations"]] == [True, False]
    assert "primary" not in document["properties"]["ipConfigurations"][0]["properties"]


def test_nothing_is_added_where_the_subnet_is_not_known() -> None:
    document = nic(config("ipconfig1", "10.0.0.4", primary=True, subnet=None))
    assert nic_document.view(document, working={}).primary.address == IPv4Address("10.0.0.4")
    assert nic_document.changed(document, add=[], remove=[]) == document
    with pytest.raises(CloudUnreachable, match="names no subnet"):
        nic_document.changed(document, add=[ConfigName("azure-cni-1aaaaaaa")], remove=[])


@pytest.mark.parametrize("name", ["theirs", "azure-cni-00000001"])
def test_what_others_left_without_an_address_does_not_count_as_held(name: str) -> None:
    theirs = config(name, None, privateIPAllocationMethod="Static", provisioningState="Failed")
    view = nic_document.view(nic(PRIMARY, theirs, config("azure-cni-0a", "10.0.0.5")), working={})
    assert [one.name for one in view.secondaries] == ["azure-cni-0a"]
    assert [str(one) for one in view.excluded] == [f"{name}: has no address"]
    assert view.config_count == 3


def test_an_address_not_chosen_yet_is_not_ready() -> None:
    new = config("azure-cni-00000001", None, privateIPAllocationMethod="Dynamic")
    view = nic_document.view(nic(PRIMARY, new), working={})
    assert view.secondaries[0].address is None
    assert not view.secondaries[0].ready


@pytest.mark.parametrize(
    ("state", "settled", "failed"),
    [
        ("Succeeded", True, False),
        ("succeeded", True, False),
        ("Failed", True, True),
        ("Canceled", True, True),
        ("CANCELED", True, True),
        ("Updating", False, False),
        ("UPDATING", False, False),
        ("Creating", False, False),
        ("Deleting", False, False),
        ("Accepted", False, False),
        ("Repairing", False, False),
        ("", False, False),
        (None, False, False),
    ],
)
def test_only_known_ends_are_ends(state: Any, *, settled: bool, failed: bool) -> None:
    view = nic_document.view(nic(PRIMARY, state=state), working={})
    assert (view.settled, view.failed) == (settled, failed)


def test_what_worked_before_works_while_azure_updates() -> None:
    working = {ConfigName("ipconfig1"): IPv4Address("10.0.0.4"), ConfigName("a"): IPv4Address("10.0.0.5")}
    updating = {"provisioningState": "Updating"}
    document = nic(
        config("ipconfig1", "10.0.0.4", primary=True, **updating),
        config("a", "10.0.0.9", **updating),  # recreated under an old name, with another address
        state="Updating",
    )
    assert [shown.ready for shown in nic_document.view(document, working=working).configs] == [True, False]


def test_changing_leaves_the_original_alone() -> None:
    document = nic(PRIMARY, config("azure-cni-00000001", "10.0.0.5", privateIPAllocationMethod="Dynamic"))
    before = json.dumps(document)
    left = nic_document.changed(document, add=[], remove=[ConfigName("azure-cni-00000001")])
    assert left["properties"]["ipConfigurations"] == [PRIMARY]
    assert json.dumps(document) == before


NOT_A_NIC: dict[str, dict[str, Any]] = {
    "empty": {},
    "bare": {"etag": "1"},
    "no configuration": nic(),
    "null configurations": {**nic(), "properties": {"ipConfigurations": None}},
    "a word for configurations": {**nic(), "properties": {"ipConfigurations": "none"}},
    "null properties": {**nic(), "properties": None},
    "null id": {**nic(PRIMARY), "id": None},
    "no etag": {**nic(PRIMARY), "etag": ""},
    "null etag": {**nic(PRIMARY), "etag": None},
    "no primary": nic(config("a", "10.0.0.4"), config("b", "10.0.0.5")),
    "an unreadable primary": nic(config("a", "10.0.0.4", primary=True, subnet=5), config("b", "10.0.0.5")),
    "an unreadable sole one": nic({"name": "a"}),
}


@pytest.mark.parametrize("document", NOT_A_NIC.values(), ids=NOT_A_NIC)
def test_what_is_not_a_whole_nic_is_never_written_back(document: dict[str, Any]) -> None:
    with pytest.raises(CloudUnreachable, match="cannot read NIC n: the answer"):
        nic_document.check(document, what="read NIC n")
