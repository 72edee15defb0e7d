"""Who may hold how many addresses, as pure decisions."""

from __future__ import annotations


def self_grant(requested: int, maximum: int) -> int:
    """What a node that answers its own requests allows itself: what it asks for, up to its pool's `max`."""
    return min(requested, maximum)
