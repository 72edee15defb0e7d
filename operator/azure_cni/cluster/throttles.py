"""Until when Azure is taken to have asked the nodes of a VNet to wait.

Each node says it by its own clock, which may be days ahead, and its pool may go on saying it when the node is gone; the
quota says what a controller wrote by its clock. So nobody is believed for longer than Azure could have asked, and each
word of a node only once: else one that never takes it back would hold up all others for ever.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from azure_cni.cluster.census import Member
from azure_cni.ipam.limits import LONGEST_RETRY_AFTER_S


def believable(until_s: float, *, now_s: float) -> float:
    """That time, or the latest that Azure can have named; seconds since 1970."""
    return min(until_s, now_s + LONGEST_RETRY_AFTER_S)


@dataclass(frozen=True, slots=True)
class _Word:
    """What a node said, and until when it is believed; seconds since 1970."""

    said_s: float
    until_s: float


class Throttles:
    """What the nodes of one VNet have said."""

    def __init__(self) -> None:
        self._words: dict[str, _Word] = {}

    def until_s(self, members: Iterable[Member], *, now_s: float) -> float:
        """Until when Azure asked any of them to wait, seconds since 1970; 0 when it did not."""
        words = {}
        for member in members:
            said_s = member.throttled_until_s
            known = self._words.get(member.name)
            if known is not None and known.said_s == said_s:
                words[member.name] = known
            elif said_s > now_s:
                words[member.name] = _Word(said_s, believable(said_s, now_s=now_s))
        self._words = words
        return max((word.until_s for word in words.values()), default=0.0)
