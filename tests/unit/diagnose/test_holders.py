"""`who`: pods, nodes, pools and excluded configurations that have an address."""

from __future__ import annotations

from typing import Any

import pytest

from azure_cni.api.audit_reports import AuditReport, HoleReport, TenureReport
from azure_cni.commands import reads
from azure_cni.diagnose.holders import Holders, find_holders, parse_address, parse_time, with_history
from azure_cni.errors import ConfigInvalid
from fakes.cluster_access import FakeClusterAccess
from unit.diagnose.clusters import NIC, NOW_S, cluster, pod, pool

A, B = "10.240.0.36", "10.240.0.37"


def find(address: str, access: FakeClusterAccess) -> Holders:
    return find_holders(address, reads.read_cluster(access))


def test_a_pod_with_its_nic():
    found = find(A, cluster(pod(ip=A, phase="Running")))
    (one,) = found.present
    assert (one.kind, one.name, one.node, one.nic, one.config) == ("pod", "default/web", "vm1", NIC,
                                                                   "azure-cni-0aaaaaaa")  # fmt: skip
    assert found.verdict == f"{A} is the address of pod default/web on node vm1"
    assert not found.contradicts


def test_two_pods_of_which_one_has_lost_it():
    second = pool("vm2", vnetAddresses=[])
    pods = (pod(ip=A, phase="Running"), pod("other", node="vm2", ip=A, phase="Running"))
    found = find(A, cluster(*pods, pools=[pool(), second]))
    assert found.contradicts
    assert found.verdict == (
        f"2 pods have {A}: default/web, default/other; delete default/other, whose node's NIC has not got it"
    )


@pytest.mark.parametrize(
    ("address", "kind", "words"),
    [
        (B, "pool", "is on the NIC of node vm1 for pods, and no pod has it now"),
        ("10.240.0.4", "node", "is the primary address of node vm1"),
        ("10.240.0.50", "excluded", "is on the NIC of node vm1, for no pod: theirs 10.240.0.50: a public address"),
    ],
)
def test_addresses_that_no_pod_has(address: str, kind: str, words: str):
    access = cluster(pools=[pool("vm1", excluded=["theirs 10.240.0.50: a public address"])])
    found = find(address, access)
    assert [one.kind for one in found.present] == [kind]
    assert found.verdict == f"{address} {words}"
    assert not found.contradicts


def test_a_nodes_own_address_where_its_pool_is_on_another_nic():
    found = find("10.240.0.4", cluster(pools=[pool("vm1", primaryIP="10.240.8.4", nodeIP="10.240.0.4")]))
    assert [(one.kind, one.node, one.nic) for one in found.present] == [("node", "vm1", "")]
    assert found.verdict == "10.240.0.4 is the primary address of node vm1"


def test_an_address_of_nobody():
    assert find("10.9.9.9", cluster()).verdict == "no pod, node or pool of this cluster has 10.9.9.9"


def test_the_ipv6_address_of_a_pod():
    body = pod(ip=A, phase="Running")
    body["status"]["podIPs"] = [{"ip": A}, {"ip": "fd00:240::1:24"}]
    found = find(parse_address("FD00:240::1:0024", ipv6=True), cluster(body))
    (one,) = found.present
    assert (one.name, one.nic, one.config) == ("default/web", NIC, "azure-cni-0aaaaaaa")
    assert found.verdict == "fd00:240::1:24 is the address of pod default/web on node vm1"
    assert find("fd00:240::1:25", cluster(body)).verdict == "no pod of this cluster has fd00:240::1:25"
    assert find(A, cluster(body)).present == found.present


@pytest.mark.parametrize("text", ["10.240.0", "web", "fe80::1", ""])
def test_what_is_no_address_is_refused(text: Any):
    with pytest.raises(ConfigInvalid, match="not an IPv4 address"):
        parse_address(text)


def tenure(
    pod: str, begin: str, end: str = "", not_before: str = "", *, node: str = "vm1", recorded_by: str = ""
) -> TenureReport:
    times = [f"2026-11-28T{one}:00Z" if one else "" for one in (begin, end, not_before)]
    return TenureReport(node, "default", pod, f"uid-{pod}", pod, *times, recorded_by=recorded_by)


TRAIL = AuditReport(
    "vm1",
    A,
    "2026-11-28T05:00:00Z",
    [tenure("a", "06:00", "06:10"), tenure("b", "06:20", "06:40", "06:30"), tenure("c", "06:50")],
    [HoleReport("started", "2026-11-28T06:30:00Z", "2026-11-28T06:40:00Z")],
)


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ("06:05", f"{A} was the address of default/a on node vm1 at 2026-11-28T06:05:00Z"),
        ("06:10", f"{A} was the address of default/a on node vm1 at 2026-11-28T06:10:00Z"),  # until later that second
        ("06:15", f"no pod had {A} at 2026-11-28T06:15:00Z"),
        ("06:25", f"{A} was the address of default/b on node vm1 at 2026-11-28T06:25:00Z"),
        ("06:35", f"{A} may still have been the address of default/b on node vm1 at 2026-11-28T06:35:00Z: nobody saw"),
        ("06:45", f"no pod had {A} at 2026-11-28T06:45:00Z"),
        ("07:00", f"{A} was the address of default/c on node vm1 at 2026-11-28T07:00:00Z"),
        ("04:00", f"it is not known who had {A} at 2026-11-28T04:00:00Z: node vm1: its audit trail begins at 2026-"),
    ],
)
def test_who_had_it_then(at: str, words: str):
    found = with_history(find(A, cluster()), [TRAIL], [], at=f"2026-11-28T{at}:00Z")
    assert found.verdict.startswith(words)


def test_what_began_and_ended_within_a_second_was_then():
    short = TenureReport("vm1", "default", "web", begin="2026-11-28T06:19:00Z", end="2026-11-28T06:19:00Z")
    trail = AuditReport("vm1", A, "2026-11-28T00:00:00Z", [short])
    for second, words in (("00", "was the address of default/web"), ("01", "no pod had")):
        found = with_history(find(A, cluster()), [trail], (), at=f"2026-11-28T06:19:{second}Z")
        assert words in found.verdict


@pytest.mark.parametrize(("second", "known"), [("00", True), ("01", False), ("09", False), ("10", True)])
def test_a_hole_ends_within_its_last_second(second: str, *, known: bool):
    hole = HoleReport("started", "2026-11-28T06:19:00Z", "2026-11-28T06:19:09Z")
    trail = AuditReport("vm1", A, "2026-11-28T00:00:00Z", [], [hole])
    found = with_history(find(A, cluster()), [trail], (), at=f"2026-11-28T06:19:{second}Z")
    assert found.unknown is not known


def test_a_node_that_could_not_be_asked_may_have_had_it():
    found = with_history(find(A, cluster()), [], ["node vm2: forbidden"], at="2026-11-28T06:00:00Z")
    assert found.verdict == f"it is not known who had {A} at 2026-11-28T06:00:00Z: node vm2: forbidden"


def test_the_whole_history_is_that_of_all_nodes_in_its_order():
    other = AuditReport("vm2", A, "2026-11-28T05:00:00Z", [tenure("z", "06:12", "06:13", node="vm2")])
    found = with_history(find(A, cluster()), [TRAIL, other], [])
    assert found.history is not None
    assert [one.pod for one in found.history.tenures] == ["a", "z", "b", "c"]


def test_a_copy_of_another_nodes_trail_ends_nobodys_time():
    """As on a VM that was made from its disk: there, who had the address then was never seen again."""
    times = [("a", "06:00", "06:10"), ("c", "06:50", "07:30", "06:55"), ("old", "04:00", "04:30")]
    copied = [tenure(*one, node="vm9", recorded_by="vm1") for one in times]
    clone = AuditReport("vm9", A, "2026-11-28T03:00:00Z", [*copied, tenure("d", "07:40", node="vm9")])
    found = with_history(find(A, cluster()), [clone, TRAIL], [])
    assert found.history is not None
    assert [(one.place, one.pod) for one in found.history.tenures] == [
        ("vm1 (by a copy of its trail on vm9)", "old"),  # older than what vm1 still has
        *(("vm1", pod) for pod in "abc"),
        ("vm9", "d"),
    ]
    assert found.history.tenures[3].end == ""
    gone = with_history(find(A, cluster()), [clone], [])
    assert gone.history is not None
    assert len(gone.history.tenures) == 4, "where the other node is gone, the copy is all that there is"


@pytest.mark.parametrize("text", ["", "yesterday", "25:00"])
def test_what_is_no_time_is_refused(text: str):
    with pytest.raises(ConfigInvalid, match="not a time such as"):
        parse_time(text, now_s=NOW_S)


@pytest.mark.parametrize(
    "text", ["2026-11-28T07:05:00+01:00", "2026-11-28T06:05", "20261128T060500Z", "2026-11-28 01:05:00.9-05:00"]
)
def test_times_may_have_a_zone_and_other_forms_of_the_standard(text: str):
    assert parse_time(text, now_s=NOW_S) == "2026-11-28T06:05:00Z"


def test_of_a_time_that_has_not_come_nobody_is_said_to_have_had_an_address():
    """As of one in the zone of the person, who forgot to say which: the answer was about tomorrow."""
    with pytest.raises(ConfigInvalid, match="2026-11-28T07:19:26Z has not come yet, it is 2026-11-28T06:19:26Z here"):
        parse_time("2026-11-28T07:19:26", now_s=NOW_S)
    assert parse_time("2026-11-28T06:20:00Z", now_s=NOW_S) == "2026-11-28T06:20:00Z", "clocks differ a little"
