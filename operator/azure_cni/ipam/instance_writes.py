"""How often instances of Uniform scale sets may be written: Azure's limits, as token buckets counted here. Pure.

The NIC of such an instance changes by writes of the instance, and these the compute provider counts twice: for the
instance, and for all instances of a subscription in a region (Azure documentation, compute throttling limits). A write
takes one token of either bucket. Whoever asks with an empty bucket is refused, and each refusal makes the next one
likelier, so nobody asks: the process that writes counts each instance's bucket (`azure.instance_gate`), and the
leading controller, whose grants allow all writes of the cluster, that of the subscription (`quota.instance_budget`).

Both keep a twentieth back: a write may arrive later than it was counted, and the next one sooner after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_KEPT_BACK: Final = 0.05
MINUTE_S: Final = 60.0
_ROUNDING: Final = 1e-6
"""Of a write: whoever comes after `wait_s` finds it."""


@dataclass(frozen=True, slots=True)
class WriteAllowance:
    """What Azure allows: `most` writes at once after a pause, and `per_minute`."""

    most: int
    per_minute: int


OF_INSTANCE: Final = WriteAllowance(most=12, per_minute=4)
OF_SUBSCRIPTION: Final = WriteAllowance(most=1500, per_minute=500)
"""In one region. Regions are counted together here: the VNets of a cluster are mostly in one."""


class TokenBucket:
    """One bucket of Azure's as it is counted here. Times are monotonic seconds.

    It begins with what comes in a minute: what was written before, by a process that ended, is not known.
    """

    def __init__(self, allowance: WriteAllowance, *, now_s: float) -> None:
        self.capacity = float(int(allowance.most * (1 - _KEPT_BACK)))
        self.per_minute = allowance.per_minute * (1 - _KEPT_BACK)
        self._tokens = self.per_minute
        self._at_s = now_s

    def left(self, now_s: float) -> float:
        """Writes that may be made at once, a part of one included."""
        gained = max(0.0, now_s - self._at_s) * self.per_minute / MINUTE_S
        return min(self.capacity, self._tokens + gained)

    def wait_s(self, now_s: float) -> float:
        """Seconds until the next write may be made; 0 when now."""
        return 0.0 if self.whole(now_s) >= 1 else (1.0 - self.left(now_s)) * MINUTE_S / self.per_minute

    def whole(self, now_s: float) -> int:
        """Writes that may be made at once."""
        return max(0, int(self.left(now_s) + _ROUNDING))

    def take(self, writes: int = 1, *, now_s: float) -> None:
        """Writes are made now. What was allowed meanwhile by somebody else may leave it in debt."""
        self._tokens, self._at_s = self.left(now_s) - writes, max(now_s, self._at_s)
