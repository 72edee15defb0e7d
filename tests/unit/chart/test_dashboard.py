"""The dashboard asks for what is served, in PromQL that Prometheus accepts, and the chart hands it to Grafana."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from unit.chart.dashboard import FILE, text
from unit.chart.helm import of_kind, render
from unit.chart.test_alerts import WITH_PROMTOOL
from unit.chart.test_names import agents, controllers

DASHBOARD: dict[str, Any] = json.loads(FILE.read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]


def test_the_file_is_the_one_that_is_made():
    assert FILE.read_text() == text(), "run: python -m unit.chart.dashboard"


async def test_each_query_is_about_metrics_that_are_served():
    served = await agents() | controllers()
    for query in QUERIES:
        named = {re.sub(r"_(count|bucket)$", "", name) for name in re.findall(r"azure_cni_\w+", query)}
        assert named, query
        assert named <= served, query


async def test_every_metric_of_the_pool_and_of_quotas_is_shown():
    """What is served and not shown is either the same by another name, or only for whoever looks into one process."""
    shown = {re.sub(r"_(count|bucket)$", "", name) for query in QUERIES for name in re.findall(r"azure_cni_\w+", query)}
    assert await agents() | controllers() - shown
    assert (await agents() | controllers()) - shown == {
        "azure_cni_pool_target_addresses", "azure_cni_pool_requested_addresses", "azure_cni_pool_granted_addresses",
        "azure_cni_azure_throttled", "azure_cni_conntrack_dropped_packets_total", "azure_cni_quota_nodes",
        "azure_cni_pool_near_limit", "azure_cni_quota_near_limit",
        "azure_cni_quota_ready", "azure_cni_quota_exhausted", "azure_cni_quota_throttled",
        "azure_cni_quota_usage_read_timestamp_seconds", "azure_cni_grants_delayed", "azure_cni_nic_operations_stuck",
        "azure_cni_ledger_writes_total", "azure_cni_reclaims_total",
    }  # fmt: skip


@WITH_PROMTOOL
def test_prometheus_can_parse_each_query(tmp_path: Path):
    exprs = [query.replace("$__rate_interval", "5m") for query in QUERIES]
    rules = [{"record": f"query:{number}", "expr": expr} for number, expr in enumerate(exprs)]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(QUERIES)} rules found" in done.stdout


@WITH_PROMTOOL
def test_the_shares_are_of_what_there_is(tmp_path: Path):
    """The two that divide: by hand it is easily something that matches no series, and shows nothing."""
    series = {
        "azure_cni_pool_addresses{instance='n',job='j',state='assigned'}": "50x9",
        "azure_cni_pool_limit_addresses{instance='n',job='j'}": "200x9",
        **{
            f"azure_cni_quota_addresses{{quota='v',instance='c',what='{what}'}}": f"{value}x9"
            for what, value in {"limit": 120, "reserved": 10, "outside": 10, "granted": 75}.items()
        },
    }
    shares = {query: value for query in QUERIES for key, value in SHARES.items() if key in query and " / " in query}
    assert len(shares) == 2
    checks = [
        {"expr": query, "eval_time": "5m", "exp_samples": [{"labels": labels, "value": value}]}
        for query, (labels, value) in shares.items()
    ]
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    file = tmp_path / "test.yaml"
    test = {"interval": "1m", "input_series": inputs, "promql_expr_test": checks}
    file.write_text(yaml.safe_dump({"rule_files": [], "evaluation_interval": "1m", "tests": [test]}))
    done = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


SHARES = {
    "azure_cni_pool_limit_addresses": ('{instance="n", job="j", state="assigned"}', 0.25),
    "azure_cni_quota_addresses": ('{quota="v", instance="c"}', 0.75),
}


def test_panels_do_not_overlap_and_rows_have_names():
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert [row.split(" ")[0] for row in rows] == ["Alive", "Doing", "Wrong"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_chart_hands_it_to_grafana_where_it_is_wanted():
    made = of_kind(
        "ConfigMap",
        "metrics.dashboard.enabled=true",
        "metrics.dashboard.label=find_me",
        "metrics.dashboard.annotations.grafana_folder=Network",
        name="azure-cni-dashboard",
    )
    assert json.loads(made["data"]["azure-cni.json"]) == DASHBOARD
    assert made["metadata"]["labels"]["find_me"] == "1"
    assert made["metadata"]["annotations"] == {"grafana_folder": "Network"}
    assert "azure-cni-dashboard" not in {one["metadata"]["name"] for one in render()}


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel["title"]))
def test_each_panel_asks_the_data_source_that_the_reader_chose(panel: dict[str, Any]):
    asked = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
    assert asked == [{"type": "prometheus", "uid": "${datasource}"}] * len(asked)
