"""The writes of scale sets' instances that the leading controller allows, for all VNets of a subscription together.

A VNet's own budget is `write_budget`; Azure counts the writes of instances in all VNets of a subscription. The leader
alone grants writes, so what it counts is what the cluster's nodes make. The next leader begins with a minute's worth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from azure_cni.ipam.instance_writes import OF_SUBSCRIPTION, TokenBucket


@dataclass(frozen=True, slots=True)
class InstanceTokens:
    """What of it a round may grant: writes of instances, and the seconds until there is one."""

    writes: int
    next_s: float


UNLIMITED: Final = InstanceTokens(writes=1_000_000, next_s=0.0)
"""Where no node is an instance."""


class InstanceBudget:
    """By subscription, as VNets name theirs. `monotonic_s` is the controller's clock."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._buckets: dict[str, TokenBucket] = {}

    def tokens(self, vnet_id: str) -> InstanceTokens:
        """What instances in the VNet may write now."""
        now_s = self._monotonic_s()
        bucket = self._buckets.get(_subscription(vnet_id)) or TokenBucket(OF_SUBSCRIPTION, now_s=now_s)
        return InstanceTokens(bucket.whole(now_s), bucket.wait_s(now_s))

    def note(self, vnet_id: str, *, writes: int) -> None:
        """So many were granted to instances in the VNet."""
        now_s = self._monotonic_s()
        if writes:
            bucket = self._buckets.setdefault(_subscription(vnet_id), TokenBucket(OF_SUBSCRIPTION, now_s=now_s))
            bucket.take(writes, now_s=now_s)

    def shown(self) -> dict[str, tuple[float, float, float]]:
        """By subscription: the writes that are left, how many are saved up at most, and how many come in a minute."""
        now_s = self._monotonic_s()
        return {key: (one.left(now_s), one.capacity, one.per_minute) for key, one in self._buckets.items()}


def _subscription(vnet_id: str) -> str:
    """In lower case; for what names none, all of it."""
    parts = vnet_id.strip("/").lower().split("/")
    return parts[1] if len(parts) > 1 else vnet_id.lower()
