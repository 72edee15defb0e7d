"""The VNetQuota as values: its name, its time fields, and what a change of it says."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Self

import pytest

from azure_cni.api import vnet_quota
from azure_cni.api.vnet_quota import Draft, LedgerEntry, Tokens
from azure_cni.errors import DecodeFailed
from azure_cni.model import text as model_text
from azure_cni.model.text import exact_time_text, seconds_of, time_text

NETWORKS = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks"


@pytest.mark.parametrize(
    ("vnet", "name"),
    [
        ("vnet", "vnet"),
        ("Prod_VNet.EU", "prod-vnet.eu"),
        ("_odd_.", "odd"),
        ("a._b", "a.b"),
        ("-", "vnet"),
        ("x" * 300, "x" * 200),
    ],
)
def test_a_quota_is_named_as_its_vnet(vnet: str, name: str) -> None:
    assert vnet_quota.quota_name(f"{NETWORKS}/{vnet}") == name


def test_a_second_vnet_of_that_name_gets_a_longer_one_whatever_its_case() -> None:
    name = vnet_quota.quota_name(f"{NETWORKS}/vnet", taken={"vnet"})
    assert name == vnet_quota.quota_name(f"{NETWORKS.upper()}/VNET", taken={"vnet"})
    assert name.startswith("vnet-")
    assert len(name) == len("vnet-") + 6


def test_a_nic_is_found_by_its_label() -> None:
    nic_id = "/subscriptions/S/resourceGroups/RG/providers/Microsoft.Network/networkInterfaces/vm1-NIC"
    assert vnet_quota.nic_label(nic_id) == "rg/vm1-nic"
    assert vnet_quota.nic_label("") == ""
    again = vnet_quota.nic_resource_id("rg/vm1-nic", vnet_id=f"{NETWORKS}/vnet")
    assert again == "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/networkInterfaces/vm1-nic"


def test_the_nic_of_a_scale_sets_instance_is_found_by_its_label() -> None:
    of_set = "/subscriptions/S/resourceGroups/RG/providers/Microsoft.Compute/virtualMachineScaleSets/Pool"
    label = vnet_quota.nic_label(f"{of_set}/virtualMachines/12/networkInterfaces/Pool-nic")
    assert label == "rg/pool/12/pool-nic"
    again = vnet_quota.nic_resource_id(label, vnet_id=f"{NETWORKS}/vnet")
    assert again == (
        "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachineScaleSets/pool/virtualMachines/12"
        "/networkInterfaces/pool-nic"
    )


@pytest.mark.parametrize(
    "nic_id",
    [
        "/subscriptions/S/resourceGroups/RG/providers/Microsoft.Compute/virtualMachines/vm1",
        "/subscriptions/S/resourceGroups/RG/providers/Microsoft.Compute/virtualMachineScaleSets/p/virtualMachines/1",
        "/subscriptions/S/resourceGroups/RG/providers/Microsoft.Network/networkInterfaces",
        "nic",
    ],
)
def test_what_is_no_nic_has_no_label(nic_id: str) -> None:
    assert vnet_quota.nic_label(nic_id) == ""


@pytest.mark.parametrize(
    ("label", "vnet_id"),
    [
        ("rg/pool/12", f"{NETWORKS}/vnet"),
        ("rg/pool//nic", f"{NETWORKS}/vnet"),
        ("rg/nic", "x"),
        ("rg/nic", ""),
        ("rg/nic", "/subscriptions/"),
        ("", f"{NETWORKS}/vnet"),
        ("rg/", f"{NETWORKS}/vnet"),
    ],
)
def test_a_nic_that_cannot_be_found_out_is_an_error(label: str, vnet_id: str) -> None:
    with pytest.raises(DecodeFailed, match="cannot find out which NIC"):
        vnet_quota.nic_resource_id(label, vnet_id=vnet_id)


def test_a_draft_names_only_what_changes_and_none_removes() -> None:
    draft = Draft({"a": LedgerEntry(4, 2, "g/a"), "b": None}, {"granted": 4})
    entry = {"count": 4, "requestID": 2, "nic": "g/a", "writeIntent": None}
    assert draft.status() == {"granted": 4, "grants": {"a": entry, "b": None}}
    assert Draft(fields={"granted": 4}).status() == {"granted": 4}


def test_writing_a_budget_makes_no_tokens() -> None:
    document = vnet_quota.tokens_document(
        Tokens(tokens=2.99999996, time_s=1_800_000_000.123456, pace=1.0), capacity=5.0
    )
    assert document["tokens"] <= 2.99999996
    assert (seconds_of(document["time"]) or 0.0) >= 1_800_000_000.123455


@pytest.mark.parametrize("text", ["2026-11-24T09:00:00Z", "2026-11-24T09:00:00.000000Z", "2026-11-24T10:00:00+01:00"])
def test_times_are_read_in_each_form(text: str) -> None:
    assert seconds_of(text) == seconds_of("2026-11-24T09:00:00Z")


@pytest.mark.parametrize("text", ["", None, "soon", "24.11.2026", "9999-12-31T23:59:59-14:00"])
def test_what_is_no_time_is_none(text: object) -> None:
    assert seconds_of(text) is None


@pytest.mark.parametrize(
    "text", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999Z"]
)
def test_a_time_that_could_not_be_written_again_is_none(text: str) -> None:
    """RFC 3339 has it, and an API server takes it; in UTC it is in no year from 1 to 9999."""
    assert seconds_of(text) is None


class DatetimeOfWindows(datetime):
    """As on Windows, whose C library knows no time before 1970 and none after 3000."""

    @classmethod
    def fromtimestamp(cls, timestamp: float, tz: tzinfo | None = None) -> Self:
        if not 0 <= timestamp < 32_536_850_400:
            raise OSError(22, "Invalid argument")
        return super().fromtimestamp(timestamp, tz)


@pytest.mark.parametrize(
    ("text", "at_s"),
    [("9999-12-31T23:59:59-14:00", None), ("1969-12-31T23:59:58Z", -2.0), ("9999-12-31T23:59:58Z", 253_402_300_798.0)],
)
def test_times_are_the_same_on_every_operating_system(
    monkeypatch: pytest.MonkeyPatch, text: str, at_s: float | None
) -> None:
    monkeypatch.setattr(model_text, "datetime", DatetimeOfWindows)
    assert seconds_of(text) == at_s
    if at_s is not None:
        assert time_text(at_s) == text
        assert exact_time_text(at_s) == text.replace("Z", ".000000Z")
