"""The audit trail's records: what a change of the ledger hands over, and what records say of an address."""

from __future__ import annotations

import re
from ipaddress import IPv4Address

import msgspec
import pytest

from azure_cni.ipam.address_state import Holder, Sandbox, Slot, State
from azure_cni.ipam.audit_records import AuditKind, AuditRecord, handovers, tenures
from azure_cni.ipam.ledger import Change, Ledger
from azure_cni.model.nic import ConfigName
from unit.chart.helm import REPOSITORY

A, B = IPv4Address("10.240.0.36"), IPv4Address("10.240.0.37")


def holder(name: str, *, netns: str = "", network: str = "azure-cni") -> Holder:
    return Holder(Sandbox(network, f"container-{name}", "eth0"), netns, "default", name, f"uid-{name}")


def slot(address: IPv4Address, who: Holder | None = None) -> Slot:
    return Slot(address, ConfigName("azure-cni-0a"), State.ASSIGNED if who else State.FREE, 0.0, who)


@pytest.mark.parametrize(
    ("before", "change", "made"),
    [
        ([slot(A)], Change(put=(slot(A, holder("web")),)), [("web", True)]),
        ([slot(A, holder("web"))], Change(put=(slot(A),)), [("web", False)]),
        ([slot(A, holder("web"))], Change(drop=(A,)), [("web", False)]),
        ([slot(A, holder("web"))], Change(put=(slot(A, holder("web", netns="/new")),)), []),
        ([slot(A, holder("web", network=""))], Change(put=(slot(A, holder("web")),)), []),
        ([slot(A, holder("old"))], Change(put=(slot(A, holder("new")),)), [("old", False), ("new", True)]),
        ([slot(A)], Change(put=(slot(A),)), []),
        ([], Change(put=(slot(A),)), []),
        ([slot(A, holder("old")), slot(B)], Change(put=(slot(B, holder("new")), slot(A))),
         [("old", False), ("new", True)]),
    ],
    ids=["given", "taken", "taken with its address", "another path of its namespace", "a network that was not known",
         "from one to another", "nothing", "a new address", "what is taken comes first"],
)  # fmt: skip
def test_a_change_hands_addresses_over(before: list[Slot], change: Change, made: list[tuple[str, bool]]):
    assert [(one.holder.pod_name, one.assigned) for one in handovers(Ledger(before), change)] == made


def record(event: AuditKind, time: int, pod: str = "", **more: object) -> AuditRecord:
    about = {"address": str(A), "pod": pod, "container": pod} if pod else {}
    return AuditRecord(time=at(time), event=event.value, **about, **more)  # type: ignore[arg-type]


def at(time: int | str) -> str:
    return f"t{time:02}" if isinstance(time, int) else time


GIVEN, TAKEN, HELD = AuditKind.ASSIGNED, AuditKind.RETURNED, AuditKind.HELD
STARTED, GAP, UNREAD = AuditKind.STARTED, AuditKind.GAP, AuditKind.UNREADABLE


@pytest.mark.parametrize(
    ("records", "told"),
    [
        ([], []),
        ([record(GIVEN, 1, "a")], [("a", 1, "", "")]),
        ([record(GIVEN, 1, "a"), record(TAKEN, 2, "a")], [("a", 1, 2, "")]),
        ([record(GIVEN, 1, "a"), record(TAKEN, 2, "a"), record(GIVEN, 3, "b")], [("a", 1, 2, ""), ("b", 3, "", "")]),
        ([record(HELD, 5, "a", since="t01")], [("a", 1, "", "")]),
        ([record(GIVEN, 1, "a"), record(HELD, 5, "a", since="t01"), record(TAKEN, 7, "a")], [("a", 1, 7, "")]),
        ([record(GIVEN, 1, "a"), record(STARTED, 5, not_before="t03"), record(HELD, 5, "a", since="t01")],
         [("a", 1, "", "")]),
        ([record(GIVEN, 1, "a"), record(STARTED, 5, not_before="t03")], [("a", 1, 5, 3)]),
        ([record(GIVEN, 1, "a"), record(GAP, 5, not_before="t03", lost=9), record(HELD, 5, "b", since="t04")],
         [("a", 1, 5, 3), ("b", 4, "", "")]),
        ([record(GIVEN, 1, "a"), record(STARTED, 5, not_before="t03"), record(GIVEN, 6, "b")],
         [("a", 1, 5, 3), ("b", 6, "", "")]),
        ([record(STARTED, 2, not_before="t02"), record(GIVEN, 3, "a"), record(STARTED, 6, not_before="t04"),
          record(STARTED, 9, not_before="t07")], [("a", 3, 6, 4)]),
        ([record(TAKEN, 2, "a"), record(GIVEN, 3, "b")], [("b", 3, "", "")]),
        ([record(GIVEN, 1, "a"), record(GIVEN, 4, "b")], [("a", 1, 4, 1), ("b", 4, "", "")]),
        ([record(GIVEN, 1, "a"), record(AuditKind.NIC_WRITTEN, 2), record(TAKEN, 3, "a")], [("a", 1, 3, "")]),
        ([record(GIVEN, 1, "a"), record(STARTED, 5, not_before="t08")], [("a", 1, 8, 5)]),
        ([record(GIVEN, 9, "a"), record(TAKEN, 4, "a")], [("a", 4, 9, 4)]),
        ([record(GIVEN, 4, "a"), record(STARTED, 8, not_before="t03")], [("a", 4, 8, 4)]),
        ([record(GIVEN, 1, "a"), record(UNREAD, 5, not_before="t03")], [("a", 1, "", 3)]),
        ([record(GIVEN, 1, "a"), record(UNREAD, 5, not_before="t03"), record(TAKEN, 6, "a")], [("a", 1, 6, "")]),
        ([record(GIVEN, 1, "a"), record(UNREAD, 5, not_before="t03"), record(HELD, 6, "a", since="t01")],
         [("a", 1, "", "")]),
        ([record(GIVEN, 1, "a"), record(UNREAD, 5, not_before="t03"), record(GIVEN, 6, "b")],
         [("a", 1, 6, 1), ("b", 6, "", "")]),
        ([record(GIVEN, 1, "a"), record(STARTED, 5, not_before="t03"), record(UNREAD, 6, not_before="t05")],
         [("a", 1, "", 3)]),
    ],
    ids=["nothing", "lasts", "ended", "two after each other", "a file's head", "a file's head in between",
         "named after a hole", "not named after a hole", "another after a gap", "given after a hole",
         "two holes", "a return whose beginning was deleted", "a return that is missing", "a write of the NIC between",
         "a clock set back in a hole", "a clock set back",
         "given in what is doubtful", "its end may be unreadable", "an end after what is unreadable",
         "named after what is unreadable", "another after what is unreadable",
         "its name after a hole may be unreadable"],
)  # fmt: skip
def test_records_say_who_had_it_and_a_hole_is_never_papered_over(records: list[AuditRecord], told: list[tuple]):
    found, _ = tenures(records)
    expected = [(pod, *(at(time) for time in times)) for pod, *times in told]
    assert [(one.pod, one.begin, one.end, one.end_not_before) for one in found] == expected


def test_holes_are_listed():
    _, holes = tenures([record(STARTED, 2, not_before="t01"), record(GAP, 5, not_before="t03", lost=9)])
    assert [(one.kind, one.begin, one.end, one.lost) for one in holes] == [
        ("started", "t01", "t02", 0),
        ("gap", "t03", "t05", 9),
    ]
    _, holes = tenures([record(STARTED, 2, not_before="t08")])
    assert [(one.begin, one.end) for one in holes] == [("t02", "t08")]


def test_the_documentation_has_every_event_and_every_field():
    page = (
        (REPOSITORY / "docs" / "command-line.md").read_text().partition("## The audit trail")[2].partition("\n## ")[0]
    )
    rows = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("| `")][1:]
    assert [re.findall(r"`(\w+)`", row[0])[0] for row in rows] == [kind.value for kind in AuditKind]
    named = {word for row in rows for word in re.findall(r"`(\w+)`", row[2])} | {"time", "event", "node"}
    assert named == {field.encode_name for field in msgspec.structs.fields(AuditRecord)}
