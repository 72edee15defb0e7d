"""Who has and who had an address of a VM with Docker."""

from __future__ import annotations

import pytest

from azure_cni.api.audit_reports import AuditReport, HoleReport, TenureReport
from azure_cni.docker.address_history import find, lines
from azure_cni.docker.container_endpoints import DELETED, REQUESTED

ADDRESS = "10.240.0.5"
NOW = {
    "primaryIP": "10.240.0.4",
    "endpoints": [{"address": ADDRESS, "endpoint": "ep2", "network": "net1", "state": "joined", "container": "web"}],
}
T0, T1, T2, T3, T4 = (f"2026-11-28T06:0{minute}:00Z" for minute in range(5))


def had(
    container: str, begin: str, end: str = "", *, not_before: str = "", network: str = "net1", name: str = ""
) -> TenureReport:
    return TenureReport("vm1", "", name, "", container, begin, end, not_before, network)


TRAIL = AuditReport(
    "vm1",
    ADDRESS,
    T0,
    [
        had("request-1", T0, T0, network=REQUESTED),
        had("endpoint1abcdefgh", T0, T2, not_before=T1),
        had("ep0", T2, T3, network=DELETED),
        had("ep2", T4, name="web"),
    ],
    [HoleReport("started", T1, T2)],
)


def test_it_says_who_has_it_and_all_who_had_it_but_not_what_was_asked_for_them() -> None:
    found = find(ADDRESS, NOW, TRAIL, at="")
    assert not found.unknown
    assert [line.split() for line in lines(found)][2:] == [
        ["FROM", "TO", "NETWORK", "ENDPOINT", "CONTAINER"],
        [T0, "between", T1, "and", T2, "net1", "endpoint1abc", "-"],
        [T2, T3, "-", "ep0", "-"],
        [T4, "now", "net1", "ep2", "web"],
    ]
    assert found.verdict == "10.240.0.5 is the address of container web, endpoint ep2 of network net1 (joined)"


@pytest.mark.parametrize(
    ("at", "verdict", "unknown"),
    [
        (T0, "was the address of endpoint endpoint1abc of network net1 at", False),
        ("2026-11-28T06:01:30Z", "may still have been the address of endpoint endpoint1abc", False),
        (T4, "was the address of container web, endpoint ep2", False),
        ("2026-11-28T06:03:30Z", f"no container of this VM had {ADDRESS} at", False),
        ("2026-11-28T05:00:00Z", f"it is not known who had {ADDRESS} at", True),
    ],
)
def test_of_a_time_it_says_who_had_it_or_that_nobody_knows(at: str, verdict: str, *, unknown: bool) -> None:
    found = find(ADDRESS, NOW, TRAIL, at=at)
    assert verdict in found.verdict
    assert found.unknown is unknown
    assert any("its audit trail" in line for line in lines(found)) is (unknown or "01:30" in at)


@pytest.mark.parametrize(
    ("address", "verdict"),
    [
        ("10.240.0.4", "10.240.0.4 is the primary address of this VM"),
        ("10.240.0.9", "no container of this VM has 10.240.0.9 now"),
        ("10.240.0.7", "10.240.0.7 is held for a container that starts or ends (requested)"),
    ],
)
def test_an_address_of_no_container(address: str, verdict: str) -> None:
    starting = {"address": "10.240.0.7", "network": "", "state": "requested"}
    shown = NOW | {"endpoints": [starting, *NOW["endpoints"]]}
    assert find(address, shown, AuditReport("vm1", address, T0), at="").verdict == verdict


@pytest.mark.parametrize("odd", [{}, {"endpoints": 3}, {"endpoints": [{"address": ADDRESS, "endpoint": 7}]}])
def test_any_document_has_an_answer(odd: dict[str, object]) -> None:
    assert list(lines(find(ADDRESS, odd, AuditReport(error="no audit trail is kept"), at="")))
