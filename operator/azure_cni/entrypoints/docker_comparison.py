"""The comparison with Docker's own lists, wired: the adapter, who is told names, and what Prometheus sees of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from azure_cni.docker.engine_roll import ACTIVITY, EngineRoll
from azure_cni.docker.engine_view import EngineReport, EngineView
from azure_cni.docker.ports import Engine
from azure_cni.entrypoints.running import kept_up
from azure_cni.ipam.address_state import Holder
from azure_cni.node.assembly import Node
from azure_cni.node.audit import AuditTrail
from azure_cni.node.ports import Clock

__all__ = ["EngineCollector", "EngineRoll", "compare", "engine_roll"]
"""The roll as well: the agent names its type, and imports nothing of `azure_cni.docker`."""


def engine_roll(engine: Engine, *, clock: Clock, audit: AuditTrail | None, registry: CollectorRegistry) -> EngineRoll:
    """What asks this engine for its lists. The audit trail is told containers' names."""

    def learned(view: EngineView) -> None:
        if audit is not None:
            audit.named(view.containers)

    roll = EngineRoll(engine, clock=clock, learned=learned)
    registry.register(EngineCollector(lambda: roll.report))
    return roll


async def compare(roll: EngineRoll, node: Node) -> None:
    """Ask it until cancelled, about the networks that endpoints are on at the time."""
    stored = node.stored

    def holders() -> list[Holder]:
        return [slot.holder for slot in stored.ledger.slots if slot.holder is not None]

    await kept_up(lambda: roll.run(holders, node.faults), ACTIVITY, node.faults)


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
