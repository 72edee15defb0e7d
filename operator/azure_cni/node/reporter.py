"""The pool's status: what to write, and when.

The fields of the grant protocol (the request, `allocated` and, where a node grants itself, `granted`) are written at
once. Everything else follows when it changed, at most once in five seconds, so that a burst of pods costs
the API server one write and not one per pod. When the NIC was last read goes along with the next write.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from azure_cni.api.reading import mapping, status_of
from azure_cni.node.ports import Pools

REQUEST = ("requested", "requestID", "wants")
"""Written by compare-and-swap: a late write of an agent that is gone must not undo what the one after it asked."""
PROTOCOL = (*REQUEST, "granted", "grantedFor", "allocated", "throttledUntil")
SPACING_S = 5.0


def _is_worth_a_write(differing: Mapping[str, Any], written: Mapping[str, Any]) -> bool:
    """A new time of `lastRead` alone is not: the NIC is read again and again, and nothing came of it."""
    read = differing.get("lastRead")
    if read is None or len(differing) > 1:
        return bool(differing)
    return bool(read["request"] != mapping(written.get("lastRead")).get("request"))


class Reporter:
    """Keeps the status of one pool as told, with few writes."""

    def __init__(self, pools: Pools, *, spacing_s: float = SPACING_S) -> None:
        self._pools = pools
        self._spacing_s = spacing_s
        self._last_s = float("-inf")
        self._pending = False

    def due_s(self) -> float | None:
        """Boot time at which a write that was put off becomes due; None when nothing was."""
        return self._last_s + self._spacing_s if self._pending else None

    async def report(
        self, pool: Mapping[str, Any], status: Mapping[str, Any], *, now_s: float
    ) -> dict[str, Any] | None:
        """Write what differs from the newest known `pool`, if it is due, whoever wrote that.

        Returns the object as it is then, None when nothing was written.

        KubeConflict when the pool changed since it was read and the request is among what differs.
        """
        written = status_of(pool)
        differing = {key: value for key, value in status.items() if written.get(key) != value}
        if not _is_worth_a_write(differing, written):
            self._pending = False
            return None
        urgent = any(key in differing for key in PROTOCOL)
        if not urgent and now_s < self._last_s + self._spacing_s:
            self._pending = True
            return None
        self._last_s, self._pending = now_s, True
        guarded = any(key in differing for key in REQUEST)
        changed = await self._pools.patch_status(pool, differing, guarded=guarded)
        self._pending = False
        return changed
