"""What holds for every command: forms, exit codes, errors in words, what nobody may read, and words of others."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import yaml
from click.testing import CliRunner

from azure_cni.commands.reads import NODES, PODS, POOLS, QUOTAS
from azure_cni.entrypoints.cli import FOR_PEOPLE, main
from azure_cni.errors import KubeUnreachable
from unit.chart.helm import REPOSITORY
from unit.commands.running import AGENT, FULL, A, run
from unit.diagnose.clusters import cluster, condition, event, pod, pool


@pytest.mark.parametrize(("form", "parse"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_programs_read_the_same_as_people(form: str, parse):
    done = run(cluster(pools=[FULL]), "status", "-o", form)
    answer = parse(done.stdout)
    assert [one["code"] for one in answer["findings"]] == ["SubnetFull"]
    assert answer["nodes"][0]["ready"] is False


@pytest.mark.parametrize(("form", "parse"), [("json", json.loads), ("yaml", yaml.safe_load)])
@pytest.mark.parametrize("sign", ["\x1b", "\x7f", "\x9b", "\x85", "\u200b", "\u202e", "\u2028", "\u2066", "\U000e0041"])
def test_no_form_has_characters_that_a_terminal_obeys(form: str, parse, sign: str):
    """And programs read them as they were written."""
    said = f"full: {sign}[2J Z\u00fcrich"
    done = run(cluster(pools=[pool("vm1", condition("Ready", False, "SubnetFull", said))]), "status", "-o", form)
    assert [one["message"] for one in parse(done.stdout)["findings"]] == [said]
    assert sign not in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("who", "nonsense"), 2, "it is not an IPv4 address"),
        (("why", "web", "-A"), 2, "say in which namespace it is"),
        (("why", "no-such-pod"), 3, "cannot find pod no-such-pod"),
        (("plan", "vm9"), 3, "cannot find node vm9"),
        (("plan", "vm1"), 3, "forbidden"),
        (("addresses", "vm9"), 3, "cannot find node vm9"),
        (("status", "-o", "xml"), 2, "xml"),
        (("status", "--wait", "--timeout", "nan"), 2, "'nan' is no number of seconds from 0 on"),
        (("resume", "vm1", "--wait", "--timeout", "inf"), 2, "'inf' is no number of seconds"),
        (("test", "--timeout", "-1"), 2, "'-1' is no number of seconds"),
        (("forecast", "--within", "nan"), 2, "'nan' is no number of days"),
        (("who", A, "--node", "vm1"), 2, "give it with --at TIME or --history"),
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
    names = ("kubernetes", "rich", "kopf", "aiohttp", "pyroute2", "asyncio", "azure.core")
    barred = f"print([m for m in {names} if m in sys.modules])"
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


OWN_PODS = "/api/v1/namespaces/kube-system/pods"
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


@pytest.mark.parametrize("words", [("why", "web"), ("why",)])
def test_who_may_not_see_events_is_not_told_that_there_are_none(words: tuple[str, ...]):
    access = cluster(pod(), events=[event("web", "FailedCreatePodSandBox", "no network")])
    assert "no network" in run(access, *words, "-o", "json").stdout
    access.denied.add("/api/v1/namespaces/default/events")
    (one,) = json.loads(run(access, *words, "-o", "json").stdout)
    assert "its events could not be read: cannot read /api/v1/namespaces/default/events: forbidden" in one["message"]
    assert any("its events could not be read" in note for note in one["notes"])


ODD = ("web/log", "../../nodes/vm1", "..", "web?x=1", "web%2flog", "we b", "web\n")
"""None of these is the name of an object, and in a path each would be another one."""


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize(
    "words",
    [
        ("why", "-n", "default", "shop/{}"),
        ("why", "-n", "{}", "web"),
        ("trace", "shop/{}", A),
        ("trace", "default/web", "shop/{}"),
        ("pause", "vm1", "{}"),
        ("resume", "{}"),
        ("test", "-n", "{}"),
        ("test", "--clean", "-n", "{}"),
    ],
)
def test_what_cannot_be_a_name_is_no_part_of_a_path(words: tuple[str, ...], name: str):
    """`pause vm1/status` said that the node was not paused, with 0, and `why web/log` explained a pod that is a log."""
    access = cluster(pod(ip=A, phase="Running"))
    before = repr(access.objects)
    done = run(access, *(word.format(name) for word in words))
    assert (done.exit_code, done.stdout, done.stderr.count("can be called that")) == (2, "", 1), done.stderr
    assert repr(access.objects) == before


@pytest.mark.parametrize("words", [("plan", "vm1"), ("addresses", "vm1"), ("report", "--node", "vm1")])
def test_a_node_that_nobody_could_see_is_not_said_to_be_missing(words: tuple[str, ...]):
    access = cluster(pod(), pools=[FULL])
    access.denied.update({POOLS, OWN_PODS})
    done = run(access, *words)
    assert done.exit_code == 3
    assert "cannot find node" not in done.stderr
    assert "forbidden" in done.stderr
    assert "azure-cni-cli" in done.stderr


def test_an_agent_that_nobody_could_see_is_not_said_to_be_away():
    access = cluster(pod(), pools=[FULL])
    access.denied.add(OWN_PODS)
    done = run(access, "plan", "vm1")
    assert (done.exit_code, "there is no pod" in done.stderr) == (3, False)
    assert "forbidden" in done.stderr


def test_an_agent_that_answers_nonsense_is_no_fault_of_the_command_line():
    access = cluster(pod(), pools=[FULL])
    access.printed[AGENT] = b"OCI runtime exec failed"
    assert json.loads(run(access, "why", "web", "-o", "json").stdout)[0]["cause"] == "SubnetFull"
    assert run(access, "plan", "vm1").exit_code == 3
    assert run(access, "addresses", "--check").exit_code == 3


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
    assert done.exit_code in {1, 2, 3}
    assert done.output
