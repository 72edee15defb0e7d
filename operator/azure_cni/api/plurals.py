"""Counted nouns in messages: "1 address", "2 addresses"."""

from __future__ import annotations

from typing import Final

_HISSING: Final = ("s", "x", "ch", "sh")


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
