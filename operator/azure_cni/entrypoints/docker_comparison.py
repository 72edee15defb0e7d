"""The comparison with Docker's own lists, wired: the adapter, who is told names, and what Prometheus sees of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from azure_cni.docker.engine_roll import EngineRoll
from azure_cni.docker.engine_view import EngineReport, EngineView
from azure_cni.host.docker_engine import DockerEngine
from azure_cni.node.assembly import Node
from azure_cni.node.audit import AuditTrail
from azure_cni.node.ports import Clock


def engine_roll(
    socket: Path | None, *, clock: Clock, audit: AuditTrail | None, registry: CollectorRegistry
) -> EngineRoll | None:
    """What asks Docker at its socket; None where it is not to be asked. The audit trail is told containers' names."""
    if socket is None:
        return None

    def learned(view: EngineView) -> None:
        if audit is not None:
            audit.named(view.containers)

    engine = EngineRoll(DockerEngine.at(socket), clock=clock, learned=learned)
    registry.register(EngineCollector(lambda: engine.report))
    return engine


async def compare(engine: EngineRoll, node: Node) -> None:
    """Ask it until cancelled, about the networks that endpoints are on at the time."""
    stored = node.stored
    await engine.run(
        lambda: [slot.holder for slot in stored.ledger.slots if slot.holder is not None],
        node.faults,
    )


class EngineCollector(Collector):
    """`report` is asked for with each scrape."""

    def __init__(self, report: Callable[[], EngineReport]) -> None:
        self._report = report

    def collect(self) -> Iterator[Metric]:
        """No values before Docker's first answer."""
        report = self._report()
        listed = GaugeMetricFamily("azure_cni_docker_listed", "1 while Docker lists its containers when it is asked.")
        listed.add_metric([], float(report.view is not None and not report.error))
        age = GaugeMetricFamily("azure_cni_docker_list_age_seconds", "Time since Docker last listed its containers.")
        containers = GaugeMetricFamily(
            "azure_cni_docker_containers", "Containers of Docker, whatever their networks, as last listed."
        )
        if report.view is not None:
            age.add_metric([], report.age_s)
            containers.add_metric([], report.view.count)
        yield from (listed, age, containers)
