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


def _quantile(of: str, share: str, by: str = "le") -> str:
    return f"histogram_quantile({share}, sum by ({by}) (rate({of}_bucket{RATE})))"


def _add(share: str) -> str:
    series = f'azure_cni_cni_request_duration_seconds_bucket{{verb="add", code="0"}}{RATE}'
    return f"histogram_quantile({share}, sum by (le) (rate({series})))"


STATS: Final[tuple[Panel, ...]] = (
    ("Nodes with an agent", "short", (("count(azure_cni_pool_ready)", "agents"),)),
    ("Nodes that can take a pod", "short", (("sum(azure_cni_pool_ready)", "nodes"),)),
    ("Leading controllers (1)", "short", (("sum(azure_cni_controller_leader)", "leaders"),)),
    ("Pods with an address", "short", (('sum(azure_cni_pool_addresses{state="assigned"})', "pods"),)),
    ("Pods that wait", "short", (("sum(azure_cni_pool_waiting_pods)", "pods"),)),
    ("Nodes closed to new pods", "short", (("sum(azure_cni_node_tainted)", "nodes"),)),
)
ALIVE: Final[tuple[Panel, ...]] = (
    ("Addresses of all nodes", "short", (("sum by (state) (azure_cni_pool_addresses)", "{{state}}"),)),
    ("Quota of each VNet", "short", (("sum by (quota, what) (azure_cni_quota_addresses)", "{{quota}} {{what}}"),)),
    ("Versions", "short", (("count by (version) (azure_cni_build_info)", "{{version}}"),)),
)
DOING: Final[tuple[Panel, ...]] = (
    ("A pod's network (ADD)", "s", ((_add("0.5"), "p50"), (_add("0.99"), "p99"))),
    (
        "Calls of the runtime",
        "ops",
        ((f"sum by (verb) (rate(azure_cni_cni_request_duration_seconds_count{RATE}))", "{{verb}}"),),
    ),
    (
        "Where the time of a call goes (p99)",
        "s",
        ((_quantile("azure_cni_cni_stage_duration_seconds", "0.99", "le, stage"), "{{stage}}"),),
    ),
    (
        "Calls to Azure, by answer",
        "ops",
        (
            (
                f"sum by (operation, code) (rate(azure_cni_azure_request_duration_seconds_count{RATE}))",
                "{{operation}} {{code}}",
            ),
        ),
    ),
    (
        "Calls to Azure (p99)",
        "s",
        ((_quantile("azure_cni_azure_request_duration_seconds", "0.99", "le, operation"), "{{operation}}"),),
    ),
    ("Passes of agents", "ops", ((f"sum by (result) (rate(azure_cni_reconcile_total{RATE}))", "{{result}}"),)),
    ("Grants", "ops", ((f"sum by (result) (rate(azure_cni_grants_total{RATE}))", "{{result}}"),)),
    (
        "NIC writes that are left",
        "short",
        (
            ("sum by (quota) (azure_cni_write_budget_tokens)", "{{quota}} left"),
            ("sum by (quota) (azure_cni_write_budget_capacity)", "{{quota}} at most"),
            ("sum by (quota) (azure_cni_write_budget_per_minute)", "{{quota}} a minute"),
        ),
    ),
    ("A round of the controller (p99)", "s", ((_quantile("azure_cni_grant_round_duration_seconds", "0.99"), "p99"),)),
)
_USABLE: Final = " - ignoring (what) ".join(
    f'azure_cni_quota_addresses{{what="{what}"}}' for what in ("limit", "reserved", "outside")
)
_ASSIGNED: Final = 'azure_cni_pool_addresses{state="assigned"}'
WRONG: Final[tuple[Panel, ...]] = (
    ("Pods that wait, by node", "short", (("azure_cni_pool_waiting_pods > 0", "{{instance}}"),)),
    (
        "Calls of the runtime that failed",
        "ops",
        (
            (
                f'sum by (instance, code) (rate(azure_cni_cni_request_duration_seconds_count{{code!="0"}}{RATE})) > 0',
                "{{instance}} {{code}}",
            ),
        ),
    ),
    (
        "The fullest nodes (assigned of at most)",
        "percentunit",
        (
            (
                f"topk(10, {_ASSIGNED} / on (instance) group_left () azure_cni_pool_limit_addresses)",
                "{{instance}}",
            ),
        ),
    ),
    (
        "Quotas (granted of what may be)",
        "percentunit",
        ((f'azure_cni_quota_addresses{{what="granted"}} / ignoring (what) ({_USABLE})', "{{quota}}"),),
    ),
    ("Addresses of pods that are not on the NIC", "short", (("azure_cni_pool_lost_addresses > 0", "{{instance}}"),)),
    (
        "In the way on hosts",
        "short",
        (("max by (instance, reason) (azure_cni_host_conflicts) > 0", "{{instance}} {{reason}}"),),
    ),
    (
        "Seconds that Azure asked to wait, in an hour",
        "s",
        (("increase(azure_cni_azure_throttled_seconds_total[1h]) > 0", "{{instance}}"),),
    ),
    ("Nodes that wait for their turn to write", "s", (("topk(10, azure_cni_grant_wait_seconds > 0)", "{{instance}}"),)),
    ("The oldest readings of NICs", "s", (("topk(5, azure_cni_nic_read_age_seconds)", "{{instance}}"),)),
    (
        "Put right, in an hour",
        "short",
        (("increase(azure_cni_drift_repairs_total[1h]) > 0", "{{instance}} {{kind}}"),),
    ),
    ("Faults of azure-cni", "short", (("azure_cni_internal_errors_total > 0", "{{instance}} {{activity}}"),)),
    (
        "The kernel's table of connections",
        "percentunit",
        (("topk(10, azure_cni_conntrack_entries / azure_cni_conntrack_limit_entries)", "{{instance}}"),),
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
            "list": [{"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]
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
