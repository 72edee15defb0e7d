"""The commands from their flags to what they print: forms, exit codes, errors in words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from azure_cni import __version__
from azure_cni.api.introspection import (
    AuditReport,
    FailureReport,
    NodeReport,
    PoolReport,
    RemovalReport,
    TenureReport,
    WriteReport,
    encode_report,
)
from azure_cni.commands.reads import NODES, PODS, POOLS, QUOTAS
from azure_cni.entrypoints.cli import FOR_PEOPLE, main
from azure_cni.errors import KubeNotFound, KubeUnreachable
from fakes.cluster_access import FakeClusterAccess
from unit.chart.helm import REPOSITORY
from unit.diagnose.clusters import cluster, condition, event, node, pod, pool

A = "10.240.0.36"
FULL = pool("vm1", condition("Ready", False, "SubnetFull", "the subnet has no room"))
AGENT = "azure-cni-agent-vm1"


def run(access: FakeClusterAccess, *words: str) -> Result:
    return CliRunner().invoke(main, words, obj=access, catch_exceptions=False)


def answering(access: FakeClusterAccess, report: NodeReport | None = None) -> FakeClusterAccess:
    """Its agent can be asked."""
    access.printed[AGENT] = encode_report(
        report or NodeReport(node="vm1", version=__version__, time="2026-11-28T06:19:26Z")
    )
    return access


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


@pytest.mark.parametrize(("form", "parse"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_programs_read_the_same_as_people(form: str, parse):
    done = run(cluster(pools=[FULL]), "status", "-o", form)
    answer = parse(done.stdout)
    assert [one["code"] for one in answer["findings"]] == ["SubnetFull"]
    assert answer["nodes"][0]["ready"] is False


class Mending(FakeClusterAccess):
    """Somebody mends its pool after the first look."""

    def list_objects(self, path: str, **query: str) -> Sequence[Mapping[str, Any]]:
        found = super().list_objects(path, **query)
        if path == POOLS:
            self.objects[POOLS] = [pool()]
        return found


def test_status_waits_until_nothing_is_wrong():
    assert run(Mending(cluster(pools=[FULL]).objects), "status", "--wait").exit_code == 0
    assert run(cluster(pools=[FULL]), "status", "--wait", "--timeout", "0").exit_code == 1


class Restarting(FakeClusterAccess):
    """Its API server does not answer at first."""

    silent = 3

    def list_objects(self, path: str, **query: str) -> Sequence[Mapping[str, Any]]:
        if self.silent > 0:
            self.silent -= 1
            raise KubeUnreachable(f"cannot read {path}: https://x does not answer")
        return super().list_objects(path, **query)


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


def test_who_has_an_address():
    done = run(cluster(pod(ip=A, phase="Running")), "who", A)
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, f"√ {A} is the address of pod default/web on node vm1")
    twice = cluster(pod(ip=A, phase="Running"), pod("other", ip=A, phase="Running"))
    assert run(twice, "who", A).exit_code == 1


def test_who_had_an_address_then():
    access, when = cluster(), ("--at", "2026-11-28T06:05:00Z")
    done = run(access, "who", A, *when)
    assert done.exit_code == 3
    assert "it is not known who had" in done.stdout
    had = TenureReport("vm1", "shop", "cart", "uid-cart", "c1", "2026-11-28T06:00:00Z", "2026-11-28T06:10:00Z")
    access.printed[AGENT] = encode_report(AuditReport("vm1", A, "2026-11-28T05:00:00Z", [had]))
    done = run(access, "who", A, *when)
    assert done.exit_code == 0
    assert done.stdout.startswith(f"√ {A} was the address of shop/cart on node vm1 at 2026-11-28T06:05:00Z\n")
    assert access.ran[-1][2] == ("azure-cni", "introspect", f"/introspection/v1/audit?address={A}")
    done = run(access, "who", A, "--history", "--node", "vm1")
    assert "2026-11-28T06:10:00Z" in done.stdout
    assert run(access, "who", A, "--at", "yesterday").exit_code == 2


def test_addresses_without_agents_are_those_of_the_api_server():
    access = cluster(pod(ip=A, phase="Running"))
    answer = json.loads(run(access, "addresses", "-o", "json").stdout)
    assert [(one["address"], one["api"], one["kernel"]) for one in answer["addresses"]] == [
        (A, "default/web", "?"),
        ("10.240.0.37", "", "?"),
    ]
    assert access.ran == []


def test_check_exits_with_1_where_sides_differ_and_with_3_where_an_agent_could_not_be_asked():
    access = cluster(pod(ip=A, phase="Running"))
    assert run(access, "addresses", "--check").exit_code == 3
    done = run(answering(access), "addresses", "vm1", "--check")
    assert done.exit_code == 1
    assert "the API server shows it for default/web" in done.stdout
    assert "1 address differs" in done.stdout
    assert run(answering(cluster()), "addresses", "--check").exit_code == 0


def test_plan_shows_the_write_as_a_difference():
    shrink = WriteReport(
        kind="Shrink", remove=[RemovalReport(A, "azure-cni-0a")], why="more free addresses than wanted",
        not_before="2026-11-28T06:24:00Z",
    )  # fmt: skip
    report = NodeReport(node="vm1", next_write=shrink, pool=PoolReport(target=16, held=17, ceiling=250, granted=17))
    done = run(answering(cluster(), report), "plan", "vm1")
    assert done.exit_code == 0
    assert f"- {A} azure-cni-0a" in done.stdout
    assert "Shrink, 2026-11-28T06:24:00Z" in done.stdout
    grow = WriteReport(kind="Grow", add=16, why="2 pods wait", waits=["an answer to request 7"])
    done = run(answering(cluster(), NodeReport(node="vm1", next_write=grow)), "plan", "vm1")
    assert "+ 16 addresses that Azure chooses" in done.stdout
    assert "an answer to request 7" in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("who", "nonsense"), 2, "it is not an IPv4 address"),
        (("why", "web", "-A"), 2, "say in which namespace it is"),
        (("why", "no-such-pod"), 3, "not found"),
        (("plan", "vm9"), 3, "cannot find node vm9"),
        (("plan", "vm1"), 3, "forbidden"),
        (("addresses", "vm9"), 3, "cannot find node vm9"),
        (("status", "-o", "xml"), 2, "xml"),
    ],
)
def test_errors_are_words_and_stable_codes(words: tuple[str, ...], code: int, said: str):
    done = run(cluster(), *words)
    assert done.exit_code == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_api_server_that_does_not_answer():
    access = cluster()

    def silent(*_: object, **__: object) -> None:
        raise KubeUnreachable("cannot read /api/v1/pods: https://x does not answer")

    access.list_objects = silent  # type: ignore[method-assign,assignment]
    done = run(access, "status")
    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr == "azure-cni: cannot read /api/v1/pods: https://x does not answer\n"


def test_lines_are_whole_and_without_colours_where_nobody_watches():
    long = "x" * 900
    access = cluster(pod(), events=[event("web", "NoAddress", f"RequestRefused: {long}")])
    done = run(access, "why", "web")
    assert long in done.stdout
    assert "\x1b" not in done.stdout


def test_words_of_others_are_no_markup():
    access = cluster(pod(), events=[event("web", "NoAddress", "RequestRefused: [red]stop[/red] :smile:")])
    assert "[red]stop[/red] :smile:" in run(access, "why", "web").stdout


def test_no_command_loads_the_libraries_of_another():
    """What an agent must not carry, and what a command pays for only when it needs it."""
    words = "import sys; from azure_cni.entrypoints.cli import main; main(['--help'], standalone_mode=False)"
    barred = "print([m for m in ('kubernetes', 'rich', 'kopf', 'aiohttp', 'pyroute2', 'asyncio') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"{words}\n{barred}"],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "operator")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
    for name in FOR_PEOPLE.keys() - {"introspect"}:
        assert f"  {name} " in done.stdout


def test_the_fake_obeys_selectors_as_commands_use_them():
    access = cluster(pod())
    assert [
        one["metadata"]["name"] for one in access.list_objects(PODS, labelSelector="app.kubernetes.io/name=azure-cni")
    ] == [
        AGENT,
        "azure-cni-controller-vm1",
    ]


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


def test_check_before_the_install_needs_no_definitions_of_ours():
    access = cluster(processes=[])
    del access.objects[POOLS], access.objects[QUOTAS]
    assert run(access, "check", "--pre").exit_code == 0


ALL = (POOLS, QUOTAS, NODES, PODS)


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("check",),
        ("check", "--pre"),
        ("why",),
        ("why", "-A"),
        ("who", A),
        ("who", A, "--at", "2026-11-28T06:05:00Z"),
        ("addresses",),
        ("addresses", "--check"),
    ],
)
def test_who_may_see_nothing_is_not_told_that_all_is_well(words: tuple[str, ...]):
    access = cluster(pod(ip=A, phase="Running"))
    access.denied.update(ALL)
    done = run(access, *words)
    assert done.exit_code == 3
    assert "\u221a" not in done.stdout
    assert "could not be read" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("denied", "words"),
    [
        (NODES, ("check", "--pre")),
        (PODS, ("check", "--pre")),
        (PODS, ("who", A)),
        (POOLS, ("who", "10.9.9.9")),
        (POOLS, ("status",)),
        (QUOTAS, ("check",)),
        (PODS, ("who", A, "--at", "2026-11-28T06:05:00Z")),
    ],
)
def test_what_was_not_read_is_not_taken_as_absent(denied: str, words: tuple[str, ...]):
    access = cluster(pod(ip=A, phase="Running"))
    access.denied.add(denied)
    assert run(access, *words).exit_code == 3


def test_a_controller_that_nobody_may_see_is_not_missed():
    access = cluster()
    access.denied.add(PODS)
    answer = json.loads(run(access, "status", "-o", "json").stdout)
    assert answer["findings"] == []


def test_a_pod_is_not_to_be_deleted_because_pools_could_not_be_read():
    access = cluster(pod(ip=A, phase="Running"), pod("other", ip=A, phase="Running"))
    access.denied.add(POOLS)
    done = run(access, "who", A)
    assert done.exit_code == 1
    assert "delete" not in done.stdout


def test_a_cluster_without_azure_cni_is_not_well():
    access = cluster(processes=[])
    del access.objects[POOLS], access.objects[QUOTAS]
    for words in (("status",), ("check",)):
        done = run(access, *words)
        assert done.exit_code == 1
        assert "no agent of azure-cni runs here" in done.stdout


def test_a_node_without_an_agent_may_have_had_the_address():
    access = cluster(pools=[pool(), pool("vm2", vnetAddresses=[], primaryIP="10.240.0.5")])
    access.printed[AGENT] = encode_report(AuditReport("vm1", A, "2026-11-28T05:00:00Z"))
    done = run(access, "who", A, "--at", "2026-11-28T06:05:00Z")
    assert done.exit_code == 3
    assert "node vm2: there is no pod of an agent" in done.stdout
    assert run(access, "who", A, "--at", "2026-11-28T06:05:00Z", "--node", "vm1").exit_code == 0
    none = run(cluster(pools=[], processes=[]), "who", A, "--at", "2026-11-28T06:05:00Z")
    assert (none.exit_code, "there is no agent to ask" in none.stdout) == (3, True)


def test_a_node_whose_agent_is_away_was_not_checked():
    access = answering(cluster(pools=[pool(vnetAddresses=[]), pool("vm2", vnetAddresses=[])]))
    for words in (("addresses", "--check"), ("addresses", "vm2", "--check")):
        done = run(access, *words)
        assert done.exit_code == 3
        assert "node vm2: there is no pod of an agent" in done.stdout


def test_an_agent_that_answers_nonsense_is_no_fault_of_the_command_line():
    access = cluster(pod(), pools=[FULL])
    access.printed[AGENT] = b"OCI runtime exec failed"
    assert json.loads(run(access, "why", "web", "-o", "json").stdout)[0]["cause"] == "SubnetFull"
    assert run(access, "plan", "vm1").exit_code == 3
    assert run(access, "addresses", "--check").exit_code == 3


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


HOSTILE = "RequestRefused: \x1b[2J\x1b]0;owned\x07\x9b31m\u202enaked\nazure-cni: all is well"


def test_words_of_others_do_nothing_to_a_terminal():
    """Whoever may write events of a pod, or runs it on a node, is not who may drive the reader's terminal."""
    hostile = pool("vm1", condition("Drifted", True, "AddressesLost", HOSTILE), excluded=[f"x 10.240.0.50: {HOSTILE}"])
    access = cluster(pod(), pools=[hostile], events=[event("web", "NoAddress", HOSTILE)])
    access.printed[AGENT] = KubeUnreachable(HOSTILE)
    for words in (
        ("why", "web"),
        ("status",),
        ("check",),
        ("who", "10.240.0.50"),
        ("addresses", "vm1"),
        ("plan", "vm1"),
    ):
        done = run(access, *words)
        lines = (done.stdout + done.stderr).splitlines()
        assert any("owned" in line for line in lines), words
        assert all(line.isprintable() for line in lines), words
        assert not any(line.startswith("azure-cni: all is well") for line in lines)


@pytest.mark.parametrize("words", [("status",), ("why", "web"), ("why", "no-such-p\u00f6d"), ("status", "-o", "json")])
def test_a_terminal_without_the_signs_shows_others(words: tuple[str, ...]):
    access = cluster(pod(), pools=[pool("vm1", condition("Drifted", True, "AddressesLost", "f\u00fcr \u4e2d"))])
    done = CliRunner(charset="ascii").invoke(main, words, obj=access, catch_exceptions=False)
    assert done.exit_code in {1, 3}
    assert done.output
