"""Clouds that do not know our API versions: the best of those that they list is used, and said once."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import get_args

import pytest

import fakeazure as faults
from azure_cni.azure.api_versions import best, listed
from azure_cni.azure.resources import COMPUTE_API, NETWORK_API, OLDEST_NETWORK_API, Resource
from azure_cni.azure.vnets import ArmVNets
from azure_cni.errors import CloudNotFound, PreconditionFailed, RequestRefused
from contract.nic_world import AzureWorld, azure_world
from fakeazure.apiversions import Code
from fakeazure.errors import ArmError

NIC, VNET = "Microsoft.Network/networkInterfaces", "Microsoft.Network/virtualNetworks"
OLDER = ["2015-06-15", "2023-11-01", "2024-05-01", "2024-07-01-preview"]


@pytest.fixture
async def world(caplog: pytest.LogCaptureFixture) -> AsyncIterator[AzureWorld]:
    caplog.set_level(logging.INFO, logger="azure_cni.azure.api_versions")
    async with azure_world(adopted=1) as opened:
        yield opened


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, str]]:
    """What was logged: the kind of resource, the refused version and the one that is used."""
    records = [one.__dict__ for one in caplog.records if one.name == "azure_cni.azure.api_versions"]
    return [(record["resource"], record["refused"], record["used"]) for record in records]


@pytest.mark.parametrize("code", get_args(Code))
async def test_the_newest_that_the_cloud_supports_is_used_and_said_once(
    world: AzureWorld, caplog: pytest.LogCaptureFixture, code: Code
) -> None:
    world.azure.api_versions.limit(NIC, OLDER, code=code)
    after = await world.nic.write(await world.nic.read(), add=1)
    assert len(after.secondaries) == 2
    assert said(caplog) == [("nic", NETWORK_API, "2024-05-01")]
    assert len([code for code in world.meter.of("nic.get") if code != "200"]) == 1


async def test_each_kind_of_resource_has_its_own_version(world: AzureWorld, caplog: pytest.LogCaptureFixture) -> None:
    world.azure.api_versions.limit(VNET, ["2024-05-01", "2024-10-01"])
    vnets = ArmVNets(world.arm)
    vnet = world.azure.nic_record("vm1-nic").subnet_id.removesuffix("/subnets/nodes")
    assert await vnets.used(vnet) == 2  # type: ignore[arg-type]
    await world.nic.read()
    assert said(caplog) == [("vnet", NETWORK_API, "2024-10-01")]


async def test_a_list_that_promises_too_much_is_tried_on(world: AzureWorld, caplog: pytest.LogCaptureFixture) -> None:
    world.azure.api_versions.limit(NIC, OLDER, listed=[*OLDER, "2024-10-01"])
    assert (await world.nic.read()).settled
    assert [used for _, _, used in said(caplog)] == ["2024-10-01", "2024-05-01"]


@pytest.mark.parametrize("code", get_args(Code))
async def test_a_cloud_that_is_too_old_is_a_permanent_error_that_names_its_versions(
    world: AzureWorld, code: Code
) -> None:
    world.azure.api_versions.limit(NIC, ["2019-11-01", "2020-11-01"], code=code)
    with pytest.raises(RequestRefused) as caught:
        await world.nic.read()
    assert not caught.value.retriable
    assert str(caught.value) == (
        "cannot ask Azure about NIC vm1-nic: this cloud supports the API versions 2019-11-01, 2020-11-01, and "
        f"azure-cni needs {NETWORK_API}, or at least {OLDEST_NETWORK_API}; an older cloud cannot be used"
    )


async def test_a_body_is_not_written_under_another_version_than_it_was_read_under(world: AzureWorld) -> None:
    seen = await world.nic.read()
    refusal = ArmError(400, "NoRegisteredProviderFound", "The supported api-versions are '2023-11-01, 2024-05-01'.")
    world.azure.faults.add(faults.Refuse(refusal), operation="nic.put")
    with pytest.raises(PreconditionFailed, match=f"no longer supports API version {NETWORK_API}"):
        await world.nic.write(seen, add=1)
    assert world.writes == 0
    assert len((await world.nic.write(await world.nic.read(), add=1)).secondaries) == 2


async def test_a_gateway_that_contradicted_itself_is_believed_again_once_it_works(world: AzureWorld) -> None:
    older = "2024-05-01"
    world.azure.api_versions.limit(NIC, [older], listed=[NETWORK_API, older])
    await world.nic.read()
    world.azure.api_versions.limit(NIC, [NETWORK_API])
    with pytest.raises(RequestRefused):
        await world.nic.read()
    assert (await world.nic.read()).settled


async def test_a_resource_type_that_a_cloud_does_not_have_at_all_is_not_found(world: AzureWorld) -> None:
    text = "The resource type could not be found in the namespace 'Microsoft.Network' for api version '2025-05-01'."
    world.azure.faults.add(faults.Refuse(ArmError(404, "InvalidResourceType", text)), operation="nic.get")
    with pytest.raises(CloudNotFound):
        await world.nic.read()


@pytest.mark.parametrize(
    ("supported", "chosen"),
    [
        (("2024-05-01", "2025-05-01"), "2025-05-01"),
        (("2023-11-01", "2024-05-01", "2026-03-01"), "2024-05-01"),
        (("2026-03-01", "2027-01-01"), "2026-03-01"),  # ours has been retired: the next one
        (("2015-06-15",), None),
        ((), None),
    ],
)
def test_which_version_will_do(supported: tuple[str, ...], chosen: str | None) -> None:
    assert best(supported, ours=NETWORK_API, oldest=OLDEST_NETWORK_API) == chosen


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (
            "The supported api-versions are '2015-05-01-preview, 2016-03-30,2015-06-15'. X",
            ("2015-06-15", "2016-03-30"),
        ),
        ("The supported versions are '2014-04-01,2014-04'.", ("2014-04-01",)),
        ("The supported api-versions are ''.", ()),
        ("The api-version is invalid.", ()),
    ],
)
def test_what_a_refusal_lists(message: str, found: tuple[str, ...]) -> None:
    assert listed(message) == found


def test_every_kind_of_resource_has_an_oldest_version() -> None:
    vm = Resource.parse("/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm1")
    assert vm.oldest_api < vm.api_version == COMPUTE_API
