"""The gate and the clouds: small facts that everything else leans on."""

from __future__ import annotations

import pytest

from azure_cni.azure.clouds import cloud_named
from azure_cni.azure.gate import UNTOLD_S, Gate, Kind
from azure_cni.azure.resources import Resource
from azure_cni.errors import ConfigInvalid, RequestRefused
from azure_cni.ipam.limits import LONGEST_RETRY_AFTER_S


class Time:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_gate_is_open_until_closed_and_opens_again() -> None:
    time = Time()
    gate = Gate(monotonic=time)
    assert gate.closed_for_s(Kind.READ) == 0
    gate.close(Kind.READ, 30)
    time.now_s += 10
    assert gate.closed_for_s(Kind.READ) == 20
    assert gate.closed_for_s(Kind.WRITE) == 0
    time.now_s += 20
    assert gate.closed_for_s(Kind.READ) == 0


@pytest.mark.parametrize(
    ("wish_s", "closed_s"), [(None, UNTOLD_S), (0, 0), (-5, 0), (1200, 1200), (10_000_000, LONGEST_RETRY_AFTER_S)]
)
def test_how_long(wish_s: float | None, closed_s: float) -> None:
    gate = Gate(monotonic=Time())
    gate.close(Kind.WRITE, wish_s)
    assert gate.closed_for_s(Kind.WRITE) == closed_s


def test_a_shorter_wish_does_not_open_the_gate_sooner() -> None:
    gate = Gate(monotonic=Time())
    gate.close(Kind.WRITE, 60)
    gate.close(Kind.WRITE, 1)
    assert gate.closed_for_s(Kind.WRITE) == 60


@pytest.mark.parametrize(
    ("name", "endpoint", "scope", "authority"),
    [
        (
            "AzurePublicCloud",
            "https://management.azure.com",
            "https://management.azure.com/.default",
            "https://login.microsoftonline.com",
        ),
        (
            "AzureUSGovernment",
            "https://management.usgovcloudapi.net",
            "https://management.core.usgovcloudapi.net/.default",
            "https://login.microsoftonline.us",
        ),
        (
            "AzureChinaCloud",
            "https://management.chinacloudapi.cn",
            "https://management.chinacloudapi.cn/.default",
            "https://login.chinacloudapi.cn",
        ),
    ],
)
def test_clouds(name: str, endpoint: str, scope: str, authority: str) -> None:
    cloud = cloud_named(name)
    assert (cloud.endpoint, cloud.scope, cloud.authority) == (endpoint, scope, authority)


def test_a_private_endpoint_replaces_the_clouds_own() -> None:
    cloud = cloud_named("AzureCloud", endpoint="https://10.0.0.1/", authority="https://10.0.0.2/")
    assert (cloud.name, cloud.endpoint, cloud.authority) == ("AzurePublicCloud", "https://10.0.0.1", "https://10.0.0.2")


@pytest.mark.parametrize(
    ("url", "owned"),
    [
        ("https://management.azure.com/subscriptions/s?api-version=1", True),
        ("https://Management.Azure.com/x", True),
        ("https://management.azure.com", True),
        ("http://management.azure.com/x", False),
        ("https://management.azure.com.evil.example/x", False),
        ("https://management.azure.com@evil.example/x", False),
        ("https://user@management.azure.com/x", False),
        ("https://management.azure.com:444/x", False),
        ("//management.azure.com/x", False),
        ("/x", False),
        ("https://[", False),
        ("", False),
    ],
)
def test_links_of_a_cloud_are_those_to_its_resource_manager(url: str, *, owned: bool) -> None:
    assert cloud_named("AzurePublicCloud").owns(url) is owned


def test_an_unknown_cloud_lists_the_known_ones() -> None:
    with pytest.raises(ConfigInvalid, match="'AzureMoon': it must be one of AzurePublicCloud, AzureUSGovernment"):
        cloud_named("AzureMoon")


def test_resources_know_their_kind_whatever_the_case() -> None:
    nic = Resource.parse("/subscriptions/S/resourcegroups/G/providers/microsoft.network/NetworkInterfaces/Vm1-nic/")
    assert (nic.noun, nic.label) == ("nic", "NIC Vm1-nic")
    assert not nic.id.endswith("/")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "vm1-nic",
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a",
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/v/virtualMachines/0",
    ],
)
def test_what_is_not_ours_to_ask_for(text: str) -> None:
    with pytest.raises(RequestRefused, match="is not the id of a NIC, VNet or VM"):
        Resource.parse(text)
