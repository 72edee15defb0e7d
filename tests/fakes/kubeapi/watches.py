"""Watches: each gets every change after the version that it asks for, in order; a test may end or silence them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from fakes.kubeapi.resources import Target, selected

Body = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """An object before and after a change, None where there is none; `at` is the object itself."""

    version: int
    at: Target
    before: Body | None
    after: Body | None


@dataclass(eq=False)
class Watch:
    """One open watch of a collection: what it selects, and the lines that it has still to send."""

    of: Target
    selector: str
    lines: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)

    def notify(self, change: Change) -> None:
        """An object that a selector no longer takes is deleted, as far as this watch shows."""
        if not self.of.holds(change.at):
            return
        before, after = (
            body if body is not None and selected(self.selector, body) else None
            for body in (change.before, change.after)
        )
        if after is not None:
            self.send("MODIFIED" if before is not None else "ADDED", after)
        elif before is not None:
            meta = {**before["metadata"], "resourceVersion": str(change.version)}
            self.send("DELETED", {**(change.after or before), "metadata": meta})

    def send(self, kind: str, body: Body) -> None:
        self.lines.put_nowait(json.dumps({"type": kind, "object": body}).encode() + b"\n")

    def end(self) -> None:
        self.lines.put_nowait(None)


class Watches:
    """All that are open, and the changes that one that is opened later has to catch up on."""

    def __init__(self) -> None:
        self.silent = False
        """Watches are accepted, and nothing is ever sent on them."""
        self.open: set[Watch] = set()
        self._history: list[Change] = []

    def notify(self, change: Change) -> None:
        self._history.append(change)
        for watch in self.open:
            watch.notify(change)

    async def serve(self, request: web.Request, of: Target, existing: Iterator[Body]) -> web.StreamResponse:
        """Answer a watch until either side ends it. Without a version it begins with all that `existing` has."""
        response = web.StreamResponse()
        response.content_type = "application/json"
        await response.prepare(request)
        watch = Watch(of, request.query.get("fieldSelector", ""))
        since = int(request.query.get("resourceVersion") or "0")
        if not since:
            for body in existing:
                watch.send("ADDED", body)
        for change in self._history if since else ():
            if change.version > since:
                watch.notify(change)
        self.open.add(watch)
        try:
            while (line := await watch.lines.get()) is not None:
                if not self.silent:
                    await response.write(line)
        finally:
            self.open.discard(watch)
        return response
