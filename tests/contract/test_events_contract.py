"""Events: repeats are counted, not multiplied, and nothing that goes wrong with them reaches the caller."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from azure_cni.kube.client import KubeClient, KubeEndpoint
from azure_cni.kube.events import REMEMBERED, REPEAT_S, KubeEvents
from fakes.events import FakeEvents
from fakes.kubeapi import TOKEN, FakeKubeAPI

POD = {"kind": "Pod", "namespace": "default", "name": "web-1", "uid": "u1"}
NODE = {"kind": "Node", "name": "vm1", "uid": "u2"}


@dataclass
class World:
    """The port, the server behind it where there is one, and the time."""

    events: Any
    api: FakeKubeAPI = field(default_factory=FakeKubeAPI)
    now_s: float = 1000.0

    async def tell(self, regarding: dict[str, str], message: str = "no address", reason: str = "SubnetFull") -> None:
        await self.events.publish(regarding, kind="Warning", reason=reason, message=message)

    def seen(self) -> list[tuple[str, str, str, str, int]]:
        if isinstance(self.events, FakeEvents):
            return [(e.regarding["name"], e.kind, e.reason, e.message, e.count) for e in self.events.published]
        return [
            (e["involvedObject"]["name"], e["type"], e["reason"], e["message"], e["count"])
            for e in self.api.all("events")
        ]


@pytest.fixture(params=["memory", "http"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        yield World(FakeEvents())
    else:
        async with open_http() as opened:
            yield opened


@pytest.fixture
async def http() -> AsyncIterator[World]:
    async with open_http() as opened:
        yield opened


class open_http:  # noqa: N801  # a context manager that reads as a function
    def __init__(self) -> None:
        self._world = World(None)

    async def __aenter__(self) -> World:
        self._server = self._world.api.serve()
        self._client = KubeClient(KubeEndpoint(await self._server.__aenter__(), token=TOKEN))
        self._world.events = KubeEvents(
            self._client,
            node_name="vm1",
            utc=lambda: f"2026-11-24T00:{int(self._world.now_s) // 60:02d}:00Z",
            monotonic=lambda: self._world.now_s,
        )
        return self._world

    async def __aexit__(self, *error: object) -> None:
        await self._client.close()
        await self._server.__aexit__(None, None, None)


async def test_an_event_is_told(world: World) -> None:
    await world.tell(POD)
    assert world.seen() == [("web-1", "Warning", "SubnetFull", "no address", 1)]


async def test_repeats_are_counted(world: World) -> None:
    for _ in range(5):
        await world.tell(POD)
        world.now_s += REPEAT_S
    assert world.seen() == [("web-1", "Warning", "SubnetFull", "no address", 5)]


async def test_new_words_for_the_same_cause_renew_the_event(world: World) -> None:
    await world.tell(POD, "throttled for 12 s")
    await world.tell(POD, "throttled for 9 s")
    assert world.seen() == [("web-1", "Warning", "SubnetFull", "throttled for 9 s", 2)]


async def test_other_objects_and_reasons_are_other_events(world: World) -> None:
    await world.tell(POD)
    await world.tell(NODE)
    await world.tell(POD, reason="NodeAtLimit")
    assert {event[:3:2] for event in world.seen()} == {
        ("web-1", "SubnetFull"),
        ("vm1", "SubnetFull"),
        ("web-1", "NodeAtLimit"),
    }


async def test_the_same_words_at_once_are_counted_without_a_call(http: World) -> None:
    for _ in range(100):
        await http.tell(POD)
    assert len(http.api.requests) == 1
    http.now_s += REPEAT_S
    await http.tell(POD)
    assert http.seen()[0][-1] == 101


async def test_an_expired_event_begins_anew(http: World) -> None:
    await http.tell(POD)
    (event,) = http.api.all("events")
    http.api.delete("", "events", name=event["metadata"]["name"], namespace="default")
    http.now_s += 3600
    await http.tell(POD)
    assert [event[-1] for event in http.seen()] == [1]


async def test_cluster_scoped_objects_have_theirs_in_default(http: World) -> None:
    await http.tell(NODE)
    assert http.api.all("events")[0]["metadata"]["namespace"] == "default"


async def test_a_server_that_refuses_is_logged_once_and_never_raised(
    http: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    http.api.forbidden.add(("create", "events"))
    for name in ("a", "b", "c"):
        await http.tell({**POD, "name": name})
    assert [record.message for record in caplog.records] == ["events are not being recorded"]
    http.api.forbidden.clear()
    await http.tell(POD)
    assert caplog.records[-1].message == "events are being recorded again"
    assert [event[0] for event in http.seen()] == ["web-1"]


async def test_a_failed_first_telling_is_told_again(http: World) -> None:
    http.api.fail_next = 500
    await http.tell(POD)
    await http.tell(POD)
    assert http.seen() == [("web-1", "Warning", "SubnetFull", "no address", 1)]


async def test_what_is_remembered_is_bounded(http: World) -> None:
    for number in range(REMEMBERED + 5):
        await http.tell({**POD, "name": f"web-{number}"})
    assert len(http.events._known) == REMEMBERED


async def test_long_names_and_messages_fit(http: World) -> None:
    await http.tell({**POD, "name": "n" * 253}, "m" * 5000)
    (event,) = http.api.all("events")
    assert len(event["metadata"]["name"]) == 253
    assert len(event["message"]) == 1024
