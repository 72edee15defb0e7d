"""Each alert fires when it should, by Prometheus' own word: one that cannot fire looks like one that need not."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from azure_cni.datapath.conflicts import ConflictReason
from unit.chart.helm import CHART, REPOSITORY, of_kind, render
from unit.documentation.markdown import anchors, load_site

FILE = REPOSITORY / "docs" / "alerts.yaml"
RULES = {rule["alert"]: rule for group in yaml.safe_load(FILE.read_text())["groups"] for rule in group["rules"]}


def agent(metric: str, job: str = "j", instance: str = "n", pod: str = "azure-cni-agent-x2x7k", **labels: str) -> str:
    """A series that Prometheus has of an agent."""
    return series_of(metric, job=job, namespace="kube-system", pod=pod, instance=instance, **labels)


def controller(metric: str, job: str = "j", **labels: str) -> str:
    """The same of a controller."""
    pod = "azure-cni-controller-5d9c-b7z2p"
    return series_of(metric, job=job, namespace="kube-system", pod=pod, instance="c", **labels)


def series_of(metric: str, **labels: str) -> str:
    return f"{metric}{{{','.join(f'{name}={value!r}' for name, value in labels.items())}}}"


BUILD = "azure_cni_build_info"
ADDRESSES, LIMIT, QUOTA = "azure_cni_pool_addresses", "azure_cni_pool_limit_addresses", "azure_cni_quota_addresses"
REQUESTS = "azure_cni_cni_request_duration_seconds_count"
LEADS = {controller("azure_cni_controller_leader"): "1x60", controller(BUILD): "1x60", controller("up"): "1x60"}
"""A controller that is well."""
WELL = LEADS | {agent(BUILD, instance="well"): "1x60", agent("up", instance="well"): "1x60"}
"""That, and an agent."""
FIRES = {
    "AzureCNINodeNotUp": {agent("azure_cni_pool_ready"): "0x60", agent("azure_cni_node_tainted"): "0x60"},
    "AzureCNIPodsWait": {agent("azure_cni_pool_waiting_pods"): "3x60"},
    "AzureCNIPodsRefused": {agent(REQUESTS, verb="add", code="11"): "0+5x60"},
    "AzureCNIAddressesLost": {agent("azure_cni_pool_lost_addresses"): "1x60"},
    "AzureCNIHostConflict": {agent("azure_cni_host_conflicts", reason="RepairsUndone"): "1x60"},
    "AzureCNIHostUnusual": {agent("azure_cni_host_conflicts", reason="ForeignPolicyRules"): "1x60"},
    "AzureCNIQuotaExhausted": {controller("azure_cni_quota_exhausted", quota="v"): "1x60"},
    "AzureCNINoLeader": {controller("azure_cni_controller_leader"): "1x10 stale"},
    "AzureCNIAway": {agent("up"): "0x60"},
    "AzureCNINodeTainted": {agent("azure_cni_node_tainted"): "1x60"},
    "AzureCNIWaitsToWrite": {agent("azure_cni_grant_wait_seconds"): "400x60"},
    "AzureCNINodeNearLimit": {agent("azure_cni_pool_near_limit"): "1x60"},
    "AzureCNIQuotaNearLimit": {
        controller("azure_cni_quota_near_limit", quota="v"): "1x60",
        controller("azure_cni_quota_exhausted", quota="v"): "0x60",
    },
    "AzureCNISubnetNearLimit": {controller("azure_cni_subnet_near_limit", quota="v", subnet="s"): "1x60"},
    "AzureCNIWriteBudgetNearLimit": {controller("azure_cni_write_budget_near_limit", quota="v"): "1x60"},
    "AzureCNIQuotaNotReady": {
        controller("azure_cni_quota_ready", quota="v"): "0x60",
        controller("azure_cni_quota_exhausted", quota="v"): "0x60",
    },
    "AzureCNIUsageUnknown": {controller("azure_cni_quota_usage_read_timestamp_seconds", quota="v"): "0x60"},
    "AzureCNIAgentMissing": {
        controller("azure_cni_quota_nodes", quota="v"): "2x60",
        agent("azure_cni_pool_ready"): "1x60",
    },
    "AzureCNINicOperationsStuck": {controller("azure_cni_nic_operations_stuck"): "1x60"},
    "AzureCNIVanishedNodesHold": {controller("azure_cni_reclaims_total", result="kept"): "0+1x60"},
    "AzureCNIThrottled": {agent("azure_cni_azure_throttled_seconds_total"): "0+10x60"},
    "AzureCNIInternalError": {agent("azure_cni_internal_errors_total", activity="read"): "1x60"},
    "AzureCNIDriftRepaired": {agent("azure_cni_drift_repairs_total", kind="kernel"): "0+1x60"},
}


WITH_PROMTOOL = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing: `e2e/box packages` installs it"
)
FALSE_WORDS = {
    "azure_cni_controller_leader": ({}, ("1", "-9")),
    "azure_cni_build_info": ({}, ("1",)),
    "azure_cni_pool_waiting_pods": ({}, ("-1000",)),
    "azure_cni_pool_ready": ({}, ("1",)),
    "azure_cni_pool_near_limit": ({}, ("0",)),
    "azure_cni_nic_operations_stuck": ({}, ("-1000",)),
    LIMIT: ({}, ("1", "0")),
    ADDRESSES: ({"state": "assigned"}, ("0",)),
    QUOTA: ({"quota": "v", "what": "limit"}, ("1000000",)),
    "azure_cni_quota_nodes": ({"quota": "v"}, ("-1000",)),
    "azure_cni_quota_ready": ({"quota": "v"}, ("1",)),
    "azure_cni_quota_near_limit": ({"quota": "v"}, ("0",)),
    "azure_cni_write_budget_near_limit": ({"quota": "v"}, ("0",)),
    "azure_cni_subnet_near_limit": ({"quota": "v", "subnet": "s"}, ("0",)),
    "azure_cni_quota_usage_read_timestamp_seconds": ({"quota": "v"}, ("1000000",)),
}
"""What could silence an alert: by metric the labels, and the values, each in several series."""
TROUBLE = {
    **FIRES,
    "AzureCNINoLeader": {controller("azure_cni_controller_leader"): "0x60"},
    "AzureCNIAgentMissing": {
        controller("azure_cni_quota_nodes", quota="v"): "5x60",
        agent("azure_cni_pool_ready"): "1x60",
    },
}
"""As FIRES, where it takes more than one more node."""


def assert_firing(series: dict[str, str], *alerts: str, directory: Path, rules: Path | dict[str, Any] = FILE) -> None:
    """After 55 minutes of these series, one a minute, exactly these alerts fire, each once."""
    firing = {
        "expr": "count by (alertname) (ALERTS{alertstate='firing'})",
        "eval_time": "55m",
        "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in alerts],
    }
    if isinstance(rules, dict):
        (directory / "rules.yaml").write_text(yaml.safe_dump(rules))
        rules = directory / "rules.yaml"
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    test = {"interval": "1m", "input_series": inputs, "promql_expr_test": [firing]}
    file = directory / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": [test]}))
    done = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def lies(**target: str) -> dict[str, str]:
    """All of `FALSE_WORDS`, twelve times over, from one target."""
    return {
        series_of(metric, **target, **labels, number=str(number)): f"{values[number % len(values)]}x60"
        for metric, (labels, values) in FALSE_WORDS.items()
        for number in range(12)
    }


@WITH_PROMTOOL
@pytest.mark.parametrize("alert", RULES)
def test_an_alert_fires_and_no_other_with_it(alert: str, tmp_path: Path):
    assert_firing(WELL | FIRES[alert], alert, directory=tmp_path)


@WITH_PROMTOOL
@pytest.mark.parametrize("alert", RULES)
def test_no_pod_of_others_silences_an_alert(alert: str, tmp_path: Path):
    """A tenant's, found by its annotations: it may have any name, and export any series, also of our namespace."""
    target = {
        "job": "pods",
        "pod": "azure-cni-controller-evil",
        "instance": "evil",
        "exported_namespace": "kube-system",
    }
    liar = lies(**target, namespace="dev")
    assert_firing(WELL | liar | TROUBLE[alert], alert, directory=tmp_path)


@WITH_PROMTOOL
@pytest.mark.parametrize("alert", RULES)
def test_no_agent_that_lies_silences_the_alert_about_another(alert: str, tmp_path: Path):
    """On a node that was taken over. About itself it can say anything."""
    liar = lies(namespace="kube-system", pod="azure-cni-agent-evil1", job="j", instance="evil")
    assert_firing(WELL | liar | TROUBLE[alert], alert, directory=tmp_path)


@WITH_PROMTOOL
@pytest.mark.parametrize("alert", RULES)
def test_nobody_else_sets_off_an_alert(alert: str, tmp_path: Path):
    """A tenant's pod that exports what sets it off, and a leader that is none."""
    tenants = {name.replace("kube-system", "dev"): values for name, values in FIRES[alert].items()}
    tenants[series_of("azure_cni_controller_leader", namespace="dev", job="pods", instance="evil")] = "-9x60"
    assert_firing(WELL | tenants, directory=tmp_path)


@WITH_PROMTOOL
@pytest.mark.parametrize("alert", [name for name in FIRES if any("-controller-" in series for series in FIRES[name])])
def test_an_agent_sets_off_no_alert_about_quotas_or_controllers(alert: str, tmp_path: Path):
    from_an_agent = {name.replace("-controller-", "-agent-"): values for name, values in FIRES[alert].items()}
    assert_firing(WELL | from_an_agent, directory=tmp_path)


@WITH_PROMTOOL
def test_that_all_agents_are_gone_is_noticed_while_the_controllers_are_there(tmp_path: Path):
    gone = {controller("azure_cni_quota_nodes", quota="v"): "2x60"}
    assert_firing(LEADS | gone, "AzureCNIAway", "AzureCNIAgentMissing", directory=tmp_path)


@WITH_PROMTOOL
def test_one_that_two_jobs_scrape_counts_once(tmp_path: Path):
    series = {
        controller("azure_cni_quota_nodes", quota="v"): "2x60",
        controller("azure_cni_quota_nodes", job="pods", quota="v"): "2x60",
        **{agent("azure_cni_pool_ready", job=job, instance="a"): "1x60" for job in ("j", "pods")},
    }
    assert_firing(WELL | series, "AzureCNIAgentMissing", directory=tmp_path)
    another = {agent("azure_cni_pool_ready", instance="b"): "1x60"}
    assert_firing(WELL | series | another, directory=tmp_path)


@WITH_PROMTOOL
def test_a_quota_that_is_exhausted_is_not_near_its_limit_as_well(tmp_path: Path):
    series = {controller(f"azure_cni_quota_{name}", quota="v"): "1x60" for name in ("near_limit", "exhausted")}
    assert_firing(WELL | series, "AzureCNIQuotaExhausted", directory=tmp_path)


def test_every_selector_names_the_namespace_and_the_pods():
    """So does one that is added: what it matches is all that keeps other people's series out."""
    pods = {"azure-cni-agent-.+", "azure-cni-controller-.+", "azure-cni-agent-.+|azure-cni-controller-.+"}
    for name, rule in RULES.items():
        metrics = re.findall(r"\b(?:azure_cni_\w+|up)\b", rule["expr"])
        selectors = re.findall(r"\b(azure_cni_\w+|up)\{([^}]*)\}", rule["expr"])
        assert [metric for metric, _ in selectors] == metrics, name
        for metric, selector in selectors:
            assert 'namespace="kube-system"' in selector, (name, metric)
            (pod,) = re.findall(r'pod=~"([^"]*)"', selector)
            assert pod in pods
            assert ("quota" in metric or "leader" in metric) <= (pod == "azure-cni-controller-.+"), (name, metric)


def test_the_chart_has_the_same_rules_for_the_prometheus_operator():
    rule = of_kind("PrometheusRule", "metrics.prometheusRule.enabled=true", "metrics.prometheusRule.labels.release=x")
    assert rule["spec"] == yaml.safe_load(FILE.read_text())
    assert rule["metadata"]["labels"]["release"] == "x"
    assert FILE.samefile(CHART / "files" / "alerts.yaml")
    assert "PrometheusRule" not in {manifest["kind"] for manifest in render()}


def test_every_alert_names_the_section_that_says_what_to_do():
    named = [rule["annotations"]["runbook_url"] for rule in RULES.values()]
    wrong = []
    for page, _, section in (one.partition("#") for one in named):
        if section not in anchors((REPOSITORY / page).read_text()):
            wrong.append(f"{page}#{section}")
    assert wrong == []


@pytest.mark.parametrize("base", ["https://docs.example.com/azure-cni", "http://docs.example.com/azure-cni/"])
def test_with_the_address_of_the_pages_an_alert_links_to_its_section(base: str):
    site = load_site()
    values = ("metrics.prometheusRule.enabled=true", f"metrics.prometheusRule.runbooks={base}")
    for group in of_kind("PrometheusRule", *values)["spec"]["groups"]:
        for rule in group["rules"]:
            page, _, section = RULES[rule["alert"]]["annotations"]["runbook_url"].partition("#")
            address = f"{base.rstrip('/')}/{site.address(page)}#{section}"
            assert rule["annotations"]["runbook_url"] == address


def test_severities_have_the_names_by_which_ones_alertmanager_routes():
    names = {"critical": "warning", "warning": "on"}  # one that is the other's by default, and one that YAML misreads
    values = [f"metrics.prometheusRule.severities.{name}={severity}" for name, severity in names.items()]
    rules = {
        rule["alert"]: rule
        for group in of_kind("PrometheusRule", "metrics.prometheusRule.enabled=true", *values)["spec"]["groups"]
        for rule in group["rules"]
    }
    for name, rule in rules.items():
        assert rule["labels"] == {"severity": names[RULES[name]["labels"]["severity"]]}


LONG = "n" * 50
"""Of 50 characters at most; the API server cuts what it makes pods' names of to 58."""


@WITH_PROMTOOL
@pytest.mark.parametrize(
    ("fullname", "agents_pod", "controllers_pod"),
    [("net", "net-agent-x2x7k", "net-controller-5d9c8b7f6d-b7z2p"),
     (LONG, f"{LONG}-agent-x2x7k", f"{LONG}-controlb7z2p")],
)  # fmt: skip
def test_the_charts_rules_are_about_the_releases_own_pods(
    fullname: str, agents_pod: str, controllers_pod: str, tmp_path: Path
):
    values = (f"fullnameOverride={fullname}", "metrics.prometheusRule.enabled=true")
    rules = of_kind("PrometheusRule", *values, namespace="network")["spec"]

    def own(series: dict[str, str]) -> dict[str, str]:
        names = {"kube-system": "network", "azure-cni-agent-x2x7k": agents_pod}
        names["azure-cni-controller-5d9c-b7z2p"] = controllers_pod
        pattern = "|".join(names)
        return {re.sub(pattern, lambda found: names[found[0]], name): values for name, values in series.items()}

    assert_firing(own(WELL), directory=tmp_path, rules=rules)
    assert_firing(own(WELL) | WELL | FIRES["AzureCNIAway"], directory=tmp_path, rules=rules)
    assert_firing(own(WELL | FIRES["AzureCNIAway"]), "AzureCNIAway", directory=tmp_path, rules=rules)
    assert_firing(WELL, "AzureCNIAway", "AzureCNINoLeader", directory=tmp_path, rules=rules)


WITHOUT_CONTROLLER = ("controller.enabled=false", "metrics.prometheusRule.enabled=true")


@WITH_PROMTOOL
@pytest.mark.parametrize(
    "values", [WITHOUT_CONTROLLER, (*WITHOUT_CONTROLLER, "nicWriter=none", "routablePrefixes={10.0.0.0/8}")]
)
def test_without_a_controller_nobody_is_woken_because_none_leads(values: tuple[str, ...], tmp_path: Path):
    rules = of_kind("PrometheusRule", *values)["spec"]
    agents = {agent(BUILD, instance="well"): "1x60", agent("up", instance="well"): "1x60"}
    assert_firing(agents, directory=tmp_path, rules=rules)
    assert_firing(agents | FIRES["AzureCNIAway"], "AzureCNIAway", directory=tmp_path, rules=rules)


def test_without_a_controller_only_what_is_about_controllers_alone_is_left_out():
    kept = {
        rule["alert"]: rule
        for group in of_kind("PrometheusRule", *WITHOUT_CONTROLLER)["spec"]["groups"]
        for rule in group["rules"]
    }
    assert kept == {name: rule for name, rule in RULES.items() if "azure-cni-agent-" in rule["expr"]}
    assert RULES.keys() - kept.keys() > {"AzureCNINoLeader", "AzureCNIQuotaExhausted"}


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
    other = series_of("up", job=job, namespace="dev", pod="web-1", instance="else:8080")
    series = {agent("up", job=job): "1x20 0x40", agent(BUILD, job=job): "1x20 stale", other: "0x60"}
    assert_firing(WELL | series, "AzureCNIAway", directory=tmp_path)


@WITH_PROMTOOL
def test_an_agent_that_came_back_under_another_pod_is_not_missed(tmp_path: Path):
    before, after = ({"job": "pods", "pod": f"azure-cni-agent-{name}"} for name in "ab")
    series = {
        agent("up", **before): "1x20 0x2 stale",
        agent("up", **after): "_x24 1x40",
        agent(BUILD, **before, version="1"): "1x20 stale",
        agent(BUILD, **after, version="2"): "_x24 1x40",
    }
    assert_firing(WELL | series, directory=tmp_path)


@WITH_PROMTOOL
def test_it_is_noticed_that_nothing_of_azure_cni_is_seen_any_more(tmp_path: Path):
    """Deleted, or not found by Prometheus: then there is no `up` of it either."""
    series = {agent("up", job="pods"): "1x20 stale", agent(BUILD, job="pods"): "1x20 stale"}
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
