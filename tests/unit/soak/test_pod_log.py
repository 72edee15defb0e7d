"""Lives of pods out of what a watch and lists show, in the order in which they show it."""

from __future__ import annotations

import pytest

from soak.churn import seen
from soak.plan import Lifetime
from soak.pod_log import Life, PodLog, Seen

PATIENT, HASTY = Lifetime(5.0, hasty=False), Lifetime(5.0, hasty=True)


@pytest.fixture
def log() -> PodLog:
    """Two pods, asked for at 10 s."""
    log = PodLog()
    for name in ("one", "two"):
        log.ask(Life(name, "vm1", PATIENT, asked_s=10.0))
    return log


def shown(name: str, address: str = "", *, ready: bool = False, ending: bool = False) -> Seen:
    return Seen(name, address, ready, ending)


def test_a_pod_starts_when_it_is_first_ready(log: PodLog):
    log.see(shown("one", "10.0.0.1"), at_s=11.0)
    log.see(shown("one", "10.0.0.1", ready=True), at_s=12.5)
    log.see(shown("one", "10.0.0.1"), at_s=13.0)
    log.see(shown("one", "10.0.0.1", ready=True), at_s=14.0)
    assert (log.lives["one"].started, log.lives["one"].took_s) == (True, 2.5)
    assert not log.lives["two"].started


def test_a_pod_that_is_ready_while_it_ends_has_not_started(log: PodLog):
    log.see(shown("one", "10.0.0.1", ready=True, ending=True), at_s=12.0)
    assert not log.lives["one"].started


def test_a_pod_is_due_by_its_age_since_it_was_ready_a_hasty_one_since_it_was_asked_for():
    patient, hasty = Life("one", "vm1", PATIENT, asked_s=10.0), Life("two", "vm1", HASTY, asked_s=10.0)
    assert [one.due(15.0) for one in (patient, hasty)] == [False, True]
    patient.ready_s, hasty.deleted_s = 12.0, 15.0
    assert [one.due(17.0) for one in (patient, hasty)] == [True, False]


def test_two_running_pods_with_one_address_are_told_once(log: PodLog):
    for _ in range(2):
        log.see(shown("one", "10.0.0.1", ready=True), at_s=12.0)
        log.see(shown("two", "10.0.0.1"), at_s=12.0)
    assert [str(pair) for pair in log.shared] == ["one and two have 10.0.0.1"]


def test_an_address_that_a_tool_took_from_a_pod_and_azure_gave_away_is_not_shared_by_this_product(log: PodLog):
    log.see(shown("one", "10.0.0.1", ready=True), at_s=12.0)
    log.see(shown("two", "10.0.0.1"), at_s=12.0)
    log.bereft.add("one")
    assert log.shared == []
    log.go("one", at_s=13.0)
    log.ask(Life("three", "vm1", PATIENT, asked_s=14.0))
    log.see(shown("three", "10.0.0.1"), at_s=15.0)
    assert [str(pair) for pair in log.shared] == ["two and three have 10.0.0.1"]


@pytest.mark.parametrize("over", ["ending", "gone"])
def test_an_address_may_go_to_another_pod_once_the_first_is_over(log: PodLog, over: str):
    log.see(shown("one", "10.0.0.1", ready=True), at_s=12.0)
    if over == "gone":
        log.go("one", at_s=13.0)
    else:
        log.see(shown("one", "10.0.0.1", ending=True), at_s=13.0)
    log.see(shown("two", "10.0.0.1"), at_s=14.0)
    assert log.shared == []


def test_a_list_shows_what_is_gone_but_not_what_was_asked_for_after_it(log: PodLog):
    log.ask(Life("three", "vm2", PATIENT, asked_s=20.5))
    log.see_all([shown("two", "10.0.0.2")], asked_s=20.0, at_s=21.0)
    assert log.lives["one"].gone_s == 21.0
    assert [life.name for life in log.alive()] == ["two", "three"]
    assert [life.name for life in log.alive("vm2")] == ["three"]


def test_an_address_that_changed_hands_while_nobody_looked_is_not_shared(log: PodLog):
    """In the list the new holder comes first."""
    log.see(shown("two", "10.0.0.1", ready=True), at_s=12.0)
    log.see_all([shown("one", "10.0.0.1"), shown("two", "10.0.0.1", ending=True)], asked_s=20.0, at_s=21.0)
    assert log.shared == []


def test_what_nobody_asked_for_and_what_is_gone_is_passed_over(log: PodLog):
    log.see(shown("another", "10.0.0.9"), at_s=12.0)
    log.go("one", at_s=13.0)
    log.see(shown("one", "10.0.0.1", ready=True), at_s=14.0)
    assert "another" not in log.lives
    assert (log.lives["one"].gone_s, log.lives["one"].started) == (13.0, False)


def test_only_pods_that_were_asked_for_since_count_as_proof(log: PodLog):
    log.see(shown("one", "10.0.0.1", ready=True), at_s=12.0)
    assert [log.started_since("vm1", at_s) for at_s in (9.0, 10.0, 11.0)] == [1, 1, 0]
    assert log.started_since("vm2", 0.0) == 0


@pytest.mark.parametrize(
    ("status", "deleted", "expected"),
    [
        ({}, None, Seen("one", "", ready=False, ending=False)),
        ({"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}, None,
         Seen("one", "10.0.0.1", ready=True, ending=False)),
        ({"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "False"}]}, "2026-11-29T18:00:00Z",
         Seen("one", "10.0.0.1", ready=False, ending=True)),
        ({"phase": "Failed"}, None, Seen("one", "", ready=False, ending=True)),
    ],
)  # fmt: skip
def test_a_pods_document_is_read(status: dict[str, object], deleted: str | None, expected: Seen):
    metadata = {"name": "one", **({"deletionTimestamp": deleted} if deleted else {})}
    assert seen({"metadata": metadata, "status": status}) == expected
