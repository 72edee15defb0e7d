"""Which ADD was slow: exemplars in OpenMetrics, parsed as a scraper parses them, and nobody's name among them."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_plain
from prometheus_client.samples import Exemplar

from azure_cni.entrypoints.common_metrics import Exposition, TextFormat
from azure_cni.entrypoints.metrics import FAST_S, Metrics
from azure_cni.entrypoints.web import Shown, application
from fakes.simulated_node import SimulatedNode
from unit.entrypoints.test_cni_server import body, serving

ID = "0f3e6c1d9b2a7" + "4" * 51
ADDS = "azure_cni_cni_request_duration_seconds"


def exemplars(metrics: Metrics) -> dict[str, Exemplar]:
    """By the bound of the bucket."""
    text = Exposition(metrics.registry).text(TextFormat.OPENMETRICS).decode()
    (family,) = [one for one in parse_openmetrics(text) if one.name == ADDS]
    return {one.labels["le"]: one.exemplar for one in family.samples if one.exemplar is not None}


def test_a_bucket_names_the_last_add_that_it_counted():
    metrics = Metrics()
    metrics.cni("add", 0, 0.004, container_id=ID)
    metrics.cni("add", 11, 2.0, container_id="a" * 64)
    metrics.cni("add", 11, 2.1, container_id="b" * 64)
    found = exemplars(metrics)
    assert {bound: (one.labels, one.value) for bound, one in found.items()} == {
        "0.005": ({"container_id": "0f3e6c1d9b2a7"}, 0.004),
        "2.5": ({"container_id": "b" * 13}, 2.1),
    }


@pytest.mark.parametrize("chosen", ["shop-cart-1", "cafe", "deadbeef", "cnitool-77383ca0a0715733ca6f", "Z" * 64, ""])
def test_an_id_that_somebody_chose_is_shown_to_nobody(chosen: str):
    metrics = Metrics()
    metrics.cni("add", 0, 0.004, container_id=chosen)
    assert exemplars(metrics) == {}


def test_exemplars_are_one_for_each_bucket_however_many_pods_start():
    metrics = Metrics()
    for number in range(3000):
        metrics.cni("add", 0, number / 200, container_id=f"{number:064x}")
    assert len(exemplars(metrics)) <= len(FAST_S) + 1


async def test_no_exemplar_names_a_pod_or_a_namespace(tmp_path: Path):
    """From the socket to the scrape, for an ADD that succeeds and one that cannot be read."""
    node = SimulatedNode()
    metrics = Metrics()
    async with serving(tmp_path, node) as caller:
        args = {"K8S_POD_NAMESPACE": "tenant-a", "K8S_POD_NAME": "cart-7d9f"}
        assert (await caller.post("add", body(ID, args=args)))[0] == 200
        assert (await caller.post("add", body("f" * 64, args=args, netns="")))[0] != 200
        assert (await caller.post("del", body(ID, args=args)))[0] == 200
        calls = [one[1:] for one in node.observer.recorded if one[0] == "cni"]
        said = list(zip(calls, node.observer.containers, strict=True))
    assert [(verb, container) for (verb, _), container in said] == [("add", ID), ("add", ""), ("del", "")]
    for (verb, code), container in said:
        metrics.cni(verb, int(code), 0.01, container_id=container)
    text = Exposition(metrics.registry).text(TextFormat.OPENMETRICS).decode()
    assert ID[:13] in text
    assert [word for word in (ID, "tenant-a", "cart-7d9f") if word in text] == []


async def test_scrapers_that_do_not_ask_get_the_same_series_without_exemplars():
    metrics, node = Metrics(), SimulatedNode()
    metrics.watch_pool(stored=node.stored, state=node.state, clock=node.clock)
    metrics.cni("add", 0, 0.004, container_id=ID)
    metrics.repaired("route")
    app = application(Shown(metrics.registry, healthy=lambda: "", ready=lambda: ""), metrics=True)
    async with TestClient(TestServer(app)) as client:
        plain = await client.get("/metrics")
        rich = await client.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
        assert (plain.content_type, rich.content_type) == ("text/plain", "application/openmetrics-text")
        texts = await plain.text(), await rich.text()
    assert ID[:13] not in texts[0]
    assert ID[:13] in texts[1]

    def series(families):
        return {(one.name, *sorted(one.labels.items())) for family in families for one in family.samples}

    assert series(parse_plain(texts[0])) == series(parse_openmetrics(texts[1]))
