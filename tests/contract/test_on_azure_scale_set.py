"""What `e2e/on-azure --scale-set` asks of an instance of a Uniform scale set, on the fake Azure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from contract.on_azure_world import person
from fakeazure import FakeAzure, NoEffect, Refuse, armuniform
from fakeazure.errors import ArmError
from fakeazure.faults import Faults
from onazure.arm import RESOURCES
from onazure.machine_questions import SCALE_SET
from onazure.questions import AS_TAKEN
from onazure.scale_set import ScaleSet
from onazure.scale_set_answers import ANSWERS, Finding


async def test_every_question_with_a_scale_set_has_an_answer_and_nothing_is_left(tmp_path: Path) -> None:
    """On the fake, addresses leave an instance, unless a fault keeps them."""
    async with person(tmp_path) as one:
        code, out, err = await one.run("--scale-set", "--yes", "--only", ",".join(ANSWERS))
        assert code == 0, err
        assert one.traces() == []
        assert (one.azure.scale_sets, one.azure.uniform.instances, one.azure.calls["vm.put"]) == ({}, {}, 0)
    found = {answer["key"]: (answer["answer"], answer["said"]) for answer in one.report()["answers"]}
    assert {key: answer for key, (answer, _) in found.items()} == {
        **dict.fromkeys(ANSWERS, AS_TAKEN),
        "instance-shrink": "they leave",
    }, found
    assert "a write with the first of them: 412 PreconditionFailed" in found["instance-etag"][1]
    assert "one scale set of one VM" in out


async def test_a_vm_and_a_scale_set_are_both_told_before_they_cost(tmp_path: Path) -> None:
    async with person(tmp_path) as one:
        code, out, _ = await one.run("--vm", "--scale-set", yes="n\n")
        assert (code, dict(one.azure.calls)) == (2, {})
    assert "a dozen network interfaces, one VM, one scale set of one VM in it" in out
    assert "Azure charges for 2 VM of size Standard_B1s" in out


Arranged = Callable[[FakeAzure, pytest.MonkeyPatch], None]


def _kept_on_the_nic(_: FakeAzure, patch: pytest.MonkeyPatch) -> None:
    """Of the second write, which removes: the model changes, and the NIC does not (cilium issue 46073)."""
    known, writes = Faults.take, []

    def take(faults: Faults, kind, operation: str, resource: str):
        if kind is not NoEffect:
            return known(faults, kind, operation, resource)
        writes.append(operation)
        return (NoEffect(model=True), None) if len(writes) == 2 else None

    patch.setattr(Faults, "take", take)


def _late_on_the_nic(azure: FakeAzure, _: pytest.MonkeyPatch) -> None:
    azure.faults.add(NoEffect(model=True))


def _no_etags(_: FakeAzure, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(armuniform, "_check_etag", lambda *_: None)


def _older_nics(listed: str) -> Arranged:
    def arrange(azure: FakeAzure, _: pytest.MonkeyPatch) -> None:
        text = f"No registered resource provider found for API version. The supported api-versions are '{listed}'."
        azure.faults.add(
            Refuse(ArmError(400, "NoRegisteredProviderFound", text)), operation="instance-nic.get", times=1
        )

    return arrange


@pytest.mark.parametrize(
    ("key", "arranged", "answer"),
    [
        ("instance-shrink", _kept_on_the_nic, AS_TAKEN),
        ("instance-lag", _late_on_the_nic, "minutes"),
        ("instance-etag", _no_etags, "stays"),
        ("instance-nic-version", _older_nics("2018-10-01, 2017-03-30"), "older than 2023-11-01"),
        ("instance-nic-version", _older_nics("2024-07-01, 2018-10-01"), AS_TAKEN),
    ],
)
async def test_another_azure_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, arranged: Arranged, answer: str
) -> None:
    async with person(tmp_path) as one:
        now_s = [0.0]
        lab = one.lab(sleep=lambda seconds: now_s.append(now_s[-1] + seconds))
        lab.arm.now = lambda: now_s[-1]

        def ask() -> Finding:
            assert lab.arm.ask("PUT", lab.arm.inside, {"location": "eastus"}, version=RESOURCES).ok
            lab.prepare()
            instances = ScaleSet(lab, "Standard_B1s")
            instances.make()
            arranged(one.azure, monkeypatch)
            return ANSWERS[key](instances)

        finding = await asyncio.to_thread(ask)
    assert finding.answer == answer, finding
    (question,) = (question for question in SCALE_SET if question.key == key)
    assert question.meaning(finding.answer)
