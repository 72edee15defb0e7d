"""Events on a VNetQuota, for people who `kubectl describe` it: limits that are nearly or fully reached, and recalls.

What is told once when it begins is found by comparing two versions of the object, before and after a write of its
status. Each version is written once, by a compare-and-swap, so neither another controller nor one that starts again
repeats what was told. An event is best effort, and no round of grants waits for one (`event_line`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from azure_cni.api import conditions, vnet_quota
from azure_cni.api.conditions import IDLE_RECALLED, NEAR_LIMIT, QuotaKind
from azure_cni.api.quota_usage import parse_subnet_uses
from azure_cni.api.reading import mappings, text
from azure_cni.api.vnet_quota import VNetQuota
from azure_cni.cluster.ports import ClusterEvents
from azure_cni.event_line import EventKind, EventLine, LineEvent, reference
from azure_cni.faults import Faults
from azure_cni.model.text import counted, few
from azure_cni.quota.subnets import subnet_full

TOLD: Final = (QuotaKind.EXHAUSTED, QuotaKind.THROTTLED)
"""Conditions of which people learn when they begin to hold, and once they are about to. SubnetFull is one for many
subnets, so what is told is what begins in each of them.
"""
MOST_WAITING: Final = 32
"""A round has a few at most: more means that nobody takes them."""


@dataclass(frozen=True, slots=True)
class QuotaEvent:
    """What happened (Normal), or what somebody should see to (Warning)."""

    kind: EventKind
    reason: str
    message: str
    cause: str = ""
    """Events that differ in it are not one that repeats, with a newer message."""


def news(before: VNetQuota, after: VNetQuota) -> list[QuotaEvent]:
    """What began between two versions of a quota."""
    was, found = conditions.facts(before.status), []
    for condition in mappings(after.status.get("conditions")):
        kind, reason = text(condition.get("type")), text(condition.get("reason"))
        holds, held = condition.get("status") == "True", was.get(kind, ("", ""))[0] == "True"
        begins = (holds and not held) or (
            reason == NEAR_LIMIT and not held and was.get(kind, ("", ""))[1] != NEAR_LIMIT
        )
        if kind in TOLD and begins:
            found.append(QuotaEvent("Warning", reason, text(condition.get("message")), cause=kind))
    return found + _news_of_subnets(before, after)


def _news_of_subnets(before: VNetQuota, after: VNetQuota) -> list[QuotaEvent]:
    """Which subnets have become full since, which have no block any more, and which are nearly full.

    By what was written: a round adds to `before` what it has learned meanwhile.
    """
    known = {use.name: use for use in parse_subnet_uses(before.status.get("subnets"))}
    full, scattered, near = [], [], []
    for use in parse_subnet_uses(after.status.get("subnets")):
        was = known.get(use.name)
        if use.is_full and not (was and was.is_full):
            full.append(use)
        elif use.without_block and not (was and (was.without_block or was.is_full)):
            scattered.append(use)
        elif use.near_since_s is not None and not (was and was.near_since_s is not None):
            near.append(use)
    found = []
    for uses in filter(None, (full, scattered, near)):
        said = subnet_full(replace(after, subnets=tuple(uses)))
        found.append(QuotaEvent("Warning", said.reason, said.message, cause=" ".join(use.name for use in uses)))
    return found


def recall(givers: Mapping[str, int], takers: Mapping[str, int]) -> QuotaEvent:
    """Nodes were asked to give idle addresses back: how many each of `givers`, for how many pods of `takers`."""
    idle = counted(sum(givers.values()), "idle address is", "idle addresses are")
    takes = few(tuple(f"{name} ({count})" for name, count in sorted(takers.items()) if count))
    gives = few(tuple(f"{name} ({count})" for name, count in sorted(givers.items())))
    message = f"{idle} taken back from {gives}: pods wait on {takes}"
    return QuotaEvent("Normal", IDLE_RECALLED, message, cause=message)


class QuotaEvents:
    """The line of one VNet's quota."""

    def __init__(self, events: ClusterEvents, faults: Faults) -> None:
        self._line = EventLine(events, faults, most=MOST_WAITING)

    def publish(self, quota: VNetQuota, event: QuotaEvent) -> None:
        """Soon there is one on that quota."""
        regarding = reference(vnet_quota.KIND, quota.name, quota.version.uid)
        self._line.publish(LineEvent(regarding, event.kind, event.reason, event.message, event.cause))

    def tell(self, before: VNetQuota, after: VNetQuota) -> None:
        """Publish what began between two versions."""
        for event in news(before, after):
            self.publish(after, event)

    async def run(self) -> None:
        """Until cancelled."""
        await self._line.run()
