"""What Prometheus sees: the pool by state at the moment of the scrape, and counts and latencies of what was done.

Few labels, base units, and never a series per address or pod. The gauges of addresses are read from the ledger when
scraped, so they cannot disagree with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from prometheus_client import Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from azure_cni.datapath.conflicts import ConflictReason
from azure_cni.entrypoints.common_metrics import CommonMetrics
from azure_cni.ipam.ledger import Counts
from azure_cni.node.pods.assignment import SHORT_ID
from azure_cni.node.ports import Clock
from azure_cni.node.state import NodeState
from azure_cni.node.stored_ledger import StoredLedger

FAST_S = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
EXEMPLAR: Final = "container_id"
"""Its label. OpenMetrics allows 128 characters for all of an exemplar's."""
_RANDOM_ID: Final = re.compile(r"[0-9a-f]{32,}", re.ASCII)
"""As containerd and CRI-O make them. Where people choose IDs, they may say who they are, and anybody may scrape."""

_Gauge: TypeAlias = tuple[str, str, float]
"""Name without the prefix, help, value."""


class PoolCollector(Collector):
    """The pool of this node, read at each scrape from the ledger and from what the reconciler has found out."""

    def __init__(self, *, stored: StoredLedger, state: NodeState, clock: Clock) -> None:
        self._stored = stored
        self._state = state
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """The gauges."""
        counts = self._stored.ledger.counts()
        pool = GaugeMetricFamily(
            "azure_cni_pool_addresses", "Addresses of this node's pool by what they are doing.", labels=["state"]
        )
        for state in ("assigned", "free", "cooling", "programming", "releasing"):
            pool.add_metric([state], getattr(counts, state))
        yield pool
        read = GaugeMetricFamily(
            "azure_cni_nic_read_age_seconds", "Time since the NIC was last read; none before that."
        )
        if self._state.nic_read_s is not None:
            read.add_metric([], max(0.0, self._clock.boottime_s() - self._state.nic_read_s))
        yield read
        for name, help_text, value in (*self._sizes(counts), *self._grants(), *self._readiness()):
            yield GaugeMetricFamily(f"azure_cni_{name}", help_text, value=value)
        conflicts = GaugeMetricFamily(
            "azure_cni_host_conflicts",
            "1 while something else on this host stands in the way of pods' traffic, by what it is.",
            labels=["reason"],
        )
        present = {conflict.reason for conflict in self._state.conflicts}
        for reason in ConflictReason:
            conflicts.add_metric([reason.value], float(reason in present))
        yield conflicts
        yield from self._connections()

    def _connections(self) -> Iterator[Metric]:
        """The kernel's table, as of the last look at the kernel; no values where it tracks no connections."""
        usage = self._state.conntrack
        entries = GaugeMetricFamily(
            "azure_cni_conntrack_entries", "Connections in the kernel's table (nf_conntrack_count)."
        )
        limit = GaugeMetricFamily(
            "azure_cni_conntrack_limit_entries", "Connections that the kernel's table may hold (nf_conntrack_max)."
        )
        dropped = CounterMetricFamily(
            "azure_cni_conntrack_dropped_packets",
            "Packets of this node dropped since boot because their connection could not be added to the table.",
        )
        if usage is not None:
            entries.add_metric([], usage.entries)
            limit.add_metric([], usage.limit)
            dropped.add_metric([], usage.dropped)
        yield from (entries, limit, dropped)

    def _sizes(self, counts: Counts) -> Iterable[_Gauge]:
        state = self._state
        configs = len({slot.config for slot in self._stored.ledger.slots if slot.in_pool})
        return (
            ("pool_lost_addresses", "Addresses that pods hold and the NIC no longer has.", counts.missing),
            ("pool_ip_configurations", "Parts of the NIC that hold the pool's addresses: 1 for each block.", configs),
            ("pool_target_addresses", "Addresses this node should have now.", state.target),
            ("pool_limit_addresses", "Addresses this node may have at most.", state.maximum),
            ("pool_requested_addresses", "Addresses this node asks to hold.", state.requested),
            ("pool_granted_addresses", "Addresses this node may hold, as last answered.", state.granted),
            ("pool_waiting_pods", "Pods that need an address, beyond those for which one is free.", state.waiting),
        )

    def _grants(self) -> Iterable[_Gauge]:
        asked_s = self._state.asked_s
        waited_s = 0.0 if asked_s is None else max(0.0, self._clock.boottime_s() - asked_s)
        return (
            ("grant_wait_seconds", "Age of a request for a NIC write that has no answer yet; 0 if none.", waited_s),
            ("azure_throttled", "1 while Azure asks this node to wait.", self._state.throttled),
        )

    def _readiness(self) -> Iterable[_Gauge]:
        return (
            ("pool_ready", "1 while this node can take a pod.", self._state.can_take_a_pod),
            ("pool_near_limit", "1 while pods have most of what this node may hold.", bool(self._state.near_limit)),
            ("node_tainted", "1 while this node's taint keeps pods away.", self._state.tainted),
        )


class Metrics(CommonMetrics):
    """The hooks of `node.ports.Observer`, as Prometheus metrics in a registry of their own."""

    def __init__(self) -> None:
        super().__init__("agent")
        self._cni = Histogram(
            "azure_cni_cni_request_duration_seconds",
            "Time to answer the container runtime, by verb and CNI error code (0 is success).",
            ["verb", "code"],
            buckets=FAST_S,
            registry=self.registry,
        )
        self._stage = Histogram(
            "azure_cni_cni_stage_duration_seconds",
            "Time that parts of a CNI request take.",
            ["stage"],
            buckets=FAST_S,
            registry=self.registry,
        )
        self._reconciled = Counter(
            "azure_cni_reconcile", "Passes of the reconciler by result.", ["result"], registry=self.registry
        )
        self._repaired = Counter(
            "azure_cni_drift_repairs", "Differences found and put right, by kind.", ["kind"], registry=self.registry
        )

    def watch_pool(self, *, stored: StoredLedger, state: NodeState, clock: Clock) -> None:
        """Publish the pool's gauges."""
        self.registry.register(PoolCollector(stored=stored, state=state, clock=clock))

    def cni(self, verb: str, code: int, seconds: float, *, container_id: str = "") -> None:
        """See `Observer`. What a bucket last counted is its exemplar: an ID by which logs and the audit trail go on."""
        shown = {EXEMPLAR: container_id[:SHORT_ID]} if _RANDOM_ID.fullmatch(container_id) else None
        self._cni.labels(verb, str(code)).observe(seconds, shown)

    def stage(self, stage: str, seconds: float) -> None:
        """See `Observer`."""
        self._stage.labels(stage).observe(seconds)

    def reconciled(self, result: str) -> None:
        """See `Observer`."""
        self._reconciled.labels(result).inc()

    def repaired(self, kind: str) -> None:
        """See `Observer`."""
        self._repaired.labels(kind).inc()
