"""Conditions of a pool: what a person should know, in the shape that `kubectl wait` and `describe` expect.

A condition's `lastTransitionTime` moves only when its status flips; reason and message may be refined in between
(Kubernetes API conventions, "Typical status properties").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from azure_cni.api.reading import text

NODE_AT_LIMIT: Final = "NodeAtLimit"
"""The reason of AtLimit, and of an answer that a limit for each node made short."""


class Kind(StrEnum):
    """The conditions of a NodeIPPool."""

    READY = "Ready"
    GROWING = "Growing"
    AT_LIMIT = "AtLimit"
    QUOTA_EXCEEDED = "QuotaExceeded"
    SUBNET_FULL = "SubnetFull"
    THROTTLED = "Throttled"
    DRIFTED = "Drifted"
    HOST_CONFLICT = "HostConflict"


@dataclass(frozen=True, slots=True)
class Condition:
    """One fact, its CamelCase reason, and a message that a person can act on."""

    kind: Kind
    holds: bool
    reason: str
    message: str

    @property
    def status(self) -> str:
        """`True` or `False`, as Kubernetes spells it."""
        return "True" if self.holds else "False"


def merge(
    previous: Iterable[Mapping[str, Any]], current: Iterable[Condition], *, now: str, generation: int
) -> list[dict[str, Any]]:
    """The new `status.conditions`, keeping the transition time of each whose status did not flip."""
    known = {text(condition.get("type")): condition for condition in previous}
    return [_document(condition, known.get(condition.kind.value), now, generation) for condition in current]


def _document(condition: Condition, before: Mapping[str, Any] | None, now: str, generation: int) -> dict[str, Any]:
    unchanged = before is not None and before.get("status") == condition.status
    since = text(before.get("lastTransitionTime")) if before is not None and unchanged else None
    return {
        "type": condition.kind.value,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": since or now,
        "observedGeneration": generation,
    }
