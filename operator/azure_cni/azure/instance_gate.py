"""How often this process may write each instance of a Uniform scale set: asked before each write, and counted.

`ipam.instance_writes` has Azure's limits. The writes of an agent are few and all of one instance; a controller that
writes the NICs of all nodes has a bucket for each, and counts the subscription's here, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from azure_cni.azure.resources import Resource
from azure_cni.errors import WritesSpent
from azure_cni.ipam.instance_writes import OF_INSTANCE, OF_SUBSCRIPTION, TokenBucket, WriteAllowance
from azure_cni.model.text import counted

INSTANCE: Final = "instance"
MOST_BUCKETS: Final = 4096
"""When there are more, those that are full again are forgotten: a new one has fewer tokens."""


class InstanceGate:
    """The buckets of one process. `monotonic` gives seconds."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._buckets: dict[str, TokenBucket] = {}

    def check(self, resource: Resource, *, what: str) -> None:
        """Before anything is read for a write of it: WritesSpent when Azure would refuse that."""
        if resource.noun == INSTANCE:
            self._refuse_spent(self._buckets_of(resource), what=what)

    def take(self, resource: Resource, *, what: str) -> None:
        """It is written now, if it is an instance. WritesSpent, and nothing is taken, when Azure would refuse that."""
        if resource.noun != INSTANCE:
            return
        buckets = self._buckets_of(resource)
        self._refuse_spent(buckets, what=what)
        for bucket in buckets.values():
            bucket.take(now_s=self._monotonic())

    def _refuse_spent(self, buckets: Mapping[WriteAllowance, TokenBucket], *, what: str) -> None:
        now_s = self._monotonic()
        wait_s, allowance = max(((one.wait_s(now_s), it) for it, one in buckets.items()), key=lambda found: found[0])
        if wait_s:
            whose = "an instance of a scale set" if allowance is OF_INSTANCE else "all instances of a subscription"
            raise WritesSpent(
                f"cannot {what}: Azure allows {whose} {counted(allowance.per_minute, 'write')} a minute, and they "
                f"were made; the next one is possible in {wait_s:.0f} s",
                retry_after_s=wait_s,
            )

    def _buckets_of(self, resource: Resource) -> dict[WriteAllowance, TokenBucket]:
        now_s, subscription = self._monotonic(), resource.id.split("/")[2]
        return {
            OF_INSTANCE: self._bucket(resource.id, OF_INSTANCE, now_s=now_s),
            OF_SUBSCRIPTION: self._bucket(subscription, OF_SUBSCRIPTION, now_s=now_s),
        }

    def _bucket(self, key: str, allowance: WriteAllowance, *, now_s: float) -> TokenBucket:
        if len(self._buckets) > MOST_BUCKETS:
            kept = {name: one for name, one in self._buckets.items() if one.left(now_s) < one.capacity}
            self._buckets = kept
        return self._buckets.setdefault(key.lower(), TokenBucket(allowance, now_s=now_s))
