"""The text of the metrics: as Prometheus wants it, and each form written once a second at most, whoever asks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from azure_cni.entrypoints.common_metrics import FRESH_S, Exposition, TextFormat


class Counted(Collector):
    """A collector that knows how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def collect(self) -> Iterator[Metric]:
        self.asked += 1
        yield CounterMetricFamily("azure_cni_asked", "How often.", value=self.asked)


PLAIN = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
OF_PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
OF_PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (OF_PROMETHEUS_2, TextFormat.OPENMETRICS),
        (OF_PROMETHEUS_3, TextFormat.OPENMETRICS),
        ("application/openmetrics-text", TextFormat.OPENMETRICS),
        ('Application/OpenMetrics-Text; Version="1.0.0"; q=1.0', TextFormat.OPENMETRICS),
        ("", TextFormat.PLAIN),
        ("*/*", TextFormat.PLAIN),
        ("text/plain;version=0.0.4", TextFormat.PLAIN),
        ("text/html,application/xhtml+xml,*/*;q=0.8", TextFormat.PLAIN),
        ("application/openmetrics-text;version=0.0.1", TextFormat.PLAIN),
        ("application/openmetrics-text;version=2.7.1;escaping=dots", TextFormat.PLAIN),
        ("text/plain, application/openmetrics-text;version=1.0.0;q=0.5", TextFormat.PLAIN),
        ("application/openmetrics-text;version=1.0.0;q=0", TextFormat.PLAIN),
        ("application/openmetrics-text;q=nan", TextFormat.PLAIN),
        ("application/openmetrics-text;q=9e9;;=;q", TextFormat.PLAIN),
        (",;,=;q=;" * 400, TextFormat.PLAIN),
    ],
)
def test_openmetrics_is_for_those_who_ask_for_it(accept: str, form: TextFormat) -> None:
    assert TextFormat.accepted([accept]) is form


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
async def test_a_flood_of_requests_of_any_form_costs_one_text_of_each_format(ask: dict[str, dict[str, str]]) -> None:
    counted = Counted()
    registry = CollectorRegistry()
    registry.register(counted)
    before = counted.asked  # a registry asks for names
    app = web.Application()
    app.router.add_get("/metrics", Exposition(registry, now_s=lambda: 100.0).handle)
    async with TestClient(TestServer(app)) as client:
        texts, forms = set(), set()
        for number in range(50):
            form = ask if number % 2 else {}
            answer = await client.get("/metrics", **form)  # type: ignore[arg-type]
            assert answer.status == 200
            forms.add(answer.headers["Content-Type"])
            texts.add(await answer.text())
    assert forms <= {PLAIN, OPENMETRICS}
    assert counted.asked - before == len(forms), "one of each, within a second"
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
