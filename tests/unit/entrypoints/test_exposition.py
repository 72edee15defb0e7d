"""The text of the metrics: as Prometheus wants it, and written once a second at most, whoever asks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from azure_cni.entrypoints.common_metrics import FRESH_S, Exposition
from azure_cni.entrypoints.web import Shown, application


class Counted(Collector):
    """A collector that knows how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def collect(self) -> Iterator[Metric]:
        self.asked += 1
        yield CounterMetricFamily("azure_cni_asked", "How often.", value=self.asked)


@pytest.mark.parametrize(
    "ask",
    [
        {},
        {"params": {"name[]": "azure_cni_asked_total"}},
        {"headers": {"Accept": "application/openmetrics-text; version=1.0.0"}},
        {"headers": {"Accept": "application/openmetrics-text; version=2.7.1; escaping=dots"}},
        {"headers": {"Accept-Encoding": "identity"}},
    ],
    ids=["plain", "names", "openmetrics", "invented version", "identity"],
)
async def test_a_flood_of_requests_of_any_form_costs_one_text(ask: dict[str, dict[str, str]]) -> None:
    counted = Counted()
    registry = CollectorRegistry()
    registry.register(counted)
    before = counted.asked  # a registry asks for names
    app = application(Shown(registry, healthy=lambda: "", ready=lambda: ""), metrics=True)
    async with TestClient(TestServer(app)) as client:
        texts = set()
        for number in range(50):
            form = ask if number % 2 else {}
            answer = await client.get("/metrics", **form)  # type: ignore[arg-type]
            assert answer.status == 200
            assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            texts.add(await answer.text())
    assert counted.asked - before <= 2, "a second may begin in between"
    assert all("azure_cni_asked_total" in text for text in texts)


def test_a_text_is_a_second_old_at_most() -> None:
    now_s = 100.0
    registry = CollectorRegistry()
    counter = Counter("azure_cni_things", "Things.", registry=registry)
    exposition = Exposition(registry, now_s=lambda: now_s)
    assert b"azure_cni_things_total 0.0" in exposition.text()
    counter.inc()
    now_s += FRESH_S / 2
    assert b"azure_cni_things_total 0.0" in exposition.text()
    now_s += FRESH_S / 2
    assert b"azure_cni_things_total 1.0" in exposition.text()
