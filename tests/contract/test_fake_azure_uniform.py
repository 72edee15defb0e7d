"""Uniform scale sets in the fake: an instance's model, its NIC, and how the two part. The test owns the clock."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from contract.azure_world import ServedAzure, recorded, served
from fakeazure import FailOperation, FakeAzure, ManualClock, NoEffect, SubnetFull
from fakeazure.errors import ArmError
from fakeazure.throttling import COMPUTE_UPDATE_VM, Throttle
from fakeazure.uniform import SETS

Document = dict[str, Any]
DURATION_S = 20.0
NIC = "pool_0/pool-nic"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def world(clock: ManualClock) -> AsyncIterator[ServedAzure]:
    azure = FakeAzure(clock, operation_duration_s=DURATION_S, seed=1)
    async with served(azure, subnets={"nodes": "10.240.0.0/24"}) as world:
        azure.uniform.add("pool", instances=2, secondaries=1)
        yield world


def path(world: ServedAzure, number: int = 0) -> str:
    return f"{world.azure.id_of('azbox', SETS, 'pool')}/virtualMachines/{number}"


async def get(world: ServedAzure, path: str) -> Document:
    response = await world.get(path)
    assert response.status == 200
    return await response.json()


async def put(world: ServedAzure, body: Document, *, number: int = 0, if_match: str = "") -> tuple[int, Document]:
    headers = {"If-Match": if_match} if if_match else {}
    response = await world.request("PUT", path(world, number), body=body, headers=headers)
    return response.status, await response.json(content_type=None)


async def network(world: ServedAzure, *, add: int = 0, drop: str = "", number: int = 0) -> Document:
    """The body of a write: the model's network with so many configurations more, and without one."""
    properties = (await get(world, path(world, number)))["properties"]
    profile = properties["networkProfileConfiguration"]
    configs = profile["networkInterfaceConfigurations"][0]["properties"]["ipConfigurations"]
    subnet = configs[0]["properties"]["subnet"]
    new = [{"name": f"new-{index}", "properties": {"primary": False, "subnet": subnet}} for index in range(add)]
    kept = [config for config in configs if config["name"] != drop]
    profile["networkInterfaceConfigurations"][0]["properties"]["ipConfigurations"] = kept + new
    return {"location": "eastus", "properties": {"networkProfileConfiguration": profile}}


async def names(world: ServedAzure) -> tuple[list[str], list[str]]:
    """The configurations of the model, and those of the NIC."""
    model = (await get(world, path(world)))["properties"]["networkProfileConfiguration"]
    nic = await get(world, f"{path(world)}/networkInterfaces/pool-nic")
    configs = (
        model["networkInterfaceConfigurations"][0]["properties"]["ipConfigurations"],
        nic["properties"]["ipConfigurations"],
    )
    return tuple([one["name"] for one in side] for side in configs)  # type: ignore[return-value]


def keys(value: Any) -> Any:
    """Keys at every depth, of a list those of its first item."""
    if isinstance(value, dict):
        return {key: keys(item) for key, item in value.items()}
    return [keys(value[0])] if isinstance(value, list) and value else None


async def test_an_instance_looks_as_recorded(world: ServedAzure) -> None:
    world.azure.uniform.add("lone")
    ours = await get(world, path(world).replace("/pool/", "/lone/"))
    theirs = recorded("vmss-vm-get.json")["response"]["body"]
    for document in (ours, theirs):  # the image, the disk and Windows are each machine's own
        del document["properties"]["storageProfile"]
        del document["properties"]["osProfile"]
    assert keys(ours) == keys(theirs)
    assert ours["etag"] == theirs["etag"] == '"1"'


async def test_a_write_is_of_the_model_and_its_operation_of_the_nic(world: ServedAzure, clock: ManualClock) -> None:
    response = await world.request("PUT", path(world), body=await network(world, add=2))
    assert response.status == 200
    assert (await response.json())["properties"]["provisioningState"] == "Updating"
    assert "/providers/Microsoft.Compute/locations/eastus/operations/" in response.headers["Azure-AsyncOperation"]
    nic = await get(world, f"{path(world)}/networkInterfaces/pool-nic")
    assert nic["properties"]["provisioningState"] == "Updating"
    clock.advance(DURATION_S)
    instance = await get(world, path(world))
    assert instance["properties"]["provisioningState"] == "Succeeded"
    assert instance["properties"]["modelDefinitionApplied"] == "VirtualMachine"
    assert instance["etag"] == '"2"'
    nic = await get(world, f"{path(world)}/networkInterfaces/pool-nic")
    shown = {one["name"]: one["properties"]["privateIPAddress"] for one in nic["properties"]["ipConfigurations"]}
    assert shown == {
        "ipconfig1": "10.240.0.5",
        "secondary-1": "10.240.0.6",
        "new-0": "10.240.0.9",
        "new-1": "10.240.0.10",
    }
    assert "type" not in nic
    assert [write.operation for write in world.azure.history.writes] == ["instance.put"]


async def test_without_a_network_profile_nothing_changes(world: ServedAzure) -> None:
    exchange = recorded("vmss-vm-put-lro.json")["put"]
    before = await get(world, path(world))
    status, body = await put(world, exchange["request"]["body"])
    assert (status, body["etag"]) == (200, exchange["response"]["body"]["etag"])
    assert await get(world, path(world)) == before


async def test_another_etag_is_refused_as_recorded(world: ServedAzure) -> None:
    exchange = recorded("vmss-vm-put-412.json")
    sent = exchange["request"]
    status, body = await put(world, sent["body"], if_match=sent["headers"]["If-Match"])
    assert (status, body) == (412, exchange["response"]["body"])
    assert (await put(world, await network(world), if_match='"1"'))[0] == 200


async def test_what_is_read_cannot_be_written_back_whole(world: ServedAzure) -> None:
    whole = await get(world, path(world))
    status, body = await put(world, whole)
    assert (status, body["error"]["code"]) == (403, "LinkedAuthorizationFailed")
    whole["properties"]["storageProfile"]["imageReference"] = None
    assert (await put(world, whole))[0] == 200


@pytest.mark.parametrize(
    ("member", "value"), [("privateIPAddress", "10.240.0.20"), ("privateIPAllocationMethod", "Dynamic")]
)
async def test_an_address_cannot_be_chosen(world: ServedAzure, member: str, value: str) -> None:
    body = await network(world, add=1)
    configs = body["properties"]["networkProfileConfiguration"]["networkInterfaceConfigurations"][0]["properties"]
    configs["ipConfigurations"][-1]["properties"][member] = value
    status, answer = await put(world, body)
    assert (status, member in answer["error"]["message"]) == (400, True)
    assert await names(world) == (["ipconfig1", "secondary-1"], ["ipconfig1", "secondary-1"])


@pytest.mark.parametrize("number", [7, "pool_0"])
async def test_a_wrong_number_is_a_bad_request_and_no_404(world: ServedAzure, number: Any) -> None:
    for response in (
        await world.get(path(world, number)),
        await world.request("PUT", path(world, number), body={"location": "eastus"}),
    ):
        error = (await response.json())["error"]
        assert (response.status, error["code"]) == (400, "InvalidParameter")
        assert f"{number} is not an active Virtual Machine Scale Set VM instanceId" in error["message"]
    response = await world.get(f"{path(world, number)}/networkInterfaces/pool-nic")
    assert response.status == 404


async def test_an_instance_that_was_one_too_many_vanishes(world: ServedAzure) -> None:
    used = world.azure.subnet().entries
    await put(world, await network(world, add=1, number=1), number=1)
    world.azure.uniform.vanish("pool_1")
    assert (await put(world, {"location": "eastus"}, number=1))[0] == 400
    assert world.azure.subnet().entries == used - 2


@pytest.mark.parametrize(("leaves", "on_nic"), [("previous", 2), ("goal", 4), ("half", 3)])
async def test_an_operation_that_fails_leaves_its_change_in_the_model(
    world: ServedAzure, clock: ManualClock, leaves: Any, on_nic: int
) -> None:
    world.azure.faults.add(FailOperation(leaves=leaves), operation="instance.put")
    await put(world, await network(world, add=2))
    clock.advance(DURATION_S)
    assert tuple(map(len, await names(world))) == (4, on_nic)
    assert (await get(world, path(world)))["properties"]["provisioningState"] == "Failed"
    assert (await put(world, await network(world)))[0] == 200
    clock.advance(DURATION_S)
    assert tuple(map(len, await names(world))) == (4, 4)


async def test_a_subnet_that_fills_up_meanwhile_is_reported_by_the_poll(world: ServedAzure, clock: ManualClock) -> None:
    world.azure.faults.add(SubnetFull(late=True), operation="instance.put")
    assert (await put(world, await network(world, add=2)))[0] == 200
    clock.advance(DURATION_S)
    assert tuple(map(len, await names(world))) == (4, 2)


@pytest.mark.parametrize(("model", "after"), [(False, (2, 2)), (True, (3, 2))])
async def test_a_write_may_succeed_and_do_nothing(
    world: ServedAzure, clock: ManualClock, *, model: bool, after: tuple[int, int]
) -> None:
    world.azure.faults.add(NoEffect(model=model))
    status, _ = await put(world, await network(world, add=1))
    clock.advance(DURATION_S)
    assert (status, tuple(map(len, await names(world)))) == (200, after)
    assert (await get(world, path(world)))["properties"]["provisioningState"] == "Succeeded"


async def test_a_reimage_puts_the_model_of_the_set_back(world: ServedAzure, clock: ManualClock) -> None:
    world.azure.uniform.change_set("pool")
    await put(world, await network(world, add=2))
    clock.advance(DURATION_S)
    instance = await get(world, path(world))
    assert instance["properties"]["latestModelApplied"] is False
    world.azure.uniform.reset("pool_0")
    assert await names(world) == (["ipconfig1", "secondary-1"], ["ipconfig1", "secondary-1"])
    after = await get(world, path(world))
    assert (after["properties"]["latestModelApplied"], after["properties"]["modelDefinitionApplied"]) == (
        True,
        "VirtualMachineScaleSet",
    )
    assert after["etag"] != instance["etag"]


async def test_an_instance_takes_four_writes_a_minute_and_another_its_own(
    world: ServedAzure, clock: ManualClock
) -> None:
    of_one = COMPUTE_UPDATE_VM[0]
    statuses = [(await put(world, {}))[0] for _ in range(int(of_one.size) + 1)]
    assert statuses == [200] * int(of_one.size) + [429]
    assert (await put(world, {}, number=1))[0] == 200
    clock.advance(60)
    assert [(await put(world, {}))[0] for _ in range(5)] == [200] * 4 + [429]


def test_all_instances_together_take_500_writes_a_minute() -> None:
    throttle = Throttle()
    for number in range(int(COMPUTE_UPDATE_VM[1].size)):
        throttle.admit_compute("instance.put", f"instance {number}", now=0.0)
    with pytest.raises(ArmError, match="too many requests"):
        throttle.admit_compute("instance.put", "another", now=0.0)
    for number in range(500):
        throttle.admit_compute("instance.put", f"instance {number}", now=60.0)
    with pytest.raises(ArmError, match="too many requests"):
        throttle.admit_compute("instance.put", "another", now=60.0)


@pytest.mark.parametrize(("number", "name"), [(0, "pool000000"), (35, "pool00000z"), (36, "pool000010")])
async def test_a_computer_of_an_instance_counts_in_base_36(world: ServedAzure, number: int, name: str) -> None:
    vm = world.azure.vm("pool_0") if number == 0 else world.azure.uniform.start("pool", number)
    assert vm.computer_name == name
    assert world.azure.vm(name) == world.azure.vm(f"pool_{number}") == vm
    with pytest.raises(ValueError, match="there is one of that number"):
        world.azure.uniform.start("pool", number)


async def test_more_configurations_than_a_nic_may_have(world: ServedAzure) -> None:
    status, body = await put(world, await network(world, add=255))
    assert (status, body["error"]["code"]) == (400, "SecondaryIpConfigurationCountPerVMSSVMExceeded")


async def test_the_metadata_service_of_an_instance_names_its_set(world: ServedAzure) -> None:
    world.azure.pin_caller("pool_1")
    response = await world.imds("/metadata/instance/compute?api-version=2021-10-01")
    compute = await response.json()
    assert compute["osProfile"]["computerName"] == "pool000001"
    assert (compute["name"], compute["vmScaleSetName"], compute["resourceId"]) == ("pool_1", "pool", path(world, 1))


@pytest.mark.parametrize(
    ("action", "what"),
    [
        (f"{SETS}/virtualMachines/read", ""),
        (f"{SETS}/virtualMachines/networkInterfaces/read", "/networkInterfaces/pool-nic"),
    ],
)
async def test_reading_needs_rights_of_its_own(world: ServedAzure, action: str, what: str) -> None:
    world.azure.identity.forbid(action)
    response = await world.get(f"{path(world)}{what}")
    assert (response.status, action in (await response.json())["error"]["message"]) == (403, True)


@pytest.mark.parametrize(
    ("action", "code"),
    [
        (f"{SETS}/virtualMachines/write", "AuthorizationFailed"),
        ("Microsoft.Network/virtualNetworks/subnets/join/action", "LinkedAuthorizationFailed"),
    ],
)
async def test_writing_needs_rights_of_its_own(world: ServedAzure, action: str, code: str) -> None:
    body = await network(world, add=1)
    world.azure.identity.forbid(action)
    status, answer = await put(world, body)
    assert (status, answer["error"]["code"]) == (403, code)
