"""What Prometheus sees: the ledger's own numbers, in names and units that its linter likes."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

from azure_cni.entrypoints.metrics import Metrics
from azure_cni.entrypoints.web import application
from fakes.simulated_node import SimulatedNode


async def test_the_pool_is_scraped_as_the_ledger_holds_it():
    metrics, node = Metrics(), SimulatedNode()
    metrics.watch_pool(book=node.book, board=node.board)
    app = application(registry=metrics.registry, healthy=lambda: "", ready=lambda: "no pool yet")
    async with TestClient(TestServer(app)) as client, node.running():
        await node.until(lambda: node.counts.free == 16)
        await node.add("p")
        metrics.cni("add", 0, 0.004)
        text = await (await client.get("/metrics")).text()
        ready, healthy = await client.get("/readyz"), await client.get("/healthz")
        assert (ready.status, await ready.text()) == (503, "no pool yet\n")
        assert healthy.status == 200
    families = {family.name: family for family in text_string_to_metric_families(text)}
    by_state = {sample.labels["state"]: sample.value for sample in families["azure_cni_pool_addresses"].samples}
    assert by_state == {"assigned": 1, "free": 15, "cooling": 0, "programming": 0, "releasing": 0}
    assert families["azure_cni_pool_target_addresses"].samples[0].value == 16
    assert families["azure_cni_pool_limit_addresses"].samples[0].value == 250
    assert "process_resident_memory_bytes" in families


@pytest.mark.parametrize(
    "family", ["azure_cni_cni_request_duration_seconds", "azure_cni_azure_request_duration_seconds"]
)
def test_every_family_has_help_and_no_label_names_an_address_or_a_pod(family: str):
    metrics = Metrics()
    described = {one.name: one for one in metrics.registry.collect()}
    assert described[family].documentation
    assert not {"address", "pod", "container"} & set(metrics._cni._labelnames + metrics._azure._labelnames)
