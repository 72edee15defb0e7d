"""What people read in the events of a VNetQuota: each thing once, when it begins."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from azure_cni.api import vnet_quota
from azure_cni.api.quota_usage import SubnetUse, subnet_document
from azure_cni.api.vnet_quota import VNetQuota
from azure_cni.cluster.quota_events import MOST_WAITING, QuotaEvent, QuotaEvents, news, recall
from azure_cni.errors import KubeUnreachable
from azure_cni.faults import Faults
from azure_cni.ipam.sizing import Policy
from azure_cni.quota.subnets import subnet_full
from fakes.cluster import VNET
from fakes.events import FakeEvents
from unit.cluster.real_nodes import RealNodes


def quota(*conditions: tuple[str, bool, str]) -> VNetQuota:
    said = [
        {"type": kind, "status": str(holds), "reason": reason, "message": f"{reason} in words"}
        for kind, holds, reason in conditions
    ]
    body: dict[str, Any] = {"metadata": {"name": "vnet", "uid": "u"}, "spec": {"vnetID": VNET}}
    return vnet_quota.parse({**body, "status": {"conditions": said}})


NOW_S = 1_800_000_000.0
WELL, NEAR, FULL = (
    ("Exhausted", False, "RoomLeft"),
    ("Exhausted", False, "NearLimit"),
    ("Exhausted", True, "QuotaExceeded"),
)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ((), (WELL,), []),
        ((), (NEAR,), ["NearLimit"]),
        ((WELL,), (NEAR,), ["NearLimit"]),
        ((NEAR,), (NEAR,), []),
        ((NEAR,), (FULL,), ["QuotaExceeded"]),
        ((FULL,), (FULL,), []),
        ((FULL,), (NEAR,), []),  # it gets better
        ((NEAR,), (WELL,), []),
        ((), (("Exhausted", True, "QuotaExceeded"), ("Throttled", False, "NearLimit")), ["QuotaExceeded", "NearLimit"]),
        ((), (("Ready", False, "QuotaExceeded"), ("PermissionMissing", True, "AccessDenied")), []),
    ],
)
def test_what_begins_is_told_once(before: Any, after: Any, told: list[str]) -> None:
    found = news(quota(*before), quota(*after))
    assert [(one.kind, one.reason, one.message) for one in found] == [
        ("Warning", reason, f"{reason} in words") for reason in told
    ]


def with_subnets(*uses: SubnetUse) -> VNetQuota:
    """As a round writes it."""
    said = subnet_full(replace(quota(), subnets=uses))
    written = quota((said.kind, said.holds, said.reason))
    return replace(written, status={**written.status, "subnets": [subnet_document(use) for use in uses]})


def use(name: str, used: int) -> SubnetUse:
    return SubnetUse(name, used, 100, NOW_S if used > 80 else None)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ((), (use("a", 10),), []),
        ((), (use("a", 90),), [("NearLimit", "used in subnet a (90 of")]),
        ((use("a", 90),), (use("a", 100),), [("SubnetFull", "left in subnet a (100 of")]),
        ((use("a", 10),), (SubnetUse("a", 10, 100, None, 2),), [("SubnetFragmented", "is free in subnet a (10 of")]),
        ((SubnetUse("a", 10, 100, None, 2),), (SubnetUse("a", 11, 100, None, 1),), []),
        ((use("a", 90), use("b", 10)), (use("a", 90), use("b", 90)), [("NearLimit", "used in subnet b (90 of")]),
        ((use("a", 100), use("b", 10)), (use("a", 100), use("b", 90)), [("NearLimit", "used in subnet b (90 of")]),
        ((use("a", 100), use("b", 90)), (use("a", 100), use("b", 100)), [("SubnetFull", "left in subnet b (100 of")]),
        ((use("a", 90), use("b", 90)), (use("a", 91), use("b", 92)), []),
        ((use("a", 100), use("b", 90)), (use("a", 100), use("b", 95)), []),
        ((use("a", 100), use("b", 100)), (use("a", 100), use("b", 95)), []),
        ((use("a", 100), use("b", 100)), (use("a", 100),), []),
    ],
)
def test_what_begins_in_a_subnet_is_told_once_whatever_others_are(before: Any, after: Any, told: Any) -> None:
    found = news(with_subnets(*before), with_subnets(*after))
    assert [one.reason for one in found] == [reason for reason, _ in told]
    assert all(words in one.message for one, (_, words) in zip(found, told, strict=True))


@pytest.mark.looptime
async def test_an_event_about_one_thing_does_not_take_the_place_of_that_about_another() -> None:
    published = FakeEvents()
    events = QuotaEvents(published, Faults(lambda _: None))
    events.tell(with_subnets(use("a", 90)), with_subnets(use("a", 90), use("b", 90)))
    events.tell(with_subnets(use("a", 90), use("b", 90)), with_subnets(use("a", 90), use("b", 90), use("c", 90)))
    events.tell(quota(), quota(("Exhausted", False, "NearLimit"), ("Throttled", False, "NearLimit")))
    task = asyncio.create_task(events.run())
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [event.count for event in published.published] == [1, 1, 1, 1]


def test_a_recall_names_who_gives_and_where_pods_wait() -> None:
    said = "3 idle addresses are taken back from b (2), c (1): pods wait on a (3)"
    assert recall({"b": 2, "c": 1}, {"a": 3, "z": 0}) == QuotaEvent("Normal", "IdleRecalled", said, cause=said)


@pytest.mark.looptime
async def test_a_recall_and_a_quota_that_is_exhausted_are_events_of_the_quota() -> None:
    cluster = RealNodes("a", "b", limit=16, policy=Policy(min_free=8, batch=8, max_free=24))
    async with cluster.running():
        await cluster.until(lambda: sum(cluster.held().values()) == 16)
        await cluster.run_pods(a=10)
        await asyncio.sleep(30)
    published = {event.reason: event for event in cluster.world.events.published}
    assert published["IdleRecalled"].message.startswith("2 idle addresses are taken back from b (2): pods wait on a")
    assert published["IdleRecalled"].regarding["kind"] == "VNetQuota"
    assert published["QuotaExceeded"].count == 1
    assert published["NearLimit"].kind == "Warning"


@pytest.mark.looptime
async def test_no_round_waits_for_an_api_server_that_takes_no_event(caplog: pytest.LogCaptureFixture) -> None:
    class Refusing(FakeEvents):
        async def publish(self, *_: Any, **__: Any) -> None:
            raise KubeUnreachable("cannot write: no answer")

    events = QuotaEvents(Refusing(), Faults(lambda _: None))
    for _ in range(MOST_WAITING + 1):
        events.publish(quota(), QuotaEvent("Warning", "NearLimit", "most is used"))
    assert caplog.messages == ["an event is left out: the API server takes none"]
    task = asyncio.create_task(events.run())
    await asyncio.sleep(1)
    assert not task.done()
    assert caplog.messages.count("an event is left out") == MOST_WAITING
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
