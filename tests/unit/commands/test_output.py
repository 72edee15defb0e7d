"""What people see on a terminal: sentences fit its width, and what they are to type can be copied."""

import sys

import pytest
from rich.text import Text

from azure_cni.commands.output import console, facts
from azure_cni.commands.trace import TraceAnswer, _show_trace
from azure_cni.diagnose.packet_trace import Hop, HopResult, PacketTrace

SENTENCE = "the administrator of the subscription: free some of its addresses, or enlarge it"
COMMAND = "kubectl -n kube-system get pods -l app.kubernetes.io/name=azure-cni -o wide"
ROWS = [("means", SENTENCE), ("do", COMMAND), ("", ""), ("more", "docs/operations.md")]


def printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> list[str]:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    console().print(facts(ROWS))
    return [line.rstrip() for line in Text.from_ansi(capsys.readouterr().out).plain.splitlines()]


def test_a_terminal_that_does_not_know_its_width_shows_all(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """With COLUMNS=0 nothing at all was printed."""
    monkeypatch.setenv("COLUMNS", "0")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    console().print("one answer")
    assert capsys.readouterr().out == "one answer\n"


def test_a_command_is_one_line_however_narrow_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    lines = printed(capsys, monkeypatch, terminal=True)
    assert lines[-2:] == [f"do     {COMMAND}", "more   docs/operations.md"]
    assert " ".join(line[7:] for line in lines[:-2]) == SENTENCE
    assert max(len(line) for line in lines if COMMAND not in line) <= 40


@pytest.mark.parametrize("command", [COMMAND, f"conf=$({COMMAND}) && {COMMAND}", f"on vm1: {COMMAND}"])
def test_a_command_is_known_by_how_it_begins(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
):
    monkeypatch.setattr(f"{__name__}.ROWS", [("do", command)])
    assert printed(capsys, monkeypatch, terminal=True) == [f"do  {command}"]


def test_the_command_of_a_hop_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    command = f"az network nic list-effective-nsg --ids {'/x' * 40}; az account show"
    hop = Hop("azure", HopResult.UNKNOWN, "not visible", command=command)
    trace = PacketTrace("1.2.3.4", 0, "nobody", HopResult.PASSES, "", [hop])
    _show_trace(console(), TraceAnswer("default/web", "vm1", "10.0.0.4", "1.2.3.4", [], [trace], []))
    assert command in Text.from_ansi(capsys.readouterr().out).plain.splitlines()[-1]


def test_where_there_is_no_terminal_no_line_is_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    lines = printed(capsys, monkeypatch, terminal=False)
    assert lines == [f"means  {SENTENCE}", f"do     {COMMAND}", "more   docs/operations.md"]
