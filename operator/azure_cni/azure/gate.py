"""What Azure asked us to wait, kept once per process: reads and writes apart, as Azure counts them apart.

Asking again before Retry-After has passed is refused again and keeps the bucket empty, so a closed gate refuses here,
at no cost to anyone. The gate does not sleep: pacing is the caller's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from azure_cni.ipam.limits import LONGEST_RETRY_AFTER_S

UNTOLD_S: Final = 5.0
"""When a 429 names no time: short, because the caller's own backoff grows above it."""


class Kind(StrEnum):
    """The two buckets."""

    READ = "read"
    WRITE = "write"


class Gate:
    """Open until `close`d, and again when the time has passed. `monotonic` gives seconds."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._opens_at: dict[Kind, float] = {}

    def closed_for_s(self, kind: Kind) -> float:
        """Seconds until a request of this kind may be made; 0 when now."""
        return max(0.0, self._opens_at.get(kind, 0.0) - self._monotonic())

    def close(self, kind: Kind, retry_after_s: float | None) -> None:
        """Azure refused a request of this kind. A later, shorter wish does not open the gate sooner."""
        wait_s = UNTOLD_S if retry_after_s is None else min(max(retry_after_s, 0.0), LONGEST_RETRY_AFTER_S)
        opens_at = self._monotonic() + wait_s
        self._opens_at[kind] = max(opens_at, self._opens_at.get(kind, 0.0))
