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
from unit.chart.test_alerts import WITH_PROMTOOL, lies, series_of
from unit.chart.test_names import agents, controllers

DASHBOARD: dict[str, Any] = json.loads(FILE.read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
DEFAULTS = {one["name"]: one["query"] for one in DASHBOARD["templating"]["list"] if one["type"] == "textbox"}


def filled(expr: str, variables: dict[str, str] = DEFAULTS) -> str:
    """As Grafana sends it to Prometheus, with these variables."""
    return re.sub(r"\$\{(\w+)\}", lambda found: variables[found[1]], expr).replace("$__rate_interval", "5m")


QUERIES = [filled(target["expr"]) for panel in PANELS for target in panel["targets"]]


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
        "azure_cni_pool_ip_configurations", "azure_cni_azure_throttled", "azure_cni_conntrack_dropped_packets_total",
        "azure_cni_quota_nodes",
        "azure_cni_pool_near_limit", "azure_cni_quota_near_limit", "azure_cni_write_budget_near_limit",
        "azure_cni_subnet_near_limit",
        "azure_cni_recalled_addresses_total", "azure_cni_docker_list_age_seconds", "azure_cni_docker_listed",
        "azure_cni_docker_containers",
        "azure_cni_quota_ready", "azure_cni_quota_exhausted", "azure_cni_quota_throttled",
        "azure_cni_quota_usage_read_timestamp_seconds", "azure_cni_grants_delayed", "azure_cni_nic_operations_stuck",
        "azure_cni_ledger_writes_total", "azure_cni_reclaims_total",
        "azure_cni_instance_write_budget_capacity", "azure_cni_instance_write_budget_per_minute",
    }  # fmt: skip


@WITH_PROMTOOL
def test_prometheus_can_parse_each_query(tmp_path: Path):
    rules = [{"record": f"query:{number}", "expr": expr} for number, expr in enumerate(QUERIES)]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(QUERIES)} rules found" in done.stdout


AGENT = {"namespace": "kube-system", "pod": "azure-cni-agent-x2x7k", "job": "j"}
CONTROLLER = {"namespace": "kube-system", "pod": "azure-cni-controller-5d9c-b7z2p", "job": "j", "instance": "c"}
HONEST = {
    **{
        series_of("azure_cni_pool_addresses", **AGENT, instance=name, state="assigned"): f"{count}x9"
        for name, count in {"a": 50, "b": 20}.items()
    },
    **{series_of("azure_cni_pool_limit_addresses", **AGENT, instance=name): "200x9" for name in "ab"},
    **{series_of("azure_cni_pool_ready", **AGENT, instance=name): "1x9" for name in "ab"},
    **{
        series_of("azure_cni_quota_addresses", **CONTROLLER, quota="v", what=what): f"{value}x9"
        for what, value in {"limit": 120, "reserved": 10, "outside": 10, "granted": 75}.items()
    },
    series_of("azure_cni_controller_leader", **CONTROLLER): "1x9",
}
SHOWN = {
    "The fullest nodes (assigned of at most)": {'{instance="a"}': 0.25, '{instance="b"}': 0.1},
    "Quotas (granted of what may be)": {'{quota="v"}': 0.75},
    "Nodes with an agent": {"{}": 2},
    "Leading controllers (1)": {"{}": 1},
    "Pods with an address": {"{}": 70},
    "Pods that wait": {"{}": 0},
    "Addresses of all nodes": {'{state="assigned"}': 70},
}


def assert_shown(series: dict[str, str], shown: dict[str, dict[str, float]], directory: Path) -> None:
    checks = [
        {"expr": filled(target["expr"]), "eval_time": "5m",
         "exp_samples": [{"labels": labels, "value": value} for labels, value in shown[panel["title"]].items()]}
        for panel in PANELS if panel["title"] in shown
        for target in panel["targets"]
    ]  # fmt: skip
    assert len(checks) == len(shown)
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    file = directory / "test.yaml"
    test = {"interval": "1m", "input_series": inputs, "promql_expr_test": checks}
    file.write_text(yaml.safe_dump({"rule_files": [], "evaluation_interval": "1m", "tests": [test]}))
    done = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@WITH_PROMTOOL
def test_panels_show_what_there_is(tmp_path: Path):
    """Shares among them: by hand it is easily a division that matches no series, and shows nothing."""
    assert_shown(HONEST, SHOWN, tmp_path)


@WITH_PROMTOOL
def test_panels_show_the_same_whatever_pods_of_others_export(tmp_path: Path):
    assert_shown(HONEST | lies(namespace="dev", pod="azure-cni-agent-evil1", instance="evil"), SHOWN, tmp_path)


@WITH_PROMTOOL
def test_an_agent_that_lies_is_one_node_and_no_controller(tmp_path: Path):
    liar = lies(namespace="kube-system", pod="azure-cni-agent-evil1", instance="evil", job="j")
    of_nodes = {"The fullest nodes (assigned of at most)", "Addresses of all nodes"}
    shown = {title: values for title, values in SHOWN.items() if title not in of_nodes}
    assert_shown(HONEST | liar, shown | {"Nodes with an agent": {"{}": 3}}, tmp_path)


def test_every_query_selects_the_namespace_and_the_pods():
    for panel in PANELS:
        for target in panel["targets"]:
            metrics = re.findall(r"azure_cni_\w+", target["expr"])
            selected = re.findall(r'azure_cni_\w+\{[^}]*namespace="\$\{namespace\}", pod=~"\$\{', target["expr"])
            assert len(selected) == len(metrics), panel["title"]


def test_the_charts_dashboard_begins_with_the_releases_own_pods():
    values = ("metrics.dashboard.enabled=true", "fullnameOverride=net")
    made = of_kind("ConfigMap", *values, name="net-dashboard", namespace="network")
    variables = json.loads(made["data"]["azure-cni.json"])["templating"]["list"]
    assert {one["name"]: one["current"]["value"] for one in variables if one["type"] == "textbox"} == {
        "namespace": "network", "agents": "net-agent-.+", "controllers": "net-controller-.+",
    }  # fmt: skip


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
