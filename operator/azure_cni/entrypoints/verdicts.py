"""Verdicts on bearer tokens: how long each is cached, and how often the API server may be asked.

Pure: the time is an argument, in seconds of one clock. Tokens are not kept; whoever asks brings a key made of each.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

GOOD_S: Final = 120.0
"""How long an accepted token is cached, as in kube-rbac-proxy. A revoked token can read for this long."""

BAD_S: Final = 30.0
"""How long a refusal is cached: whoever has just been given the right waits this long."""

MOST_GOOD: Final = 64
MOST_BAD: Final = 256
"""Cached tokens of each kind. Refused ones are apart, so that invented tokens do not displace accepted ones."""


class Access(Enum):
    """What the API server says of a token."""

    ALLOWED = auto()
    UNAUTHENTICATED = auto()
    FORBIDDEN = auto()


@dataclass(frozen=True, slots=True)
class TokenVerdict:
    """The access of a token, and its owner's name, "" where it has none."""

    access: Access
    user: str = ""


class _Bucket:
    """At most `burst` at once, and one each `refill_s` from then on."""

    def __init__(self, burst: float, refill_s: float) -> None:
        self._burst = self._left = burst
        self._refill_s = refill_s
        self._since_s = 0.0

    def take(self, now_s: float) -> bool:
        self._left = min(self._burst, self._left + max(0.0, now_s - self._since_s) / self._refill_s)
        self._since_s = now_s
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class ReviewBudget:
    """How often the API server may be asked: 8 times at once and then each second for who could read before, 5 times at
    once and then each 5 s for all others. So strangers cannot have it flooded, nor use up what the scrapers need.
    """

    def __init__(self) -> None:
        self._known = _Bucket(8.0, 1.0)
        self._others = _Bucket(5.0, 5.0)

    def take(self, now_s: float, *, known: bool) -> bool:
        """One review; False when there is none now."""
        return (self._known if known else self._others).take(now_s)


class Verdicts:
    """The verdicts that count, by key, and from which addresses good tokens came: a bounded number of each."""

    def __init__(self) -> None:
        self._sources: OrderedDict[str, None] = OrderedDict()
        self._good: OrderedDict[bytes, tuple[TokenVerdict, float]] = OrderedDict()
        self._bad: OrderedDict[bytes, tuple[TokenVerdict, float]] = OrderedDict()

    def known(self, key: bytes, source: str) -> bool:
        """Whether this token could read when the API server was asked last, or one that came from this address could.

        The second is for tokens that are replaced, as the kubelet does it each hour.
        """
        return key in self._good or source in self._sources

    def find(self, key: bytes, now_s: float) -> TokenVerdict | None:
        """The verdict that counts now."""
        verdict, until_s = self._good.get(key) or self._bad.get(key) or (None, 0.0)
        return verdict if now_s < until_s else None

    def keep(self, key: bytes, verdict: TokenVerdict, *, source: str, now_s: float) -> None:
        """Remember it, and the address that it came from; what was kept first makes room."""
        good = verdict.access is Access.ALLOWED
        self._good.pop(key, None)
        self._bad.pop(key, None)
        kept, most = (self._good, MOST_GOOD) if good else (self._bad, MOST_BAD)
        while len(kept) >= most:
            kept.popitem(last=False)
        kept[key] = verdict, now_s + (GOOD_S if good else BAD_S)
        if good:
            self._sources[source] = None
            self._sources.move_to_end(source)
            while len(self._sources) > MOST_GOOD:
                self._sources.popitem(last=False)
