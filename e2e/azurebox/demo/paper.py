"""How the demo looks: headings, sentences, commands with their output, in plain text of one width.

Nothing depends on a terminal but two things: its width, and bold headings. Into a pipe or a file go the same lines.
"""

import os
import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Collection, Sequence
from typing import TextIO

NARROW, WIDE = 80, 110
INDENT = "  "
CUT = "..."
CELL = re.compile(r"\S+(?: \S+)*")  # kubectl parts its columns by three blanks, and has single ones in headers


class Paper:
    """What is written goes to `stream` at once; `width` is in characters."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.bold = self.stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.width = min(max(shutil.get_terminal_size((WIDE, 24)).columns, NARROW), WIDE)

    def heading(self, text: str) -> None:
        """The start of a chapter."""
        self.line(f"\n{self.strong(text)}", indent="")

    def strong(self, text: str) -> str:
        """Bold where there is bold."""
        return f"\033[1m{text}\033[0m" if self.bold else text

    def prose(self, text: str, *, loud: bool = False) -> None:
        """Sentences, broken at the width."""
        for line in textwrap.wrap(text, self.width - len(INDENT), break_on_hyphens=False):
            self.line(self.strong(line) if loud else line)

    def command(self, words: Sequence[str]) -> None:
        """What a person would type; a long one goes on in the next line, as a shell allows."""
        lines = [f"$ {words[0]}"]
        for word in map(shlex.quote, words[1:]):
            if len(INDENT) + len(lines[-1]) + len(word) + len(" \\") < self.width:
                lines[-1] += f" {word}"
            else:
                lines[-1] += " \\"
                lines.append(f"    {word}")
        for line in lines:
            self.line(line)

    def output(self, text: str) -> None:
        """What a command printed, each line cut at the width."""
        for line in text.splitlines():
            room = self.width - len(INDENT)
            self.line(line if len(line) <= room else line[: room - len(CUT)] + CUT)

    def line(self, text: str, *, indent: str = INDENT) -> None:
        """One line as it is."""
        print(f"{indent}{text}" if text else "", file=self.stream, flush=True)


def aligned(rows: Sequence[Sequence[object]]) -> str:
    """A table, its first row the names of the columns, in the form of kubectl's."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    lines = ["   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in texts]
    return "\n".join(line.rstrip() for line in lines)


def pick(table: str, columns: Collection[str]) -> str:
    """Those columns of a table as kubectl prints it."""
    lines = table.splitlines()
    if not lines:
        return table
    found = list(CELL.finditer(lines[0]))
    ends = [cell.start() for cell in found[1:]] + [None]
    spans = [slice(cell.start(), end) for cell, end in zip(found, ends, strict=True) if cell.group().strip() in columns]
    return "\n".join("".join(line[span] for span in spans).rstrip() for line in lines)
