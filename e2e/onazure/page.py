"""The part of docs/on-azure.md that is made of the questions; `python -m onazure.page` writes it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from onazure.machine_questions import MACHINE, PERSON, SCALE_SET
from onazure.questions import NETWORK, Question

PAGE: Final = Path(__file__).parents[2] / "docs" / "on-azure.md"
ASKED: Final = "Asked by the script"


def _section(title: str, questions: Sequence[Question]) -> Iterator[str]:
    yield f"## {title}\n"
    for one in questions:
        yield f"### `{one.key}`\n"
        yield f"{one.asks}\n"
        yield "```console"
        yield one.command
        yield "```\n"
        yield f"- What azure-cni takes it to be: {one.taken}."
        yield from (f"- {answer[0].upper()}{answer[1:]}: {meaning}" for answer, meaning in one.otherwise.items())
        yield ""


TABLE: Final = "\n".join(
    [
        *_section(ASKED, NETWORK),
        *_section("Asked with a VM", MACHINE),
        *_section("Asked with a scale set", SCALE_SET),
        *_section("For a person", PERSON),
    ]
)


def written(page: str) -> str:
    """The page with its questions as they are now; what stands before them stays."""
    return page.partition(f"## {ASKED}\n")[0] + TABLE


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
