"""Token buckets of Azure Resource Manager, the network provider and the compute provider.

Sources: Azure documentation, "Understand how Azure Resource Manager throttles requests" (per principal and kind; all
principals together fifteen times that), and "Compute throttling limits". A request takes one token from every bucket
that it concerns, or none when one of them is empty.
Chosen where nothing is known: the network provider's "1,000 writes per 5 minutes" is a bucket of 1,000 that refills
evenly; a bucket says the seconds until its next whole token.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

from fakeazure import errors

Kind = Literal["read", "write", "delete"]


@dataclass(frozen=True, slots=True)
class Limit:
    """How many tokens a bucket holds and gains in a second."""

    size: float
    per_s: float


ARM: dict[Kind, Limit] = {"read": Limit(250, 25), "write": Limit(200, 10), "delete": Limit(200, 10)}
GLOBAL_FACTOR = 15
NETWORK_READS = Limit(10_000, 10_000 / 300)
NETWORK_WRITES = Limit(1_000, 1_000 / 300)
COMPUTE_GET_VM = (Limit(36, 12 / 60), Limit(24_000, 8_000 / 60))  # of one VM, of the subscription
COMPUTE_UPDATE_VM = (Limit(12, 4 / 60), Limit(1_500, 500 / 60))
COMPUTE_GET_OPERATION = (Limit(45, 15 / 60), Limit(15_000, 5_000 / 60))
COMPUTE_POLICIES = {
    "instance.put": ("UpdateVMScaleSetVM", COMPUTE_UPDATE_VM),
    "operation.get": ("GetOperation", COMPUTE_GET_OPERATION),
}
"""By operation: how the refusal names its bucket (a word of this fake's own), and how large it is."""
METADATA = Limit(5, 5)
IDENTITY = Limit(20, 20)


@dataclass(slots=True)
class Bucket:
    """Tokens as of the instant `at`."""

    limit: Limit
    tokens: float
    at: float

    def refill(self, now: float) -> None:
        self.tokens = min(self.limit.size, self.tokens + (now - self.at) * self.limit.per_s)
        self.at = now

    @property
    def wait_s(self) -> int:
        """Whole seconds until there is a token, at least one."""
        return max(1, math.ceil((1 - self.tokens) / self.limit.per_s))


@dataclass(slots=True)
class Throttle:
    """All buckets, each made when first asked for; `enabled` False lets everything pass."""

    enabled: bool = True
    buckets: dict[tuple[str, ...], Bucket] = field(default_factory=dict)

    def admit_arm(self, kind: Kind, *, subscription: str, principal: str, now: float) -> None:
        """The gateway's own buckets; raises ArmError."""
        limit = ARM[kind]
        everyone = Limit(limit.size * GLOBAL_FACTOR, limit.per_s * GLOBAL_FACTOR)
        wait_s = self._take([(("arm", kind, principal), limit), (("arm", kind), everyone)], now)
        if wait_s:
            raise errors.throttled_by_arm(kind, actor=f"{subscription}:{principal}", retry_after_s=wait_s)

    def admit_network(self, kind: Kind, *, now: float) -> None:
        """The network provider's buckets, one for writes and deletes together; raises ArmError."""
        reading = kind == "read"
        key, limit = (("network", "read"), NETWORK_READS) if reading else (("network", "write"), NETWORK_WRITES)
        if wait_s := self._take([(key, limit)], now):
            raise errors.throttled_by_network("reads" if reading else "writes", retry_after_s=wait_s)

    def admit_compute(self, operation: str, resource_id: str, *, now: float) -> None:
        """The compute provider's buckets, of one resource and of all, for reading a VM or what else it is asked for;
        raises ArmError.
        """
        policy, (of_one, of_all) = COMPUTE_POLICIES.get(operation, ("LowCostGetVM", COMPUTE_GET_VM))
        wanted = [(("compute", policy, resource_id.lower()), of_one), (("compute", policy), of_all)]
        if wait_s := self._take(wanted, now):
            raise errors.throttled_by_compute(policy, limit=int(of_one.size), retry_after_s=wait_s)

    def admit_metadata(self, vm_id: str, *, identity: bool, now: float) -> bool:
        """The metadata service's rate for one VM."""
        kind, limit = ("identity", IDENTITY) if identity else ("metadata", METADATA)
        return not self._take([((kind, vm_id), limit)], now)

    def remaining(self, kind: Kind, *, principal: str) -> tuple[int, int]:
        """Whole tokens left: of this principal, of all together."""
        limit = ARM[kind]
        own, everyone = self.buckets.get(("arm", kind, principal)), self.buckets.get(("arm", kind))
        return int(own.tokens if own else limit.size), int(everyone.tokens if everyone else limit.size * GLOBAL_FACTOR)

    def _take(self, wanted: list[tuple[tuple[str, ...], Limit]], now: float) -> int:
        """One token of each bucket, or none and the seconds to wait."""
        buckets = []
        for key, limit in wanted:
            bucket = self.buckets.setdefault(key, Bucket(limit, limit.size, now))
            bucket.refill(now)
            buckets.append(bucket)
        short = [bucket for bucket in buckets if bucket.tokens < 1]
        if short and self.enabled:
            return max(bucket.wait_s for bucket in short)
        for bucket in buckets:
            bucket.tokens = max(0.0, bucket.tokens - 1)
        return 0
