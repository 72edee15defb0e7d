"""What Prometheus sees of a controller: quotas and budget at the moment of the scrape, and counts of what was done."""

from __future__ import annotations

import platform

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from azure_cni import __version__
from azure_cni.entrypoints.metrics import CLOUD_S

ROUND_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class ControllerMetrics:
    """The hooks of `cluster.ports.Observer`, as Prometheus metrics in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        Gauge(
            "azure_cni_build_info", "Version of this controller; always 1.", ["version", "python"],
            registry=self.registry,
        ).labels(__version__, platform.python_version()).set(1)  # fmt: skip
        self._granted = Counter(
            "azure_cni_grants", "Answers to nodes and what was taken back, by result.", ["result"],
            registry=self.registry,
        )  # fmt: skip
        self._ledger_written = Counter(
            "azure_cni_ledger_writes", "Writes of a quota's ledger, by result.", ["result"], registry=self.registry
        )
        self._round = Histogram(
            "azure_cni_grant_round_duration_seconds",
            "Time of one look at all pools of a VNet, with the writes that came of it.",
            buckets=ROUND_S,
            registry=self.registry,
        )
        self._throttled = Counter(
            "azure_cni_azure_throttled_seconds", "Time that Azure asked to wait.", registry=self.registry
        )
        self._reclaimed = Counter(
            "azure_cni_reclaims", "Grants of vanished nodes that were looked into, by result.", ["result"],
            registry=self.registry,
        )  # fmt: skip
        self._azure = Histogram(
            "azure_cni_azure_request_duration_seconds",
            "Time of calls to Azure, by operation and answer.",
            ["operation", "code"],
            buckets=CLOUD_S,
            registry=self.registry,
        )

    def granted(self, result: str, count: int = 1) -> None:
        """See `Observer`."""
        self._granted.labels(result).inc(count)

    def ledger_written(self, result: str) -> None:
        """See `Observer`."""
        self._ledger_written.labels(result).inc()

    def round(self, seconds: float) -> None:
        """See `Observer`."""
        self._round.observe(seconds)

    def throttled(self, seconds: float) -> None:
        """See `Observer`."""
        self._throttled.inc(seconds)

    def reclaimed(self, result: str) -> None:
        """See `Observer`."""
        self._reclaimed.labels(result).inc()

    def azure(self, operation: str, code: str, seconds: float) -> None:
        """See `azure.meter.Meter`."""
        self._azure.labels(operation, code).observe(seconds)
