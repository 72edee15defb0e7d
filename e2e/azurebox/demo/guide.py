"""The guide of the tour: types a command as a person would, shows what it prints, and judges what it shows.

What is shown is what was run: each command goes through `e2e/box` itself. A judgement that is wrong is said loudly and
remembered, so that the demo goes on and then fails.
"""

import subprocess
from collections.abc import Callable, Sequence

from azurebox.demo.paper import Paper
from azurebox.facts import REPOSITORY
from azurebox.steps import StepError

BOX = "e2e/box"


def type_in(words: Sequence[str]) -> str:
    """Run a command at the top of the repository; what it printed.

    Raises:
        StepError: it failed; carries what it said.

    """
    # Not subprocess.run: after Ctrl-C, which the command gets too, that would kill it in the middle of its cleaning up.
    with subprocess.Popen(
        words, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            output, complaint = process.communicate()
        except KeyboardInterrupt:
            process.communicate()
            raise
    if process.returncode != 0:
        raise StepError(f"{' '.join(words[:8])} ended with status {process.returncode}", output=complaint or output)
    return output


class Guide:
    """Shows commands on `paper` and counts what is `wrong`."""

    def __init__(self, paper: Paper, *, run: Callable[[Sequence[str]], str] = type_in) -> None:
        self.paper = paper
        self.wrong: list[str] = []
        self._run = run

    def chapter(self, title: str, why: str) -> None:
        """What comes, and why it matters."""
        self.paper.heading(title)
        self.paper.prose(why)

    def show(self, *words: str, shorten: Callable[[str], str] = str) -> str:
        """Type `e2e/box WORDS` and show what it prints, or what `shorten` leaves of that; all that it printed."""
        command = [BOX, *words]
        self.paper.line("")
        self.paper.command(command)
        output = self._run(command)
        self.paper.output(shorten(output))
        return output

    def judge(self, right: bool, yes: str, no: str) -> None:  # noqa: FBT001  the judgement itself
        """Say `yes` when things are right, and `no` loudly when they are not."""
        if right:
            self.paper.line("")
            self.paper.prose(f"ok: {yes}")
        else:
            self.fault(no)

    def fault(self, text: str) -> None:
        """Say loudly that something is not as it should be, its first line in short: the demo will fail."""
        first, *rest = text.splitlines()
        self.wrong.append(first)
        self.paper.line("")
        self.paper.prose(f"WRONG: {first}", loud=True)
        self.paper.output("\n".join(rest))
