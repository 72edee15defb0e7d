"""Who may read the metrics: the bearer token of each request is judged by the API server, as kube-rbac-proxy does it.

The port is open to strangers, so their requests must cost the API server little: a verdict is cached for a while, for
valid and for invalid tokens; simultaneous requests with one token cause one review; and the number of reviews in a time
is bounded (`verdicts`). If the verdict cannot be obtained, the request is refused.

Tokens are never logged, and known here by a keyed hash only.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, assert_never

from azure_cni.entrypoints.verdicts import Access, ReviewBudget, TokenVerdict, Verdicts
from azure_cni.errors import KubeError
from azure_cni.kube.reviews import User

log = logging.getLogger(__name__)

PATH: Final = "/metrics"
REVIEW_S: Final = 5.0
"""For both questions together: the answer must be out before the listener cuts the connection."""

_BEARER: Final = re.compile(r"Bearer +([A-Za-z0-9._~+/-]+=*) *", re.IGNORECASE)  # RFC 6750, section 2.1


class Reviews(Protocol):
    """The two questions; see `kube.reviews.KubeReviews`."""

    async def authenticate(self, token: str) -> User | None:
        """The owner of a token, None where it is nobody's."""

    async def authorize(self, user: User, *, verb: str, path: str) -> bool:
        """Whether the owner may do that."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer other than the metrics: HTTP status and a sentence."""

    status: int
    text: str


NO_TOKEN: Final = Refusal(401, "cannot show metrics: the request has no bearer token")
BAD_TOKEN: Final = Refusal(401, "cannot show metrics: the API server does not accept the bearer token")
TOO_MANY: Final = Refusal(
    503, "cannot show metrics: too many unknown bearer tokens came in the last minute; try again in a minute"
)
NO_ANSWER: Final = Refusal(
    503, "cannot show metrics: the API server could not be asked about the bearer token; the log says why"
)


class MetricsAuth:
    """Judges one request after the other. `now_s` is a clock that only goes forward."""

    def __init__(self, reviews: Reviews, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._reviews = reviews
        self._now_s = now_s
        self._secret = secrets.token_bytes(32)
        self._verdicts = Verdicts()
        self._budget = ReviewBudget()
        self._under_way: dict[bytes, asyncio.Future[TokenVerdict | Refusal]] = {}
        self._failing = False

    async def refusal(self, authorization: str, *, source: str) -> Refusal | None:
        """None when the header `Authorization` names somebody who may read. `source`: the caller's address."""
        bearer = _BEARER.fullmatch(authorization)
        if bearer is None:
            return NO_TOKEN
        verdict = await self._verdict(bearer[1], source)
        if isinstance(verdict, Refusal):
            return verdict
        match verdict.access:
            case Access.ALLOWED:
                return None
            case Access.UNAUTHENTICATED:
                return BAD_TOKEN
            case Access.FORBIDDEN:
                return Refusal(
                    403,
                    f"cannot show metrics: {verdict.user} may not get {PATH}; bind it to the chart's ClusterRole whose "
                    "name ends in -metrics-reader",
                )
            case _:
                assert_never(verdict.access)

    async def _verdict(self, token: str, source: str) -> TokenVerdict | Refusal:
        key = hashlib.blake2b(token.encode(), key=self._secret, digest_size=32).digest()
        now_s = self._now_s()
        if found := self._verdicts.find(key, now_s):
            return found
        running = self._under_way.get(key)
        if running is not None:
            return await asyncio.shield(running)
        if not self._budget.take(now_s, known=self._verdicts.known(key, source)):
            return TOO_MANY
        return await self._review(key, token, source)

    async def _review(self, key: bytes, token: str, source: str) -> TokenVerdict | Refusal:
        """Ask, and answer all who wait for the same token."""
        running = self._under_way[key] = asyncio.get_running_loop().create_future()
        verdict: TokenVerdict | Refusal = NO_ANSWER
        try:
            async with asyncio.timeout(REVIEW_S):
                verdict = found = await self._ask(token)
        except (KubeError, TimeoutError) as error:
            if not self._failing:
                words = str(error) or f"no answer within {REVIEW_S:.0f} s"
                log.warning("bearer tokens for metrics cannot be checked", extra={"error": words})
            self._failing = True
        else:
            if self._failing:
                log.info("bearer tokens for metrics are checked again")
            self._failing = False
            self._verdicts.keep(key, found, source=source, now_s=self._now_s())
        finally:
            del self._under_way[key]
            running.set_result(verdict)
        return verdict

    async def _ask(self, token: str) -> TokenVerdict:
        user = await self._reviews.authenticate(token)
        if user is None:
            return TokenVerdict(Access.UNAUTHENTICATED)
        allowed = await self._reviews.authorize(user, verb="get", path=PATH)
        return TokenVerdict(Access.ALLOWED if allowed else Access.FORBIDDEN, user.name)
