"""What people see on a terminal: sentences fit its width, and what they are to type can be copied."""

import sys

import pytest
from rich.text import Text

from azure_cni.commands.output import console, facts

SENTENCE = "the administrator of the subscription: free some of its addresses, or enlarge it"
COMMAND = "kubectl -n kube-system get pods -l app.kubernetes.io/name=azure-cni -o wide"
ROWS = [("means", SENTENCE), ("do", COMMAND), ("", ""), ("more", "docs/operations.md")]


def printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> list[str]:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    console().print(facts(ROWS))
    return [line.rstrip() for line in Text.from_ansi(capsys.readouterr().out).plain.splitlines()]


def test_a_command_is_one_line_however_narrow_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    lines = printed(capsys, monkeypatch, terminal=True)
    assert lines[-2:] == [f"do     {COMMAND}", "more   docs/operations.md"]
    assert " ".join(line[7:] for line in lines[:-2]) == SENTENCE
    assert max(len(line) for line in lines if COMMAND not in line) <= 40


def test_where_there_is_no_terminal_no_line_is_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    lines = printed(capsys, monkeypatch, terminal=False)
    assert lines == [f"means  {SENTENCE}", f"do     {COMMAND}", "more   docs/operations.md"]
