"""The product's command line on the box, as the cluster's administrator or as somebody with a role of the chart."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from azurebox.client import Box
from azurebox.controlplane import command_line, people_environment

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


def ask_until(box: Box, fact: Callable[[Any], object], *words: str, within_s: float) -> Any:
    """Ask with `-o json` until the answer is so; the answer."""

    def answered() -> Any:
        answer = ask(*words, "-o", "json")
        return answer.document if answer.printed and fact(answer.document) else None

    return box.wait_for(answered, within_s, f"azure-cni {' '.join(words)} to say it", poll_s=1.0)
