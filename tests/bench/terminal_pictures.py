"""The pictures of the command line in the documentation: the real commands on a terminal, before a cluster that is
written down here, as the API server and the agents would show it. No cluster is needed, and it takes seconds:

PYTHONPATH=operator:tests:e2e .venv/bin/python -m bench.terminal_pictures docs/terminal

`status`, `check` and `why` are of a subnet that is full while a Deployment grows. `forecast` is of four weeks of audit
trails, counted as agents count theirs.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from azure_cni.api.audit_reports import UsageReport
from azure_cni.api.introspection import PoolReport
from azure_cni.entrypoints.cli import main as command_line
from azure_cni.ipam.audit_records import AuditKind, AuditRecord
from azure_cni.ipam.usage_history import usage_hours
from azure_cni.model.text import time_text
from bench.terminal_plot import drawn, record
from fakes.cluster_access import FakeClusterAccess
from unit.diagnose.clusters import THEN, VNET, cluster, condition, event, node, pod, pool, process, quota

ASKED: Final = "--ask"
WAITS: Final = "checkout-7c9f6d5b8-q4z2m"
PICTURES: Final = (("status",), ("check",), ("why", WAITS), ("forecast",))
NODES: Final = ("vm1", "vm2")
SUBNET: Final = f"{VNET}/subnets/nodes"
FULL: Final = (
    f"cannot write NIC vm1-nic: SubnetIsFull: Subnet {SUBNET} with address prefix 10.240.0.0/24 does not have enough "
    "capacity for 1 IP addresses."
)
DAYS: Final = 28
HOUR_S: Final = 3600
BATCH: Final = 16
GROWTH: Final = ((90, 3.2), (60, 0.6))
"""Of each node: addresses in use on the first day at its peak, and how many more each day."""


def main() -> None:
    """The command line."""
    if sys.argv[1:2] == [ASKED]:
        asked = sys.argv[2:]
        command_line(asked, obj=growing(time.time()) if asked == ["forecast"] else full())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    directory: Path = parser.parse_args().directory
    directory.mkdir(parents=True, exist_ok=True)
    for words in PICTURES:
        printed = record([sys.executable, "-m", "bench.terminal_pictures", ASKED, *words], environment=os.environ)
        picture = directory / f"{words[0]}.svg"
        picture.write_text(drawn(" ".join(("azure-cni", *words)), printed))
        print(picture)


def full() -> FakeClusterAccess:
    """Two nodes in a subnet that is full: on vm1 four pods wait, on vm2 addresses are free."""
    waits = event(WAITS, "FailedCreatePodSandBox", f'plugin type="azure-cni" failed (add): no address is free: {FULL}')
    return cluster(
        pod(WAITS),
        nodes=[node(name) for name in NODES],
        pools=[
            _pool("vm1", condition("Ready", False, "SubnetFull", FULL), assigned=16, free=0, waiting=4),
            _pool("vm2", assigned=6, free=10),
        ],
        quotas=[_quota(assigned=22)],
        processes=_processes(),
        events=[waits],
    )


def growing(now_s: float) -> FakeClusterAccess:
    """Two nodes whose agents have seen four weeks, one of them with pods that become more each day."""
    begin_s = now_s - DAYS * 24 * HOUR_S
    trails = {name: trail(name, *growth, begin_s, now_s) for name, growth in _grown()}
    shown = {name: usage_hours(records, node=name, now_s=now_s) for name, records in trails.items()}
    sizes = PoolReport(ceiling=250, min_free=8, max_free=24, batch=BATCH)
    peaks = {name: hours[-1].peak for name, hours in shown.items()}
    found = cluster(
        nodes=[node(name) for name in NODES],
        pools=[_pool(name, allocated=peak + 16, assigned=peak, free=16) for name, peak in peaks.items()],
        quotas=[_quota(assigned=sum(peaks.values()), subnets=[{"name": "nodes", "used": 380, "limit": 507}])],
        processes=_processes(),
    )
    for name, hours in shown.items():
        report = UsageReport(name, time_text(now_s), hours, sizes)
        found.printed[f"azure-cni-agent-{name}"] = msgspec.json.encode(report)
    return found


def trail(name: str, base: int, per_day: float, begin_s: float, end_s: float) -> Iterator[AuditRecord]:
    """Of pods that come and go, spread over each hour: fewer at night, more each day, and some by chance."""
    held, chance = 0, random.Random(name)
    for hour in range(int((end_s - begin_s) // HOUR_S)):
        day = hour / 24
        level = (base + per_day * day) * (0.85 + 0.15 * math.sin(2 * math.pi * day))
        wanted = round(level + chance.gauss(0, 0.02 * base))
        step_s = HOUR_S / (abs(wanted - held) + 1)
        if wanted // BATCH != held // BATCH:
            yield AuditRecord(time_text(begin_s + hour * HOUR_S), AuditKind.NIC_WRITTEN, name)
        for number in range(abs(wanted - held)):
            comes = wanted > held
            address = held + number if comes else held - number - 1
            yield AuditRecord(
                time=time_text(begin_s + hour * HOUR_S + number * step_s),
                event=AuditKind.ASSIGNED if comes else AuditKind.RETURNED,
                node=name,
                address=f"10.240.{address // 250}.{1 + address % 250}",
                container=f"{address:013x}",
            )
        held = wanted


def _grown() -> Iterator[tuple[str, tuple[int, float]]]:
    return zip(NODES, GROWTH, strict=True)


def _pool(name: str, *conditions: dict[str, str], **status: Any) -> dict[str, Any]:
    given = {"allocated": 16, "granted": status.get("allocated", 16), "subnetID": SUBNET, "vnetAddresses": []}
    return pool(name, *conditions, **(given | status))


def _quota(**status: Any) -> dict[str, Any]:
    grants = {name: {"count": 16, "requestID": 1} for name in NODES}
    made = quota(grants=grants, budget={"tokens": 5, "capacity": 5, "time": THEN, "pace": 1.0}, **status)
    return made | {"spec": made["spec"] | {"limit": 16000}}


def _processes() -> list[dict[str, Any]]:
    return [process(component, name) for component in ("agent", "controller") for name in NODES]


if __name__ == "__main__":
    main()
