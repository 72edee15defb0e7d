"""The controller's metrics: quotas and budget at the moment of the scrape, and counters of what was done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from azure_cni.api.conditions import QuotaKind
from azure_cni.api.reading import whole
from azure_cni.api.vnet_quota import MOST_IN_A_VNET, VNetQuota
from azure_cni.cluster.leader import Leader
from azure_cni.entrypoints.common_metrics import CommonMetrics
from azure_cni.ipam.near_limit import was_near
from azure_cni.quota.write_budget import capacity

ROUND_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class QuotaCollector(Collector):
    """The quotas as the leading controller knows them, read at each scrape; a standby knows none."""

    def __init__(self, *, leads: Callable[[], bool], leader: Callable[[], Leader | None]) -> None:
        self._leads = leads
        self._leader = leader

    def collect(self) -> Iterator[Metric]:
        """The gauges."""
        yield GaugeMetricFamily(
            "azure_cni_controller_leader", "1 while this controller leads.", value=float(self._leads())
        )
        addresses = GaugeMetricFamily(
            "azure_cni_quota_addresses", "Addresses of a VNet's quota by what they are.", labels=["quota", "what"]
        )
        nodes = GaugeMetricFamily("azure_cni_quota_nodes", "Nodes with a grant.", labels=["quota"])
        ready = GaugeMetricFamily(
            "azure_cni_quota_ready", "1 while nodes are granted what they ask for.", labels=["quota"]
        )
        exhausted = GaugeMetricFamily(
            "azure_cni_quota_exhausted", "1 while nodes ask for more than there is.", labels=["quota"]
        )
        near = GaugeMetricFamily(
            "azure_cni_quota_near_limit", "1 while most of what may be granted is.", labels=["quota"]
        )
        near_writes = GaugeMetricFamily(
            "azure_cni_write_budget_near_limit",
            "1 while most of the NIC writes that may be made in ten minutes are.",
            labels=["quota"],
        )
        throttled = GaugeMetricFamily(
            "azure_cni_quota_throttled", "1 while Azure asks to wait and no NIC is written.", labels=["quota"]
        )
        read = GaugeMetricFamily(
            "azure_cni_quota_usage_read_timestamp_seconds",
            "Time since 1970 at which Azure last said how full the VNet is; 0 if it never did.",
            labels=["quota"],
        )
        tokens = GaugeMetricFamily(
            "azure_cni_write_budget_tokens",
            "NIC writes that were left when last counted, of at most azure_cni_write_budget_capacity.",
            labels=["quota"],
        )
        most = GaugeMetricFamily(
            "azure_cni_write_budget_capacity",
            "NIC writes that are saved up at most: azure_cni_write_budget_tokens of a budget that is full.",
            labels=["quota"],
        )
        rate = GaugeMetricFamily(
            "azure_cni_write_budget_per_minute", "NIC writes that may be made in a minute now.", labels=["quota"]
        )
        leader = self._leader()
        for quota in leader.quotas if leader else ():
            for what, value in _addresses(quota).items():
                addresses.add_metric([quota.name, what], value)
            nodes.add_metric([quota.name], sum(1 for entry in quota.entries.values() if entry.count))
            ready.add_metric([quota.name], float(quota.holds(QuotaKind.READY)))
            exhausted.add_metric([quota.name], float(quota.holds(QuotaKind.EXHAUSTED)))
            near.add_metric([quota.name], float(was_near(quota.status, QuotaKind.EXHAUSTED)))
            near_writes.add_metric([quota.name], float(was_near(quota.status, QuotaKind.THROTTLED)))
            throttled.add_metric([quota.name], float(quota.holds(QuotaKind.THROTTLED)))
            read.add_metric([quota.name], quota.azure.read_s if quota.azure else 0.0)
            if quota.tokens:
                tokens.add_metric([quota.name], quota.tokens.tokens)
                most.add_metric([quota.name], capacity(quota.limits.writes_per_minute))
                rate.add_metric([quota.name], quota.limits.writes_per_minute * quota.tokens.pace)
        yield from _subnets(leader.quotas if leader else ())
        yield from _instance_writes(leader)
        yield from (addresses, nodes, ready, exhausted, near, near_writes, throttled, read, tokens, most, rate)
        yield GaugeMetricFamily(
            "azure_cni_grants_delayed", "Nodes that wait for their grant.", value=leader.delayed if leader else 0
        )
        yield GaugeMetricFamily(
            "azure_cni_nic_operations_stuck",
            "Nodes with a NIC operation whose result cannot be written.",
            value=leader.stuck if leader else 0,
        )


def _subnets(quotas: Iterable[VNetQuota]) -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
    """How full the subnets of nodes are."""
    addresses = GaugeMetricFamily(
        "azure_cni_subnet_addresses",
        "Addresses of a subnet that nodes are in, as Azure counts them: used by whomever, and limit.",
        labels=["quota", "subnet", "what"],
    )
    near = GaugeMetricFamily(
        "azure_cni_subnet_near_limit", "1 while most of a subnet's addresses are used.", labels=["quota", "subnet"]
    )
    for quota in quotas:
        for use in quota.subnets:
            addresses.add_metric([quota.name, use.name, "used"], use.used)
            addresses.add_metric([quota.name, use.name, "limit"], use.limit)
            near.add_metric([quota.name, use.name], float(use.near_since_s is not None))
    return addresses, near


def _instance_writes(leader: Leader | None) -> tuple[GaugeMetricFamily, ...]:
    """The budget that instances of scale sets have beside those of their VNets; nothing where there is none."""
    families = tuple(
        GaugeMetricFamily(f"azure_cni_instance_write_budget_{name}", words, labels=["subscription"])
        for name, words in (
            ("tokens", "Writes of scale sets' instances that could be granted at once."),
            ("capacity", "Writes of scale sets' instances that are saved up at most."),
            ("per_minute", "Writes of scale sets' instances that may be granted in a minute."),
        )
    )
    for subscription, values in leader.instance_budget.shown().items() if leader else ():
        for family, value in zip(families, values, strict=True):
            family.add_metric([subscription], value)
    return families


def _addresses(quota: VNetQuota) -> dict[str, int]:
    return {
        "limit": quota.limits.limit,
        "granted": quota.granted,
        "assigned": whole(quota.status.get("assigned"), most=MOST_IN_A_VNET),
        "reserved": quota.limits.reserved,
        "outside": quota.azure.outside if quota.azure else 0,
    }


class ControllerMetrics(CommonMetrics):
    """The hooks of `cluster.ports.ControllerObserver`, as Prometheus metrics in a registry of their own."""

    def __init__(self) -> None:
        super().__init__("controller")
        self._granted = Counter(
            "azure_cni_grants", "Answers to nodes and what was taken back, by result.", ["result"],
            registry=self.registry,
        )  # fmt: skip
        self._recalled = Counter(
            "azure_cni_recalled_addresses",
            "Idle addresses that nodes were asked to give back for pods that wait on other nodes.",
            registry=self.registry,
        )
        self._ledger_written = Counter(
            "azure_cni_ledger_writes", "Writes of a quota's ledger, by result.", ["result"], registry=self.registry
        )
        self._round = Histogram(
            "azure_cni_grant_round_duration_seconds",
            "Time of one look at all pools of a VNet, with the writes that came of it.",
            buckets=ROUND_S,
            registry=self.registry,
        )
        self._reclaimed = Counter(
            "azure_cni_reclaims", "Granter of vanished nodes that were looked into, by result.", ["result"],
            registry=self.registry,
        )  # fmt: skip

    def watch_quotas(self, *, leads: Callable[[], bool], leader: Callable[[], Leader | None]) -> None:
        """Publish the quotas' gauges."""
        self.registry.register(QuotaCollector(leads=leads, leader=leader))

    def granted(self, result: str) -> None:
        """See `Observer`."""
        self._granted.labels(result).inc()

    def recalled(self, addresses: int) -> None:
        """See `Observer`."""
        self._recalled.inc(addresses)

    def ledger_written(self, result: str) -> None:
        """See `Observer`."""
        self._ledger_written.labels(result).inc()

    def round(self, seconds: float) -> None:
        """See `Observer`."""
        self._round.observe(seconds)

    def reclaimed(self, result: str) -> None:
        """See `Observer`."""
        self._reclaimed.labels(result).inc()
