"""Time for controllers in tests: the event loop's own, so that under looptime an hour passes in no time."""

from __future__ import annotations

import asyncio

EPOCH_S = 1_800_000_000.0


class LoopClock:
    """Implements `azure_cni.cluster.ports.Clock`; its wall clock may be wrong."""

    def __init__(self, *, utc_ahead_s: float = 0.0) -> None:
        self.utc_ahead_s = utc_ahead_s

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()

    def utc_s(self) -> float:
        return EPOCH_S + self.utc_ahead_s + self.monotonic_s()
