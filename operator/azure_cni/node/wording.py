"""Words of messages that stand in more than one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

NAMED: Final = 5
"""How many addresses, pods or failures a message names before it counts the rest."""


def few(things: Sequence[object], *, between: str = ", ", last: str = " and ") -> str:
    """The first of them, and how many more there are."""
    rest = len(things) - NAMED
    named = between.join(str(thing) for thing in things[:NAMED])
    return f"{named}{last}{rest} more" if rest > 0 else named
