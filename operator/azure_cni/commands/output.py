"""What commands print: tables for people, JSON and YAML for programs, and exit codes that scripts can rely on.

Colours and progress appear on a terminal only, and not where NO_COLOR is set. Off a terminal no line is broken, so that
`grep` finds whole ones. The project's image has no rich: what needs no table is printed there as plain lines.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import IntEnum, StrEnum
from importlib.util import find_spec
from typing import IO, TYPE_CHECKING, Any, Final, TypeVar, cast

import click
import msgspec

from azure_cni.model.text import legible

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

Answer = TypeVar("Answer", bound=msgspec.Struct | list[Any])
GOOD: Final = "√"
DOUBTFUL: Final = "‼"
BAD: Final = "×"  # noqa: RUF001  # the sign that people know from other tools' checks
_UNSAFE: Final = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
"""What a terminal obeys or does not show, and no line end: control characters, and those that turn text around."""
QUIET_S = 1.0
"""What takes less is over before anybody wonders."""
_SAYING: Final = threading.Lock()
"""Held while there is a progress: a terminal has room for one."""
UNBROKEN: Final = 100_000
"""Columns of what is no terminal."""
USUAL: Final = 80
"""Those of a terminal of which nobody knows."""
_PADDING: Final = re.compile(r" +$", re.MULTILINE)
"""What fills the last column of a table."""
_TYPED: Final = re.compile(
    r"(?:on [a-z0-9.-]+: )?((az|azure-cni|helm|ip|iptables|kubectl|mv|nft|sed|sysctl|systemctl) |[a-z]+=\$\()", re.ASCII
)
"""How a fact begins that is a command to type, maybe on a certain node."""


class ExitCode(IntEnum):
    """Of the process. They never change their meaning."""

    WELL = 0
    """Answered, and nothing is wrong."""
    WRONG = 1
    """Answered: something is wrong, differs or contradicts."""
    USAGE = 2
    """The command line is wrong."""
    NO_ANSWER = 3
    """The cluster or an agent could not be asked."""


class Form(StrEnum):
    """Of the answer, `-o`."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def emit(answer: Answer, form: Form, show: Callable[[Console, Answer], None]) -> None:
    """Print the answer; `show` draws it for people, on whose terminal no word of others does anything."""
    if form is Form.JSON:
        written = msgspec.json.format(msgspec.json.encode(answer), indent=2).decode()
        click.echo(_UNSAFE.sub(_escaped, written))
    elif form is Form.YAML:
        import yaml

        document = msgspec.to_builtins(answer)
        written = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
        if _UNSAFE.search(written):
            written = yaml.safe_dump(document, sort_keys=False, allow_unicode=False)
        click.echo(written, nl=False)
    else:
        show(console(), _harmless(answer))


def _escaped(found: re.Match[str]) -> str:
    """As JSON writes it in a string, the only place where one can stand."""
    units = found[0].encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _harmless(value: Any) -> Any:
    """The same without control characters: whoever may write an event of a pod must not move a terminal's cursor."""
    match value:
        case msgspec.Struct():
            return msgspec.convert(_harmless(msgspec.to_builtins(value)), type(value))
        case str():
            return one_line(value)
        case list():
            return [_harmless(one) for one in value]
        case dict():
            return {key: _harmless(one) for key, one in value.items()}
        case _:
            return value


def one_line(words: str) -> str:
    """Words of others, for a terminal."""
    line = " ".join(words.splitlines())
    return legible(line, longest=len(line))


class PlainConsole:
    """Standard output where rich is not installed."""

    def print(self, *objects: object, **how: object) -> None:
        """A line. `how` it looks makes no difference."""
        del how
        click.echo(" ".join(map(str, objects)))


class UnpaddedFile:
    """Standard output that is no terminal: its lines end where their words do."""

    def write(self, words: str) -> int:
        """Whole lines: rich writes what one `print` made at once."""
        return sys.stdout.write(_PADDING.sub("", words))

    def flush(self) -> None:
        """At once, before a process that writes there too."""
        sys.stdout.flush()


def _is_plain() -> bool:
    return find_spec("rich") is None


def console() -> Console:
    """Standard output."""
    if _is_plain():
        return cast("Console", PlainConsole())
    from rich.console import Console

    class Whole(Console):
        """Nothing that is longer than a line is cut off: the terminal breaks it."""

        def print(self, *objects: Any, **how: Any) -> None:
            super().print(*objects, **{"crop": False, **how})

    on_terminal = sys.stdout.isatty()
    file = sys.stdout if on_terminal else cast("IO[str]", UnpaddedFile())
    width = None if on_terminal else UNBROKEN
    made = Whole(file=file, width=width, highlight=False, markup=False, emoji=False)
    if made.width < 1:  # a terminal that does not know its own (COLUMNS=0), on which nothing would be printed
        made.width = USUAL
    return made


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """As kubectl prints them. A cell may be `text` with a style: see `styled`."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, show_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def facts(rows: Sequence[tuple[str, str]]) -> RenderableType:
    """Names with what they are, one below the other; empty ones are left out.

    Sentences are broken between words. A command is not: copied with a line end in it, half of it would run.
    """
    left = [(name, value) for name, value in rows if value]
    wide = max((len(name) for name, _ in left), default=0)
    if _is_plain():
        return "\n".join(f"{name.ljust(wide)}  {value}" for name, value in left)
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = []
    for commands, group in itertools.groupby(left, lambda row: bool(_TYPED.match(row[1]))):
        if commands:
            lines = (Text.assemble((name.ljust(wide), "bold"), "  ", value) for name, value in group)
            parts += [_unbroken(line) for line in lines]
        else:
            parts.append(_columns(group, wide))
    return Group(*parts)


def _unbroken(line: Text) -> Text:
    line.no_wrap, line.overflow = True, "ignore"
    return line


def _columns(rows: Iterable[tuple[str, str]], wide: int) -> Table:
    from rich.table import Table

    made = Table.grid(padding=(0, 2))
    made.add_column(style="bold", no_wrap=True, min_width=wide)
    made.add_column(overflow="fold")
    for name, value in rows:
        made.add_row(name, value)
    return made


@contextlib.contextmanager
def progress(words: str) -> Iterator[None]:
    """While something takes longer than a second: said on a terminal, on standard error. Inside another, nothing."""
    if not sys.stderr.isatty() or not _SAYING.acquire(blocking=False):
        yield
        return
    with contextlib.ExitStack() as shown:
        shown.callback(_SAYING.release)
        ended, beginning = threading.Event(), threading.Lock()

        def show() -> None:
            from rich.console import Console

            with beginning:
                if not ended.is_set():
                    shown.enter_context(Console(file=sys.stderr).status(words))

        late = threading.Timer(QUIET_S, show)
        late.daemon = True
        late.start()
        try:
            yield
        finally:
            late.cancel()
            with beginning:
                ended.set()
