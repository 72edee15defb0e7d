"""What Prometheus sees of a controller: the quotas' own numbers while it leads, nothing of them while it does not."""

from __future__ import annotations

from types import SimpleNamespace

from azure_cni.api.quota_usage import AzureUse, SubnetUse, azure_document, subnet_document
from azure_cni.api.vnet_quota import (
    Draft,
    LedgerEntry,
    Limits,
    Tokens,
    tokens_document,
)
from azure_cni.entrypoints.controller_metrics import ControllerMetrics
from azure_cni.model.nic import VNetID
from azure_cni.quota.instance_budget import InstanceBudget
from fakes.cluster import FakeCluster, FakeQuotas

VNET = VNetID("/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/Prod")
LIMITS = Limits(limit=100, writes_per_minute=60, reserved=2)


def shown(metrics: ControllerMetrics) -> dict[str, float]:
    """Each of our samples but the version, by name and the values of its labels."""
    return {
        " ".join([sample.name.removeprefix("azure_cni_"), *sample.labels.values()]): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if family.name.startswith("azure_cni_")
        and family.name != "azure_cni_build_info"
        and not sample.name.endswith(("_bucket", "_created"))
    }


async def a_leader() -> SimpleNamespace:
    """Three entries, one of them of a node that has nothing yet; the condition Exhausted holds."""
    quotas = FakeQuotas(FakeCluster())
    entries = {"a": LedgerEntry(30, 1, "g/a"), "b": LedgerEntry(20, 1, "g/b"), "c": LedgerEntry(0, 1, "g/c")}
    fields = {
        "assigned": 44,
        "azure": azure_document(AzureUse(used=57, outside=7, read_s=0.0)),
        "budget": tokens_document(Tokens(tokens=2.5, time_s=0.0, pace=0.5), capacity=5.0),
        "subnets": [subnet_document(SubnetUse("nodes", 57, 59, near_since_s=0.0))],
        "conditions": [{"type": "Exhausted", "status": "True"}, {"type": "Throttled", "status": "False"}],
    }
    quota = await quotas.write(await quotas.create("prod", vnet_id=VNET, limits=LIMITS), Draft(entries, fields))
    return SimpleNamespace(quotas=(quota,), delayed=3, stuck=2, instance_budget=InstanceBudget(lambda: 0.0))


async def test_a_leader_shows_its_quotas_and_their_budget():
    metrics, leader = ControllerMetrics(), await a_leader()
    metrics.watch_quotas(leads=lambda: True, leader=lambda: leader)
    expected = {
        "controller_leader": 1,
        "quota_addresses prod limit": 100,
        "quota_addresses prod granted": 50,
        "quota_addresses prod assigned": 44,
        "quota_addresses prod reserved": 2,
        "quota_addresses prod outside": 7,
        "quota_nodes prod": 2,
        "quota_exhausted prod": 1,
        "quota_near_limit prod": 0,
        "write_budget_near_limit prod": 0,
        "subnet_addresses prod nodes used": 57,
        "subnet_addresses prod nodes limit": 59,
        "subnet_near_limit prod nodes": 1,
        "quota_throttled prod": 0,
        "write_budget_tokens prod": 2.5,
        "write_budget_capacity prod": 3,
        "write_budget_per_minute prod": 30,
        "grants_delayed": 3,
        "nic_operations_stuck": 2,
    }
    seen = shown(metrics)
    assert {name: seen.get(name) for name in expected} == expected


def test_a_standby_shows_that_it_does_not_lead_and_no_quota():
    metrics = ControllerMetrics()
    metrics.watch_quotas(leads=lambda: False, leader=lambda: None)
    seen = shown(metrics)
    assert (seen["controller_leader"], seen["grants_delayed"]) == (0, 0)
    assert not [name for name in seen if name.startswith(("quota_", "subnet_", "write_budget_"))]


def test_what_was_done_is_counted():
    metrics = ControllerMetrics()
    for _ in range(3):
        metrics.granted("full")
    metrics.granted("short")
    metrics.ledger_written("written")
    metrics.reclaimed("kept")
    metrics.round(0.2)
    metrics.azure("vnet.usages", "200", 0.4)
    metrics.throttled(30.0)
    expected = {
        "grants_total full": 3,
        "grants_total short": 1,
        "ledger_writes_total written": 1,
        "reclaims_total kept": 1,
        "grant_round_duration_seconds_count": 1,
        "grant_round_duration_seconds_sum": 0.2,
        "azure_request_duration_seconds_sum vnet.usages 200": 0.4,
        "azure_throttled_seconds_total": 30.0,
    }
    seen = shown(metrics)
    assert {name: seen.get(name) for name in expected} == expected
