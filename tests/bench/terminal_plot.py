"""What a command prints on a terminal, as a picture: its own colours and line breaks, and no font from anywhere.

`python -m bench.terminal_pictures` makes those of the documentation.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

COLUMNS: Final = 100
WITHIN_S: Final = 120.0
CELL: Final = 12.2
"""How wide rich makes a column, in the picture's units."""
_BLANK: Final = "&#160;"
_WORDS: Final = re.compile(
    rf'(<text [^>]*\bx=")([\d.]+)("[^>]*\btextLength=")([\d.]+)("[^>]*>)((?:{_BLANK})*)(.*?)((?:{_BLANK})*)</text>'
)
FRAME: Final = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"
    aria-label="{label}">
    <style>
    .{unique_id}-matrix {{
        font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace;
        font-size: {char_height}px;
        line-height: {line_height}px;
    }}
    .{unique_id}-title {{ font: bold 18px sans-serif; }}
    {styles}
    </style>
    <defs>
    <clipPath id="{unique_id}-clip-terminal">
      <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
    </clipPath>
    {lines}
    </defs>
    {chrome}
    <g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
    {backgrounds}
    <g class="{unique_id}-matrix">
    {matrix}
    </g>
    </g>
</svg>
"""
"""As rich's own, without fonts from the internet. Its dark window is readable on a page of any colour."""
THEME: Final = TerminalTheme(
    (27, 31, 36),
    (214, 219, 225),
    [(27, 31, 36), (255, 107, 104), (99, 201, 120), (235, 188, 75), (92, 158, 255), (199, 134, 255), (71, 198, 214),
     (214, 219, 225)],
    [(110, 118, 129), (255, 138, 132), (126, 222, 146), (245, 208, 110), (128, 182, 255), (217, 168, 255),
     (110, 220, 233), (255, 255, 255)],
)  # fmt: skip


def record(command: Sequence[str], *, environment: Mapping[str, str], columns: int = COLUMNS) -> str:
    """What it prints to a terminal of that width, escape sequences included; its exit status does not matter.

    Errors, and the progress that is shown beside them, are not in it.

    Raises:
        subprocess.TimeoutExpired: it did not end within `WITHIN_S`.

    """
    reader, writer = pty.openpty()
    try:
        fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 200, columns, 0, 0))
        plain = {name: value for name, value in environment.items() if name not in {"NO_COLOR", "COLUMNS", "LINES"}}
        running = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=writer, stderr=subprocess.DEVNULL,
            env=plain | {"TERM": "xterm-256color"},
        )  # fmt: skip
        os.close(writer)
        printed = b""
        while chunk := _read(reader):
            printed += chunk
        running.wait(WITHIN_S)
    finally:
        os.close(reader)
    return printed.decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux says EIO once nobody has the other side open
        return b""


def drawn(typed: str, printed: str, *, columns: int = COLUMNS) -> str:
    """An SVG of a terminal: the prompt with the command that was typed, and below it what was printed."""
    paper = Console(
        record=True, width=columns, file=io.StringIO(), force_terminal=True, color_system="truecolor", highlight=False
    )
    paper.print(Text.assemble(("$ ", "bright_black"), (typed, "bold")))
    paper.print(Text.from_ansi(printed.rstrip()))
    frame = FRAME.replace("{label}", escape(f"What {typed} prints").replace("{", "{{").replace("}", "}}"))
    return _WORDS.sub(_trimmed, paper.export_svg(title="", theme=THEME, code_format=frame, unique_id="terminal"))


def _trimmed(found: re.Match[str]) -> str:
    """A piece of text without the blanks around it, which some programs leave out, and then it would be displaced."""
    start, x, middle, length, end, before, words, after = found.groups()
    left, right = before.count(_BLANK), after.count(_BLANK)
    x, length = float(x) + left * CELL, float(length) - (left + right) * CELL
    return f"{start}{x:.1f}{middle}{length:.1f}{end}{words}</text>"
