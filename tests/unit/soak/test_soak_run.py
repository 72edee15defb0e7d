"""How a run goes on: faults that come right or do not, and what breaks it off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import Any, cast

import pytest

from azurebox.steps import StepError
from scenarios.harness.node import Slot
from scenarios.harness.stage import Stage
from soak import run
from soak.faults import Fault
from soak.plan import Kind, Planned
from soak.run import Soak

PLANNED = Planned(1, "rain", 1, hold_s=0.0, pause_s=0.0)


class Node:
    """`lost` pods had addresses that the other node has now; the pool asks to delete them where `says` is right."""

    def __init__(self, name: str, *, held: int, lost: int = 0, says: str = "delete these pods") -> None:
        self.name = name
        self._held, self._lost, self._says = held, lost, says

    def on_nic(self) -> set[IPv4Address]:
        return {IPv4Address(self._held)}

    def slots(self) -> list[Slot]:
        wanted = [Slot(IPv4Address(self._lost), "assigned", "scenarios/dark")] if self._lost else []
        return [*wanted, Slot(IPv4Address(self._held), "assigned", "scenarios/fine")]

    def condition(self, kind: str) -> dict[str, str]:
        assert kind == "Drifted"
        return {"status": "True" if self._lost else "False", "message": self._says}


class ImpatientBox:
    """It looks three times, at once."""

    def __init__(self) -> None:
        self.deleted: list[str] = []

    def kubectl(self, *words: str) -> str:
        assert words[:4] == ("delete", "pods", "-n", "scenarios")
        self.deleted += words[6:]
        return ""

    def wait_for(self, predicate: Callable[[], Any], _timeout_s: float, what: str, **_: float) -> Any:
        last: Exception | None = None
        for _look in range(3):
            try:
                if answer := predicate():
                    return answer
            except StepError as error:
                last = error
        raise StepError(f"waited in vain for {what}: {last}")


class Churning:
    """Pods go on to start."""

    def started_since(self, _at_s: float) -> bool:
        return True


@pytest.fixture
def soak() -> Soak:
    stage = Stage(*cast("Any", (ImpatientBox(), None, None, [Node("vm1", held=1), Node("vm2", held=2)])))
    return Soak(stage, minutes=1.0, seed=7, warm_s=0.0, say=said.append)


said: list[str] = []


def befall(soak: Soak, monkeypatch: pytest.MonkeyPatch, recovered: Callable[[Stage], bool]) -> list[str]:
    """The nodes at which the fault happened."""
    happened: list[str] = []

    @contextmanager
    def trouble(stage: Stage) -> Iterator[None]:
        happened.append(stage.node.name)
        yield

    monkeypatch.setitem(run.FAULTS, "rain", Fault(Kind("rain"), trouble, recovered))
    soak._befall(PLANNED, cast("Any", Churning()))
    return happened


def test_a_fault_happens_at_its_node_and_is_over_once_it_is_recovered(soak: Soak, monkeypatch: pytest.MonkeyPatch):
    answers = iter([False, False, True])
    assert befall(soak, monkeypatch, lambda _: next(answers)) == ["vm2"]
    (fault,) = soak.outcome.faults
    assert (fault.kind, fault.node, fault.why) == ("rain", "vm2", "")
    assert fault.right_s is not None


@pytest.mark.parametrize("odd", [StepError("no answer"), KeyError("status"), ValueError("half a document")])
def test_an_odd_answer_is_asked_for_again(soak: Soak, monkeypatch: pytest.MonkeyPatch, odd: Exception):
    answers = iter([odd, True])

    def recovered(_: Stage) -> bool:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    befall(soak, monkeypatch, recovered)
    assert soak.outcome.faults[0].right_s is not None


def test_a_fault_that_does_not_come_right_is_kept_with_what_was_wrong(soak: Soak, monkeypatch: pytest.MonkeyPatch):
    def recovered(_: Stage) -> bool:
        raise StepError("it still rains")

    befall(soak, monkeypatch, recovered)
    (fault,) = soak.outcome.faults
    assert fault.right_s is None
    assert "it still rains" in fault.why
    assert "NOT RIGHT" in said[-1]


@pytest.mark.parametrize(
    ("lost", "says", "deleted"),
    [
        (1, "pods hold addresses that are no longer on the NIC: delete these pods", ["dark"]),
        (1, "0.0.0.1 is asked for again", []),  # the pool has not given up
        (3, "pods hold addresses that are no longer on the NIC: delete these pods", []),  # nobody has it: it can come
    ],
)
def test_a_pod_whose_address_another_node_has_is_deleted_when_its_pool_asks_for_that(
    soak: Soak, monkeypatch: pytest.MonkeyPatch, lost: int, says: str, deleted: list[str]
):
    soak.stage.nodes[1] = cast("Any", Node("vm2", held=2, lost=lost, says=says))
    befall(soak, monkeypatch, lambda _: True)
    assert cast("Any", soak.stage.box).deleted == deleted
    assert soak.outcome.pods.bereft == set(deleted)


def test_what_breaks_a_run_off_is_in_its_outcome_and_all_is_put_back(soak: Soak, monkeypatch: pytest.MonkeyPatch):
    put_back: list[str] = []

    @contextmanager
    def installed() -> Iterator[None]:
        yield
        put_back.append("all")

    def broken() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(soak, "_installed", installed)
    monkeypatch.setattr(soak, "_run", broken)
    assert soak.carry_out().broken_off == "interrupted"
    assert put_back == ["all"]


def test_a_run_that_cannot_begin_says_why(soak: Soak, monkeypatch: pytest.MonkeyPatch):
    @contextmanager
    def installed() -> Iterator[None]:
        raise StepError("pods run there")
        yield

    monkeypatch.setattr(soak, "_installed", installed)
    with pytest.raises(StepError, match="pods run there"):
        soak.carry_out()
