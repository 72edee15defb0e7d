"""Each alert fires when it should, by Prometheus' own word: one that cannot fire looks like one that need not."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from azure_cni.datapath.conflicts import ConflictReason
from unit.chart.helm import CHART, REPOSITORY, of_kind, render

FILE = REPOSITORY / "docs" / "alerts.yaml"
RULES = {rule["alert"]: rule for group in yaml.safe_load(FILE.read_text())["groups"] for rule in group["rules"]}

LEADS = {
    "azure_cni_controller_leader{job='j',instance='c'}": "1x60",
    "azure_cni_build_info{job='j',instance='c'}": "1x60",
}
"""A controller that is well."""
FIRES = {
    "AzureCNINodeNotUp": {"azure_cni_pool_ready": "0x60", "azure_cni_node_tainted": "0x60"},
    "AzureCNIPodsWait": {"azure_cni_pool_waiting_pods": "3x60"},
    "AzureCNIPodsRefused": {"azure_cni_cni_request_duration_seconds_count{verb='add',code='11'}": "0+5x60"},
    "AzureCNIAddressesLost": {"azure_cni_pool_lost_addresses": "1x60"},
    "AzureCNIHostConflict": {"azure_cni_host_conflicts{reason='RepairsUndone'}": "1x60"},
    "AzureCNIHostUnusual": {"azure_cni_host_conflicts{reason='ForeignPolicyRules'}": "1x60"},
    "AzureCNIQuotaExhausted": {"azure_cni_quota_exhausted{quota='v'}": "1x60"},
    "AzureCNINoLeader": {"azure_cni_controller_leader{job='j',instance='c'}": "1x10 stale"},
    "AzureCNIAway": {"up{job='azure-cni'}": "0x60"},
    "AzureCNINodeTainted": {"azure_cni_node_tainted": "1x60"},
    "AzureCNIWaitsToWrite": {"azure_cni_grant_wait_seconds": "400x60"},
    "AzureCNINodeNearLimit": {"azure_cni_pool_near_limit{instance='n'}": "1x60"},
    "AzureCNIQuotaNearLimit": {
        "azure_cni_quota_near_limit{quota='v'}": "1x60",
        "azure_cni_quota_exhausted{quota='v'}": "0x60",
    },
    "AzureCNIQuotaNotReady": {
        "azure_cni_quota_ready{quota='v'}": "0x60",
        "azure_cni_quota_exhausted{quota='v'}": "0x60",
    },
    "AzureCNIUsageUnknown": {"azure_cni_quota_usage_read_timestamp_seconds{quota='v'}": "0x60"},
    "AzureCNIAgentMissing": {"azure_cni_quota_nodes{quota='v'}": "2x60", "azure_cni_pool_ready{instance='n'}": "1x60"},
    "AzureCNINicOperationsStuck": {"azure_cni_nic_operations_stuck{instance='c'}": "1x60"},
    "AzureCNIVanishedNodesHold": {"azure_cni_reclaims_total{result='kept'}": "0+1x60"},
    "AzureCNIThrottled": {"azure_cni_azure_throttled_seconds_total": "0+10x60"},
    "AzureCNIInternalError": {"azure_cni_internal_errors_total{activity='read'}": "1x60"},
    "AzureCNIDriftRepaired": {"azure_cni_drift_repairs_total{kind='kernel'}": "0+1x60"},
}


WITH_PROMTOOL = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing: `e2e/box packages` installs it"
)
BUILD = "azure_cni_build_info"


def assert_firing(series: dict[str, str], *alerts: str, directory: Path) -> None:
    """After 55 minutes of these series, one a minute, exactly these alerts fire, each once."""
    firing = {
        "expr": "count by (alertname) (ALERTS{alertstate='firing'})",
        "eval_time": "55m",
        "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in alerts],
    }
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    test = {"interval": "1m", "input_series": inputs, "promql_expr_test": [firing]}
    file = directory / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(FILE)], "evaluation_interval": "1m", "tests": [test]}))
    done = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@WITH_PROMTOOL
@pytest.mark.parametrize("alert", RULES)
def test_an_alert_fires_and_no_other_with_it(alert: str, tmp_path: Path):
    assert_firing(LEADS | FIRES[alert], alert, directory=tmp_path)


@WITH_PROMTOOL
def test_a_quota_that_is_exhausted_is_not_near_its_limit_as_well(tmp_path: Path):
    series = {f"azure_cni_quota_{name}{{quota='v'}}": "1x60" for name in ("near_limit", "exhausted")}
    assert_firing(LEADS | series, "AzureCNIQuotaExhausted", directory=tmp_path)


def test_the_chart_has_the_same_rules_for_the_prometheus_operator():
    rule = of_kind("PrometheusRule", "metrics.prometheusRule.enabled=true", "metrics.prometheusRule.labels.release=x")
    assert rule["spec"] == yaml.safe_load(FILE.read_text())
    assert rule["metadata"]["labels"]["release"] == "x"
    assert FILE.samefile(CHART / "files" / "alerts.yaml")
    assert "PrometheusRule" not in {manifest["kind"] for manifest in render()}


@WITH_PROMTOOL
@pytest.mark.parametrize(
    "job",
    [
        "pods",  # by annotations: the box, and many a handwritten configuration
        "kubernetes-pods",  # the same in the chart of Prometheus
        "net-agent-metrics",  # a ServiceMonitor's, with fullnameOverride=net
    ],
)
def test_an_agent_that_stops_answering_is_missed_by_whichever_job_it_was_found(job: str, tmp_path: Path):
    target = f"{{job='{job}',instance='n:9810'}}"
    other = f"{{job='{job}',instance='else:8080'}}"
    series = {f"up{target}": "1x20 0x40", f"{BUILD}{target}": "1x20 stale", f"up{other}": "0x60"}
    assert_firing(LEADS | series, "AzureCNIAway", directory=tmp_path)


@WITH_PROMTOOL
def test_an_agent_that_came_back_under_another_pod_is_not_missed(tmp_path: Path):
    series = {
        "up{job='pods',instance='n:9810',pod='a'}": "1x20 0x2 stale",
        "up{job='pods',instance='n:9810',pod='b'}": "_x24 1x40",
        f"{BUILD}{{job='pods',instance='n:9810',pod='a',version='1'}}": "1x20 stale",
        f"{BUILD}{{job='pods',instance='n:9810',pod='b',version='2'}}": "_x24 1x40",
    }
    assert_firing(LEADS | series, directory=tmp_path)


@WITH_PROMTOOL
def test_it_is_noticed_that_nothing_of_azure_cni_is_seen_any_more(tmp_path: Path):
    """Deleted, or not found by Prometheus: then there is no `up` of it either."""
    target = "{job='pods',instance='n:9810'}"
    series = {f"up{target}": "1x20 stale", f"{BUILD}{target}": "1x20 stale"}
    assert_firing(series, "AzureCNIAway", "AzureCNINoLeader", directory=tmp_path)


def test_every_alert_is_explained_with_its_severity():
    reported = (REPOSITORY / "docs" / "metrics.md").read_text().split("| alert (`severity: ")[1:]
    explained = {
        name: part.partition("`")[0] for part in reported for name in re.findall(r"^\| `(\w+)`", part, re.MULTILINE)
    }
    assert explained == {name: rule["labels"]["severity"] for name, rule in RULES.items()}


def test_no_summary_counts_in_the_plural():
    """Prometheus' templates cannot make a plural: a number stands behind its noun."""
    assert re.findall(r"\{\{ \$value \}\} \w+", FILE.read_text()) == []


def test_the_reasons_that_an_alert_names_are_those_of_the_code_and_each_pages_or_is_a_ticket():
    page, ticket = (RULES[name]["expr"] for name in ("AzureCNIHostConflict", "AzureCNIHostUnusual"))
    named = re.findall(r'"([\w|]+)"', page)
    assert named == re.findall(r'"([\w|]+)"', ticket)
    assert set(named[0].split("|")) <= set(ConflictReason)
