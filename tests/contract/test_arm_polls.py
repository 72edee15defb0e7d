"""What becomes of an accepted write when its operation cannot be followed: never a refusal, never an odd exception."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CredentialUnavailableError

import fakeazure as faults
from azure_cni.azure import paged_list
from azure_cni.azure.answers import LARGEST_DOCUMENT
from azure_cni.azure.resources import Resource
from azure_cni.errors import CloudError, CloudUnreachable, OperationFailed, OutcomeUnknown, SubnetFull, Throttled
from azure_cni.ipam.ledger import Ledger
from azure_cni.model.nic import NicView
from azure_cni.node.pool.reservation_request import ReservationRequest
from contract.nic_world import AzureWorld, azure_world
from fakeazure.errors import ArmError
from unit.ipam.views import holder

ODD: dict[str, bytes] = {
    "null": b"null",
    "empty": b"",
    "an array": b"[]",
    "a string": b'"Succeeded"',
    "a number": b"7",
    "no state": b"{}",
    "properties null": b'{"properties": null}',
    "state null": b'{"status": null}',
    "state empty": b'{"status": ""}',
    "state a number": b'{"status": 1}',
    "state an object": b'{"status": {"Succeeded": true}}',
    "half": b'{"status": "Succ',
    "not UTF-8": b'{"status": "\xff\xfe"}',
    "UTF-16": '{"status": "Succeeded"}'.encode("utf-16"),
    "deep": b"[" * 100_000,
    "a page": b"<html>sign in</html>",
}


@pytest.fixture
async def world() -> AsyncIterator[AzureWorld]:
    async with azure_world(adopted=1) as opened:
        yield opened


async def failure(world: AzureWorld, *, seen: NicView | None = None, **change: Any) -> CloudError:
    """How a write of the NIC fails."""
    with pytest.raises(CloudError) as caught:
        await world.nic.write(seen or await world.nic.read(), **(change or {"add": 1}))
    return caught.value


def concludes(world: AzureWorld, error: CloudError) -> bool:
    """As the node decides whether a read shows all that came of a write."""
    return isinstance(error, world.nic.conclusive) and not error.accepted


@pytest.mark.parametrize("content", ODD.values(), ids=ODD)
async def test_a_poll_that_says_nothing_leaves_the_outcome_unknown(world: AzureWorld, content: bytes) -> None:
    world.azure.faults.add(faults.OddBody(content), times=None)
    error = await failure(world)
    assert type(error) is OutcomeUnknown
    assert not concludes(world, error)
    assert "Azure accepted it, and its outcome is unknown: HTTP 200 does not say in which state" in str(error)


@pytest.mark.parametrize("content", ODD.values(), ids=ODD)
async def test_one_poll_that_says_nothing_is_asked_again(world: AzureWorld, content: bytes) -> None:
    world.azure.faults.add(faults.OddBody(content), times=2)
    assert len((await world.nic.write(await world.nic.read(), add=1)).secondaries) == 2


@pytest.mark.parametrize("content", [b"", b"null", b"\xff", b'{"properties": []}', b"<html>sign in</html>"])
async def test_a_write_that_only_seems_to_be_accepted_is_no_success(world: AzureWorld, content: bytes) -> None:
    world.azure.faults.add(faults.OddBody(content), operation="nic.put")  # and nothing is carried out
    error = await failure(world)
    assert type(error) is OutcomeUnknown
    assert "the resource is shown as it was before" in str(error)
    assert not concludes(world, error)


@pytest.mark.parametrize("state", ["Succeeded", "Updating"])
async def test_a_result_that_lags_is_read_again(world: AzureWorld, state: str) -> None:
    seen = await world.nic.read()
    older = world.azure.nic("vm1-nic")
    older["properties"]["provisioningState"] = state
    lag = faults.OddBody(msgspec.json.encode(older))

    def lag_at_the_end() -> None:
        world.on_sleep = lambda: None
        world.azure.faults.add(lag, operation="nic.get", times=3)

    world.on_sleep = lag_at_the_end
    after = await world.nic.write(seen, add=2)
    assert len(after.secondaries) == 3
    assert after.settled


async def test_a_result_that_lags_for_long_is_no_success(world: AzureWorld) -> None:
    seen = await world.nic.write(await world.nic.read(), add=2)
    ours = [config.name for config in seen.secondaries if config.ours]
    lag = faults.OddBody(msgspec.json.encode(world.azure.nic("vm1-nic")))

    def lag_from_now_on() -> None:
        world.on_sleep = lambda: None
        world.azure.faults.add(lag, operation="nic.get", times=None)

    world.on_sleep = lag_from_now_on
    error = await failure(world, seen=seen, remove=ours)
    assert type(error) is OutcomeUnknown
    assert not concludes(world, error)


async def test_a_write_that_changes_nothing_may_keep_the_etag(world: AzureWorld) -> None:
    seen = await world.nic.read()
    same = msgspec.json.encode(world.azure.nic("vm1-nic"))
    world.azure.faults.add(faults.OddBody(same), operation="nic.put")
    assert (await world.nic.write(seen)).etag == seen.etag


@pytest.mark.parametrize(
    "refusal",
    [
        ArmError(400, "InvalidAsyncOperationUri", "no"),
        ArmError(401, "ExpiredAuthenticationToken", "expired"),
        ArmError(403, "AuthorizationFailed", "no"),
        ArmError(404, "OperationNotFound", "gone"),
        ArmError(404, "NotFound", "gone", headers={"Retry-After": "7"}),
        ArmError(405, "MethodNotAllowed", "no"),
        ArmError(409, "Conflict2", "no"),
        ArmError(410, "Gone", "gone"),
        ArmError(412, "PreconditionFailed", "Precondition failed."),
        ArmError(400, "SubnetIsFull", "The subnet is full."),
        ArmError(400, "NoRegisteredProviderFound", "The supported api-versions are '2020-01-01'."),
    ],
    ids=lambda refusal: f"{refusal.status} {refusal.code}",
)
async def test_no_answer_to_a_poll_is_a_refusal_of_the_write(world: AzureWorld, refusal: ArmError) -> None:
    world.azure.faults.add(faults.Refuse(refusal), operation="operation.get", times=None)
    error = await failure(world)
    assert type(error) is OutcomeUnknown
    assert not concludes(world, error)
    assert str(error).startswith("cannot write NIC vm1-nic: Azure accepted it, and its outcome is unknown: cannot ")
    assert world.writes == 1


@pytest.mark.parametrize(
    "failed",
    [ClientAuthenticationError("AADSTS700016"), CredentialUnavailableError("no identity"), FileNotFoundError("token")],
    ids=lambda error: type(error).__name__,
)
async def test_no_token_for_a_poll_is_no_refusal_of_the_write(world: AzureWorld, failed: Exception) -> None:
    world.token.lifetime_s = 1  # so short that each request asks for another
    seen = await world.nic.read()

    def fail() -> None:
        world.token.failure = failed

    world.on_sleep = fail
    error = await failure(world, seen=seen)
    assert type(error) is OutcomeUnknown
    assert not concludes(world, error)
    assert "no token" in str(error)


@pytest.mark.parametrize(
    "after", [ArmError(404, "ResourceNotFound", "gone"), ArmError(403, "AuthorizationFailed", "no")], ids=str
)
async def test_a_result_that_cannot_be_read_is_no_refusal_either(world: AzureWorld, after: ArmError) -> None:
    seen = await world.nic.read()

    def refuse_reads() -> None:
        world.azure.faults.add(faults.Refuse(after), operation="nic.get", times=None)

    world.on_sleep = refuse_reads
    error = await failure(world, seen=seen)
    assert type(error) is OutcomeUnknown
    assert "Azure has carried it out, and the result cannot be read: cannot " in str(error)


ELSEWHERE = [
    "https://evil.example/operations/1",
    "http://127.0.0.1:1/operations/1",
    "https://management.azure.com/operations/1",
    "//evil.example/operations/1",
    "/subscriptions/s/operations/1",
    "https://[",
    "not a link",
]


@pytest.mark.parametrize("link", ELSEWHERE)
async def test_the_token_follows_no_link_of_an_operation_to_another_host(world: AzureWorld, link: str) -> None:
    world.azure.faults.add(faults.Relinked({"Azure-AsyncOperation": link}))
    error = await failure(world)
    assert type(error) is OutcomeUnknown
    assert f"the answer links to {link}, not to the resource manager at https://127.0.0.1" in str(error)
    assert not concludes(world, error)
    assert world.azure.calls.get("operation.get", 0) == 0


async def test_the_token_follows_no_location_to_another_host(world: AzureWorld) -> None:
    world.azure.faults.add(faults.OddBody(b"", 202, {"Location": "https://evil.example/1"}), operation="nic.put")
    error = await failure(world)
    assert type(error) is OutcomeUnknown
    assert "links to https://evil.example/1" in str(error)


async def test_an_operation_that_ends_by_throttling_is_throttling(world: AzureWorld) -> None:
    message = "Too many requests. Please try again after '40' seconds."
    world.azure.faults.add(faults.FailOperation(code="TooManyRequests", message=message))
    error = await failure(world)
    assert type(error) is Throttled
    assert error.retry_after_s == 40
    assert not concludes(world, error)
    with pytest.raises(Throttled, match="Azure throttles writes for another 40 s"):
        await world.nic.write(await world.nic.read(), add=1)


@pytest.mark.parametrize("effect", [faults.FailOperation(leaves="half"), faults.SubnetFull(late=True)])
async def test_an_operation_that_ends_badly_has_been_accepted(world: AzureWorld, effect: faults.FailOperation) -> None:
    world.azure.faults.add(effect)
    error = await failure(world, add=2)
    assert isinstance(error, OperationFailed | SubnetFull)
    assert not concludes(world, error)


async def test_a_refused_write_was_not_accepted(world: AzureWorld) -> None:
    world.azure.faults.add(faults.SubnetFull())
    assert concludes(world, await failure(world))


async def test_addresses_that_azure_removes_stay_withheld_while_a_read_lags(world: AzureWorld) -> None:
    seen = await world.nic.write(await world.nic.read(), add=2)
    ours = [config for config in seen.secondaries if config.ours]
    ledger, reservation = Ledger(), ReservationRequest()
    ledger.apply(reservation.observe(seen, ledger, now_s=0.0).change)
    ledger.apply(ledger.release([config.address for config in ours if config.address], now_s=1.0))
    reservation.write_begins(seen, add=0)
    gone = ArmError(404, "OperationNotFound", "gone")
    world.azure.faults.add(faults.Refuse(gone), operation="operation.get")
    error = await failure(world, seen=seen, remove=[config.name for config in ours])
    if concludes(world, error):
        reservation.write_answered()

    world.azure.faults.add(faults.Stale())
    lagging = await world.nic.read()
    assert lagging.etag == seen.etag
    ledger.apply(reservation.observe(lagging, ledger, now_s=2.0).change)
    ledger.apply(ledger.assign(holder(1), now_s=3.0, at_limit=False))
    assert ledger.counts().releasing == 2

    world.finish()
    ledger.apply(reservation.observe(await world.nic.read(), ledger, now_s=4.0).change)
    assert ledger.counts().releasing == 0
    assert {slot.address for slot in ledger.slots} <= {config.address for config in (await world.nic.read()).configs}


# Answers to any request.


async def test_a_page_of_a_proxy_is_asked_again_and_refuses_nothing(world: AzureWorld) -> None:
    world.azure.faults.add(faults.Page(), operation="operation.get", times=2)
    assert len((await world.nic.write(await world.nic.read(), add=1)).secondaries) == 2
    world.azure.faults.add(faults.Page(), operation="nic.put")
    error = await failure(world)
    assert type(error) is CloudUnreachable
    assert not concludes(world, error)
    assert error.retriable
    assert "(server: squid/5.7, via: 1.1 proxy.example); it says: Access denied by the policy" in str(error)
    assert world.meter.of("nic.put")[-1] == "403"


@pytest.mark.parametrize("status", [200, 201, 202, 204, 302])
@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"\xff", b"<html>sign in</html>", b'"x"'])
async def test_a_read_that_is_no_document_is_no_answer(world: AzureWorld, status: int, content: bytes) -> None:
    world.azure.faults.add(faults.Page(status, content), operation="nic.get")
    with pytest.raises(CloudUnreachable, match="does a proxy or a firewall answer"):
        await world.nic.read()


async def test_a_huge_answer_is_not_read_to_its_end(world: AzureWorld) -> None:
    huge = msgspec.json.encode({"x": "y" * LARGEST_DOCUMENT})
    world.azure.faults.add(faults.OddBody(huge), operation="nic.get")
    with pytest.raises(CloudUnreachable, match="the answer has more than 32 MiB"):
        await world.nic.read()
    world.azure.faults.add(faults.OddBody(huge, 403), operation="nic.get")
    with pytest.raises(CloudError):
        await world.nic.read()
    assert (await world.nic.read()).settled


async def pages(world: AzureWorld, page: bytes) -> list[dict[str, Any]]:
    """The usages of a VNet, where every page is this one."""
    vnet = world.azure.nic_record("vm1-nic").subnet_id.removesuffix("/subnets/nodes")
    link = f"{world.endpoints.arm}{vnet}/usages?api-version=2024-05-01&page=again"
    world.azure.faults.add(faults.OddBody(page.replace(b"LINK", link.encode())), operation="vnet.usages", times=None)
    return await world.arm.items(Resource.parse(vnet), "usages")


@pytest.mark.parametrize(
    "page", [b"null", b"[]", b'{"value": null}', b'{"value": [1]}', b'{"value": [], "nextLink": 5}']
)
async def test_a_list_that_is_none_is_no_answer(world: AzureWorld, page: bytes) -> None:
    with pytest.raises(CloudUnreachable, match="the answer is not a list of documents"):
        await pages(world, page)


async def test_pages_without_end_are_no_answer(world: AzureWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paged_list, "MOST_PAGES", 7)  # Azure lets nobody read 300 in a row
    with pytest.raises(CloudUnreachable, match="the answer does not end within 7 pages"):
        await pages(world, b'{"value": [{}], "nextLink": "LINK"}')
    assert world.azure.calls["vnet.usages"] == 7


async def test_pages_are_together_no_larger_than_one_document(world: AzureWorld) -> None:
    large = msgspec.json.encode({"value": [{"x": "y" * (LARGEST_DOCUMENT // 5)}], "nextLink": "LINK"})
    with pytest.raises(CloudUnreachable, match="the answer has more than 32 MiB"):
        await pages(world, large)
    assert world.azure.calls["vnet.usages"] == 5
