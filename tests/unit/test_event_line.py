"""The line of events: nobody waits for it, it has a bound, and what one event does to it no other pays for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from azure_cni.errors import KubeUnreachable
from azure_cni.event_line import EventLine, LineEvent, reference
from azure_cni.faults import Faults
from fakes.waiting import background

POOL = reference("NodeIPPool", "vm1", "u")


class Port:
    """Publishes while `open`. `refused`: by reason, what is raised instead."""

    def __init__(self, **refused: Exception) -> None:
        self.open = asyncio.Event()
        self.refused = refused
        self.published: list[tuple[str, str]] = []

    async def publish(
        self, regarding: Mapping[str, Any], *, kind: str, reason: str, message: str, cause: str = ""
    ) -> None:
        await self.open.wait()
        if reason in self.refused:
            raise self.refused[reason]
        self.published.append((regarding["name"], reason))


def event(reason: str) -> LineEvent:
    return LineEvent(POOL, "Warning", reason, "in words")


@pytest.mark.looptime
async def test_events_come_in_their_order_and_what_does_not_fit_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    port = Port()
    line = EventLine(port, Faults(lambda _: None), most=2)
    for reason in ("First", "Second", "Third"):
        line.publish(event(reason))
    assert caplog.messages == ["an event is left out: the API server takes none"]
    async with background(line.run()):
        await asyncio.sleep(60)  # the API server takes its time
        line.publish(event("Fourth"))
        port.open.set()
        await asyncio.sleep(1)
    assert port.published == [("vm1", "First"), ("vm1", "Second"), ("vm1", "Fourth")]


@pytest.mark.looptime
@pytest.mark.parametrize(("error", "faults"), [(KubeUnreachable("no answer"), []), (ValueError("odd"), ["event"])])
async def test_one_that_cannot_be_published_keeps_none_from_it(
    caplog: pytest.LogCaptureFixture, error: Exception, faults: list[str]
) -> None:
    counted: list[str] = []
    port = Port(Second=error)
    port.open.set()
    line = EventLine(port, Faults(counted.append), most=8)
    async with background(line.run()):
        for reason in ("First", "Second", "Third"):
            line.publish(event(reason))
        await asyncio.sleep(1)
    assert port.published == [("vm1", "First"), ("vm1", "Third")]
    assert "an event is left out" in caplog.messages
    assert counted == faults
