"""`test` from its flags to its answer, and that nothing stays behind, whatever happens in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from azure_cni.commands import flags, lab_keeper, network_run, pod_access
from azure_cni.commands.network_run import DNS
from azure_cni.diagnose.network_checks import PROBE, parse_outcomes
from azure_cni.diagnose.network_lab import MADE_BY, RUN, TEST
from azure_cni.errors import KubeDenied, KubeError, KubeUnreachable
from unit.commands.lab_cluster import LabCluster, network, nodes_of
from unit.commands.running import run

NAMESPACE = "/api/v1/namespaces/azure-cni-test"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab_keeper, "LOOK_AGAIN_S", 0.0)
    monkeypatch.setattr(network_run, "LOOK_AGAIN_S", 0.0)
    monkeypatch.setattr(network_run, "SETTLING_S", 0.0)


def answer(access: LabCluster, *words: str, code: int = 0) -> Any:
    done = run(access, "test", *words, "-o", "json")
    assert done.exit_code == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def results(found: Any) -> dict[str, set[str]]:
    codes: dict[str, set[str]] = {}
    for one in found["checks"]:
        codes.setdefault(one["code"], set()).add(one["result"])
    return codes


def test_a_network_that_works_is_proved_and_nothing_stays():
    access = LabCluster()
    found = answer(access, "--outbound", "203.0.113.10:8080/whoami")
    assert results(found) == {
        code: {"good"}
        for code in (
            "NodeToPod", "PodToPod", "PodToPodAcrossNodes", "PodToNode", "Service", "Dns", "Outbound",
            "MetadataRefused", "WireserverRefused",
        )
    }  # fmt: skip
    assert (found["nodes"], found["unfinished"], found["left"], access.made) == (["vm1", "vm2"], "", "", [])
    done = run(LabCluster(), "test")
    assert "√ caller on node vm1 reaches a pod of node vm2, which sees 10.240.0.36 [PodToPodAcrossNodes]" in done.stdout
    assert "- no destination was named: --outbound URL [Outbound]" in done.stdout


def test_in_the_image_which_has_no_library_for_tables_it_prints_plain_lines(monkeypatch: pytest.MonkeyPatch):
    for absent in ("rich", "yaml", "kubernetes"):
        monkeypatch.setitem(sys.modules, absent, None)

    def cut(caller: str, url: str) -> tuple[int, str]:
        return (28, "curl: (28) timed out 000") if "10.240.0.68" in url else network(caller, url)

    done = run(LabCluster(network=cut), "test")
    assert done.exit_code == 1, done.stdout
    lines = done.stdout.splitlines()
    assert "√ caller on node vm1 reaches a pod of node vm1, which sees 10.240.0.36 [PodToPod]" in lines
    at = next(number for number, line in enumerate(lines) if line.endswith("[PodToPodAcrossNodes]"))
    assert lines[at].startswith("× caller on node vm1 cannot reach a pod of node vm2")  # noqa: RUF001
    assert lines[at + 1].strip().startswith("run it again with --keep")
    assert lines[-1].startswith("×")  # noqa: RUF001


@pytest.mark.parametrize("missing", [True, False])
def test_a_pod_of_the_image_asks_its_own_cluster_with_what_the_image_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, missing: bool
):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "192.0.2.1")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    chosen: list[str] = []
    monkeypatch.setattr(flags, "KubernetesAccess", lambda **_: chosen.append("kubernetes"))
    monkeypatch.setattr(pod_access, "PodAccess", lambda endpoint: chosen.append(endpoint.url))
    if missing:
        monkeypatch.setitem(sys.modules, "kubernetes", None)
    flags.open_access(None, None)
    flags.open_access("/some/file", None)
    assert chosen == ["https://192.0.2.1:443" if missing else "kubernetes", "kubernetes"]


def test_cleaning_up_says_what_came_of_it_in_every_form():
    access = LabCluster()
    answer(access, "--keep")
    assert answer(access, "--clean") == {"namespace": "azure-cni-test", "left": ""}
    assert access.made == []
    done = run(access, "test", "--clean")
    assert done.stdout == "√ nothing of azure-cni test stays in namespace azure-cni-test\n"


def test_what_is_made_fits_pod_security_and_ends_by_itself():
    access = LabCluster()
    answer(access, "--keep")
    (namespace,) = access.objects["/api/v1/namespaces"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert "finalizers" not in namespace["metadata"]
    pods = [one for one in access.objects["/api/v1/pods"] if RUN in one["metadata"].get("labels", {})]
    assert {one["metadata"]["name"]: one["spec"]["nodeName"] for one in pods} == {
        "caller": "vm1", "near": "vm1", "far": "vm2",
    }  # fmt: skip
    for one in pods:
        spec, (container,) = one["spec"], one["spec"]["containers"]
        assert spec["activeDeadlineSeconds"]
        assert (spec["automountServiceAccountToken"], spec["securityContext"]["runAsNonRoot"]) == (False, True)
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def _broken(part: str, status: int, said: str) -> Callable[[str, str], tuple[int, str]]:
    return lambda caller, url: (status, said) if part in url else network(caller, url)


@pytest.mark.parametrize(
    ("part", "status", "said", "code", "result", "words"),
    [
        ("10.240.0.68", 28, "curl: (28) timed out 000", "PodToPodAcrossNodes", "bad", "curl: (28) timed out"),
        ("10.240.0.37", 0, "10.240.0.4:1 200", "PodToPod", "bad", "sees 10.240.0.4, and not the pod's own"),
        ("10250", 7, "curl: (7) refused 000", "PodToNode", "bad", "cannot reach the kubelet of node vm"),
        ("10.96.0.20", 0, "10.240.0.4:1 200", "Service", "warning", "and not the pod's own"),
        (".svc", 6, "curl: (6) no such host 000", "Dns", "bad", "cannot resolve web.azure-cni-test.svc"),
        ("203.0.113.10", 28, "curl: (28) timed out 000", "Outbound", "bad", "cannot reach http://203.0.113.10"),
        ("169.254", 0, "{} 400", "MetadataRefused", "bad", "which no pod should"),
        ("168.63", 52, "curl: (52) empty reply 000", "WireserverRefused", "bad", "which no pod should"),
    ],
)  # fmt: skip
def test_each_fault_is_found(part: str, status: int, said: str, code: str, result: str, words: str):
    access = LabCluster(network=_broken(part, status, said))
    found = answer(access, "--outbound", "203.0.113.10", code=int(result == "bad"))
    wrong = [one for one in found["checks"] if one["result"] != "good"]
    assert {(one["code"], one["result"]) for one in wrong} == {(code, result)}
    assert all(words in one["message"] and one["do"] and one["page"] for one in wrong)
    assert access.made == []


def test_what_is_not_right_at_once_is_tried_again(monkeypatch: pytest.MonkeyPatch):
    """kube-proxy learns of a Service a moment after its pods are ready; what must be refused is asked once."""
    monkeypatch.setattr(network_run, "SETTLING_S", 600.0)
    early, asked = iter(range(3)), []

    def answers(caller: str, url: str) -> tuple[int, str]:
        asked.append(url)
        if "10.96.0.20" in url and next(early, None) is not None:
            return 7, "curl: (7) Failed to connect 000"
        return network(caller, url)

    assert results(answer(LabCluster(network=answers)))["Service"] == {"good"}
    assert sum("169.254" in url for url in asked) == 2


def test_a_name_that_resolves_is_dns_enough():
    access = LabCluster(network=_broken(".svc", 28, "curl: (28) Connection timed out 000"))
    assert results(answer(access))["Dns"] == {"good"}
    access = LabCluster(network=_broken(".svc", 28, "curl: (28) Resolving timed out 000"))
    assert results(answer(access, code=1))["Dns"] == {"bad"}


def test_no_two_checks_say_the_same():
    said = [(one["source"], one["message"]) for one in answer(LabCluster())["checks"]]
    assert len(said) == len(set(said))


def test_an_image_without_curl_proves_nothing():
    access = LabCluster(network=lambda *_: (127, "sh: curl: not found"))
    found = answer(access, code=1)
    assert {one["result"] for one in found["checks"] if one["code"] not in {"NodeToPod", "Outbound"}} == {"bad"}
    assert any("cannot tell whether it reaches port 80 of the wireserver" in one["message"] for one in found["checks"])


def test_an_address_that_no_pool_lists_is_another_plugins():
    access = LabCluster()
    access.objects[lab_pools()][1]["status"]["vnetAddresses"] = []
    found = answer(access, code=1)
    assert results(found)["NodeToPod"] == {"good", "bad"}


def lab_pools() -> str:
    from azure_cni.commands.reads import POOLS

    return POOLS


def test_one_node_is_tested_alone_and_that_is_said():
    found = answer(LabCluster(*nodes_of("vm1")))
    assert results(found)["PodToPodAcrossNodes"] == {"skipped"}
    assert results(found)["PodToPod"] == {"good"}


@pytest.mark.parametrize(
    ("changes", "words", "code", "said"),
    [
        ({"unschedulable": True}, (), 3, "of 1 node, none runs Linux, is Ready and takes new pods"),
        ({"unschedulable": True}, ("--node", "vm1"), 2, "cannot test on vm1"),
        ({"taints": [{"key": "x", "effect": "NoExecute"}]}, (), 3, "of 1 node, none runs Linux"),
        ({"conditions": []}, (), 3, "of 1 node, none runs Linux"),
        ({}, ("--node", "vm1", "--node", "vm2", "--node", "vm3"), 2, "name two nodes at most"),
    ],
)
def test_without_a_node_it_refuses_in_words(changes: dict[str, Any], words: tuple[str, ...], code: int, said: str):
    (node,) = nodes_of("vm1")
    node["status" if "conditions" in changes else "spec"] |= changes
    access = LabCluster(node)
    done = run(access, "test", *words)
    assert (done.exit_code, said in done.stderr, access.made) == (code, True, [])


def test_pods_that_do_not_start_are_explained_and_removed():
    access = LabCluster()
    access.stuck.add("far")
    found = answer(access, "--timeout", "0", code=1)
    (late,) = [one for one in found["checks"] if one["code"] == "PodsStart"]
    assert "far on node vm2" in late["source"]
    assert "is not ready in time" in late["message"]
    assert (results(found)["Traffic"], access.made) == ({"skipped"}, [])


def _harmless(*_: object) -> None:
    """Before and after the command: whoever runs the tests may ignore signals."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("at", ["/namespaces", "/services", "/pods"])
def test_a_signal_ends_it_and_nothing_stays(number: signal.Signals, at: str, tmp_path: Path):
    access, taken = LabCluster(), signal.signal(number, _harmless)

    def interrupted(path: str) -> None:
        if path.endswith(at):
            os.kill(os.getpid(), number)

    access.before = interrupted
    file = tmp_path / "results.xml"
    try:
        found = answer(access, "--junit", str(file), code=3)
        assert signal.getsignal(number) is _harmless
    finally:
        signal.signal(number, taken)
    assert (found["unfinished"], access.made) == (f"interrupted by {number.name}", [])
    assert ET.parse(file).getroot().attrib["failures"] == "1"


def test_who_is_started_by_nohup_outlives_the_terminal():
    access, before = LabCluster(), signal.signal(signal.SIGHUP, signal.SIG_IGN)
    access.before = lambda _: os.kill(os.getpid(), signal.SIGHUP)
    try:
        assert answer(access)["unfinished"] == ""
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_after_the_creation_and_before_its_answer_leaves_nothing():
    """As when the API server's answer is lost: what was made is found by its label."""
    access = LabCluster()
    create = access.create_object

    def made_unseen(path: str, body: Any) -> Any:
        create(path, body)
        raise KubeUnreachable(f"cannot create {path}: the connection broke")

    access.create_object = made_unseen  # type: ignore[method-assign]
    assert "the connection broke" in answer(access, code=3)["unfinished"]
    assert access.made == []


def test_an_api_server_that_is_away_for_a_while_is_asked_again_for_the_removal():
    access, refused = LabCluster(), iter(range(3))
    delete = access.delete_object

    def away(path: str) -> None:
        if next(refused, None) is not None:
            raise KubeUnreachable("cannot remove it: no answer")
        delete(path)

    access.delete_object = away  # type: ignore[method-assign]
    assert (answer(access)["left"], access.made) == ("", [])


def test_what_cannot_be_removed_is_said_with_the_command_that_does_later(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lab_keeper, "REMOVAL_S", 0.0)
    access = LabCluster()
    delete = access.delete_object

    def away(path: str) -> None:
        raise KubeError(f"cannot remove {path}: no answer")

    access.delete_object = away  # type: ignore[method-assign]
    found = answer(access, code=3)
    assert "no answer; later: azure-cni test --clean -n azure-cni-test" in found["left"]
    access.delete_object = delete  # type: ignore[method-assign]
    done = run(access, "test")
    assert (done.exit_code, "another test runs there, or one was interrupted" in done.stdout) == (3, True)
    assert run(access, "test", "--clean").exit_code == 0
    assert access.made == []
    assert run(access, "test", "--clean").exit_code == 0


def prepared(*labels: str) -> LabCluster:
    """Its administrator made the namespace, and something runs there."""
    access = LabCluster()
    access.denied.add("POST /api/v1/namespaces")
    access.objects["/api/v1/namespaces"].append({"metadata": {"name": TEST, "labels": dict.fromkeys(labels, TEST)}})
    access.objects["/api/v1/pods"].append({"metadata": {"name": "theirs", "namespace": TEST, "labels": {}}})
    return access


def test_a_namespace_that_somebody_prepared_stays_with_what_is_theirs():
    access = prepared()
    assert set.union(*results(answer(access)).values()) == {"good", "skipped"}
    assert access.made == [TEST, "theirs"]


def test_without_the_right_to_make_one_it_says_who_can():
    access = LabCluster()
    access.denied.add("POST /api/v1/namespaces")
    done = run(access, "test")
    assert (done.exit_code, "have an administrator make namespace azure-cni-test" in done.stdout) == (3, True)


def test_a_test_that_runs_is_not_disturbed():
    access = LabCluster()
    access.objects["/api/v1/namespaces"].append({"metadata": {"name": TEST, "labels": {MADE_BY: TEST, RUN: "other"}}})
    assert "another test runs there" in answer(access, code=3)["unfinished"]
    assert access.made == [TEST]


def test_the_service_account_of_a_new_namespace_is_waited_for():
    access, refused = LabCluster(), iter(range(2))

    def early(path: str) -> None:
        if path.endswith("/pods") and next(refused, None) is not None:
            raise KubeDenied('cannot create it: error looking up service account: serviceaccount "default" not found')

    access.before = early
    assert answer(access)["unfinished"] == ""


def test_no_dns_and_an_open_metadata_service_are_skipped_with_the_reason():
    access = LabCluster(network=_broken("169.254", 0, "{} 400"))
    access.objects["/api/v1/services"].clear()
    for one in access.objects["/api/v1/pods"]:
        one["spec"]["containers"] = [{"env": [{"name": "AZURE_CNI_ALLOW_IMDS", "value": "true"}]}]
    found = results(answer(access))
    assert (found["Dns"], found["MetadataRefused"]) == ({"skipped"}, {"skipped"})
    assert DNS.startswith("/api/v1/")


def test_junit(tmp_path: Path):
    file = tmp_path / "results.xml"
    answer(LabCluster(network=_broken("10250", 7, "curl: <no> 000")), "--junit", str(file), code=1)
    suite = ET.parse(file).getroot()
    found = [case for case in suite if case.find("failure") is not None]
    assert suite.attrib["tests"] == str(len(suite))
    assert (suite.attrib["failures"], suite.attrib["skipped"]) == ("4", "1")
    assert {case.attrib["classname"] for case in found} == {"azure-cni.PodToNode"}
    assert "curl: <no>" in found[0][0].attrib["message"]
    assert run(LabCluster(), "test", "--junit", str(tmp_path / "nowhere" / "x.xml")).exit_code == 2


def test_the_probe_prints_what_curl_says_of_each_url(tmp_path: Path):
    """With a shell of this machine, and a curl that answers by the URL."""
    curl = tmp_path / "curl"
    curl.write_text('#!/bin/sh\nfor url; do :; done\nprintf "line one\\nto %s 200" "$url"\nexit "${url##*:}"\n')
    curl.chmod(0o755)
    urls = ("http://a:0", "http://b:7", "http://c:28")
    done = subprocess.run(
        ["sh", "-c", PROBE, "probe", "5", *urls],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = parse_outcomes(done.stdout, 4)
    assert [one.status for one in found] == [0, 7, 28, None]
    assert [one.said for one in found[:3]] == [f"line one to {url} 200" for url in urls]
