"""`addresses --check`: where ledger, kernel, NIC and API server contradict each other, and where they only lag."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from azure_cni.api.introspection import ConfigurationReport, KernelReport, LinkReport, NicReport, NodeReport, SlotReport
from azure_cni.commands import reads
from azure_cni.diagnose.address_rows import AddressRow, compare, from_api
from azure_cni.diagnose.evidence import PodFacts
from unit.diagnose.clusters import cluster, pod, pool

A, B = "10.240.0.36", "10.240.0.37"
OLD, NEW, NOW = "2026-11-28T06:00:00Z", "2026-11-28T06:19:20Z", "2026-11-28T06:19:26Z"
HELD = SlotReport(A, "azure-cni-0aaaaaaa", "assigned", OLD, "default", "web", "uid-web", "container-web", "eth0")
FREE = SlotReport(B, "azure-cni-0bbbbbbb", "free", OLD)
LINK = LinkReport(["acni1"], [A], 1500, "container-web")
RUNNING = pod(ip=A, phase="Running")


def nic(*addresses: str, settled: bool = True) -> NicReport:
    shown = [ConfigurationReport(f"azure-cni-0{number}", [one]) for number, one in enumerate(addresses)]
    primary = ConfigurationReport("primary", ["10.240.0.4"], primary=True)
    excluded = ConfigurationReport("theirs", ["10.240.0.50"], why="a public address is attached")
    return NicReport(configurations=[primary, *shown, excluded], settled=settled, age_s=3.0)


def a_report(**changes: Any) -> NodeReport:
    good = NodeReport(node="vm1", time=NOW, slots=[HELD, FREE], kernel=KernelReport(links=[LINK]), nic=nic(A, B))
    return msgspec.structs.replace(good, **changes)


def rows(report: NodeReport, *pods: Any) -> dict[str, AddressRow]:
    found = compare([report], reads.read_cluster(cluster(*pods)))
    return {row.address: row for row in found}


def test_a_node_on_which_all_agree():
    found = rows(a_report(), RUNNING)
    assert list(found) == [A, B]
    assert (found[A].state, found[A].pod, found[A].kernel, found[A].api) == ("assigned", "default/web", "acni1",
                                                                             "default/web")  # fmt: skip
    assert [row.differs for row in found.values()] == ["", ""]


def test_a_node_whose_pods_have_ipv6_too():
    """Ledger and NIC list IPv4 addresses, and each has its own of IPv6."""
    body = copy.deepcopy(RUNNING)
    body["status"]["podIPs"] = [{"ip": A}, {"ip": "fd00::1:24"}]
    link = LinkReport(["acni1"], [A, "fd00::1:24"], 1500, "container-web")
    assert rows(a_report(kernel=KernelReport(links=[link])), body) == rows(a_report(), RUNNING)


@pytest.mark.parametrize(
    ("report", "pods", "address", "words"),
    [
        (a_report(kernel=KernelReport()), [RUNNING], A, "nothing on the node leads to its pod"),
        (a_report(kernel=KernelReport(links=[LINK, LinkReport(["acni2"], [B], 1500, "")])), [RUNNING], B,
         "the node leads it to a sandbox, and it is free"),
        (a_report(kernel=KernelReport(links=[LinkReport(["acni1"], [A], 1500, "another")])), [RUNNING], A,
         "the node leads it to another sandbox"),
        (a_report(nic=nic(B)), [RUNNING], A, "not on the NIC"),
        (a_report(nic=nic(A)), [RUNNING], B, "not on the NIC"),
        (a_report(nic=nic(A, B, "10.240.0.38")), [RUNNING], "10.240.0.38",
         "on the NIC, and the ledger does not know it"),
        (a_report(), [], A, "the API server does not show it as the address of default/web"),
        (a_report(), [pod(ip=A, phase="Succeeded")], A,
         "the API server does not show it as the address of default/web"),
        (a_report(), [RUNNING, pod("other", ip=B, phase="Running")], B, "the API server shows it for default/other"),
        (a_report(), [RUNNING, pod("other", node="vm2", ip=B, phase="Running")], B,
         "the API server shows it for default/other on another node"),
        (a_report(slots=[FREE]), [RUNNING], A,
         ("the node leads it to a sandbox, and the ledger does not know it; on the NIC, and the ledger does not know "
          "it; the API server shows it for default/web")),
    ],
)  # fmt: skip
def test_each_contradiction_has_words(report: NodeReport, pods: list[Any], address: str, words: str):
    found = rows(report, *pods)
    assert found[address].differs == words
    assert [row.address for row in found.values() if row.differs] == [address]


@pytest.mark.parametrize(
    ("report", "pods"),
    [
        (a_report(slots=[msgspec.structs.replace(HELD, since=NEW), FREE]), []),
        (a_report(slots=[HELD, msgspec.structs.replace(FREE, state="cooling", since=NEW)]),
         [RUNNING, pod("other", ip=B, phase="Running")]),
        (a_report(nic=nic(A, B, "10.240.0.38", settled=False)), [RUNNING]),
        (a_report(nic=None), [RUNNING]),
        (a_report(kernel=KernelReport(error="cannot list links: no")), [RUNNING]),
        (a_report(slots=[HELD, msgspec.structs.replace(FREE, state="releasing")], nic=nic(A)), [RUNNING]),
    ],
    ids=["assigned a moment ago", "returned a moment ago", "Azure works on the NIC", "the NIC was not read",
         "the kernel cannot be read", "leaves the NIC"],
)  # fmt: skip
def test_what_only_lags_or_was_not_read_is_no_difference(report: NodeReport, pods: list[Any]):
    assert [row.differs for row in rows(report, *pods).values() if row.differs] == []


def test_what_was_not_read_is_a_question_mark():
    found = rows(a_report(nic=None, kernel=KernelReport(error="no")), RUNNING)
    assert (found[A].kernel, found[A].nic) == ("?", "?")


def test_the_api_server_alone_shows_leaks_of_the_whole_cluster():
    pools = [pool("vm1"), pool("vm2", vnetAddresses=[f"{B} azure-cni-0ccccccc"])]
    lost = pod("lost", ip="10.240.0.99", phase="Running")
    found = from_api(reads.read_cluster(cluster(RUNNING, lost, pools=pools)))
    assert [(row.node, row.address, row.pod, row.differs) for row in found] == [
        ("vm1", A, "default/web", ""),
        ("vm1", B, "", "more than one pool lists it"),
        ("vm1", "10.240.0.99", "default/lost", "not on the NIC, as its agent last said"),
        ("vm2", B, "", "more than one pool lists it"),
    ]


class Walked(list[object]):
    """Counts how often it is gone through or searched."""

    times = 0

    def __iter__(self) -> Iterator[object]:
        self.times += 1
        return super().__iter__()

    def __reversed__(self) -> Iterator[object]:
        self.times += 1
        return super().__reversed__()

    def __contains__(self, one: object) -> bool:
        self.times += 1
        return super().__contains__(one)


def test_each_list_of_an_answer_is_gone_through_a_few_times_however_long_it_is():
    """260 kB of an answer took 2.4 s, by the square of its length."""
    addresses = [f"10.{first}.{last}.1" for first in range(4) for last in range(50)]
    slots, links = Walked(SlotReport(address=one) for one in addresses), Walked(LinkReport() for _ in addresses)
    configurations = Walked(ConfigurationReport(addresses=[one]) for one in addresses)
    on_link = Walked(addresses)
    links.append(LinkReport(addresses=on_link))
    report = msgspec.structs.replace(
        a_report(), slots=slots, kernel=KernelReport(links=links), nic=NicReport(configurations=configurations)
    )
    rows = compare([report], reads.read_cluster(cluster()))
    assert len(rows) >= len(addresses)
    assert max(slots.times, links.times, configurations.times, on_link.times) <= 2


class Counting(tuple[PodFacts, ...]):
    """Counts how often all pods are gone through."""

    __slots__ = ()
    times = 0

    def __iter__(self) -> Iterator[PodFacts]:
        Counting.times += 1
        return super().__iter__()


def test_all_pods_are_gone_through_once_however_many_nodes_there_are():
    """A thousand nodes of thirty pods would take minutes."""
    found = reads.read_cluster(cluster(RUNNING, pools=[pool(f"vm{number}") for number in range(20)]))
    evidence = replace(found, pods=Counting(found.pods))
    Counting.times = 0
    compare([msgspec.structs.replace(a_report(), node=f"vm{number}") for number in range(20)], evidence)
    from_api(evidence)
    assert Counting.times == 2
