"""Throttling, permissions, tokens, and the faults that a test may inject: as the SDK and a bare client meet them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError

from contract.azure_world import ServedAzure, recorded, served
from fakeazure import (
    Busy,
    FakeAzure,
    Forbidden,
    LostReply,
    ManualClock,
    Refuse,
    Silent,
    Stale,
    SubnetFull,
    Throttled,
    TouchedMeanwhile,
)
from fakeazure.errors import ArmError
from fakes.waiting import PATIENCE_S, until

GROUP = "azbox"
INSTANCE = "/metadata/instance?api-version=2021-10-01"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def world(clock: ManualClock) -> AsyncIterator[ServedAzure]:
    async with served(FakeAzure(clock, seed=1), secondaries=1) as world:
        yield world


def nic_path(world: ServedAzure) -> str:
    return world.azure.id_of(GROUP, "Microsoft.Network/networkInterfaces", "vm1-nic")


async def refused(world: ServedAzure, *, add: int = 0) -> HttpResponseError:
    """The error of a read-modify-write by the SDK."""
    nic = await world.network.network_interfaces.get(GROUP, "vm1-nic")
    for index in range(add):
        nic.ip_configurations.append(
            {"name": f"new-{index}", "properties": {"subnet": {"id": world.azure.subnet().id}}}
        )
    with pytest.raises(HttpResponseError) as caught:
        await world.network.network_interfaces.begin_create_or_update(
            GROUP, "vm1-nic", nic, headers={"If-Match": nic.etag}
        )
    return caught.value


async def drain(world: ServedAzure, method: str, path: str, **options: Any) -> tuple[int, aiohttp.ClientResponse]:
    """Send the same request until it is refused with 429; gives how many passed."""
    for passed in range(1, 400):
        response = await world.request(method, path, **options)
        if response.status == 429:
            return passed - 1, response
    raise AssertionError("it was never throttled")


async def test_the_gateway_throttles_each_principal(world: ServedAzure, clock: ManualClock) -> None:
    theirs = next(
        case for case in recorded("errors-basic.json")["cases"] if case.get("headers") == {"Retry-After": "1"}
    )
    first = await world.get(nic_path(world))
    assert first.headers["x-ms-ratelimit-remaining-subscription-reads"] == "249"
    assert first.headers["x-ms-ratelimit-remaining-subscription-global-reads"] == "3749"

    passed, response = await drain(world, "GET", nic_path(world))

    ours = (await response.json())["error"]
    assert passed == 249
    assert ours["code"] == theirs["body"]["error"]["code"]
    assert ours["message"].split("'")[::2] == theirs["body"]["error"]["message"].split("'")[::2]
    assert response.headers["Retry-After"] == "1"
    clock.advance(1)
    assert (await drain(world, "GET", nic_path(world)))[0] == 25


async def test_the_network_provider_counts_writes_of_all(world: ServedAzure, clock: ManualClock) -> None:
    for _ in range(1000):
        world.azure.throttle.admit_network("write", now=clock.now())
    response = await world.request("PUT", nic_path(world), body=world.azure.nic("vm1-nic"))
    assert (response.status, (await response.json())["error"]["code"]) == (429, "TooManyRequests")
    assert response.headers["Retry-After"] == "1"
    assert (await world.get(nic_path(world))).status == 200
    clock.advance(1)
    response = await world.request("PUT", nic_path(world), body=world.azure.nic("vm1-nic"))
    assert response.status == 200


async def test_the_compute_provider_throttles_each_vm(world: ServedAzure) -> None:
    passed, response = await drain(world, "GET", world.vm.id)
    error = (await response.json())["error"]
    assert passed == 36
    assert (error["code"], error["details"][0]["code"]) == ("OperationNotAllowed", "TooManyRequests")
    assert '"operationGroup":"LowCostGetVM"' in error["details"][0]["message"]
    assert response.headers["Retry-After"] == "5"


async def test_throttling_can_be_switched_off(clock: ManualClock) -> None:
    async with served(FakeAzure(clock, throttling=False)) as world:
        for _ in range(300):
            assert (await world.get(nic_path(world))).status == 200


async def test_the_metadata_service_has_a_rate(world: ServedAzure, clock: ManualClock) -> None:
    assert [(await world.imds(INSTANCE)).status for _ in range(6)] == [200] * 5 + [429]
    clock.advance(1)
    assert (await world.imds(INSTANCE)).status == 200


@pytest.mark.parametrize(
    ("taken_away", "code", "missing"),
    [
        ("Microsoft.Network/networkInterfaces/read", "AuthorizationFailed", "networkInterfaces/read"),
        ("Microsoft.Network/networkInterfaces/write", "AuthorizationFailed", "networkInterfaces/write"),
        (
            "Microsoft.Network/virtualNetworks/subnets/join/action",
            "LinkedAuthorizationFailed",
            "subnets/join/action' on the linked scope(s) '/subscriptions/",
        ),
    ],
)
async def test_what_a_role_does_not_allow(world: ServedAzure, taken_away: str, code: str, missing: str) -> None:
    document = world.azure.nic("vm1-nic")
    world.azure.identity.forbid(taken_away)
    method = "GET" if taken_away.endswith("read") else "PUT"
    response = await world.request(method, nic_path(world), body=document if method == "PUT" else None)
    error = (await response.json())["error"]
    assert (response.status, error["code"]) == (403, code)
    assert missing in error["message"]
    assert world.vm.principal_id in error["message"]


async def test_permissions_of_one_principal(world: ServedAzure) -> None:
    world.azure.identity.set_permissions(["Microsoft.Compute/*/read"], principal=world.vm.principal_id)
    assert (await world.get(world.vm.id)).status == 200
    assert (await world.get(nic_path(world))).status == 403
    assert world.azure.identity.allows(world.azure.add_identity("other"), "Microsoft.Network/networkInterfaces/write")


async def test_tokens_are_checked(world: ServedAzure) -> None:
    principal = world.azure.identity.principals[world.vm.principal_id]
    good, _ = world.azure.identity.issue(principal, audience="https://management.azure.com")
    wrong, _ = world.azure.identity.issue(principal, audience="https://vault.azure.net")
    world.azure.identity.lifetime_s = 0
    old, _ = world.azure.identity.issue(principal, audience="https://management.azure.com")
    cases = {
        "": "AuthenticationFailed",
        "Bearer nonsense": "InvalidAuthenticationToken",
        f"Bearer {good}x": "InvalidAuthenticationToken",
        f"Bearer {wrong}": "InvalidAuthenticationTokenAudience",
        f"Bearer {old}": "ExpiredAuthenticationToken",
    }
    url = f"{world.endpoints.arm}{nic_path(world)}?api-version=2024-05-01"
    for authorization, code in cases.items():
        headers = {"Authorization": authorization} if authorization else {}
        async with world.http.get(url, headers=headers) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (401, code)
            assert response.headers["WWW-Authenticate"].startswith('Bearer authorization_uri="https://login.')


async def test_requests_of_no_known_form(world: ServedAzure) -> None:
    url = f"{world.endpoints.arm}{nic_path(world)}"
    principal = world.azure.identity.principals[world.vm.principal_id]
    token, _ = world.azure.identity.issue(principal, audience="https://management.azure.com")
    async with world.http.get(url, headers={"Authorization": f"Bearer {token}"}) as response:
        assert (await response.json())["error"]["code"] == "MissingApiVersionParameter"
    for path, code in {
        nic_path(world).replace(world.azure.subscription_id, "other"): "SubscriptionNotFound",
        world.azure.id_of(GROUP, "Microsoft.Network/virtualWans", "x"): "InvalidResourceType",
        "/elsewhere": "InvalidResourceType",
    }.items():
        response = await world.get(path)
        assert (response.status, (await response.json())["error"]["code"]) == (404, code)


async def test_injected_throttling_lasts_as_long_as_asked(world: ServedAzure, clock: ManualClock) -> None:
    world.azure.faults.add(Throttled(), times=None, seconds=30)
    response = await world.get(nic_path(world))
    assert (response.status, response.headers["Retry-After"]) == (429, "30")
    clock.advance(12)
    assert (await world.get(nic_path(world))).headers["Retry-After"] == "18"
    assert (await world.get(world.vm.id)).status == 200
    clock.advance(18)
    assert (await world.get(nic_path(world))).status == 200


@pytest.mark.parametrize(("status", "code"), [(429, "RetryableError"), (409, "AnotherOperationInProgress")])
async def test_a_resource_held_by_another_operation(world: ServedAzure, status: Any, code: str) -> None:
    world.azure.faults.add(Busy(status))
    error = await refused(world)
    assert (error.status_code, error.error.code) == (status, code)


async def test_injected_refusals_happen_as_often_as_asked(world: ServedAzure) -> None:
    world.azure.faults.add(Refuse(ArmError(503, "ServerBusy", "Come back.")), operation="nic.get", times=2)
    assert [(await world.get(nic_path(world))).status for _ in range(3)] == [503, 503, 200]


async def test_faults_befall_only_whom_they_are_meant_for(world: ServedAzure) -> None:
    world.azure.faults.add(Forbidden(), operation="nic.*", resource="vm2-*", times=None)
    assert (await world.get(nic_path(world))).status == 200
    world.azure.faults.add(Forbidden(), operation="nic.*", resource="VM1-*", times=None)
    assert (await world.get(nic_path(world))).status == 403
    world.azure.faults.clear()
    assert (await world.get(nic_path(world))).status == 200


async def test_chance_is_the_seed(clock: ManualClock) -> None:
    def run(seed: int) -> list[bool]:
        azure = FakeAzure(clock, seed=seed)
        azure.faults.add(Busy(), times=None, chance=0.5)
        return [azure.faults.take(Busy, "nic.put", "x") is not None for _ in range(40)]

    assert run(1) == run(1) != run(2)
    assert 5 < sum(run(1)) < 35


async def test_an_honest_412(world: ServedAzure) -> None:
    world.azure.faults.add(TouchedMeanwhile())
    error = await refused(world)
    assert error.status_code == 412
    assert world.azure.nic("vm1-nic")["tags"] == {"touched-by": "another-tool-1"}


async def test_a_subnet_that_seems_full(world: ServedAzure) -> None:
    world.azure.faults.add(SubnetFull())
    error = await refused(world, add=2)
    assert (error.status_code, error.error.code) == (400, "SubnetIsFull")
    assert "for 2 IP addresses" in error.message


async def add_one(world: ServedAzure, **headers: str) -> None:
    nic = await world.network.network_interfaces.get(GROUP, "vm1-nic")
    nic.ip_configurations.append({"name": "new", "properties": {"subnet": {"id": world.azure.subnet().id}}})
    headers = {"If-Match": nic.etag, **headers}
    await world.network.network_interfaces.begin_create_or_update(GROUP, "vm1-nic", nic, headers=headers)


def outcomes(world: ServedAzure) -> list[int]:
    return [call.status for call in world.azure.history.calls if call.operation == "nic.put"]


@pytest.mark.parametrize(("applied", "count"), [(True, 3), (False, 2)])
async def test_a_lost_reply(world: ServedAzure, caplog: pytest.LogCaptureFixture, *, applied: bool, count: int) -> None:
    world.azure.faults.add(LostReply(applied=applied), times=None)
    with pytest.raises((ServiceResponseError, ServiceRequestError)):
        await add_one(world, **{"If-Match": "*"})
    assert len(world.azure.nic("vm1-nic")["properties"]["ipConfigurations"]) == count
    assert set(outcomes(world)) == {0}
    assert not caplog.records  # the fake itself is not upset


async def test_a_lost_reply_on_a_connection_kept_alive_looks_like_a_412(world: ServedAzure) -> None:
    """The SDK's transport resends a PUT when a used connection breaks: it then meets its own write."""
    world.azure.faults.add(LostReply())
    with pytest.raises(HttpResponseError) as caught:
        await add_one(world)
    assert caught.value.status_code == 412
    assert outcomes(world) == [0, 412]
    assert len(world.azure.nic("vm1-nic")["properties"]["ipConfigurations"]) == 3


async def test_a_stale_read(world: ServedAzure) -> None:
    before = world.azure.nic("vm1-nic")
    world.azure.outside.appear("vm1-nic")
    world.azure.faults.add(Stale())
    stale = await world.get(nic_path(world))
    assert (await stale.json()) == before
    assert stale.headers["ETag"] == before["etag"]
    assert (await (await world.get(nic_path(world))).json()) == world.azure.nic("vm1-nic")


async def test_stale_metadata(world: ServedAzure) -> None:
    world.azure.outside.appear("vm1-nic")
    world.azure.faults.add(Stale(), operation="imds.instance")
    counts = []
    for _ in range(2):
        document = await (await world.imds(INSTANCE)).json(content_type=None)
        counts.append(len(document["network"]["interface"][0]["ipv4"]["ipAddress"]))
    assert counts == [2, 3]


async def test_silence_ends_with_the_client_or_the_server(world: ServedAzure) -> None:
    world.azure.faults.add(Silent())
    asking = asyncio.create_task(world.imds(INSTANCE))
    await until(lambda: not world.azure.faults.active, within_s=PATIENCE_S, say=lambda: asking)
    assert not (await asyncio.wait({asking}, timeout=0.05))[0]
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert (await world.imds(INSTANCE)).status == 200


async def test_metadata_is_for_a_vms_primary_address_only(world: ServedAzure) -> None:
    assert world.azure.caller("127.0.0.1") == world.vm
    assert world.azure.caller("10.240.0.4") == world.vm
    assert world.azure.caller("10.240.0.5") is None
    world.azure.add_vm("vm2", address="10.240.0.20", nics=2)
    assert world.azure.caller("10.240.0.20") == world.azure.vm("vm2")
    second = world.azure.nic("vm2-nic2")["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"]
    assert world.azure.caller(second) is None


async def test_metadata_can_be_asked_for_a_part(world: ServedAzure) -> None:
    version = "?api-version=2021-10-01&format=text"
    name = await world.imds(f"/metadata/instance/compute/name{version}")
    assert (name.content_type, await name.text()) == ("text/plain", "vm1")
    mac = await world.imds(f"/metadata/instance/network/interface/0/macAddress{version}")
    assert await mac.text() == world.vm.mac.replace("-", "")


async def test_who_asks_from_an_unknown_loopback_learns_so() -> None:
    azure = FakeAzure()
    async with (
        azure.serve() as endpoints,
        aiohttp.ClientSession() as http,
        http.get(endpoints.imds + INSTANCE) as reply,
    ):
        assert reply.status == 400
        assert "pin_caller" in await reply.text()
