"""How long Azure asks to wait: read from its answers, and kept once per process, for what Azure counts together.

Retry-After is a number of seconds or an HTTP date (RFC 9110, 10.2.3). Some providers have headers of their own, and
some have only a sentence, at times as JSON inside a string. Anything that is not clearly a time is ignored; no wait is
longer than LONGEST_RETRY_AFTER_S.

A request sent before Retry-After has passed is refused again and keeps Azure's bucket empty, so a closed gate refuses
it locally. The gate does not sleep: the caller does the pacing.

Azure counts in several places, and a 429 is about one of them (Azure documentation: throttling of Resource Manager;
throttling limits of the compute and of the network provider):

- The gateway counts what one principal does in a subscription. It says so by its code.
- The network provider counts per subscription and region.
- The compute provider counts each VM's requests, and those of a subscription and region. Its answer does not say which
  of the two it is. So it is about the VM, until a second VM is refused while the first still waits.

A controller reads the VMs and NICs of all nodes: one node that has Azure refuse the reads of its own VM must not close
the gate for the others.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from azure_cni.ipam.limits import LONGEST_RETRY_AFTER_S

_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_WORDS = re.compile(
    r"\b(?:try again|retry|retried|wait)\b[^.0-9]{0,40}?([0-9]{1,9}(?:\.[0-9]{1,3})?)['\"]?\s*"
    r"(millisecond|second|sec|minute|min|hour|s\b|m\b|h\b)",
    re.IGNORECASE,
)
_UNITS: Final[Mapping[str, float]] = {"m": 60.0, "min": 60.0, "minute": 60.0, "h": 3600.0, "hour": 3600.0}
_HEADERS: Final = (("Retry-After", 1.0), ("x-ms-retry-after-ms", 1000.0), ("retry-after-ms", 1000.0))


def wait_in_headers(headers: Mapping[str, str], *, now_s: float) -> float | None:
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


def wait_in_words(text: str) -> float | None:
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


DEFAULT_RETRY_AFTER_S: Final = 5.0
"""When a 429 names no time: short, because the caller's own backoff grows above it."""
BY_GATEWAY: Final = frozenset({"SubscriptionRequestsThrottled", "TenantRequestsThrottled"})
COMPUTE: Final = "microsoft.compute"


class Kind(StrEnum):
    """The two buckets."""

    READ = "read"
    WRITE = "write"


class ThrottleGate:
    """Open until `close`d, and again when the time has passed. `monotonic` gives seconds.

    What is asked for is named by its URL, or the path of it.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._opens_at: dict[tuple[Kind, str], float] = {}
        """By what is counted together: see `_scopes`."""

    def closed_for_s(self, kind: Kind, url: str) -> float:
        """Seconds until a request of this kind may be made; 0 when now."""
        opens_at = (self._opens_at.get((kind, scope), 0.0) for scope in _scopes(url))
        return max(0.0, max(opens_at) - self._monotonic())

    def close(self, kind: Kind, url: str, *, azure_code: str, retry_after_s: float | None) -> None:
        """Azure throttled a request of this kind. A later, shorter Retry-After does not open the gate sooner.

        `azure_code`: of its answer; "" when it was not Azure that answered.
        """
        now_s = self._monotonic()
        self._opens_at = {key: opens_at for key, opens_at in self._opens_at.items() if opens_at > now_s}
        wait_s = DEFAULT_RETRY_AFTER_S if retry_after_s is None else min(max(retry_after_s, 0.0), LONGEST_RETRY_AFTER_S)
        everything, subscription, provider, resource = _scopes(url)
        if not azure_code:  # a proxy, through which all goes
            scope = everything
        elif azure_code in BY_GATEWAY:
            scope = subscription
        elif not provider.endswith(f"/{COMPUTE}") or self._others_wait(kind, provider, resource):
            scope = provider
        else:
            scope = resource
        self._opens_at[kind, scope] = max(now_s + wait_s, self._opens_at.get((kind, scope), 0.0))

    def _others_wait(self, kind: Kind, provider: str, resource: str) -> bool:
        """Whether another resource of that provider was refused, too, and its time has not passed."""
        return any(
            waiting == kind and scope.startswith(f"{provider}/") and scope != resource
            for waiting, scope in self._opens_at
        )


def _scopes(url: str) -> tuple[str, str, str, str]:
    """What a request counts among, from all to itself: everything, a subscription, a provider there, a resource.

    A resource is named by its provider first, so that those of one provider begin alike.
    """
    path = urlsplit(url).path.lower().strip("/")
    parts = path.split("/")
    subscription = "/".join(parts[:2])
    if "providers" not in parts[:-1]:
        return "", subscription, subscription, subscription
    provider = f"{subscription}/{parts[parts.index('providers') + 1]}"
    return "", subscription, provider, f"{provider}/{path}"
