"""Names in the documents are names of the product: values of the chart, and metrics."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from azure_cni.docker.engine_view import EngineReport
from azure_cni.entrypoints.controller_metrics import ControllerMetrics
from azure_cni.entrypoints.docker_comparison import EngineCollector
from azure_cni.entrypoints.docker_settings import read
from azure_cni.entrypoints.metrics import Metrics
from azure_cni.errors import ConfigInvalid
from fakes.simulated_node import SimulatedNode
from unit.chart.helm import REPOSITORY, VALUES
from unit.documentation.markdown import PAGES

METRICS = (REPOSITORY / "docs" / "metrics.md").read_text()
OF_DOCKER = {REPOSITORY / "docs" / "docker.md", REPOSITORY / "CHANGELOG.md"}
"""Pages that name settings of docker.toml, too."""
RULES = (REPOSITORY / "docs" / "alerts.yaml").read_text()


def values_in(text: str) -> Iterator[str]:
    """What is set, and what stands in backticks and begins with the name of a group of values."""
    yield from re.findall(r"--set '?([\w.]+)=", text)
    for name in re.findall(r"`([\w.]+)(?:[=:][^`]*)?`", text):
        if "." in name and not name.endswith(".json") and isinstance(VALUES.get(name.partition(".")[0]), dict):
            yield name  # what ends so is a file


def is_value(name: str) -> bool:
    """Whether values.yaml has it; below an empty map, as those of a pod's spec, are names of others."""
    part: Any = VALUES
    for key in name.split("."):
        if part == {}:
            return True
        if not isinstance(part, dict) or key not in part:
            return False
        part = part[key]
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_value_that_a_page_names_is_one_of_the_chart(page: Path):
    known = settings_of_docker() if page in OF_DOCKER else set()
    assert [name for name in values_in(page.read_text()) if name not in known and not is_value(name)] == []


def settings_of_docker() -> set[str]:
    """What docker.toml may hold, as the refusal of what it may not says."""
    with pytest.raises(ConfigInvalid) as refused:
        read("nothing = 1")
    return set(str(refused.value).rpartition("known are ")[2].split(", "))


def families(registry: CollectorRegistry) -> set[str]:
    """As their series begin: of counters with the ending that Prometheus sees."""
    names = (f"{family.name}_total" if family.type == "counter" else family.name for family in registry.collect())
    return {name for name in names if name.startswith("azure_cni_")}


async def agents() -> set[str]:
    metrics, node = Metrics(), SimulatedNode()
    metrics.watch_pool(stored=node.stored, state=node.state, clock=node.clock)
    metrics.registry.register(EngineCollector(EngineReport))
    return families(metrics.registry)


def controllers() -> set[str]:
    metrics = ControllerMetrics()
    metrics.watch_quotas(leads=lambda: False, leader=lambda: None)
    return families(metrics.registry)


def in_tables(text: str) -> set[str]:
    cells = re.findall(r"^\| (`azure_cni_[^|]+)\|", text, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(azure_cni_\w+)`", cell)}


async def test_the_tables_of_metrics_have_all_that_are_served_and_no_other():
    of_agents, _, of_controllers = METRICS.partition("## The controller")
    assert in_tables(of_agents) == await agents()
    assert in_tables(of_controllers) == controllers()


async def test_alerts_are_about_metrics_that_are_served():
    named = {re.sub(r"_count$", "", name) for name in re.findall(r"azure_cni_\w+", RULES)}
    assert {name for name in named if name != "azure_cni_quota_"} <= await agents() | controllers()
