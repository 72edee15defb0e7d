"""`status`, `check` and `why` from their flags to what they print."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from azure_cni.api.conditions import ProblemReport
from azure_cni.api.introspection import FailureReport, NodeReport
from azure_cni.api.pod_annotations import LOAD_BALANCER_ATTACHED
from azure_cni.commands.http_access import Keep
from azure_cni.commands.reads import PODS, POOLS, QUOTAS
from azure_cni.errors import KubeNotFound, KubeUnreachable
from fakes.cluster_access import FakeClusterAccess
from unit.commands.running import AGENT, FULL, A, answering, run
from unit.diagnose.clusters import cluster, condition, node, on_windows, pod, pool, process


def test_status_of_a_cluster_in_which_all_is_well():
    done = run(cluster(), "status")
    assert done.exit_code == 0
    assert "nothing is wrong" in done.stdout
    assert "vm1" in done.stdout


def test_status_names_what_is_wrong_first_and_says_so_to_scripts():
    done = run(cluster(pools=[FULL]), "status")
    assert done.exit_code == 1
    assert done.stdout.startswith("× node vm1: SubnetFull\n")  # noqa: RUF001
    assert "the subnet has no room" in done.stdout
    assert "azure-cni.io/read-now" in done.stdout


class Mending(FakeClusterAccess):
    """Somebody mends its pool after the first look."""

    def list_objects(self, path: str, keep: Keep = dict, /, **query: str) -> Sequence[Any]:
        found = super().list_objects(path, keep, **query)
        if path == POOLS:
            self.objects[POOLS] = [pool()]
        return found


def test_status_waits_until_nothing_is_wrong():
    assert run(Mending(cluster(pools=[FULL]).objects), "status", "--wait").exit_code == 0
    assert run(cluster(pools=[FULL]), "status", "--wait", "--timeout", "0").exit_code == 1


class Restarting(FakeClusterAccess):
    """Its API server does not answer at first."""

    silent = 3

    def list_objects(self, path: str, keep: Keep = dict, /, **query: str) -> Sequence[Any]:
        if self.silent > 0:
            self.silent -= 1
            raise KubeUnreachable(f"cannot read {path}: https://x does not answer")
        return super().list_objects(path, keep, **query)


def test_who_waits_waits_for_the_api_server_too():
    assert run(Restarting(cluster().objects), "status").exit_code == 3
    assert run(Restarting(cluster().objects), "status", "--wait", "--timeout", "0").exit_code == 3
    assert run(Restarting(cluster().objects), "status", "--wait").exit_code == 0


def test_why_names_the_cause_and_the_command():
    access = cluster(pod(), pools=[FULL])
    done = run(access, "why", "web")
    assert done.exit_code == 1
    for words in ("default/web: SubnetFull", "the subnet has no room", "read-now", "docs/operations.md#"):
        assert words in done.stdout


@pytest.mark.parametrize("words", [("why", "default/web"), ("why", "web", "-n", "default"), ("why", "-A"), ("why",)])
def test_pods_are_named_as_people_name_them(words: tuple[str, ...]):
    access = cluster(pod(), pod("fine", ip=A, phase="Running"), pools=[FULL])
    (one,) = json.loads(run(access, *words, "-o", "json").stdout)
    assert (one["pod"], one["cause"]) == ("default/web", "SubnetFull")


def test_why_asks_the_agent_where_it_may_and_goes_on_where_it_may_not():
    access = cluster(pod(), pools=[FULL])
    assert json.loads(run(access, "why", "web", "-o", "json").stdout)[0]["nextStep"].startswith("the kubelet tries")
    failure = FailureReport("grow", "SubnetFull", "no room", 4, retry_at="2026-11-28T06:21:00Z")
    answering(access, NodeReport(node="vm1", failures=[failure]))
    (one,) = json.loads(run(access, "why", "web", "-o", "json").stdout)
    assert "2026-11-28T06:21:00Z" in one["nextStep"]
    assert access.ran[-1][2] == ("azure-cni", "introspect", "/introspection/v1/node")


def test_an_agent_on_windows_is_asked_by_the_program_of_its_image():
    processes = [on_windows(process("agent")), process("controller")]
    access = answering(cluster(pod(), pools=[FULL], processes=processes, nodes=[on_windows(node())]))
    run(access, "why", "web", "-o", "json")
    mounted = "%CONTAINER_SANDBOX_MOUNT_POINT%"
    program = (rf"{mounted}\azure-cni\python.exe", "-m", "azure_cni")
    assert access.ran[-1][2] == (*program, "introspect", "/introspection/v1/node")


def test_check_before_and_after_the_install():
    done = run(cluster(), "check")
    assert done.exit_code == 0
    assert "[UniformScaleSet]" in done.stdout
    assert "[Well]" in done.stdout
    assert run(cluster(pools=[FULL]), "check").exit_code == 1
    bare = cluster(processes=[], quotas=[], pools=[])
    assert run(bare, "check", "--pre").exit_code == 0
    assert run(bare, "check").exit_code == 1
    old = cluster(nodes=[node(nodeInfo={"kubeletVersion": "v1.28.1"})])
    assert json.loads(run(old, "check", "--pre", "-o", "json").stdout)["checks"][5]["result"] == "bad"


CONFLICT = pool("vm1", condition("HostConflict", True, "ForeignFilter", "another program's filter drops"))
NAMED = NodeReport(
    node="vm1",
    problems=[ProblemReport("HostConflict", "ForeignFilter", "filters drop", "iptables -P FORWARD ACCEPT")],
)


def test_check_asks_agents_for_the_commands_of_what_is_wrong_on_their_nodes():
    access = answering(cluster(pools=[CONFLICT]), NAMED)
    assert "\n   on vm1: iptables -P FORWARD ACCEPT" in run(access, "check").stdout.replace("    ", "   ")
    (one,) = [one for one in json.loads(run(access, "check", "-o", "json").stdout)["checks"] if one["result"] != "good"]
    assert (one["code"], one["node"], one["command"]) == ("ForeignFilter", "vm1", "iptables -P FORWARD ACCEPT")


def test_check_finds_the_same_where_it_may_not_ask_and_says_what_is_missing():
    done = run(cluster(pools=[CONFLICT]), "check")
    assert done.exit_code == 0
    assert "another program's filter drops [ForeignFilter]" in done.stdout
    assert "the commands that mend it are not known: node vm1:" in done.stdout


def test_check_asks_no_agent_where_nothing_is_wrong():
    access = cluster()
    assert run(access, "check").exit_code == 0
    assert access.ran == []


def test_check_before_the_install_needs_no_definitions_of_ours():
    access = cluster(processes=[])
    del access.objects[POOLS], access.objects[QUOTAS]
    assert run(access, "check", "--pre").exit_code == 0


def test_a_controller_that_nobody_may_see_is_not_missed():
    access = cluster()
    access.denied.add(PODS)
    answer = json.loads(run(access, "status", "-o", "json").stdout)
    assert answer["findings"] == []


def test_a_cluster_without_azure_cni_is_not_well():
    access = cluster(processes=[])
    del access.objects[POOLS], access.objects[QUOTAS]
    for words in (("status",), ("check",)):
        done = run(access, *words)
        assert done.exit_code == 1
        assert "no agent of azure-cni runs here" in done.stdout


def test_lines_end_where_their_words_do():
    for words in (("why", "web"), ("status",), ("addresses",), ("check",)):
        lines = run(cluster(pod(), pools=[FULL]), *words).stdout.splitlines()
        assert [line for line in lines if line.endswith(" ")] == []


class Vanishing(FakeClusterAccess):
    """A pod is deleted right after it was listed."""

    def read_object(self, path: str) -> Mapping[str, Any]:
        if path.endswith("/gone"):
            raise KubeNotFound(f'cannot read {path}: "gone" not found')
        return super().read_object(path)


def test_a_pod_that_ends_meanwhile_does_not_end_the_answer_about_others():
    access = Vanishing(cluster(pod("gone"), pod(), pools=[FULL]).objects)
    (one,) = json.loads(run(access, "why", "-o", "json").stdout)
    assert one["pod"] == "default/web"
    assert run(access, "why", "gone").exit_code == 3


def test_all_pods_that_wait_are_explained_and_each_agent_is_asked_once():
    pods = [pod(f"waits-{number}", node=f"vm{number % 2 + 1}") for number in range(6)]
    access = answering(cluster(*pods, nodes=[node("vm1"), node("vm2")], processes=[process("agent", "vm1")]))
    found = json.loads(run(access, "why", "-A", "-o", "json").stdout)
    assert [one["pod"] for one in found] == [f"default/waits-{number}" for number in range(6)]
    assert [name for _, name, _ in access.ran] == [AGENT]


def asking(
    name: str, *, ip: str = "10.240.0.36", phase: str = "Running", condition: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A pod with an address, and a readiness gate for what it asks to have attached, with that condition."""
    body = pod(name, ip=ip, phase=phase)
    body["metadata"]["annotations"] = {"azure-cni.io/load-balancer-pools": "shop/web"}
    body["spec"]["readinessGates"] = [{"conditionType": LOAD_BALANCER_ATTACHED}]
    if condition:
        body["status"]["conditions"].append(condition)
    return body


def test_pods_that_wait_for_a_load_balancer_pool_are_among_those_that_wait():
    """Not those that have all, or have ended."""
    lacks = condition(LOAD_BALANCER_ATTACHED, False, "AttachmentInvalid", "it is not the resource ID of a pool")
    has = condition(LOAD_BALANCER_ATTACHED, True, "Attached")
    pods = (
        asking("typo", condition=lacks),
        asking("well", ip="10.240.0.37", condition=has),
        asking("over", phase="Succeeded"),
    )
    done = run(cluster(*pods), "why")
    assert done.exit_code == 1
    assert "default/typo: AttachmentInvalid" in done.stdout
    assert "not the resource ID" in done.stdout
    for name in ("well", "over"):
        assert f"default/{name}" not in done.stdout


def test_a_pod_of_which_nothing_is_known_to_be_missing_does_not_wait():
    done = run(cluster(asking("new")), "why", "-A")
    assert (done.exit_code, done.stdout) == (0, "√ no pod waits for an address, or for what it asks to have attached\n")


def test_a_pod_that_is_not_there_is_said_to_be_missing_where_it_was_looked_for():
    for command in (("why", "nosuch"), ("trace", "nosuch", "10.0.0.1")):
        done = run(cluster(), *command)
        assert done.exit_code == 3
        assert "cannot find pod nosuch in namespace default" in done.stderr
        assert "-n" in done.stderr
