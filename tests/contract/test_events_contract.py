"""Events: repeats are counted, not multiplied, and nothing that goes wrong with them reaches the caller."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from azure_cni.kube.client import KubeClient
from azure_cni.kube.event_budget import BURST, REFILL_S, SHARE_BURST
from azure_cni.kube.events import LONGEST_RENEWAL_S, LONGEST_REPEAT_S, REMEMBERED, REPEAT_S, KubeEvents
from contract.kube_world import HTTP, MEMORY, Place
from fakes.events import FakeEvents
from fakes.kubeapi import EVENTS, FakeKubeAPI


@dataclass
class EventsUnderTest:
    """The port, the server behind it where there is one, and the time. Objects carry ids that no other test has."""

    events: Any
    api: FakeKubeAPI = field(default_factory=FakeKubeAPI)
    client: KubeClient | None = None
    now_s: float = 1000.0
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    @property
    def pod(self) -> dict[str, str]:
        return {"kind": "Pod", "namespace": "default", "name": "web-1", "uid": f"pod-{self.run}"}

    @property
    def node(self) -> dict[str, str]:
        return {"kind": "Node", "name": "vm1", "uid": f"node-{self.run}"}

    async def publish(
        self, regarding: dict[str, str], message: str = "no address", reason: str = "SubnetFull", cause: str = ""
    ) -> None:
        await self.events.publish(regarding, kind="Warning", reason=reason, message=message, cause=cause)

    async def seen(self) -> list[tuple[str, str, str, str, int]]:
        """Object, type, reason, message and count of every event of this test."""
        if isinstance(self.events, FakeEvents):
            return [(e.regarding["name"], e.kind, e.reason, e.message, e.count) for e in self.events.published]
        return [
            (e["involvedObject"]["name"], e["type"], e["reason"], e["message"], e["count"])
            for e in await self._listed()
            if e["involvedObject"].get("uid", "").endswith(self.run)
        ]

    async def _listed(self) -> list[dict[str, Any]]:
        if self.client is None:
            return self.api.all(EVENTS)
        return (await self.client.get("/api/v1/namespaces/default/events"))["items"]


@contextlib.asynccontextmanager
async def open_world(place: Place) -> AsyncIterator[EventsUnderTest]:
    if place == MEMORY:
        yield EventsUnderTest(FakeEvents())
        return
    world = EventsUnderTest(None)
    async with place.endpoint(world.api) as endpoint, KubeClient(endpoint) as client:
        world.client = client if place.real else None
        world.events = KubeEvents(
            client,
            node_name="vm1",
            utc=lambda: f"2026-11-24T00:{int(world.now_s) // 60:02d}:00Z",
            monotonic=lambda: world.now_s,
        )
        yield world


@pytest.fixture
async def world(place: Place) -> AsyncIterator[EventsUnderTest]:
    async with open_world(place) as opened:
        yield opened


@pytest.fixture
async def http() -> AsyncIterator[EventsUnderTest]:
    async with open_world(HTTP) as opened:
        yield opened


async def test_an_event_is_reported(world: EventsUnderTest) -> None:
    await world.publish(world.pod)
    assert await world.seen() == [("web-1", "Warning", "SubnetFull", "no address", 1)]


async def test_repeats_are_counted(world: EventsUnderTest) -> None:
    for _ in range(5):
        await world.publish(world.pod)
        world.now_s += LONGEST_REPEAT_S
    assert await world.seen() == [("web-1", "Warning", "SubnetFull", "no address", 5)]


async def test_new_words_for_the_same_cause_renew_the_event(world: EventsUnderTest) -> None:
    await world.publish(world.pod, "throttled for 12 s")
    world.now_s += REPEAT_S
    await world.publish(world.pod, "throttled for 9 s")
    assert await world.seen() == [("web-1", "Warning", "SubnetFull", "throttled for 9 s", 2)]


async def test_each_cause_is_an_event_of_its_own(world: EventsUnderTest) -> None:
    for cause in ("Throttled", "QuotaExceeded", "Throttled"):
        await world.publish(world.pod, f"{cause}: no address", "NoAddress", cause)
        world.now_s += REPEAT_S
    assert sorted((message, count) for _, _, _, message, count in await world.seen()) == [
        ("QuotaExceeded: no address", 1),
        ("Throttled: no address", 2),
    ]


async def test_other_objects_and_reasons_are_other_events(world: EventsUnderTest) -> None:
    await world.publish(world.pod)
    await world.publish(world.node)
    await world.publish(world.pod, reason="NodeAtLimit")
    assert {event[:3:2] for event in await world.seen()} == {
        ("web-1", "SubnetFull"),
        ("vm1", "SubnetFull"),
        ("web-1", "NodeAtLimit"),
    }


async def test_the_same_words_at_once_are_counted_without_a_call(http: EventsUnderTest) -> None:
    for _ in range(100):
        await http.publish(http.pod)
    assert len(http.api.requests) == 1
    http.now_s += REPEAT_S
    await http.publish(http.pod)
    assert (await http.seen())[0][-1] == 101


async def test_a_pod_that_waits_for_an_hour_costs_a_few_calls_and_every_try_is_counted(http: EventsUnderTest) -> None:
    for _ in range(360):
        await http.publish(http.pod)
        http.now_s += 10.0
    assert len(http.api.requests) <= 20
    http.now_s += LONGEST_REPEAT_S
    await http.publish(http.pod)
    assert (await http.seen())[0][-1] == 361


async def test_words_that_change_all_the_time_cost_not_much_more(http: EventsUnderTest) -> None:
    for number in range(360):
        await http.publish(http.pod, f"{number} assigned")
        http.now_s += 10.0
    assert len(http.api.requests) <= 3600 / LONGEST_RENEWAL_S + 5
    assert (await http.seen())[0][-2] in {f"{number} assigned" for number in range(355, 360)}


async def test_an_expired_event_starts_again(http: EventsUnderTest) -> None:
    await http.publish(http.pod)
    (event,) = http.api.all(EVENTS)
    http.api.delete(EVENTS, event["metadata"]["name"])
    http.now_s += 3600
    await http.publish(http.pod)
    assert [event[-1] for event in await http.seen()] == [1]


async def test_cluster_scoped_objects_have_theirs_in_default(http: EventsUnderTest) -> None:
    await http.publish(http.node)
    assert http.api.all(EVENTS)[0]["metadata"]["namespace"] == "default"


async def test_a_server_that_refuses_is_logged_once_and_never_raised(
    http: EventsUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    http.api.forbidden.add(("create", "events"))
    for name in ("a", "b", "c"):
        await http.publish({**http.pod, "name": name})
    assert [record.message for record in caplog.records] == ["events are not being recorded"]
    http.api.forbidden.clear()
    await http.publish(http.pod)
    assert caplog.records[-1].message == "events are being recorded again"
    assert [event[0] for event in await http.seen()] == ["web-1"]


async def test_a_first_report_that_failed_is_repeated(http: EventsUnderTest) -> None:
    http.api.fail_next = 500
    await http.publish(http.pod)
    await http.publish(http.pod)
    assert await http.seen() == [("web-1", "Warning", "SubnetFull", "no address", 1)]


async def test_what_is_remembered_is_bounded(http: EventsUnderTest) -> None:
    for number in range(REMEMBERED + 5):
        await http.publish({**http.pod, "name": f"web-{number}"})
    assert len(http.events._cached) == REMEMBERED


async def test_long_names_and_messages_fit(http: EventsUnderTest) -> None:
    await http.publish({**http.pod, "name": "n" * 253}, "m" * 5000)
    (event,) = http.api.all(EVENTS)
    assert len(event["metadata"]["name"]) == 253
    assert len(event["message"]) == 1024


async def test_new_events_of_each_kind_are_bounded(http: EventsUnderTest, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(BURST + SHARE_BURST + 50):
        await http.publish({**http.pod, "name": f"web-{number}"})
    assert len(await http.seen()) == BURST + SHARE_BURST
    assert [one.message for one in caplog.records] == ["too many events: some are left out, the log has their content"]
    await http.publish(http.node)
    http.now_s += 2 * REFILL_S
    for number in range(3):
        await http.publish({**http.pod, "name": f"later-{number}"})
    assert len(await http.seen()) == BURST + SHARE_BURST + 1 + 2


async def test_a_tenant_who_starts_pods_without_end_leaves_no_pod_of_others_without_its_event(
    http: EventsUnderTest,
) -> None:
    """Each of the tenant's has an annotation without effect, and one of somebody else's waits for an address."""
    for number in range(BURST + SHARE_BURST + 50):
        await http.publish({**http.pod, "namespace": "evil", "name": f"evil-{number}"}, reason="EgressNotAllowed")
    for reason in ("NoAddress", "EgressNotAllowed"):
        await http.publish({**http.pod, "namespace": "shop"}, reason=reason)
    assert [event[2] for event in await http.seen() if event[0] == "web-1"] == ["NoAddress", "EgressNotAllowed"]
