"""Text in messages: counted nouns ("1 address", "2 addresses"), long lists in few words, words of others, and times.

What others wrote comes from documents, and ends in logs, conditions and terminals. Points in time are written as
Kubernetes does (RFC 3339, UTC), and are seconds since 1970 for calculating.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

LONGEST: Final = 300
"""Characters. Azure's resource IDs are shorter."""

_HISSING: Final = ("s", "x", "ch", "sh")
NAMED: Final = 5
"""How many addresses, pods or failures a message names before it counts the rest."""

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  # UTC without saying so, as `_moment`

NOT_JSON: Final = (msgspec.DecodeError, UnicodeError, RecursionError)
"""All that msgspec raises where bytes are not JSON of the wanted shape. The last two are no DecodeErrors: text that is
not UTF-8, and what is nested deeper than any real document."""


PLAIN: Final = r"[ !#-%'-;=?-\[\]-~]*"
"""Printable ASCII but for " & < > and the backslash: one byte a character in every JSON, that of the API server too,
which writes up to six for others."""
_PLAIN, _NOT_PLAIN = re.compile(PLAIN), re.compile(r"[^ !#-%'-;=?-\[\]-~]")


def shortened(text: str, most: int) -> str:
    """No longer than `most` characters: what is left out shows as "..."."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def plain(text: str, most: int) -> str:
    """In characters of PLAIN, "?" for each other one, and no more than `most` of them."""
    if len(text) <= most and _PLAIN.fullmatch(text):  # nearly all
        return text
    return shortened(_NOT_PLAIN.sub("?", text[: most + 1]), most)


def legible(text: str, longest: int = LONGEST) -> str:
    """On one line, without control characters, and no longer than that."""
    if len(text) <= longest and text.isprintable():  # nearly all; a status has one for each address
        return text
    shown = "".join(letter if letter.isprintable() else "?" for letter in text[: longest + 1])
    return shown if len(text) <= longest else f"{shown[:longest]}..."


def counted(count: int, one: str, many: str = "") -> str:
    """The number with its noun: `counted(1, "pod waits", "pods wait")` is "1 pod waits".

    `many` follows every number but 1. Empty: `one` with the ending that English spelling asks for.
    """
    if count == 1:
        return f"1 {one}"
    return f"{count} {many or one + ('es' if one.endswith(_HISSING) else 's')}"


def addresses(count: int) -> str:
    """The noun that most messages count: "1 address", "16 addresses"."""
    return counted(count, "address")


def few(things: Sequence[object], *, between: str = ", ", last: str = " and ") -> str:
    """The first of them, and how many more there are."""
    rest = len(things) - NAMED
    named = between.join(str(thing) for thing in things[:NAMED])
    return f"{named}{last}{rest} more" if rest > 0 else named


def time_text(at_s: float) -> str:
    """For people: whole seconds."""
    return f"{_moment(at_s).isoformat(timespec='seconds')}Z"


def exact_time_text(at_s: float) -> str:
    """For calculating on, with microseconds; the form of a `MicroTime`, which leases have."""
    return f"{_moment(at_s).isoformat(timespec='microseconds')}Z"


def seconds_of(written: object) -> float | None:
    """Seconds since 1970; None where nothing was written, or nothing that is a time.

    Whatever it returns can be written again: a time that its offset from UTC puts outside the years 1 to 9999 is none.
    """
    try:
        at = datetime.fromisoformat(str(written or ""))
        at_s = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        _moment(at_s)
    except (ValueError, OverflowError):
        return None
    return at_s


def _moment(at_s: float) -> datetime:
    """In UTC, without saying so. OverflowError outside the years 1 to 9999.

    By calculation: what `datetime.fromtimestamp` takes, and how it fails, depends on the operating system's C library
    (on Windows an OSError, for times before 1970 too).
    """
    return _EPOCH + timedelta(seconds=at_s)
