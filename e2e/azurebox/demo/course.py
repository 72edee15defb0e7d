"""The course of a tour: each scene, also after one that failed; then what to try next, and what was wrong."""

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence

from azurebox.demo.guide import Guide
from azurebox.steps import StepError


def play(guide: Guide, scenes: Iterable[Callable[[], None]]) -> None:
    """Every scene, also after one that failed."""
    for scene in scenes:
        try:
            scene()
        except StepError as error:
            guide.fault(str(error))


def report(guide: Guide, following: Mapping[str, Sequence[str]], *, took_s: float, remains: str) -> int:
    """What to try next (commands by why), how long it took, what `remains`, and what was wrong; the exit status."""
    paper = guide.paper
    paper.heading("What to try next")
    for why, commands in following.items():
        paper.line("")
        paper.prose(why)
        for command in commands:
            paper.command(shlex.split(command))
    minutes, seconds = divmod(round(took_s), 60)
    took = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    paper.heading(f"Done in {took}. {remains}")
    if not guide.wrong:
        return 0
    paper.heading(f"WRONG, {len(guide.wrong)} of the above:")
    for text in guide.wrong:
        paper.prose(text)
    return 1
