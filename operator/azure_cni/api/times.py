"""Points in time as Kubernetes writes them (RFC 3339, UTC), and as seconds since 1970 for calculating."""

from __future__ import annotations

from datetime import UTC, datetime


def text(at_s: float) -> str:
    """For people: whole seconds."""
    return f"{datetime.fromtimestamp(at_s, UTC).replace(tzinfo=None).isoformat(timespec='seconds')}Z"


def exact_text(at_s: float) -> str:
    """For calculating on, with microseconds; the form of a `MicroTime`, which leases have."""
    return f"{datetime.fromtimestamp(at_s, UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def seconds(written: object) -> float | None:
    """Seconds since 1970; None where nothing was written, or nothing that is a time.

    Whatever it returns can be written again: a time that its offset from UTC puts outside the years 1 to 9999 is none.
    """
    try:
        at = datetime.fromisoformat(str(written or ""))
        at_s = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        datetime.fromtimestamp(at_s, UTC)
    except (ValueError, OverflowError):
        return None
    return at_s
