"""Conditions of the custom resources, in the shape that `kubectl wait` and `describe` expect.

A condition's `lastTransitionTime` moves only when its status flips; reason and message may be refined in between
(Kubernetes API conventions, "Typical status properties").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import msgspec

from azure_cni.api.reading import mappings, text
from azure_cni.model.text import seconds_of, shortened

LONGEST_SENTENCE: Final = 2048
"""Characters of a condition's message, and of a grant's."""

NODE_AT_LIMIT: Final = "NodeAtLimit"
"""The reason of AtLimit, and of a grant that the limit for one node reduced."""

NEAR_LIMIT: Final = "NearLimit"
"""The reason of AtLimit, Exhausted and a quota's SubnetFull while they are False and about to be True
(`ipam.near_limit`).
"""


IDLE_RECALLED: Final = "IdleRecalled"
"""The reason of Growing, and of an event, on a node that is to give idle addresses back for pods of others."""


class PoolKind(StrEnum):
    """The conditions of a NodeIPPool."""

    READY = "Ready"
    GROWING = "Growing"
    AT_LIMIT = "AtLimit"
    QUOTA_EXCEEDED = "QuotaExceeded"
    SUBNET_FULL = "SubnetFull"
    THROTTLED = "Throttled"
    DRIFTED = "Drifted"
    HOST_CONFLICT = "HostConflict"
    MODE_CHANGE_PENDING = "ModeChangePending"
    NIC_CHANGE_PENDING = "NicChangePending"
    PERMISSION_MISSING = "PermissionMissing"


class QuotaKind(StrEnum):
    """The conditions of a VNetQuota."""

    READY = "Ready"
    EXHAUSTED = "Exhausted"
    THROTTLED = "Throttled"
    USAGE_KNOWN = "UsageKnown"
    SUBNET_FULL = "SubnetFull"
    ENTRIES_REFUSED = "EntriesRefused"
    PERMISSION_MISSING = "PermissionMissing"


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition: whether it holds, a CamelCase reason, and a message that a person can act on."""

    kind: PoolKind | QuotaKind
    holds: bool
    reason: str
    message: str

    @property
    def status(self) -> str:
        """`True` or `False`, as Kubernetes spells it."""
        return "True" if self.holds else "False"


class ProblemReport(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Something that a condition of the pool says, of the type `kind`, with what it takes to end it.

    `command` is for a shell of this node alone, as root; "" where a person has to decide. Of a permission that is
    missing: who lacks it (an object ID) and where (a resource ID). A command to run elsewhere is never an agent's to
    name: whoever took a node over would choose it.
    """

    kind: str = ""
    reason: str = ""
    message: str = ""
    command: str = ""
    identity: str = ""
    scope: str = ""


def merge(
    previous: Sequence[Mapping[str, Any]], current: Iterable[Condition], *, now: str, generation: int
) -> list[dict[str, Any]]:
    """The new `status.conditions`, keeping the transition time of each whose status did not flip."""
    known = {text(condition.get("type")): condition for condition in mappings(previous)}
    return [_document(condition, known.get(condition.kind.value, {}), now, generation) for condition in current]


def holds(status: Mapping[str, Any], kind: PoolKind | QuotaKind) -> bool:
    """Whether that condition is True in an object's status as it was read."""
    known = mappings(status.get("conditions"))
    return any(one.get("type") == kind.value and one.get("status") == "True" for one in known)


def facts(status: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Status and reason of each condition of a status, by type: all but what may be refined without being news."""
    known = mappings(status.get("conditions"))
    return {text(one.get("type")): (text(one.get("status")), text(one.get("reason"))) for one in known}


def _document(condition: Condition, before: Mapping[str, Any], now: str, generation: int) -> dict[str, Any]:
    since = text(before.get("lastTransitionTime")) if before.get("status") == condition.status else ""
    return {
        "type": condition.kind.value,
        "status": condition.status,
        "reason": condition.reason,
        "message": shortened(condition.message, LONGEST_SENTENCE),
        # A time that is none would have the API server refuse the whole status.
        "lastTransitionTime": since if seconds_of(since) is not None else now,
        "observedGeneration": generation,
    }
