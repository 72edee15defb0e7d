"""What agent and controller both publish (the process, its version, how Azure answers), and the text of all metrics.

Rendering that text takes several milliseconds of the loop that wires pods, and callers may ask at any rate. So each of
two formats is rendered at most once in `FRESH_S`, for all callers; only OpenMetrics has exemplars. The format is all
that a request changes: names and escapings that it asks for do nothing.
"""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics import exposition as openmetrics

from azure_cni import __version__

MOST_CODES: Final = 64
"""Of Azure's error codes that a process names in its metrics, the first that come. `errors_map` knows fewer."""
OTHER_CODE: Final = "other"
CLOUD_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0)


_STATUS: Final = re.compile("[1-5][0-9]{2}", re.ASCII)
_WEIGHT: Final = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?", re.ASCII)  # RFC 9110, 12.4.2


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


class TextFormat(Enum):
    """Its media type, and what writes it."""

    PLAIN = CONTENT_TYPE_PLAIN_0_0_4, generate_latest
    OPENMETRICS = openmetrics.CONTENT_TYPE_LATEST, openmetrics.generate_latest

    @classmethod
    def accepted(cls, headers: Sequence[str]) -> TextFormat:
        """By the Accept headers (RFC 9110, 12.5.1): OpenMetrics 1.0 where it is named and plain text not preferred."""
        weights: dict[str, float] = {}
        for piece in ",".join(headers).lower().split(","):
            kind, *parameters = (part.strip() for part in piece.split(";"))
            given = dict(one.split("=", 1) for one in parameters if "=" in one)
            version = given.get("version", "").strip('"')
            if kind == "text/plain" or (kind == "application/openmetrics-text" and version in {"", "1.0.0"}):
                weights[kind] = max(weights.get(kind, 0.0), _weight(given.get("q", "1")))
        wanted = weights.get("application/openmetrics-text", 0.0)
        return cls.OPENMETRICS if wanted > 0 and wanted >= weights.get("text/plain", 0.0) else cls.PLAIN


def _weight(text: str) -> float:
    """0 for what is none."""
    return float(text) if _WEIGHT.fullmatch(text) else 0.0


class Exposition:
    """The texts of one registry."""

    def __init__(self, registry: CollectorRegistry, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._registry = registry
        self._now_s = now_s
        self._texts: dict[TextFormat, tuple[float, bytes]] = {}

    def text(self, form: TextFormat = TextFormat.PLAIN) -> bytes:
        """The newest text, or one that is not older than `FRESH_S`."""
        now_s = self._now_s()
        written_s, text = self._texts.get(form, (float("-inf"), b""))
        if now_s >= written_s + FRESH_S:
            _, write = form.value
            text = write(self._registry)
            self._texts[form] = now_s, text
        return text

    async def handle(self, request: web.Request) -> web.Response:
        """The answer to GET /metrics."""
        form = TextFormat.accepted(request.headers.getall(hdrs.ACCEPT, ()))
        media_type, _ = form.value
        response = web.Response(body=self.text(form), headers={hdrs.CONTENT_TYPE: media_type, hdrs.VARY: hdrs.ACCEPT})
        response.enable_compression()  # where the caller takes it
        return response
