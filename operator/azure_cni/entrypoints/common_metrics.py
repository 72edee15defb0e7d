"""What agent and controller both publish (the process, its version, how Azure answers), and the text of all metrics.

Rendering that text takes several milliseconds of the loop that wires pods, and callers may ask at any rate. So it is
rendered at most once in `FRESH_S`, for all callers: there is one format, and parameters and headers of a request change
nothing.
"""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Callable
from typing import Final

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from azure_cni import __version__

MOST_CODES: Final = 64
"""Of Azure's error codes that a process names in its metrics, the first that come. `errors_map` knows fewer."""
OTHER_CODE: Final = "other"
CLOUD_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0)


_STATUS: Final = re.compile("[1-5][0-9]{2}", re.ASCII)


class CommonMetrics:
    """Metrics of agent and controller alike, in their own registry; implements `azure.answers.CallMetrics`."""

    def __init__(self, who: str) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        Gauge(
            "azure_cni_build_info", f"Version of this {who}; always 1.", ["version", "python"], registry=self.registry
        ).labels(__version__, platform.python_version()).set(1)
        self._codes: set[str] = set()
        self._azure = Histogram(
            "azure_cni_azure_request_duration_seconds",
            "Time of calls to Azure, by operation and answer.",
            ["operation", "code"],
            buckets=CLOUD_S,
            registry=self.registry,
        )
        self._throttled = Counter(
            "azure_cni_azure_throttled_seconds", "Time that Azure asked to wait.", registry=self.registry
        )
        self._internal_errors = Counter(
            "azure_cni_internal_errors",
            "Activities that failed by a fault of azure-cni.",
            ["activity"],
            registry=self.registry,
        )

    def azure(self, operation: str, code: str, seconds: float) -> None:
        """See `azure.answers.CallMetrics`."""
        self._azure.labels(operation, self._named(code)).observe(seconds)

    def _named(self, code: str) -> str:
        """Each label costs memory and a part of each scrape for as long as the process runs, whoever invents codes."""
        if code in self._codes or _STATUS.fullmatch(code):
            return code
        if len(self._codes) >= MOST_CODES:
            return OTHER_CODE
        self._codes.add(code)
        return code

    def throttled(self, seconds: float) -> None:
        """See `azure.answers.CallMetrics`."""
        self._throttled.inc(seconds)

    def internal_error(self, activity: str) -> None:
        """See the `Observer`s."""
        self._internal_errors.labels(activity).inc()


FRESH_S: Final = 1.0
"""Scrapes are further apart, so a text of this age is recent enough for them."""


class Exposition:
    """The text of one registry."""

    def __init__(self, registry: CollectorRegistry, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._registry = registry
        self._now_s = now_s
        self._text = b""
        self._written_s = float("-inf")

    def text(self) -> bytes:
        """The newest text, or one that is not older than `FRESH_S`."""
        now_s = self._now_s()
        if now_s >= self._written_s + FRESH_S:
            self._text, self._written_s = generate_latest(self._registry), now_s
        return self._text

    async def handle(self, _: web.Request) -> web.Response:
        """The answer to GET /metrics."""
        response = web.Response(body=self.text(), headers={hdrs.CONTENT_TYPE: CONTENT_TYPE_PLAIN_0_0_4})
        response.enable_compression()  # where the caller takes it
        return response
