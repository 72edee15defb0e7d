"""A cluster of thousands of nodes: nothing is looked up by going through all pods, or all pools, for each node."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from azure_cni import __version__
from azure_cni.diagnose.address_rows import from_api
from azure_cni.diagnose.checks import check_all
from azure_cni.diagnose.evidence import ClusterEvidence
from azure_cni.diagnose.holders import find_holders
from azure_cni.diagnose.object_parsing import parse_node, parse_pod, parse_pools, parse_processes, parse_quotas
from azure_cni.diagnose.overview import survey
from unit.diagnose.clusters import NOW_S, condition, node, pod, pool, process, quota


class Counted(list[Any]):
    """Counts what is taken out of it, one by one."""

    taken: dict[str, int]
    name: str

    def __iter__(self) -> Iterator[Any]:
        for one in super().__iter__():
            self.taken[self.name] = self.taken.get(self.name, 0) + 1
            yield one


def large(nodes: int) -> tuple[ClusterEvidence, dict[str, int]]:
    """All nodes have pods that wait, and pods whose addresses were lost. And what is taken out of its lists."""
    names, taken = [f"vm{number}" for number in range(nodes)], dict[str, int]()
    wrong = condition("Ready", False, "QuotaExceeded", "nothing is left"), condition("Drifted", True, "AddressesLost")

    def counted(name: str, values: Any) -> Any:
        made = Counted(values)
        made.name, made.taken = name, taken
        return made

    pods = [parse_pod(pod(f"web-{name}", node=name, ip="10.240.9.9", phase="Running")) for name in names]
    evidence = ClusterEvidence(
        pools=counted("pools", parse_pools([pool(name, *wrong, waiting=2) for name in names])),
        quotas=parse_quotas([quota()]),
        pods=counted("pods", pods),
        nodes=counted("nodes", map(parse_node, map(node, names))),
        agents=counted("agents", parse_processes([process("agent", name) for name in names], "agent")),
        controllers=parse_processes([process("controller")], "controller"),
    )
    return evidence, taken


@pytest.mark.parametrize(
    "work",
    [
        lambda evidence: check_all(evidence, survey(evidence, version=__version__), version=__version__, now_s=NOW_S),
        lambda evidence: from_api(evidence, [one.name for one in evidence.pools]),
        lambda evidence: find_holders("10.240.9.9", evidence),
    ],
    ids=["check", "addresses", "who"],
)
def test_ten_times_the_nodes_are_ten_times_the_work(work: Any):
    counts = []
    for nodes in (20, 200):
        evidence, taken = large(nodes)
        work(evidence)
        counts.append(taken)
    few, many = counts
    assert few
    assert {name: count for name, count in many.items() if count > 10 * few[name]} == {}
