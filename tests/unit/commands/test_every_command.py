"""What holds for every command for people, one table for all: flags, forms, codes, colours, progress."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from azure_cni.commands import output
from azure_cni.commands.output import ExitCode, Form
from azure_cni.entrypoints.cli import FOR_PEOPLE, main
from fakes.cluster_access import FakeClusterAccess
from unit.chart.helm import REPOSITORY
from unit.commands.running import FULL, A, answering, run
from unit.diagnose.clusters import cluster, pod

WORDS = {
    "status": (),
    "check": (),
    "why": ("web",),
    "trace": ("web", "10.240.0.37"),
    "who": (A,),
    "addresses": (),
    "plan": ("vm1",),
    "forecast": (),
    "writes": (),
    "pause": ("vm1", "--dry-run"),
    "resume": ("vm1", "--dry-run"),
    "report": ("--file", os.devnull),
}
"""Each command with what it needs."""
APART = {"completion", "introspect", "test"}
"""Of no cluster, of an agent's own container, and what makes pods."""


def command(name: str) -> click.Command:
    found = main.get_command(click.Context(main), name)
    assert found is not None
    return found


def flags(name: str) -> dict[str, click.Option]:
    return {flag: one for one in command(name).params if isinstance(one, click.Option) for flag in one.opts}


def test_every_command_is_in_the_table():
    assert WORDS.keys() | APART >= FOR_PEOPLE.keys()
    assert set(WORDS) <= FOR_PEOPLE.keys()


@pytest.mark.parametrize("name", sorted(FOR_PEOPLE.keys() - {"completion", "introspect"}))
def test_every_command_has_kubectls_flags(name: str):
    found = flags(name)
    assert {"--context", "--kubeconfig", "-o", "--output"} <= found.keys()
    form = found["-o"].type
    assert isinstance(form, click.Choice)
    assert list(form.choices) == ["table", "json", "yaml"]
    words = {one.name: one for one in command(name).params if isinstance(one, click.Argument)}
    if "pod" in words:  # all others are about the whole cluster, and a namespace would narrow nothing
        assert {"-n", "--namespace"} <= found.keys()
        assert words["pod"].required or {"-A", "--all-namespaces"} <= found.keys()
    assert all(one.help for one in found.values())


def shape(document: Any) -> Any:
    """What is in it, without the values: some are of the moment."""
    match document:
        case dict():
            return {key: shape(value) for key, value in document.items()}
        case list():
            return [shape(one) for one in document]
    return type(document)


@pytest.mark.parametrize("name", WORDS)
def test_every_form_says_the_same_with_the_same_code(name: str):
    def printed(form: Form):
        done = run(answering(cluster(pod(), pools=[FULL])), name, *WORDS[name], "-o", form.value)
        assert done.exit_code in set(ExitCode)
        assert "Traceback" not in done.stderr
        return done

    as_json, as_yaml, as_table = map(printed, (Form.JSON, Form.YAML, Form.TABLE))
    assert as_json.exit_code == as_yaml.exit_code == as_table.exit_code
    if as_json.stdout:  # else it says on standard error why there is none
        assert as_table.stdout
        assert shape(json.loads(as_json.stdout)) == shape(yaml.safe_load(as_yaml.stdout))
    else:
        assert as_json.stderr.startswith("azure-cni: ")
    assert "\x1b" not in as_table.stdout + as_table.stderr


@pytest.mark.parametrize("name", WORDS)
def test_a_wrong_command_line_is_2_and_a_cluster_that_is_not_there_too(name: str, tmp_path: Path):
    assert run(cluster(), name, *WORDS[name], "--no-such-flag").exit_code == ExitCode.USAGE
    done = run(None, name, *WORDS[name], "--kubeconfig", str(tmp_path / "none"))  # type: ignore[arg-type]
    assert done.exit_code == ExitCode.USAGE
    assert "cannot find the cluster" in done.stderr
    assert ".;" not in done.stderr


class InterruptedAccess(FakeClusterAccess):
    """Somebody presses Ctrl-C as soon as the cluster is asked."""

    def _admit(self, path: str) -> None:
        raise KeyboardInterrupt


@pytest.mark.parametrize("name", sorted(WORDS.keys() - {"report"}))  # which looks at its file first
def test_what_was_interrupted_is_not_known(name: str):
    done = run(InterruptedAccess(), name, *WORDS[name])
    assert (done.exit_code, done.stdout, done.stderr) == (ExitCode.NO_ANSWER, "", "azure-cni: interrupted\n")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_stream_that_is_closed_does_not_change_the_answer(closed: str, tmp_path: Path):
    """As under some daemons: a script goes by the exit code."""
    (tmp_path / "good.yaml").write_text("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {}\n")
    (tmp_path / "bad.yaml").write_text("apiVersion: azure-cni.io/v1alpha1\nkind: Nothing\n")
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "operator")}
    for file, code in (("good.yaml", 0), ("bad.yaml", 1)):
        line = f"{sys.executable} -m azure_cni check -f {tmp_path / file} {closed}"
        assert subprocess.run(["/bin/sh", "-c", line], check=False, env=environment).returncode == code


@pytest.mark.parametrize("form", list(Form))
def test_an_answer_that_could_not_be_written_is_none(form: Form, tmp_path: Path):
    """On a full disk it ended with a traceback, and with 1, as if something were wrong in the file."""
    (tmp_path / "good.yaml").write_text("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {}\n")
    words = ("check", "-f", str(tmp_path / "good.yaml"), "-o", form.value)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "operator")}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "azure_cni", *words],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=environment,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (3, "azure-cni: cannot write the answer: No space left on device\n")


def test_the_list_of_commands_says_what_each_does_in_a_line_that_is_whole():
    listed = CliRunner().invoke(main, ["--help"]).stdout.partition("Commands:\n")[2]
    shown = dict(line.split(maxsplit=1) for line in listed.splitlines())
    assert list(FOR_PEOPLE) == [name for name in shown if name in FOR_PEOPLE] + ["introspect"], "that one is hidden"
    assert [line for line in shown.values() if line.endswith("...")] == []


def on_terminal(*words: str, **variables: str) -> bytes:
    """What `azure-cni` writes to a terminal."""
    outer, inner = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "FORCE_COLOR"}}
    environment |= {"PYTHONPATH": str(REPOSITORY / "operator"), "TERM": "xterm-256color"} | variables
    child = subprocess.Popen([sys.executable, "-m", "azure_cni", *words], stdout=inner, stderr=inner, env=environment)
    os.close(inner)
    written = b""
    with contextlib.suppress(OSError):  # EIO: the other end is closed
        while piece := os.read(outer, 4096):
            written += piece
    child.wait()
    os.close(outer)
    return written


RED = b"\x1b[31m"


def test_colours_are_for_terminals_alone(tmp_path: Path):
    values = tmp_path / "values.yaml"
    values.write_text("pool: {maxFree: -1}\n")
    words = ("check", "-f", str(values))
    assert RED in on_terminal(*words)
    for variables in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert RED not in on_terminal(*words, **variables)
    piped = subprocess.run(
        [sys.executable, "-m", "azure_cni", *words],
        capture_output=True, check=False, env=os.environ | {"PYTHONPATH": str(REPOSITORY / "operator")},
    )  # fmt: skip
    assert b"\x1b" not in piped.stdout + piped.stderr
    assert b"maxFree" in piped.stdout


def test_a_wrong_word_is_answered_with_the_name_of_the_program():
    assert b"Usage: azure-cni [OPTIONS]" in on_terminal("statu")


class Terminal:
    """Standard error that is one; `spoke` is set once something was written."""

    def __init__(self) -> None:
        self.written, self.spoke = "", threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, words: str) -> int:
        self.written += words
        if "reading" in words:
            self.spoke.set()
        return len(words)

    def flush(self) -> None: ...


def terminal_as_stderr(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """In the test itself: pytest sets standard error between fixtures and test."""
    monkeypatch.setenv("TERM", "xterm")
    found = Terminal()
    monkeypatch.setattr(sys, "stderr", found)
    return found


def test_what_takes_long_says_so_once(monkeypatch: pytest.MonkeyPatch):
    terminal = terminal_as_stderr(monkeypatch)
    monkeypatch.setattr(output, "QUIET_S", 0.0)
    with output.progress("reading the cluster"), output.progress("asking an agent"):
        assert terminal.spoke.wait(60), terminal.written
    assert "asking" not in terminal.written
    with output.progress("asking an agent"):
        pass  # the first has ended, and the terminal is free again


def test_what_is_soon_over_says_nothing(monkeypatch: pytest.MonkeyPatch):
    terminal = terminal_as_stderr(monkeypatch)
    monkeypatch.setattr(output, "QUIET_S", 3600.0)
    with output.progress("reading the cluster"):
        pass
    assert terminal.written == ""


def test_off_a_terminal_nothing_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(output, "QUIET_S", 0.0)
    with output.progress("reading the cluster"):
        pass
    assert capsys.readouterr().err == ""
