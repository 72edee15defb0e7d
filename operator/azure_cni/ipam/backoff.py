"""When to try again: doubling with a spread, and never before Azure's own wish."""

from __future__ import annotations

from azure_cni.ipam.limits import BACKOFF_FIRST_S, BACKOFF_MAX_S


def delay_s(attempt: int, *, retry_after_s: float | None, jitter: float, longest_s: float = BACKOFF_MAX_S) -> float:
    """Seconds to wait after the `attempt`-th failure in a row (from 1); `jitter` is a random number in [0, 1).

    Without `retry_after_s` it is never more than `longest_s`. With it the wait begins only there: whoever comes earlier
    is refused again, and of a thousand nodes that were told the same second each adds a spread of its own.
    """
    if attempt < 1:
        raise ValueError(f"attempts count from 1, not {attempt}")
    doublings = min(attempt - 1, 16)  # far past the cap; keeps the power small
    step_s = min(BACKOFF_FIRST_S * 2.0**doublings, longest_s)
    if retry_after_s is None:
        return step_s * (1 + jitter) / 2
    return max(retry_after_s, 0.0) + step_s * jitter
