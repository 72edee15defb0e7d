"""One clear line per step, and a failure that says what failed, what the log said, and what to do.

`step` prints a title when the work begins and the time it took when it ends. `run` runs one command to its end with
its output in a log. Both turn trouble into a `StepError`, which the command line prints and which nothing else
catches.
"""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from azurebox.facts import CACHE

T = TypeVar("T")
TAIL_LINES = 25
POLL_S = 0.1
QUICK_S = 300.0  # longer than any limit that a command of `capture` has of its own


class StepError(Exception):
    """A step could not be done: `what` in words, the end of a log if there is one, and what a person can do."""

    def __init__(self, what: str, *, log: Path | None = None, output: str = "", advice: str = "") -> None:
        super().__init__(what)
        self.what, self.log, self.output, self.advice = what, log, output, advice

    def __str__(self) -> str:
        lines = [self.what]
        tail = self.output or (log_tail(self.log) if self.log else "")
        if tail:
            lines += ["", *(f"  | {line}" for line in tail.splitlines()[-TAIL_LINES:]), ""]
        if self.log:
            lines.append(f"whole log: {self.log}")
        if self.advice:
            lines.append(f"what to do: {self.advice}")
        return "\n".join(lines)


def log_tail(log: Path) -> str:
    """The last lines of a log; empty when there is none yet."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-TAIL_LINES:])


@contextmanager
def step(title: str) -> Iterator[None]:
    """Print `title`, do the work, print the time it took."""
    began = time.monotonic()
    print(f"  {title:<60}", end=" ", flush=True)
    try:
        yield
    except BaseException:
        print(f"failed after {time.monotonic() - began:.1f} s", flush=True)
        raise
    print(f"{time.monotonic() - began:6.1f} s", flush=True)


def say(text: str) -> None:
    """One line that is not a step."""
    print(f"  {text}", flush=True)


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    log: str,
    what: str,
    advice: str = "",
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int | None = None,
    timeout_s: float = 1800,
) -> None:
    """Run one command to its end, its output in the log named `log`, which is kept in the cache.

    Raises:
        StepError: it ended with another status than 0, or not within `timeout_s`.

    """
    path = CACHE / "log" / f"{log}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as output:
        output.write(f"$ {' '.join(map(str, argv))}\n".encode())
        output.flush()
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=env,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise StepError(f"cannot {what}: not done after {timeout_s:.0f} s", log=path, advice=advice) from None
        except FileNotFoundError as error:
            raise StepError(f"cannot {what}: no command {error.filename}", advice=advice) from None
    if done.returncode != 0:
        raise StepError(f"cannot {what}: {argv[0]} ended with status {done.returncode}", log=path, advice=advice)


def capture(
    argv: Sequence[str | os.PathLike[str]],
    *,
    what: str,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run one quick command and return what it wrote to its standard output.

    Raises:
        StepError: it ended with another status than 0, or not within QUICK_S; carries what it wrote to its standard
            error.

    """
    try:
        done = subprocess.run(argv, input=stdin, env=env, capture_output=True, text=True, timeout=QUICK_S, check=False)
    except subprocess.TimeoutExpired:
        raise StepError(f"cannot {what}: {argv[0]} has not ended after {QUICK_S:.0f} s") from None
    if done.returncode != 0:
        raise StepError(f"cannot {what}: {argv[0]} ended with status {done.returncode}", output=done.stderr)
    return done.stdout


def wait_for(
    predicate: Callable[[], T | None],
    *,
    timeout_s: float,
    what: str,
    log: Path | None = None,
    explain: Callable[[], str] = str,
) -> T:
    """Ask `predicate` until it answers something true, and return that.

    Raises:
        StepError: nothing true within `timeout_s`; carries the end of `log` or what `explain` says then.

    """
    deadline = time.monotonic() + timeout_s
    while not (answer := predicate()):
        if time.monotonic() > deadline:
            raise StepError(f"waited {timeout_s:.0f} s in vain for {what}", log=log, output=explain())
        time.sleep(POLL_S)
    return answer


def write_whole(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write a file that is there wholly or not at all, whenever this is interrupted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.touch()
    partial.chmod(mode)
    partial.write_text(text)
    partial.replace(path)
