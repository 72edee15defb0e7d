"""What holds of each of our metrics, the agent's and the controller's: help, names, units, few labels."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from prometheus_client.core import Metric

from azure_cni.api.vnet_quota import Tokens, parse, tokens_document
from azure_cni.datapath.conntrack import ConntrackUsage
from azure_cni.docker.engine_view import EngineReport, EngineView
from azure_cni.entrypoints.controller_metrics import ControllerMetrics
from azure_cni.entrypoints.docker_comparison import EngineCollector
from azure_cni.entrypoints.metrics import Metrics
from azure_cni.linux.clock import SystemClock
from azure_cni.node.state import NodeState
from azure_cni.node.stored_ledger import StoredLedger
from azure_cni.quota.instance_budget import InstanceBudget
from fakes.ledger_store import FakeLedgerStore

LABELS = {
    "activity",
    "state",
    "verb",
    "code",
    "stage",
    "operation",
    "result",
    "kind",
    "quota",
    "subscription",
    "subnet",
    "what",
    "reason",
    "version",
    "python",
    "le",
}
"""Each has few values: none names a pod, an address, a container, or a node (Prometheus adds that)."""

OTHER_UNITS = ("ms", "milliseconds", "minutes", "hours", "kib", "mib", "percent")
RESERVED = ("total", "count", "sum", "bucket", "info")


def agent() -> Metrics:
    """All hooks used once."""
    metrics, state = Metrics(), NodeState()
    state.nic_read_s = 0.0
    state.conntrack = ConntrackUsage(entries=1, limit=262_144, dropped=0)
    metrics.watch_pool(
        stored=StoredLedger(store=FakeLedgerStore(), broadcast=state.broadcast), state=state, clock=SystemClock()
    )
    metrics.registry.register(EngineCollector(lambda: EngineReport(EngineView(count=3), 1.0)))
    metrics.cni("add", 0, 0.004)
    metrics.stage("netlink", 0.001)
    metrics.azure("nic.put", "200", 1.0)
    metrics.throttled(3.0)
    metrics.reconciled("grew")
    metrics.repaired("stale_link")
    metrics.internal_error("read")
    return metrics


def controller() -> ControllerMetrics:
    """All hooks used once, and one quota with a subnet."""
    metrics = ControllerMetrics()
    status = {
        "budget": tokens_document(Tokens(1.0, 0.0, 1.0), capacity=5.0),
        "subnets": [{"name": "nodes", "used": 9, "limit": 251}],
    }
    quota = parse({"metadata": {"name": "prod"}, "status": status})
    budget = InstanceBudget(lambda: 0.0)
    budget.note("/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/prod", writes=1)
    leader = SimpleNamespace(quotas=(quota,), delayed=0, stuck=0, instance_budget=budget)
    metrics.watch_quotas(leads=lambda: True, leader=lambda: leader)
    metrics.granted("full")
    metrics.ledger_written("written")
    metrics.round(0.1)
    metrics.reclaimed("kept")
    metrics.internal_error("grants")
    metrics.azure("vnet.usages", "200", 1.0)
    metrics.throttled(3.0)
    return metrics


FAMILIES = [
    pytest.param(family, id=f"{make.__name__} {family.name}")
    for make in (agent, controller)
    for family in make().registry.collect()
    if not family.name.startswith("process_")  # the client's own
]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_named_explained_and_labelled_as_all_are(family: Metric):
    assert family.name.startswith("azure_cni_")
    assert family.documentation.endswith(".")
    assert family.samples, "its hook is not used above: its labels cannot be looked at"
    assert {label for sample in family.samples for label in sample.labels} <= LABELS


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_says_its_unit_and_type_as_prometheus_wants(family: Metric):
    last = family.name.rpartition("_")[2]
    assert last not in OTHER_UNITS
    assert (last == "seconds") == family.documentation.startswith(("Time ", "Age ")), (
        "a time is in seconds, and named so"
    )
    match family.type:
        case "counter":
            assert {sample.name for sample in family.samples} - {f"{family.name}_created"} == {f"{family.name}_total"}
        case "histogram":
            assert family.name.endswith("_duration_seconds")
        case "gauge":
            assert last not in RESERVED or family.name == "azure_cni_build_info"
        case other:
            pytest.fail(f"a type that none of our families has: {other}")


def test_what_agent_and_controller_share_means_the_same():
    ours, theirs = ({one.name: one for one in make().registry.collect()} for make in (agent, controller))
    shared = {name for name in ours.keys() & theirs.keys() if name.startswith("azure_cni_")}
    assert shared == {
        "azure_cni_build_info",
        "azure_cni_azure_request_duration_seconds",
        "azure_cni_azure_throttled_seconds",
        "azure_cni_internal_errors",
    }
    assert {ours[name].type for name in shared} == {"gauge", "histogram", "counter"}
    assert [ours[name].type for name in shared] == [theirs[name].type for name in shared]
