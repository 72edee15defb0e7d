"""How long Azure asks to wait, from headers or from words. Pure.

Retry-After is a number of seconds or an HTTP date (RFC 9110, 10.2.3). Some providers have headers of their own, and
some have only a sentence, at times as JSON inside a string. What is not plainly a time is none; no wait is longer than
LONGEST_RETRY_AFTER_S, wherever it was found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from azure_cni.ipam.limits import LONGEST_RETRY_AFTER_S

_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_WORDS = re.compile(
    r"\b(?:try again|retry|retried|wait)\b[^.0-9]{0,40}?([0-9]{1,9}(?:\.[0-9]{1,3})?)['\"]?\s*"
    r"(millisecond|second|sec|minute|min|hour|s\b|m\b|h\b)",
    re.IGNORECASE,
)
_UNITS: Final[Mapping[str, float]] = {"m": 60.0, "min": 60.0, "minute": 60.0, "h": 3600.0, "hour": 3600.0}
_HEADERS: Final = (("Retry-After", 1.0), ("x-ms-retry-after-ms", 1000.0), ("retry-after-ms", 1000.0))


def in_headers(headers: Mapping[str, str], *, now_s: float) -> float | None:
    """Seconds to wait; None where the headers name no time. `now_s` is the wall clock (seconds since the epoch).

    A date is compared with the answer's own `Date`, where it has one: this machine's clock may be wrong.
    """
    for name, per_second in _HEADERS:
        text = headers.get(name, "").strip()
        if _NUMBER.fullmatch(text):
            return _within(float(text) / per_second)
    until_s = _instant(headers.get("Retry-After", ""))
    if until_s is None:
        return None
    sent_s = _instant(headers.get("Date", ""))
    return _within(until_s - (now_s if sent_s is None else sent_s))


def in_words(text: str) -> float | None:
    """Seconds to wait, from a message such as "Please try again after '17' seconds"; None where it names no time."""
    found = _WORDS.search(text)
    if found is None:
        return None
    number, unit = float(found.group(1)), found.group(2).lower()
    return _within(number / 1000 if unit == "millisecond" else number * _UNITS.get(unit, 1.0))


def _within(seconds: float) -> float:
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_S)


def _instant(text: str) -> float | None:
    """An HTTP date as seconds since the epoch."""
    if not text or len(text) > 64:  # noqa: PLR2004  # no date is longer
        return None
    try:
        found = parsedate_to_datetime(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
