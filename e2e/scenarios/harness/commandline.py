"""The product's command line on the box, as the cluster's administrator or as somebody with a role of the chart."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azurebox.client import Box
from azurebox.controlplane import command_line, in_shell, people_environment
from azurebox.steps import StepError, capture

ANSWER_S = 60.0


@dataclass(frozen=True, slots=True)
class Answered:
    """The exit code, and what was printed."""

    code: int
    printed: str
    complaint: str

    @property
    def document(self) -> Any:
        """What `-o json` printed."""
        return json.loads(self.printed)


def ask(*words: str, within_s: float = ANSWER_S) -> Answered:
    """Run it once."""
    done = subprocess.run(
        command_line(*words),
        env=people_environment(),
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )
    return Answered(done.returncode, done.stdout, done.stderr)


def follow(command: str, *, editor: str = "false") -> str:
    """Run a command as the command line named it, in a shell; its output, StepError where it fails.

    `editor` is what a person does in `kubectl edit`, as a program that gets the file.
    """
    environment = {**people_environment(), "KUBE_EDITOR": editor}
    return capture(in_shell(command), what=command, env=environment)


def ask_until(box: Box, fact: Callable[[Any], object], *words: str, within_s: float) -> Any:
    """Ask with `-o json` until the answer is so; the answer."""

    def answered() -> Any:
        answer = ask(*words, "-o", "json")
        return answer.document if answer.printed and fact(answer.document) else None

    return box.wait_for(answered, within_s, f"azure-cni {' '.join(words)} to say it", poll_s=1.0)


def ask_many_whos(moments: Mapping[str, Sequence[str]], *, within_s: float) -> dict[str, list[dict[str, Any]]]:
    """Of each address, who had it at these times: see `many_whos`."""
    within_cluster, script = command_line()[:3], Path(__file__).with_name("many_whos.py")
    command = [*within_cluster, sys.executable, str(script)]
    done = subprocess.run(
        command,
        env=people_environment(),
        input=json.dumps(moments),
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )
    if done.returncode:
        raise StepError("cannot ask who had many addresses", output=done.stderr)
    answers: dict[str, list[dict[str, Any]]] = json.loads(done.stdout)
    return answers
