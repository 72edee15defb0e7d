"""The kernel's clocks."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta


class SystemClock:
    """Implements the `Clock` of `azure_cni.node.ports` and that of `azure_cni.cluster.ports`."""

    def boottime_s(self) -> float:
        """Seconds since boot, suspended time included (CLOCK_BOOTTIME)."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def monotonic_s(self) -> float:
        """Seconds that never go back, suspended time excluded."""
        return time.monotonic()

    def utc_s(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def utc(self, *, ahead_s: float = 0.0) -> str:
        """RFC 3339, seconds, UTC."""
        return (datetime.now(UTC) + timedelta(seconds=ahead_s)).strftime("%Y-%m-%dT%H:%M:%SZ")
