"""The gate and the clouds: small facts that everything else leans on."""

from __future__ import annotations

import pytest

from azure_cni.azure.endpoints import cloud_named
from azure_cni.azure.resources import Resource
from azure_cni.azure.throttle_gate import DEFAULT_RETRY_AFTER_S, Kind, ThrottleGate
from azure_cni.errors import ConfigInvalid, RequestRefused
from azure_cni.ipam.limits import LONGEST_RETRY_AFTER_S


class Time:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


PROVIDERS = "/subscriptions/s/resourceGroups/g/providers"
VM, OTHER_VM, THIRD_VM = (f"{PROVIDERS}/Microsoft.Compute/virtualMachines/{name}" for name in ("a", "b", "c"))
NIC, VNET = (f"{PROVIDERS}/Microsoft.Network/{kind}" for kind in ("networkInterfaces/a-nic", "virtualNetworks/v"))
ELSEWHERE = NIC.replace("/s/", "/t/")
URL = "https://management.azure.com{}?api-version=2025-05-01"
BY_PROVIDER, BY_GATEWAY = "TooManyRequests", "SubscriptionRequestsThrottled"


def closed(gate: ThrottleGate, *paths: str, kind: Kind = Kind.READ) -> list[bool]:
    return [gate.closed_for_s(kind, URL.format(path)) > 0 for path in paths]


def refuse(gate: ThrottleGate, path: str, code: str, retry_after_s: float | None = 30) -> None:
    gate.close(Kind.READ, URL.format(path), azure_code=code, retry_after_s=retry_after_s)


def test_a_refusal_about_one_vm_closes_the_gate_for_that_vm_alone() -> None:
    gate = ThrottleGate(monotonic=Time())
    refuse(gate, VM, BY_PROVIDER)
    refuse(gate, VM.upper(), BY_PROVIDER)
    assert closed(gate, VM, OTHER_VM, NIC, VNET) == [True, False, False, False]
    assert closed(gate, VM, kind=Kind.WRITE) == [False]


def test_a_second_vm_that_is_refused_shows_that_all_are() -> None:
    time = Time()
    gate = ThrottleGate(monotonic=time)
    refuse(gate, VM, BY_PROVIDER)
    time.now_s += 10
    refuse(gate, OTHER_VM, BY_PROVIDER)
    assert closed(gate, VM, OTHER_VM, THIRD_VM, NIC) == [True, True, True, False]
    time.now_s += 40
    refuse(gate, THIRD_VM, BY_PROVIDER)
    assert closed(gate, VM, OTHER_VM, THIRD_VM) == [False, False, True]


def test_what_azure_counts_together_waits_together() -> None:
    for code, waiting in {
        BY_PROVIDER: [True, True, False, False],
        BY_GATEWAY: [True, True, True, False],
        "": [True, True, True, True],
    }.items():
        gate = ThrottleGate(monotonic=Time())
        refuse(gate, NIC, code)
        assert closed(gate, NIC, VNET, VM, ELSEWHERE) == waiting, code


def test_an_operation_in_progress_counts_among_its_providers_requests() -> None:
    gate = ThrottleGate(monotonic=Time())
    refuse(gate, "/subscriptions/s/providers/Microsoft.Network/locations/l/operations/1", BY_PROVIDER)
    assert closed(gate, NIC, VM) == [True, False]


def test_a_gate_is_open_until_closed_and_opens_again() -> None:
    time = Time()
    gate = ThrottleGate(monotonic=time)
    assert gate.closed_for_s(Kind.READ, NIC) == 0
    refuse(gate, NIC, BY_PROVIDER)
    time.now_s += 10
    assert gate.closed_for_s(Kind.READ, NIC) == 20
    assert gate.closed_for_s(Kind.WRITE, NIC) == 0
    time.now_s += 20
    assert gate.closed_for_s(Kind.READ, NIC) == 0


@pytest.mark.parametrize(
    ("wish_s", "closed_s"),
    [(None, DEFAULT_RETRY_AFTER_S), (0, 0), (-5, 0), (1200, 1200), (10_000_000, LONGEST_RETRY_AFTER_S)],
)
def test_how_long(wish_s: float | None, closed_s: float) -> None:
    gate = ThrottleGate(monotonic=Time())
    refuse(gate, NIC, BY_PROVIDER, wish_s)
    assert gate.closed_for_s(Kind.READ, NIC) == closed_s


def test_a_shorter_wish_does_not_open_the_gate_sooner() -> None:
    gate = ThrottleGate(monotonic=Time())
    refuse(gate, NIC, BY_PROVIDER, 60)
    refuse(gate, NIC, BY_PROVIDER, 1)
    assert gate.closed_for_s(Kind.READ, NIC) == 60


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
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/v",
    ],
)
def test_what_is_not_ours_to_ask_for(text: str) -> None:
    with pytest.raises(RequestRefused, match="is not the id of a NIC, VNet or VM"):
        Resource.parse(text)
