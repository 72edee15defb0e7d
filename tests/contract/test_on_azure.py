"""`e2e/on-azure` on the fake Azure: what it asks and says, and that it leaves nothing behind however it ends."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from contract.on_azure_world import GROUP, person
from fakeazure import FakeAzure, Forbidden, Refuse, Silent, Throttled, armwrites, errors, nicrules, vnets
from fakeazure.errors import ArmError
from onazure.arm import RESOURCES
from onazure.network_answers import ANSWERS, Finding
from onazure.questions import AS_TAKEN, NETWORK

WITHOUT_IPV6 = "this Azure has IPv4 only"


async def test_every_question_has_an_answer_and_nothing_is_left(tmp_path: Path) -> None:
    async with person(tmp_path) as one:
        code, out, err = await one.run(yes="y\n")
        assert code == 0, err
        found = {answer["key"]: (answer["answer"], answer["said"]) for answer in one.report()["answers"]}
        assert one.traces() == []
        assert one.azure.calls["group.delete"] == 1
    assert "Azure charges nothing" in out
    assert f"az group delete --yes --subscription {one.azure.subscription_id} --name {GROUP}" in out
    assert found.keys() == {question.key for question in NETWORK} == ANSWERS.keys()
    other, said = found.pop("ipv6-block")
    assert other == AS_TAKEN or WITHOUT_IPV6 in said
    assert {key: answer for key, (answer, _) in found.items()} == dict.fromkeys(found, AS_TAKEN)
    assert found["full-subnet"][1].startswith("400 SubnetIsFull ")
    assert "257: 400 IpConfigurationCountPerNicExceeded" in found["most-configurations"][1]


async def test_the_report_does_not_say_whose_it_is_and_has_every_request(tmp_path: Path) -> None:
    async with person(tmp_path) as one:
        one.azure.faults.add(
            Refuse(ArmError(403, "AuthorizationFailed", "The client 'ann@example.org' has no right.")),
            operation="nic.put",
            resource="tagged",
        )
        code, *_ = await one.run("--yes", "--only", "etag,full-subnet")
        asked = sum(count for name, count in one.azure.calls.items() if not name.startswith("token"))
    texts = [(tmp_path / f"report.{kind}").read_text() for kind in ("json", "md")]
    secrets = (one.azure.subscription_id, one.azure.identity.tenant, GROUP, "ann@example.org", str(one.endpoints.arm))
    assert [secret for secret in secrets if any(secret in text for text in texts)] == []
    assert "MAIL" in texts[1]
    assert "/subscriptions/SUBSCRIPTION/resourceGroups/GROUP" in texts[1]
    report = one.report()
    assert code == 1
    assert [answer["answer"] for answer in report["answers"]] == [None, AS_TAKEN]
    assert len(report["requests"]) == asked
    writes = [call for call in report["requests"] if call["method"] != "GET"]
    inside = "/subscriptions/SUBSCRIPTION/resourceGroups/GROUP"
    assert [call["path"] for call in writes if not call["path"].startswith(inside)] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_an_interrupted_run_removes_its_group_and_keeps_its_answers(tmp_path: Path, number: int) -> None:
    async with person(tmp_path) as one:
        one.azure.faults.add(Silent(), operation="nic.put", resource="block", times=None)
        process = await one.start("--yes", "--only", "full-subnet,block")
        assert process.stderr
        while not (await process.stderr.readline()).startswith(b"block:"):
            assert process.returncode is None
        while "block" not in (call.resource for call in one.azure.history.calls):  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.05)
        process.send_signal(number)
        _, err = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 130, err
        assert one.traces() == []
        answers = [(answer["answer"], answer["said"]) for answer in one.report()["answers"]]
    assert answers[0][0] == AS_TAKEN
    assert answers[1] == (None, "the run was interrupted")


async def test_a_group_that_is_there_is_left_alone(tmp_path: Path) -> None:
    async with person(tmp_path) as one:
        one.azure.network.groups[GROUP] = GROUP
        code, _, err = await one.run("--yes")
        assert (code, one.azure.calls["group.put"], one.azure.calls["group.delete"]) == (2, 0, 0)
    assert f"cannot make the resource group {GROUP}: it is there already; choose another with --group" in err


@pytest.mark.parametrize("said", ["n\n", "\n", ""])
async def test_nothing_is_made_without_a_yes(tmp_path: Path, said: str) -> None:
    async with person(tmp_path) as one:
        code, out, _ = await one.run(yes=said)
        assert (code, dict(one.azure.calls)) == (2, {})
    assert out.endswith("nothing was made\n")
    assert not (tmp_path / "report.json").exists()


async def test_a_provider_that_is_not_registered_is_named_before_anything_is_made(tmp_path: Path) -> None:
    async with person(tmp_path) as one:
        one.azure.groups.unregistered.add("microsoft.network")
        code, _, err = await one.run("--yes")
        assert (code, one.azure.calls["group.put"]) == (2, 0)
    assert "az provider register --wait --namespace Microsoft.Network" in err


async def test_a_group_that_cannot_be_removed_is_named_with_the_command(tmp_path: Path) -> None:
    async with person(tmp_path) as one:
        one.azure.faults.add(Forbidden(), operation="group.delete", times=None)
        code, _, err = await one.run("--yes", "--only", "block")
        assert code == 2
    last = err.splitlines()[-1]
    assert last.startswith(f"cannot remove the resource group {GROUP}: 403 AuthorizationFailed ")
    assert last.endswith(f"az group delete --yes --subscription {one.azure.subscription_id} --name {GROUP}")
    assert one.report()["answers"][0]["answer"] == AS_TAKEN


async def test_who_may_make_no_group_hears_so_and_nothing_is_removed(tmp_path: Path) -> None:
    async with person(tmp_path) as one:
        one.azure.faults.add(Forbidden(), operation="group.put", times=None)
        code, _, err = await one.run("--yes")
        assert (code, one.azure.calls["group.delete"]) == (2, 0)
    assert f"cannot make the resource group {GROUP} in eastus: 403 AuthorizationFailed" in err


async def test_a_login_that_is_missing_is_reported(tmp_path: Path) -> None:
    async with person(tmp_path) as one:
        code, _, err = await one.run("--yes", az="#!/bin/sh\necho 'ERROR: Please run az login.' >&2; exit 1\n")
        assert dict(one.azure.calls) == {}
    assert (code, err) == (2, "cannot run az account show: ERROR: Please run az login.; run az login\n")


Arranged = Callable[[FakeAzure, pytest.MonkeyPatch], None]


def _limit(count: int) -> Arranged:
    return lambda _, patch: patch.setattr(nicrules, "CONFIGS_PER_NIC", count)


def _other_code(_: FakeAzure, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(errors, "subnet_is_full", lambda *_, **__: ArmError(400, "NoRoomForPrefix", "no"))


def _no_etags(_: FakeAzure, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(armwrites, "check_etag", lambda *_: None)


def _blocks_count_once(_: FakeAzure, patch: pytest.MonkeyPatch) -> None:
    known = vnets.usage
    patch.setattr(vnets, "usage", lambda subnet: known(subnet) | {"currentValue": float(subnet.entries)})


def _served(*versions: str) -> Arranged:
    return lambda azure, _: azure.api_versions.limit(
        "Microsoft.Network/networkInterfaces", ["2025-05-01"], listed=versions
    )


def _refused(nic: str, times: int | None, code: str) -> Arranged:
    def arrange(azure: FakeAzure, _: pytest.MonkeyPatch) -> None:
        azure.faults.add(Refuse(ArmError(400, code, "no")), operation="nic.put", resource=nic, times=times)

    return arrange


@pytest.mark.parametrize(
    ("key", "arranged", "answer"),
    [
        ("api-versions", _served("2024-05-01", "2024-07-01-preview"), "older"),
        ("api-versions", _served("2018-11-01"), "too old"),
        ("unknown-version", _served(), "no list"),
        ("etag", _no_etags, "ignored"),
        ("held-back", _refused("next-owner", 2, "PrivateIPAddressIsAllocated"), "later"),
        ("full-subnet", _other_code, "another code"),
        ("block-fragmented", _other_code, "another code"),
        ("most-configurations", _limit(200), "fewer"),
        ("most-configurations", _limit(300), "more"),
        ("block", _refused("block", 1, "SubscriptionNotRegisteredForFeature"), "refused"),
        ("block-usage", _blocks_count_once, "as 1"),
    ],
)
async def test_another_azure_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, arranged: Arranged, answer: str
) -> None:
    async with person(tmp_path) as one:
        lab = one.lab()
        arranged(one.azure, monkeypatch)
        finding = await asyncio.to_thread(_asked, lab, key)
    assert finding.answer == answer, finding
    (question,) = (question for question in NETWORK if question.key == key)
    assert question.meaning(finding.answer)


def _asked(lab, key: str) -> Finding:
    assert lab.arm.ask("PUT", lab.arm.inside, {"location": "eastus"}, version=RESOURCES).ok
    lab.prepare()
    return ANSWERS[key](lab)


async def test_throttling_is_waited_out_as_azure_says(tmp_path: Path) -> None:
    waits: list[float] = []
    async with person(tmp_path) as one:
        one.azure.faults.add(Throttled(retry_after_s=7), operation="nic.put", times=2)
        lab = one.lab(sleep=waits.append)
        assert (await asyncio.to_thread(_asked, lab, "block")).answer == AS_TAKEN
    assert waits == [7.0, 7.0]


async def test_a_write_beside_the_group_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    async with person(tmp_path) as one:
        lab = one.lab()
        for path in (f"{lab.arm.inside}-2", "/subscriptions/s", lab.arm.inside.rpartition("/")[0]):
            for method in ("PUT", "POST", "PATCH", "DELETE"):
                with pytest.raises(ValueError, match="it is not in the group"):
                    lab.arm.ask(method, path)
        assert dict(one.azure.calls) == {}
