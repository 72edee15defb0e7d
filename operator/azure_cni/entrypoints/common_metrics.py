"""What agent and controller both publish: the process, its version, and how Azure answers."""

from __future__ import annotations

import platform

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from azure_cni import __version__

CLOUD_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0)


class CommonMetrics:
    """A registry of its own, and in it what every process of ours has; `azure.meter.Meter`'s hooks."""

    def __init__(self, who: str) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        Gauge(
            "azure_cni_build_info", f"Version of this {who}; always 1.", ["version", "python"], registry=self.registry
        ).labels(__version__, platform.python_version()).set(1)
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
        """See `azure.meter.Meter`."""
        self._azure.labels(operation, code).observe(seconds)

    def throttled(self, seconds: float) -> None:
        """See `azure.meter.Meter`."""
        self._throttled.inc(seconds)

    def internal_error(self, activity: str) -> None:
        """See the `Observer`s."""
        self._internal_errors.labels(activity).inc()
