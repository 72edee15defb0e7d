"""The kernel's clocks."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SystemClock:
    """The Clock port on a real machine."""

    def boottime_s(self) -> float:
        """Seconds since boot, suspended time included (CLOCK_BOOTTIME)."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def utc(self) -> str:
        """RFC 3339, seconds, UTC."""
        return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
