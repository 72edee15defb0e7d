"""Kubernetes events in memory: one per object, kind, reason and cause, with its count and its latest message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Published:
    """One event as `kubectl describe` would show it."""

    regarding: dict[str, Any]
    kind: str
    reason: str
    message: str
    cause: str = ""
    count: int = 1
    newest: int = 0
    """Which of all publications its newest was, from 1."""


class FakeEvents:
    """Implements `azure_cni.node.ports.Events`, and `azure_cni.cluster.ports.ClusterEvents`."""

    def __init__(self) -> None:
        self.published: list[Published] = []
        self._publications = 0

    async def publish(
        self, regarding: Mapping[str, Any], *, kind: str, reason: str, message: str, cause: str = ""
    ) -> None:
        self._publications += 1
        for event in self.published:
            if (event.regarding, event.kind, event.reason, event.cause) == (dict(regarding), kind, reason, cause):
                event.count += 1
                event.newest = self._publications
                event.message = message
                return
        self.published.append(Published(dict(regarding), kind, reason, message, cause, newest=self._publications))

    @property
    def reasons(self) -> list[str]:
        """The reasons in the order in which they first came."""
        return [event.reason for event in self.published]
