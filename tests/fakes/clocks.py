"""Clocks for agents and controllers in tests. Each implements the `Clock` port of both."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from azure_cni.model.text import time_text

EPOCH_S = 1_800_000_000.0
"""2027-01-15T08:00:00Z."""


@dataclass
class LoopClock:
    """The event loop's time: under looptime an hour passes in no time. Its wall clock may be wrong by `utc_ahead_s`."""

    utc_ahead_s: float = 0.0

    def boottime_s(self) -> float:
        return asyncio.get_running_loop().time()

    def monotonic_s(self) -> float:
        return self.boottime_s()

    def utc_s(self) -> float:
        return EPOCH_S + self.utc_ahead_s + self.boottime_s()

    def utc(self, *, ahead_s: float = 0.0) -> str:
        return time_text(self.utc_s() + ahead_s)


@dataclass
class ManualClock(LoopClock):
    """Stands still until the test moves it."""

    now_s: float = 1000.0

    def boottime_s(self) -> float:
        return self.now_s
