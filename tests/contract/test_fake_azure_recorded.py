"""The fake's answers held to recorded ones: status, headers, keys of the body and error texts, ids replaced.

A header of the recording must be in our answer; of the body every key, at any depth. Where the recording is of an older
version or of another resource the test says what it leaves out.
"""

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any
from xml.etree import ElementTree as ET

import aiohttp
import pytest

from contract.azure_world import RECORDED, ServedAzure, recorded, served
from fakeazure import FakeAzure, MetadataError, SubnetFull

NICS = "/subscriptions/{0}/resourceGroups/azbox/providers/Microsoft.Network/networkInterfaces"
ID = re.compile(r"/subscriptions/[^\s'\"]+")
GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|(?<=W/\")[^\"]+")


@pytest.fixture
async def world() -> AsyncIterator[ServedAzure]:
    async with served(FakeAzure(seed=1), secondaries=1) as world:
        yield world


def nic_path(world: ServedAzure, name: str = "vm1-nic") -> str:
    return f"{NICS.format(world.azure.subscription_id)}/{name}"


def shape(value: Any) -> Any:
    """Keys and types at every depth; a list is as its first item."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def text(message: str) -> str:
    """An error message with its ids, etags and numbers replaced."""
    return re.sub(r"\d+", "N", GUID.sub("GUID", ID.sub("ID", message)))


def has_headers(ours: Mapping[str, str], theirs: Mapping[str, str]) -> None:
    missing = {name for name in theirs if name.lower() not in {own.lower() for own in ours}}
    assert not missing


async def body(response: aiohttp.ClientResponse) -> Any:
    return await response.json(content_type=None)


@pytest.mark.parametrize(
    ("file", "status"), [("nic-put-create-sync-201.json", 201), ("nic-put-update-sync-200.json", 200)]
)
async def test_write_of_an_unattached_interface(world: ServedAzure, file: str, status: int) -> None:
    exchange = recorded(file)
    sent = exchange["request"]["body"]
    sent["properties"]["ipConfigurations"][0]["properties"]["subnet"]["id"] = world.azure.subnet().id
    path = nic_path(world, "testResource")
    if status == 200:
        await world.request("PUT", path, body=sent)

    response = await world.request("PUT", path, body=sent)

    assert response.status == exchange["response"]["status"] == status
    assert shape(await body(response)) == shape(exchange["response"]["body"])
    assert not {"azure-asyncoperation", "retry-after"} & {name.lower() for name in response.headers}
    has_headers(response.headers, exchange["response"]["headers"])


async def test_write_of_an_attached_interface(world: ServedAzure) -> None:
    exchange = recorded("nic-put-attached-vm-async-200.json")["response"]
    world.azure.operation_duration_s = 10
    document = world.azure.nic("vm1-nic")
    document["properties"]["networkSecurityGroup"] = {"id": world.azure.add_other("networkSecurityGroups", "nsg")}

    response = await world.request("PUT", nic_path(world), body=document)

    assert response.status == 200
    assert shape(await body(response)) == shape(exchange["body"])
    assert (await body(response))["properties"]["provisioningState"] == "Updating"
    assert response.headers["Retry-After"] == exchange["headers"]["Retry-After"]
    theirs = {name for name in exchange["headers"] if name != "x-ms-arm-service-request-id"}
    has_headers(response.headers, dict.fromkeys(theirs, ""))
    assert response.headers["Azure-AsyncNotification"] == "Enabled"
    url = response.headers["Azure-AsyncOperation"]
    assert url.startswith(f"{world.endpoints.arm}/subscriptions/")
    assert re.search(r"/providers/Microsoft.Network/locations/eastus/operations/[^/]+\?api-version=2024-05-01&t=", url)


async def test_a_poll_before_and_after(world: ServedAzure) -> None:
    exchange = recorded("vnet-put-lro.json")["poll"]["response"]
    world.azure.operation_duration_s = 10
    put = await world.request("PUT", nic_path(world), body=world.azure.nic("vm1-nic"))
    path, query = put.headers["Azure-AsyncOperation"].removeprefix(world.endpoints.arm).split("?api-version=2024-05-01")

    before = await world.get(path, query=query)
    assert (before.status, await body(before), before.headers["Retry-After"]) == (200, {"status": "InProgress"}, "10")
    world.azure.operations.settle(world.azure.now() + 10)
    after = await world.get(path, query=query)
    assert (after.status, await body(after)) == (200, exchange["body"])
    has_headers(after.headers, exchange["headers"])
    shortened = await world.get(path)
    assert (shortened.status, (await body(shortened))["error"]["code"]) == (400, "InvalidAsyncOperationUri")


async def test_read_of_an_interface(world: ServedAzure) -> None:
    exchange = recorded("nic-get.json")["response"]
    path = nic_path(world, "alone")
    reference = {"subnet": {"id": world.azure.subnet().id}}
    configs = [{"name": "ipConfig1", "properties": reference}]
    await world.request("PUT", path, body={"location": "eastus", "properties": {"ipConfigurations": configs}})

    response = await world.get(path)

    assert response.status == 200
    assert shape(await body(response)) == shape(exchange["body"])
    assert response.headers["ETag"] == (await body(response))["etag"]
    has_headers(response.headers, exchange["headers"])


async def test_list_of_interfaces(world: ServedAzure) -> None:
    exchange = recorded("nic-list.json")["response"]
    response = await world.get(NICS.format(world.azure.subscription_id))

    (ours,), (theirs,) = (shape(one["value"]) for one in (await body(response), exchange["body"]))
    for key in ("macAddress", "primary", "virtualMachine"):  # of an attached NIC; the recorded one is not
        del ours["properties"][key]
    assert ours == theirs
    has_headers(response.headers, exchange["headers"])


async def test_deletion(world: ServedAzure) -> None:
    exchange = recorded("nic-delete-lro.json")["delete"]["response"]
    world.azure.add_vm("vm2")
    world.azure.delete_vm("vm2", keep_nic=True)

    response = await world.request("DELETE", nic_path(world, "vm2-nic"))

    assert (response.status, await response.text()) == (exchange["status"], "")
    has_headers(response.headers, exchange["headers"])


@pytest.mark.parametrize(
    ("file", "path"),
    [
        ("nic-get-404-resource.json", "networkInterfaces/testResourcenotfound"),
        ("nic-list-404-resource-group.json", "networkInterfaces"),
    ],
)
async def test_missing_things(world: ServedAzure, file: str, path: str) -> None:
    exchange = recorded(file)["response"]
    group = "aks-cit-Interfacenotfound" if "group" in file else "azbox"
    where = f"/subscriptions/{world.azure.subscription_id}/resourceGroups/{group}/providers/Microsoft.Network/{path}"

    response = await world.get(where)

    theirs = exchange["body"]
    theirs["error"]["message"] = theirs["error"]["message"].replace("'aks-cit-Interface'", "'azbox'")
    assert response.status == exchange["status"]
    assert await body(response) == theirs
    assert response.headers["x-ms-failure-cause"] == "gateway"
    has_headers(response.headers, exchange["headers"])


async def test_an_etag_that_does_not_match(world: ServedAzure) -> None:
    exchange = recorded("etag-mismatch-412-network-rp.json")["response"]
    document = world.azure.nic("vm1-nic")

    response = await world.request("PUT", nic_path(world), body=document, headers={"If-Match": "invalid"})

    assert response.status == exchange["status"]
    ours, theirs = (await body(response))["error"], exchange["body"]["error"]
    assert shape(ours) == shape(theirs)
    assert (ours["code"], ours["message"]) == (theirs["code"], theirs["message"])
    assert text(ours["details"][0]["message"]) == text(theirs["details"][0]["message"])
    assert 'W/"invalid"' in ours["details"][0]["message"]
    has_headers(response.headers, exchange["headers"])


async def test_an_etag_matches_without_its_weakness_mark(world: ServedAzure) -> None:
    document = world.azure.nic("vm1-nic")
    strong = document["etag"].removeprefix("W/")
    response = await world.request("PUT", nic_path(world), body=document, headers={"If-Match": strong})
    assert response.status == 200


async def test_errors_in_their_words(world: ServedAzure) -> None:
    """Every case of the collection that a NIC write can meet, by its code; the throttled one is in its own suite."""
    cases = {case["body"]["error"]["code"]: case for case in recorded("errors-basic.json")["cases"]}
    document = world.azure.nic("vm1-nic")
    configs = document["properties"]["ipConfigurations"]
    new = {"name": "new", "properties": {"subnet": configs[0]["properties"]["subnet"]}}
    taken = {"privateIPAllocationMethod": "Static", "privateIPAddress": "10.240.0.4", **new["properties"]}
    bodies = {
        "SubnetIsFull": [*configs, new],
        "IpConfigDeleteNotSupported": configs[1:],
        "PrivateIPAddressIsAllocated": [*configs, {"name": "new", "properties": taken}],
    }
    for code, wanted in bodies.items():
        if code == "SubnetIsFull":
            world.azure.faults.add(SubnetFull())
        document["properties"]["ipConfigurations"] = wanted
        response = await world.request("PUT", nic_path(world), body=document)
        ours, theirs = (await body(response))["error"], cases[code]["body"]["error"]
        assert response.status == cases[code]["status"]
        assert shape(ours) == shape(theirs)
        assert text(ours["message"]) == text(theirs["message"]), code


async def test_a_block_of_addresses(world: ServedAzure) -> None:
    exchange = recorded("spec-nic-create-prefix28.json")
    sent = exchange["request"]["body"]
    first, second = sent["properties"]["ipConfigurations"]
    public_ip = world.azure.add_public_ip("test-ip", "198.51.100.9")
    first["properties"] = {"publicIPAddress": {"id": public_ip}, "subnet": {"id": world.azure.subnet().id}}
    first["properties"]["primary"] = True
    assert second["properties"] == {"privateIPAddressPrefixLength": 28}

    response = await world.request("PUT", nic_path(world, "test-nic"), body=sent)

    assert response.status in exchange["response"]["status"]
    ours = (await body(response))["properties"]["ipConfigurations"]
    theirs = exchange["response"]["body"]["properties"]["ipConfigurations"]
    for mine, their in zip(ours, theirs, strict=True):
        assert set(their) <= set(mine)
        assert shape(mine["properties"]) == shape(their["properties"])
    assert ours[1]["properties"]["privateIPAddress"] == "10.240.0.16/28"


async def test_reading_networks(world: ServedAzure) -> None:
    exchange = recorded("vnet-put-lro.json")["final_get"]["response"]
    base = f"/subscriptions/{world.azure.subscription_id}/resourceGroups/azbox/providers/Microsoft.Network"
    response = await world.get(f"{base}/virtualNetworks/vnet")

    ours, theirs = shape(await body(response)), shape(exchange["body"])
    del ours["properties"]["subnets"][0]["properties"]["ipConfigurations"]  # the recorded one is empty
    assert ours == theirs
    has_headers(response.headers, exchange["headers"])


async def test_usages_of_a_network(world: ServedAzure) -> None:
    exchange = recorded("vnet-usages.json")["response"]
    base = f"/subscriptions/{world.azure.subscription_id}/resourceGroups/azbox/providers/Microsoft.Network"
    response = await world.get(f"{base}/virtualNetworks/vnet/usages")
    assert response.status == 200
    assert shape(await body(response)) == shape(exchange["body"])


async def test_availability_of_an_address(world: ServedAzure) -> None:
    exchange = recorded("vnet-check-ip-address.json")["response"]
    base = f"/subscriptions/{world.azure.subscription_id}/resourceGroups/azbox/providers/Microsoft.Network"
    response = await world.get(f"{base}/virtualNetworks/vnet/checkIPAddressAvailability", query="&ipAddress=10.240.0.4")
    ours = await body(response)
    assert shape(ours) == shape(exchange["body"])
    assert len(ours["availableIPAddresses"]) == len(exchange["body"]["availableIPAddresses"])


async def test_instance_metadata(world: ServedAzure) -> None:
    exchange = recorded("imds-instance.json")
    response = await world.imds(exchange["request"]["url"])

    ours, theirs = await body(response), exchange["response"]["body"]
    assert response.status == 200
    assert set(theirs["compute"]) <= set(ours["compute"])
    assert shape(ours["network"]) == shape(theirs["network"])
    (interface,) = ours["network"]["interface"]
    assert [one["privateIpAddress"] for one in interface["ipv4"]["ipAddress"]] == ["10.240.0.4", "10.240.0.5"]
    assert interface["ipv4"]["subnet"] == [{"address": "10.240.0.0", "prefix": "22"}]
    assert interface["macAddress"] == world.vm.mac.replace("-", "")


async def test_errors_of_instance_metadata(world: ServedAzure) -> None:
    cases = recorded("imds-errors.json")["cases"]
    good = "/metadata/instance?api-version=2021-10-01"
    async with world.http.get(world.endpoints.imds + good) as response:
        assert (response.status, await body(response)) == (cases[0]["status"], cases[0]["body"])
    response = await world.imds("/metadata/instance")
    assert (response.status, await body(response)) == (cases[1]["status"], cases[1]["body"])
    assert (await world.imds("/metadata/instance/nothing?api-version=2021-10-01")).status == cases[2]["status"]
    async with world.http.put(world.endpoints.imds + good, headers={"Metadata": "true"}) as response:
        assert response.status == cases[3]["status"]
    world.azure.faults.add(MetadataError(410))
    assert (await world.imds(good)).status == cases[4]["status"]


async def test_tokens(world: ServedAzure) -> None:
    exchange = recorded("imds-token.json")
    response = await world.imds(exchange["request"]["url"])
    ours = await body(response)
    assert response.status == 200
    assert ours.pop("client_id")
    assert shape(ours) == shape(exchange["response"]["body"])
    unknown = await world.imds(exchange["request"]["url"] + "&client_id=nobody")
    assert (unknown.status, await body(unknown)) == (400, exchange["errors"][0]["body"])


async def test_scheduled_events(world: ServedAzure) -> None:
    exchange = recorded("imds-scheduledevents.json")
    url = exchange["request"]["url"]
    assert await body(await world.imds(url)) == exchange["empty"]
    event_id = world.azure.schedule_event("vm1", "Freeze")

    ours = await body(await world.imds(url))
    assert shape(ours) == shape(exchange["response"]["body"])
    start = {"StartRequests": [{"EventId": event_id}]}
    headers = {"Metadata": "true"}
    async with world.http.post(world.endpoints.imds + url, json=start, headers=headers) as response:
        assert response.status == 200
    assert (await body(await world.imds(url)))["Events"][0]["EventStatus"] == "Started"


async def test_wireserver(world: ServedAzure) -> None:
    theirs = ET.fromstring((RECORDED / "wireserver-getinterfaceinfov1.xml").read_text())
    url = f"{world.endpoints.wireserver}/machine/plugins?comp=nmagent&type=getinterfaceinfov1"
    async with world.http.get(url) as response:
        ours = ET.fromstring(await response.text())

    assert [(node.tag, set(node.attrib)) for node in ours.iter()] == [
        (node.tag, set(node.attrib)) for node in theirs.iter()
    ]
    assert [node.attrib["Address"] for node in ours.iter("IPAddress")] == ["10.240.0.4", "10.240.0.5"]
