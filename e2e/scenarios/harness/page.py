"""A page of the documentation as a scenario: its commands run in their order in one shell, and what they print is held
against what the page shows.

Commands are in blocks of ```console. A block without `$ ` is commands alone. In one with `$ `, each such line begins a
command, which goes on after a backslash, and what follows up to the next is what it prints. Of that, a word with a
digit stands for any word (addresses, names, times), `...` for anything; all other words must be there, in order.
"""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from azurebox.steps import StepError

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMPT = "$ "
LEFT_OUT = "..."


@dataclass(frozen=True, slots=True)
class Command:
    """What is typed, maybe in several lines; the lines that it is shown to print; and its line on the page."""

    text: str
    shown: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Ran:
    """A command and what it printed, errors included."""

    command: Command
    printed: str


def commands(page: str) -> list[Command]:
    """All of them, in the order of the page."""
    found = list[Command]()
    for block in _BLOCK.finditer(page):
        line = page.count("\n", 0, block.start()) + 2
        if not block[1].startswith(PROMPT):
            found.append(Command(block[1].strip(), (), line))
            continue
        found.extend(_prompted(block[1].splitlines(), line))
    return found


def _prompted(lines: Sequence[str], first: int) -> Iterator[Command]:
    typed, shown, begun = list[str](), list[str](), first
    for number, line in enumerate(lines, first):
        if typed and typed[-1].endswith("\\"):
            typed.append(line)
        elif line.startswith(PROMPT):
            if typed:
                yield Command("\n".join(typed), tuple(shown), begun)
            typed, shown, begun = [line.removeprefix(PROMPT)], [], number
        else:
            shown.append(line)
    yield Command("\n".join(typed), tuple(shown), begun)


def with_names(page: str, names: Mapping[str, str]) -> str:
    """The page with other values where it first sets these variables. Raises StepError where it does not."""
    for name, value in names.items():
        page, replaced = re.subn(rf"^{name}=\S+", f"{name}={value}", page, count=1, flags=re.MULTILINE)
        if not replaced:
            raise StepError(f"cannot run the page: it sets no {name}", advice=f"give it a line {name}=...")
    return page


def missing(shown: Sequence[str], printed: str) -> list[str]:
    """Which of the lines that the page shows were not printed, in that order."""
    lines, lost, at = [one.strip() for one in printed.splitlines()], list[str](), 0
    for line in shown:
        if line.strip() in {"", LEFT_OUT}:
            continue
        wanted = _pattern(line)
        found = next((number for number in range(at, len(lines)) if wanted.fullmatch(lines[number])), None)
        if found is None:
            lost.append(line)
        else:
            at = found + 1
    return lost


def _pattern(line: str) -> re.Pattern[str]:
    """Of one line: blanks of any length between words."""
    return re.compile(r"\s+".join(_word(one) for one in line.split()))


def _word(word: str) -> str:
    if word == LEFT_OUT:
        return r".*"
    return r"\S+" if any(one.isdigit() for one in word) else re.escape(word)


def run(
    page: str, *, shell: Sequence[str] = (), environment: Mapping[str, str], directory: Path, within_s: float
) -> list[Ran]:
    """Run all commands in one bash, until one fails. `shell`: what bash is started by.

    Raises:
        StepError: one failed, or all together took longer than `within_s`; says which, and what it printed.

    """
    listed = commands(page)
    mark = f"==> command {os.getpid()} "
    script = ["set -euo pipefail", "exec 2>&1"]
    for number, one in enumerate(listed):
        script += [f"echo; echo '{mark}{number}'", one.text]
    try:
        done = subprocess.run(
            [*shell, "bash", "-c", "\n".join(script)], env=dict(environment), cwd=directory, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=within_s, check=False,
        )  # fmt: skip
        output, failed = done.stdout, f"ended with status {done.returncode}" if done.returncode else ""
    except subprocess.TimeoutExpired as error:
        output, failed = (error.stdout or b"").decode(), f"not over after {within_s:.0f} s"
    printed = re.split(rf"^{re.escape(mark)}\d+\n", output, flags=re.MULTILINE)[1:]
    ran = [Ran(command, text.rstrip("\n")) for command, text in zip(listed, printed, strict=False)]
    if failed:
        line, text = (ran[-1].command.line, ran[-1].command.text) if ran else (0, "bash")
        raise StepError(f"line {line} of the page {failed}: {text}", output=ran[-1].printed if ran else output)
    return ran
