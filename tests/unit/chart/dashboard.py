"""The dashboard of the chart, for Grafana: made here, because its JSON repeats each panel's frame.

`PYTHONPATH=operator:tests:e2e .venv/bin/python -m unit.chart.dashboard` rewrites it. Each row answers one question: is
it alive, what does it do, what is wrong. By hand and not by Grafana's SDK: two dozen panels of two kinds need no
library, and the text shows every query.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

from unit.chart.helm import CHART

FILE = CHART / "files" / "dashboard.json"
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
RATE: Final = "[$__rate_interval]"
WIDTH: Final = 24

Query = tuple[str, str]
"""PromQL, and the legend."""
Panel = tuple[str, str, tuple[Query, ...]]
"""Title, unit, queries."""


AGENTS: Final = 'namespace="${namespace}", pod=~"${agents}"'
CONTROLLERS: Final = 'namespace="${namespace}", pod=~"${controllers}"'
BOTH: Final = 'namespace="${namespace}", pod=~"${agents}|${controllers}"'
"""Whose series count: anybody may export some of these names, but not from these pods."""
VARIABLES: Final = (
    ("namespace", "Namespace", "kube-system"),
    ("agents", "Pods of agents", "azure-cni-agent-.+"),
    ("controllers", "Pods of controllers", "azure-cni-controller-.+"),
)


def _each(metric: str, whose: str, by: str = "instance", **labels: str) -> str:
    """One number for each target, however many series it exports."""
    return f"max by ({by}) ({_series(metric, whose, **labels)})"


def _sum(metric: str, whose: str, **labels: str) -> str:
    """Of the targets' numbers, without those that no honest one reports, and 0 where there is none."""
    return f"sum({_each(metric, whose, **labels)} > 0 < Inf) or vector(0)"


def _series(metric: str, whose: str, **labels: str) -> str:
    matchers = [f'{name}="{value}"' for name, value in labels.items()]
    return f"{metric}{{{', '.join([*matchers, whose])}}}"


def _rate(metric: str, whose: str, by: str, **labels: str) -> str:
    return f"sum by ({by}) (rate({_series(metric, whose, **labels)}{RATE}) >= 0 < Inf)"


def _quantile(of: str, whose: str, share: str, by: str = "le", **labels: str) -> str:
    return f"histogram_quantile({share}, {_rate(f'{of}_bucket', whose, by, **labels)})"


REQUESTS: Final = "azure_cni_cni_request_duration_seconds"
AZURE: Final = "azure_cni_azure_request_duration_seconds"
STATS: Final[tuple[Panel, ...]] = (
    ("Nodes with an agent", "short", ((f"count({_each('azure_cni_pool_ready', AGENTS)}) or vector(0)", "agents"),)),
    (
        "Nodes that can take a pod",
        "short",
        ((f"count({_each('azure_cni_pool_ready', AGENTS)} == 1) or vector(0)", "nodes"),),
    ),
    (
        "Leading controllers (1)",
        "short",
        ((f"count({_each('azure_cni_controller_leader', CONTROLLERS)} == 1) or vector(0)", "leaders"),),
    ),
    ("Pods with an address", "short", ((_sum("azure_cni_pool_addresses", AGENTS, state="assigned"), "pods"),)),
    ("Pods that wait", "short", ((_sum("azure_cni_pool_waiting_pods", AGENTS), "pods"),)),
    (
        "Nodes closed to new pods",
        "short",
        ((f"count({_each('azure_cni_node_tainted', AGENTS)} == 1) or vector(0)", "nodes"),),
    ),
)
ALIVE: Final[tuple[Panel, ...]] = (
    (
        "Addresses of all nodes",
        "short",
        (
            (
                f"sum by (state) ({_each('azure_cni_pool_addresses', AGENTS, 'instance, state')} >= 0 < Inf)",
                "{{state}}",
            ),
        ),
    ),
    (
        "Quota of each VNet",
        "short",
        ((_each("azure_cni_quota_addresses", CONTROLLERS, "quota, what"), "{{quota}} {{what}}"),),
    ),
    (
        "Versions",
        "short",
        ((f"count by (version) ({_each('azure_cni_build_info', BOTH, 'instance, version')})", "{{version}}"),),
    ),
)
DOING: Final[tuple[Panel, ...]] = (
    (
        "A pod's network (ADD)",
        "s",
        tuple(
            (_quantile(REQUESTS, AGENTS, share, verb="add", code="0"), name)
            for share, name in (("0.5", "p50"), ("0.99", "p99"))
        ),
    ),
    ("Calls of the runtime", "ops", ((_rate(f"{REQUESTS}_count", AGENTS, "verb"), "{{verb}}"),)),
    (
        "Where the time of a call goes (p99)",
        "s",
        ((_quantile("azure_cni_cni_stage_duration_seconds", AGENTS, "0.99", "le, stage"), "{{stage}}"),),
    ),
    (
        "Calls to Azure, by answer",
        "ops",
        ((_rate(f"{AZURE}_count", BOTH, "operation, code"), "{{operation}} {{code}}"),),
    ),
    ("Calls to Azure (p99)", "s", ((_quantile(AZURE, BOTH, "0.99", "le, operation"), "{{operation}}"),)),
    ("Passes of agents", "ops", ((_rate("azure_cni_reconcile_total", AGENTS, "result"), "{{result}}"),)),
    ("Grants", "ops", ((_rate("azure_cni_grants_total", CONTROLLERS, "result"), "{{result}}"),)),
    (
        "NIC writes that are left",
        "short",
        (
            (_each("azure_cni_write_budget_tokens", CONTROLLERS, "quota"), "{{quota}} left"),
            (_each("azure_cni_write_budget_capacity", CONTROLLERS, "quota"), "{{quota}} at most"),
            (_each("azure_cni_write_budget_per_minute", CONTROLLERS, "quota"), "{{quota}} a minute"),
            (
                _each("azure_cni_instance_write_budget_tokens", CONTROLLERS, "subscription"),
                "scale sets of {{subscription}} left",
            ),
        ),
    ),
    (
        "A round of the controller (p99)",
        "s",
        ((_quantile("azure_cni_grant_round_duration_seconds", CONTROLLERS, "0.99"), "p99"),),
    ),
)
_OF_QUOTA: Final = {
    what: _each("azure_cni_quota_addresses", CONTROLLERS, "quota", what=what)
    for what in ("granted", "limit", "reserved", "outside")
}
_OF_SUBNET: Final = {
    what: _each("azure_cni_subnet_addresses", CONTROLLERS, "quota, subnet", what=what) for what in ("used", "limit")
}
_CONNECTIONS: Final = " / ".join(_each(f"azure_cni_conntrack_{what}", AGENTS) for what in ("entries", "limit_entries"))
_ASSIGNED: Final = _each("azure_cni_pool_addresses", AGENTS, state="assigned")
WRONG: Final[tuple[Panel, ...]] = (
    ("Pods that wait, by node", "short", ((f"{_each('azure_cni_pool_waiting_pods', AGENTS)} > 0", "{{instance}}"),)),
    (
        "Calls of the runtime that failed",
        "ops",
        (
            (
                f'sum by (instance, code) (rate({REQUESTS}_count{{code!="0", {AGENTS}}}{RATE})) > 0',
                "{{instance}} {{code}}",
            ),
        ),
    ),
    (
        "The fullest nodes (assigned of at most)",
        "percentunit",
        ((f"topk(10, {_ASSIGNED} / {_each('azure_cni_pool_limit_addresses', AGENTS)})", "{{instance}}"),),
    ),
    (
        "Quotas (granted of what may be)",
        "percentunit",
        (
            (
                "{granted} / ({limit} - {reserved} - {outside})".format_map(_OF_QUOTA),
                "{{quota}}",
            ),
        ),
    ),
    (
        "Subnets (used of their addresses)",
        "percentunit",
        (("{used} / {limit}".format_map(_OF_SUBNET), "{{quota}} {{subnet}}"),),
    ),
    (
        "Addresses of pods that are not on the NIC",
        "short",
        ((f"{_each('azure_cni_pool_lost_addresses', AGENTS)} > 0", "{{instance}}"),),
    ),
    (
        "In the way on hosts",
        "short",
        ((f"{_each('azure_cni_host_conflicts', AGENTS, 'instance, reason')} > 0", "{{instance}} {{reason}}"),),
    ),
    (
        "Seconds that Azure asked to wait, in an hour",
        "s",
        (
            (
                f"max by (instance) (increase(azure_cni_azure_throttled_seconds_total{{{BOTH}}}[1h])) > 0",
                "{{instance}}",
            ),
        ),
    ),
    (
        "Nodes that wait for their turn to write",
        "s",
        ((f"topk(10, {_each('azure_cni_grant_wait_seconds', AGENTS)} > 0)", "{{instance}}"),),
    ),
    (
        "The oldest readings of NICs",
        "s",
        ((f"topk(5, {_each('azure_cni_nic_read_age_seconds', AGENTS)})", "{{instance}}"),),
    ),
    (
        "Put right, in an hour",
        "short",
        (
            (
                f"max by (instance, kind) (increase(azure_cni_drift_repairs_total{{{AGENTS}}}[1h])) > 0",
                "{{instance}} {{kind}}",
            ),
        ),
    ),
    (
        "Faults of azure-cni",
        "short",
        ((f"{_each('azure_cni_internal_errors_total', BOTH, 'instance, activity')} > 0", "{{instance}} {{activity}}"),),
    ),
    (
        "The kernel's table of connections",
        "percentunit",
        ((f"topk(10, {_CONNECTIONS})", "{{instance}}"),),
    ),
)
ROWS: Final = (("Alive", STATS, "stat"), ("", ALIVE, "timeseries"), ("Doing", DOING, "timeseries"),
               ("Wrong (empty is good)", WRONG, "timeseries"))  # fmt: skip


def dashboard() -> dict[str, Any]:
    """As Grafana 10 and later import it."""
    return {
        "uid": "azure-cni",
        "title": "azure-cni",
        "tags": ["azure-cni", "kubernetes", "network"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "1m",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "",
        "templating": {
            "list": [
                {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
                *(
                    {
                        "name": name,
                        "label": label,
                        "type": "textbox",
                        "query": value,
                        "hide": 0,
                        "current": {"text": value, "value": value},
                    }
                    for name, label, value in VARIABLES
                ),
            ]
        },
        "panels": list(_panels()),
    }


def _panels() -> Iterator[dict[str, Any]]:
    number, top = 0, 0
    for title, panels, kind in ROWS:
        if title:
            number += 1
            place = {"h": 1, "w": WIDTH, "x": 0, "y": top}
            yield {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}
            top += 1
        high, wide = (4, 4) if kind == "stat" else (8, 8)
        for index, (name, unit, queries) in enumerate(panels):
            number += 1
            lines, column = divmod(index, WIDTH // wide)
            place = {"h": high, "w": wide, "x": column * wide, "y": top + lines * high}
            yield _panel(name, unit, queries, kind) | {"id": number, "gridPos": place}
        top += -(-len(panels) // (WIDTH // wide)) * high


def _panel(title: str, unit: str, queries: tuple[Query, ...], kind: str) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + index), "datasource": DATASOURCE, "expr": expr, "legendFormat": legend}
        for index, (expr, legend) in enumerate(queries)
    ]
    options = (
        {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "none"}
        if kind == "stat"
        else {"tooltip": {"mode": "multi", "sort": "desc"}, "legend": {"displayMode": "list", "placement": "bottom"}}
    )
    return {
        "type": kind,
        "title": title,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": options,
        "targets": targets,
    }


def text() -> str:
    """The file."""
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
