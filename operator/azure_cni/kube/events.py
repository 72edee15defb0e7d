"""Kubernetes events for people who `kubectl describe`.

One event per object, kind, reason and cause: a repeat raises its count and updates its message, and never creates
another. The first repeat is written after `REPEAT_S`, later ones at growing intervals, and only counted in between:
many waiting pods, each retried every few seconds, must not load the API server. A new message is written sooner.
New events are limited (event_budget.py), so that neither a fault of azure-cni nor a tenant who creates pods without end
fills the API server. Events are best effort: when the API server refuses one, that is logged once, and the
work goes on.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from azure_cni.errors import KubeError, KubeNotFound
from azure_cni.kube.client import KubeClient
from azure_cni.kube.event_budget import EventBudget

REPEAT_S: Final = 10.0
LONGEST_REPEAT_S: Final = 320.0
LONGEST_RENEWAL_S: Final = 40.0
REMEMBERED: Final = 512  # more than two events for each pod of a full node; older ones would start again
MAX_MESSAGE: Final = 1024  # Kubernetes API conventions, "note" of an event
MAX_NAME: Final = 253
COMPONENT: Final = "azure-cni"

_Key = tuple[str, str, str, str, str, str, str]

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _CachedEvent:
    """An event that the API server holds. `since_s` is when it was last written, `count` includes what was not yet."""

    path: str
    message: str
    count: int
    since_s: float
    spacing_s: float = REPEAT_S
    """Seconds after `since_s` until the same message is written again."""


class KubeEvents:
    """Implements `azure_cni.node.ports.Events`. `utc` gives RFC 3339, `monotonic` seconds."""

    def __init__(
        self,
        client: KubeClient,
        *,
        node_name: str,
        utc: Callable[[], str],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._node_name = node_name
        self._utc = utc
        self._monotonic = monotonic
        self._cached: OrderedDict[_Key, _CachedEvent] = OrderedDict()
        self._budget = EventBudget()
        self._failing = False

    async def publish(
        self, regarding: Mapping[str, Any], *, kind: str, reason: str, message: str, cause: str = ""
    ) -> None:
        """Write the event, or count it. Never raises: a failure is logged when it begins and when it ends."""
        message = message[:MAX_MESSAGE]
        key = _key(regarding, kind, reason, cause)
        try:
            if not await self._repeat(key, message) and self._may_begin(regarding, reason):
                await self._first(key, regarding, kind=kind, reason=reason, message=message)
        except KubeError as error:
            if not self._failing:
                log.warning("events are not being recorded", extra={"error": str(error), "event_reason": reason})
            self._failing = True
        else:
            if self._failing:
                log.info("events are being recorded again")
            self._failing = False

    def _may_begin(self, regarding: Mapping[str, Any], reason: str) -> bool:
        kind, namespace = (str(regarding.get(part, "")) for part in ("kind", "namespace"))
        return self._budget.take(kind=kind, namespace=namespace, reason=reason, now_s=self._monotonic())

    async def _repeat(self, key: _Key, message: str) -> bool:
        """Count a cached event up; False when there is none, here or in the API server."""
        cached = self._cached.get(key)
        if cached is None:
            return False
        self._cached.move_to_end(key)
        cached.count += 1
        now_s = self._monotonic()
        renewed = message != cached.message
        if now_s - cached.since_s < (min(cached.spacing_s, LONGEST_RENEWAL_S) if renewed else cached.spacing_s):
            return True
        cached.message, cached.since_s = message, now_s
        cached.spacing_s = min(2 * cached.spacing_s, LONGEST_REPEAT_S)
        try:
            await self._client.merge_patch(
                cached.path, {"count": cached.count, "message": message, "lastTimestamp": self._utc()}
            )
        except KubeNotFound:  # expired: the API server keeps an event for an hour
            return False
        return True

    async def _first(self, key: _Key, regarding: Mapping[str, Any], *, kind: str, reason: str, message: str) -> None:
        namespace = regarding.get("namespace") or "default"  # where events of cluster-scoped objects belong
        suffix = f".{secrets.token_hex(8)}"
        name = f"{regarding['name'][: MAX_NAME - len(suffix)]}{suffix}"
        collection = f"/api/v1/namespaces/{namespace}/events"
        # Known before it is written: a second caller meanwhile counts, and does not make another.
        cached = self._cached[key] = _CachedEvent(f"{collection}/{name}", message, count=1, since_s=self._monotonic())
        while len(self._cached) > REMEMBERED:
            self._cached.popitem(last=False)
        now = self._utc()
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": dict(regarding),
            "type": kind,
            "reason": reason,
            "message": message,
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "source": {"component": COMPONENT, "host": self._node_name},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._node_name,
        }
        try:
            await self._client.create(collection, body)
        except KubeError:
            if self._cached.get(key) is cached:
                del self._cached[key]
            raise


def _key(regarding: Mapping[str, Any], kind: str, reason: str, cause: str) -> _Key:
    kind_of, namespace, name, uid = (str(regarding.get(part, "")) for part in ("kind", "namespace", "name", "uid"))
    return kind_of, namespace, name, uid, kind, reason, cause
