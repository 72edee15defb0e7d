"""The table of commands and flags in docs/command-line.md, made from the commands themselves.

`PYTHONPATH=operator:tests:e2e .venv/bin/python -m unit.commands.reference_table` rewrites it.
"""

import re
from collections.abc import Iterator

import click

from azure_cni.entrypoints.cli import FOR_PEOPLE, main
from unit.chart.helm import REPOSITORY

PAGE = REPOSITORY / "docs" / "command-line.md"
HEAD = "| command | flag | |\n|---|---|---|\n"
END = "\n## What the answers mean"


def sections(path: str) -> set[str]:
    """The headings of a page of the documentation, as links to them have them."""
    heads = re.findall(r"^#+ (.+)$", (REPOSITORY / path).read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def table() -> str:
    """Commands for people with their own flags, then those that all have."""
    with click.Context(main) as ctx:
        commands = {name: main.get_command(ctx, name) for name in FOR_PEOPLE}
        shown = {name: one for name, one in commands.items() if one is not None and not one.hidden}
        flags = {name: dict(_flags(one)) for name, one in shown.items()}
        common = set.intersection(*(set(each) for each in flags.values() if each))
        rows = [row for name, one in shown.items() for row in _rows(name, one, flags[name], common)]
        first = next(iter(flags.values()))
        rows += [f"| all | {name} | {first[name]} |" for name in first if name in common]
    return HEAD + "\n".join(rows) + "\n"


def _rows(name: str, command: click.Command, flags: dict[str, str], common: set[str]) -> Iterator[str]:
    arguments = " ".join(_argument(one) for one in command.params if isinstance(one, click.Argument))
    words = " ".join((command.help or "").split())
    yield f"| `{' '.join(filter(None, (name, arguments)))}` | | {words} |"
    yield from (f"| | {flag} | {text} |" for flag, text in flags.items() if flag not in common)


def _argument(argument: click.Argument) -> str:
    name = argument.metavar or (argument.name or "").upper()
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _flags(command: click.Command) -> Iterator[tuple[str, str]]:
    for one in command.params:
        if isinstance(one, click.Option):
            kind = one.type
            value = "\\|".join(kind.choices) if isinstance(kind, click.Choice) else one.metavar or kind.name.upper()
            default = (
                "" if one.is_flag or one.default in {None, ""} or not one.show_default else f" Default: {one.default}."
            )
            yield f"`{', '.join(one.opts)}{'' if one.is_flag else f' {value}'}`", f"{one.help}{default}"


if __name__ == "__main__":
    text = PAGE.read_text()
    PAGE.write_text(text.partition(HEAD)[0] + table() + END + text.partition(END)[2])
