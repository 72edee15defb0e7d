"""Kubernetes events for people who `kubectl describe`.

One event per object, kind, reason and cause: a repeat counts it up and renews its words, it never makes another. A
repeat is written at first after `REPEAT_S`, then more and more rarely, and only counted in between: many pods that
wait for long, each tried again every few seconds, must not be a load for the API server. New words come sooner.
New events are bounded for each kind of object, so that no fault of ours, and no tenant who makes pods without end,
fills the API server. An event is a courtesy: when the API server does not take it, that is logged once, and the work
goes on.
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

REPEAT_S: Final = 10.0
LONGEST_REPEAT_S: Final = 320.0
LONGEST_RENEWAL_S: Final = 40.0
REMEMBERED: Final = 512  # more than two events for each pod of a full node; older ones would start anew
BURST: Final = 600  # of new events about one kind of object: two for each pod of a full node, and some
REFILL_S: Final = 2.0  # another one after that
MAX_MESSAGE: Final = 1024  # Kubernetes API conventions, "note" of an event
MAX_NAME: Final = 253
COMPONENT: Final = "azure-cni"

_Key = tuple[str, str, str, str, str, str, str]

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Known:
    """An event that the API server holds. `since_s` is when it was last written, `count` includes what was not yet."""

    path: str
    message: str
    count: int
    since_s: float
    spacing_s: float = REPEAT_S
    """The same words again are written so long after `since_s`."""


@dataclass(slots=True)
class _Bucket:
    """How many new events may still be made."""

    since_s: float
    left: float = BURST

    def take(self, now_s: float) -> bool:
        """One of them; False when there is none now."""
        self.left = min(BURST, self.left + (now_s - self.since_s) / REFILL_S)
        self.since_s = now_s
        if self.left < 1.0:
            return False
        self.left -= 1.0
        return True


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
        self._known: OrderedDict[_Key, _Known] = OrderedDict()
        self._buckets: dict[str, _Bucket] = {}
        self._failing = self._short = False

    async def publish(
        self, regarding: Mapping[str, Any], *, kind: str, reason: str, message: str, cause: str = ""
    ) -> None:
        """Tell it, or count it. Never raises: a failure is logged when it begins and when it ends."""
        message = message[:MAX_MESSAGE]
        key = _key(regarding, kind, reason, cause)
        try:
            if not await self._repeat(key, message) and self._may_begin(str(regarding.get("kind", ""))):
                await self._first(key, regarding, kind=kind, reason=reason, message=message)
        except KubeError as error:
            if not self._failing:
                log.warning("events are not being recorded", extra={"error": str(error), "event_reason": reason})
            self._failing = True
        else:
            if self._failing:
                log.info("events are being recorded again")
            self._failing = False

    def _may_begin(self, kind: str) -> bool:
        """Whether one more event about such an object may be made. What is left out is logged when that begins."""
        now_s = self._monotonic()
        may = self._buckets.setdefault(kind, _Bucket(now_s)).take(now_s)
        if not may and not self._short:
            log.warning("too many events: some are left out, the log has what they tell", extra={"about": kind})
        self._short = not may
        return may

    async def _repeat(self, key: _Key, message: str) -> bool:
        """Count a known event up; False when there is none, here or in the API server."""
        known = self._known.get(key)
        if known is None:
            return False
        self._known.move_to_end(key)
        known.count += 1
        now_s = self._monotonic()
        renewed = message != known.message
        if now_s - known.since_s < (min(known.spacing_s, LONGEST_RENEWAL_S) if renewed else known.spacing_s):
            return True
        known.message, known.since_s = message, now_s
        known.spacing_s = min(2 * known.spacing_s, LONGEST_REPEAT_S)
        try:
            await self._client.merge_patch(
                known.path, {"count": known.count, "message": message, "lastTimestamp": self._utc()}
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
        known = self._known[key] = _Known(f"{collection}/{name}", message, count=1, since_s=self._monotonic())
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
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
            if self._known.get(key) is known:
                del self._known[key]
            raise


def _key(regarding: Mapping[str, Any], kind: str, reason: str, cause: str) -> _Key:
    kind_of, namespace, name, uid = (str(regarding.get(part, "")) for part in ("kind", "namespace", "name", "uid"))
    return kind_of, namespace, name, uid, kind, reason, cause
