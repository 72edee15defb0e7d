"""What `e2e/on-azure --vm` asks of a VM, on the fake Azure: scripts run here, before the fake's metadata service."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from contract.on_azure_world import GROUP, Person, person
from fakeazure import Busy, FakeAzure, Forbidden, Refuse, Superseded, Vm, imds
from fakeazure.attestation import content
from fakeazure.errors import ArmError
from onazure.arm import RESOURCES
from onazure.machine import Machine
from onazure.machine_answers import ANSWERS, Finding
from onazure.machine_questions import MACHINE
from onazure.questions import AS_TAKEN

METADATA = "http://169.254.169.254"
QUICK = ("--watch", "2", "--lead", "3")
LEAD_S = 0.25


@asynccontextmanager
async def with_shell(directory: Path) -> AsyncIterator[Person]:
    """A subscription whose VMs run their scripts on this machine."""
    with ThreadPoolExecutor(2) as threads:
        async with person(directory, FakeAzure(seed=1, operation_duration_s=0.3)) as one:

            def run(vm: Vm, script: str) -> Future[str]:
                one.azure.pin_caller(vm.name)
                here = script.replace(METADATA, one.endpoints.imds)
                return threads.submit(lambda: subprocess.check_output(["sh", "-c", here], text=True))

            one.azure.commands.run = run
            yield one


async def test_every_question_with_a_vm_has_an_answer_and_nothing_is_left(tmp_path: Path) -> None:
    async with with_shell(tmp_path) as one:
        code, out, err = await one.run("--vm", "--yes", "--only", ",".join(ANSWERS), *QUICK)
        assert code == 0, err
        assert one.traces() == []
        assert one.azure.calls["vm.put"] == 1
    found = {answer["key"]: (answer["answer"], answer["said"]) for answer in one.report()["answers"]}
    assert {key: answer for key, (answer, _) in found.items()} == dict.fromkeys(ANSWERS, AS_TAKEN), found
    assert "CanceledAndSupersededDueToAnotherOperation" in found["write-in-write"][1]
    assert "metadata.azure.com" in found["attested"][1]
    assert "a dozen network interfaces, one VM in it" in out
    assert "some\ntwo cents of a US dollar an hour" in out
    assert "adminPassword" not in (tmp_path / "report.json").read_text()


async def test_no_vm_is_made_unless_it_is_asked_for(tmp_path: Path) -> None:
    async with with_shell(tmp_path) as one:
        code, out, _ = await one.run("--yes", "--only", "block")
        assert (code, one.azure.calls["vm.put"]) == (0, 0)
        code, _, err = await one.run("--yes", "--only", "attested")
    assert "VM" not in out
    assert (code, "; with --vm write-time, " in err) == (2, True)


async def test_what_needs_the_vm_says_why_there_is_none(tmp_path: Path) -> None:
    async with with_shell(tmp_path) as one:
        one.azure.faults.add(
            Refuse(ArmError(409, "SkuNotAvailable", "not in this region")), operation="vm.put", times=None
        )
        code, *_ = await one.run("--vm", "--yes", "--only", "block,attested")
        assert one.traces() == []
    assert code == 1
    answers = {answer["key"]: (answer["answer"], answer["said"]) for answer in one.report()["answers"]}
    assert answers["block"][0] == AS_TAKEN
    assert answers["attested"] == (None, "the VM could not be made: 409 SkuNotAvailable not in this region")


Arranged = Callable[[FakeAzure, pytest.MonkeyPatch], None]


def _no_nonce(azure: FakeAzure, patch: pytest.MonkeyPatch) -> None:
    document = azure.attester.signer.document(content("vm", nonce="", now=azure.now()))
    patch.setattr(azure.attester, "document", lambda *_, **__: document)


def _other_signer(azure: FakeAzure, patch: pytest.MonkeyPatch) -> None:
    signer = azure.attester.issuing.signer("metadata.azure.com.evil.example", at=azure.now())
    patch.setattr(
        azure.attester,
        "document",
        lambda vm_id, _subscription, *, nonce, now, **_: signer.document(content(vm_id, nonce=nonce, now=now)),
    )


def _hides_blocks(_: FakeAzure, patch: pytest.MonkeyPatch) -> None:
    known = imds.document

    def document(azure: FakeAzure, vm: Vm, *, stale: bool = False) -> dict[str, object]:
        shown = known(azure, vm, stale=stale)
        for interface in shown["network"]["interface"]:
            addresses = interface["ipv4"]["ipAddress"]
            addresses[:] = [one for one in addresses if "/" not in one["privateIpAddress"]]
        return shown

    patch.setattr(imds, "document", document)


def _unfolds_blocks(_: FakeAzure, patch: pytest.MonkeyPatch) -> None:
    known = imds.document

    def document(azure: FakeAzure, vm: Vm, *, stale: bool = False) -> dict[str, object]:
        shown = known(azure, vm, stale=stale)
        for interface in shown["network"]["interface"]:
            for one in interface["ipv4"]["ipAddress"]:
                one["privateIpAddress"] = one["privateIpAddress"].partition("/")[0]
        return shown

    patch.setattr(imds, "document", document)


def _nothing_new(azure: FakeAzure, patch: pytest.MonkeyPatch) -> None:
    known = imds.document
    first: dict[str, dict[str, object]] = {}

    def document(azure: FakeAzure, vm: Vm, *, stale: bool = False) -> dict[str, object]:
        return first.setdefault(vm.id, known(azure, vm, stale=stale))

    patch.setattr(imds, "document", document)


def _odd_refusal(azure: FakeAzure, _: pytest.MonkeyPatch) -> None:
    azure.faults.add(
        Refuse(ArmError(409, "NicIsBeingWritten", "wait")), operation="nic.put", resource="vm-nic", times=2
    )


def _busy(azure: FakeAzure, _: pytest.MonkeyPatch) -> None:
    azure.faults.add(Busy(409), operation="nic.put", resource="vm-nic", times=2)


def _superseded(azure: FakeAzure, _: pytest.MonkeyPatch) -> None:
    azure.faults.add(Superseded(), operation="nic.put", resource="vm-nic", times=1)


@pytest.mark.parametrize(
    ("key", "arranged", "answer"),
    [
        ("attested", _no_nonce, "without the nonce"),
        ("attested", _other_signer, "another signer"),
        ("metadata-block", _hides_blocks, "not at all"),
        ("metadata-block", _unfolds_blocks, "another form"),
        ("metadata-lag", _nothing_new, "later"),
        ("write-in-write", _odd_refusal, "another code"),
        ("write-in-write", _busy, AS_TAKEN),
        ("write-in-write", _superseded, AS_TAKEN),
    ],
)
async def test_another_azure_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, arranged: Arranged, answer: str
) -> None:
    async with with_shell(tmp_path) as one:
        machine = await _machine(one)
        arranged(one.azure, monkeypatch)
        finding = await asyncio.to_thread(lambda: ANSWERS[key](machine))
    assert finding.answer == answer, finding
    (question,) = (question for question in MACHINE if question.key == key)
    assert question.meaning(finding.answer)


async def test_a_write_that_takes_long_is_found_out(tmp_path: Path) -> None:
    async with with_shell(tmp_path) as one:
        machine = await _machine(one)
        times = iter(range(0, 100_000, 40))
        machine.lab.arm.now = lambda: float(next(times))
        finding: Finding = await asyncio.to_thread(lambda: ANSWERS["write-time"](machine))
    assert finding.answer == "longer", finding


async def test_a_vm_without_the_right_to_run_commands_is_reported(tmp_path: Path) -> None:
    async with with_shell(tmp_path) as one:
        one.azure.faults.add(Forbidden(), operation="vm.run", times=None)
        code, *_ = await one.run("--vm", "--yes", "--only", "attested", *QUICK)
    assert code == 1
    assert one.report()["answers"][0]["said"].startswith("no command could be run on the VM: 403 AuthorizationFailed")


async def _machine(one: Person) -> Machine:
    def asleep(seconds: float) -> None:
        """A script begins when it first asks; operations of the fake take 0.3 s."""
        asked, until = one.azure.calls["imds.instance"], time.monotonic() + 30
        while seconds == LEAD_S and one.azure.calls["imds.instance"] == asked and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(min(seconds, 0.2))

    def make() -> Machine:
        lab = one.lab(sleep=asleep)
        assert lab.arm.ask("PUT", lab.arm.inside, {"location": "eastus"}, version=RESOURCES).ok
        lab.prepare()
        machine = Machine(lab, "Standard_B1s", watch_s=1.5, lead_s=LEAD_S)
        machine.make()
        return machine

    made = await asyncio.to_thread(make)
    assert GROUP in made.path
    return made
