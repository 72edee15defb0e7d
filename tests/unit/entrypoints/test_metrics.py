"""What Prometheus sees: the ledger's own numbers, in names and units that its linter likes."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

from azure_cni.datapath.conflicts import Conflict, ConflictReason
from azure_cni.datapath.conntrack import ConntrackUsage
from azure_cni.entrypoints.common_metrics import MOST_CODES
from azure_cni.entrypoints.metrics import Metrics
from azure_cni.entrypoints.web import Shown, application
from fakes.simulated_node import SimulatedNode


async def test_the_pool_is_scraped_as_the_ledger_holds_it():
    metrics, node = Metrics(), SimulatedNode()
    metrics.watch_pool(stored=node.stored, state=node.state, clock=node.clock)
    shown = Shown(registry=metrics.registry, healthy=lambda: "", ready=lambda: "no pool yet")
    app = application(shown, metrics=True)
    async with TestClient(TestServer(app)) as client, node.running():
        await node.until(lambda: node.counts.free == 16)
        await node.add("p")
        await node.until(lambda: node.state.can_take_a_pod)
        metrics.cni("add", 0, 0.004)
        text = await (await client.get("/metrics")).text()
        ready, healthy = await client.get("/readyz"), await client.get("/healthz")
        assert (ready.status, await ready.text()) == (503, "no pool yet\n")
        assert healthy.status == 200
    families = {family.name: family for family in text_string_to_metric_families(text)}
    by_state = {sample.labels["state"]: sample.value for sample in families["azure_cni_pool_addresses"].samples}
    assert by_state == {"assigned": 1, "free": 15, "cooling": 0, "programming": 0, "releasing": 0}
    assert families["azure_cni_pool_target_addresses"].samples[0].value == 16
    assert families["azure_cni_pool_ip_configurations"].samples[0].value == 16
    assert families["azure_cni_pool_limit_addresses"].samples[0].value == 250
    assert families["azure_cni_pool_ready"].samples[0].value == 1
    assert "process_resident_memory_bytes" in families


async def test_the_grant_the_wait_and_the_taint_are_scraped_as_the_board_shows_them():
    metrics, node = Metrics(), SimulatedNode()
    metrics.watch_pool(stored=node.stored, state=node.state, clock=node.clock)
    assert values(metrics) == {
        "azure_cni_pool_requested_addresses": 0,
        "azure_cni_pool_granted_addresses": 0,
        "azure_cni_pool_waiting_pods": 0,
        "azure_cni_grant_wait_seconds": 0,
        "azure_cni_azure_throttled": 0,
        "azure_cni_pool_ready": 0,
        "azure_cni_pool_near_limit": 0,
        "azure_cni_node_tainted": 0,
    }
    state = node.state
    state.requested, state.granted, state.waiting, state.near_limit = 64, 48, 7, True
    state.asked_s, state.throttled, state.tainted = node.clock.boottime_s() - 40.0, True, True
    shown = values(metrics)
    assert shown.pop("azure_cni_grant_wait_seconds") == pytest.approx(40.0, abs=1.0)
    assert shown == {
        "azure_cni_pool_requested_addresses": 64,
        "azure_cni_pool_granted_addresses": 48,
        "azure_cni_pool_waiting_pods": 7,
        "azure_cni_azure_throttled": 1,
        "azure_cni_pool_ready": 0,
        "azure_cni_pool_near_limit": 1,
        "azure_cni_node_tainted": 1,
    }


async def test_a_conflict_of_the_host_is_a_series_that_goes_back_to_zero():
    metrics, node = Metrics(), SimulatedNode()
    metrics.watch_pool(stored=node.stored, state=node.state, clock=node.clock)

    def shown() -> float | None:
        return metrics.registry.get_sample_value("azure_cni_host_conflicts", {"reason": "ForeignPolicyRules"})

    assert shown() == 0
    node.state.kernel_conflicts = (Conflict(ConflictReason.FOREIGN_POLICY_RULES, "nm-cloud-setup diverts pods"),)
    assert shown() == 1
    node.state.kernel_conflicts = ()
    assert shown() == 0


async def test_the_table_of_connections_is_shown_where_the_kernel_has_one():
    metrics, node = Metrics(), SimulatedNode()
    metrics.watch_pool(stored=node.stored, state=node.state, clock=node.clock)

    def shown() -> list[float | None]:
        names = ("entries", "limit_entries", "dropped_packets_total")
        return [metrics.registry.get_sample_value(f"azure_cni_conntrack_{name}") for name in names]

    assert shown() == [None, None, None]
    node.state.conntrack = ConntrackUsage(entries=1200, limit=65536, dropped=4)
    assert shown() == [1200, 65536, 4]


def values(metrics: Metrics) -> dict[str, float]:
    """The gauges that come from the board."""
    names = ["requested_", "granted_", "waiting_", "grant_", "_throttled", "_ready", "_near_limit", "_tainted"]
    return {
        family.name: family.samples[0].value
        for family in metrics.registry.collect()
        if family.type == "gauge" and any(name in family.name for name in names)
    }


def test_codes_that_somebody_invents_make_a_bounded_number_of_labels():
    metrics = Metrics()
    for number in range(2000):
        metrics.azure("nic.get", f"Code{number}", 0.1)
        metrics.azure("nic.put", f"Code{number}", 0.1)
    for status in ("200", "404", "503"):
        metrics.azure("nic.get", status, 0.1)
    (family,) = (one for one in metrics.registry.collect() if one.name == "azure_cni_azure_request_duration_seconds")
    counts = {
        (sample.labels["operation"], sample.labels["code"]): sample.value
        for sample in family.samples
        if sample.name.endswith("_count")
    }
    assert len(counts) == 2 * (MOST_CODES + 1) + 3
    assert counts["nic.get", "other"] == counts["nic.put", "other"] == 2000 - MOST_CODES
    assert [counts["nic.get", code] for code in ("Code0", "200", "404", "503")] == [1, 1, 1, 1]
