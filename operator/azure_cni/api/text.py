"""Words of others among ours: they come from documents, and end in logs, conditions and terminals. Pure."""

from __future__ import annotations

from typing import Final

LONGEST: Final = 300
"""Characters. Azure's resource IDs are shorter."""


def legible(text: str, longest: int = LONGEST) -> str:
    """On one line, without control characters, and no longer than that."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text[: longest + 1])
    return shown if len(text) <= longest else f"{shown[:longest]}..."
