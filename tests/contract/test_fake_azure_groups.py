"""Resource groups and VNets that a request makes, held to Azure's REST reference; and what goes with a group."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from contract.azure_world import ServedAzure, served
from fakeazure import FakeAzure, ManualClock

VNET = {
    "location": "eastus",
    "properties": {
        "addressSpace": {"addressPrefixes": ["10.1.0.0/16"]},
        "subnets": [{"name": "a", "properties": {"addressPrefix": "10.1.0.0/24"}}],
    },
}


@pytest.fixture
async def world() -> AsyncIterator[ServedAzure]:
    async with served(FakeAzure(ManualClock(1000.0), seed=1)) as world:
        yield world


def _group(world: ServedAzure, rest: str = "") -> str:
    return f"/subscriptions/{world.azure.subscription_id}/resourceGroups/new{rest}"


async def test_a_group_is_made_shown_and_made_again(world: ServedAzure) -> None:
    assert (await world.request("GET", _group(world))).status == 404
    made = await world.request("PUT", _group(world), body={"location": "westus", "tags": {"a": "b"}})
    assert made.status == 201
    document = await made.json()
    assert document == {
        "id": _group(world),
        "name": "new",
        "type": "Microsoft.Resources/resourceGroups",
        "location": "westus",
        "tags": {"a": "b"},
        "properties": {"provisioningState": "Succeeded"},
    }
    assert await (await world.request("GET", _group(world).upper().replace("/SUBSCRIPTIONS", "/subscriptions"))).json()
    assert (await world.request("PUT", _group(world), body={"location": "westus"})).status == 200
    without = await world.request("PUT", _group(world), body={})
    assert (without.status, (await without.json())["error"]["code"]) == (400, "LocationRequired")


async def test_a_group_takes_all_that_is_in_it_and_nothing_else(world: ServedAzure) -> None:
    nothing = await world.request("PUT", _group(world, "/providers/Microsoft.Network/virtualNetworks/v"), body=VNET)
    assert (nothing.status, (await nothing.json())["error"]["code"]) == (404, "ResourceGroupNotFound")
    await world.request("PUT", _group(world), body={"location": "eastus"})
    made = await world.request("PUT", _group(world, "/providers/Microsoft.Network/virtualNetworks/v"), body=VNET)
    subnet = (await made.json())["properties"]["subnets"][0]["id"]
    nic = _group(world, "/providers/Microsoft.Network/networkInterfaces/n")
    config = {"name": "c", "properties": {"subnet": {"id": subnet}}}
    wanted = {"location": "eastus", "properties": {"ipConfigurations": [config]}}
    written = await world.request("PUT", nic, body=wanted)
    assert (made.status, written.status) == (201, 201)
    assert (await written.json())["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"] == "10.1.0.4"

    before = (world.azure.nic("vm1-nic"), set(world.azure.network.subnets) - {subnet.lower()})
    world.azure.operation_duration_s = 30.0
    deleted = await world.request("DELETE", _group(world))
    assert deleted.status == 202
    assert deleted.headers["Location"].startswith(f"{world.endpoints.arm}/subscriptions/")
    shown = await (await world.request("GET", _group(world))).json()
    assert shown["properties"]["provisioningState"] == "Deleting"
    assert (await world.request("GET", nic)).status == 404
    clock = world.azure.clock
    assert isinstance(clock, ManualClock)
    clock.advance(30.0)
    assert (await world.request("GET", _group(world))).status == 404
    assert (await world.request("DELETE", _group(world))).status == 404
    assert (world.azure.nic("vm1-nic"), set(world.azure.network.subnets)) == before


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"location": ""}, "LocationRequired"),
        ({"properties": {"addressSpace": {"addressPrefixes": ["fd00::/48"]}}}, "InvalidRequestFormat"),
    ],
)
async def test_a_vnet_that_is_refused_is_not_there(world: ServedAzure, change: dict[str, object], code: str) -> None:
    path = _group(world, "/providers/Microsoft.Network/virtualNetworks/v")
    await world.request("PUT", _group(world), body={"location": "eastus"})
    refused = await world.request("PUT", path, body=VNET | change)
    assert (refused.status, (await refused.json())["error"]["code"]) == (400, code)
    assert (await world.request("GET", path)).status == 404


async def test_a_provider_says_what_it_serves_and_whether_it_is_registered(world: ServedAzure) -> None:
    path = f"/subscriptions/{world.azure.subscription_id}/providers/Microsoft.Network"
    world.azure.api_versions.limit("Microsoft.Network/networkInterfaces", ["2024-05-01"])
    shown = await (await world.request("GET", path)).json()
    assert (shown["namespace"], shown["registrationState"]) == ("Microsoft.Network", "Registered")
    lists = {one["resourceType"]: one["apiVersions"] for one in shown["resourceTypes"]}
    assert lists["networkInterfaces"] == ["2024-05-01"]
    world.azure.groups.unregistered.add("microsoft.network")
    assert (await (await world.request("GET", path)).json())["registrationState"] == "NotRegistered"
