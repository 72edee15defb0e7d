"""The table of values in the chart's README, made of values.yaml: its keys, its defaults, and the comments beside them.

`PYTHONPATH=operator:tests:e2e .venv/bin/python -m unit.chart.values_table` rewrites it.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from unit.chart.helm import CHART

README = CHART / "README.md"
HEAD = "| value | default | |\n|---|---|---|\n"
LINE = re.compile(r"(?P<indent> *)(?P<key>\w+):(?: (?!#)(?P<default>.*?))?(?: +# (?P<comment>.*))?")


def table() -> str:
    """All values in the order of the file; a group that has words of its own is a row too."""
    text = (CHART / "values.yaml").read_text()
    return HEAD + "\n".join(_rows(text, yaml.safe_load(text)))


def _rows(text: str, values: dict[str, Any]) -> Iterator[str]:
    above: list[str] = []
    path: list[str] = []
    for line in text.splitlines():
        if line.startswith("# "):
            above.append(line.removeprefix("# "))
        elif found := LINE.fullmatch(line):
            path = [*path[: len(found["indent"]) // 2], found["key"]]
            words = " ".join([*above, found["comment"] or ""]).strip()
            above = []
            row = _row(path, found["default"], _at(values, path), words)
            yield from [row] if row else []
        else:
            above = []


def _row(path: list[str], default: str | None, value: object, words: str) -> str:
    name = ".".join(path)
    if isinstance(value, dict) and value:
        return f"| **`{name}`** | | {words} |" if words else ""
    shown = yaml.safe_dump(value, default_flow_style=True).strip() if default is None else default
    return f"| `{name}` | `{shown}` | {words} |"


def _at(values: Any, path: list[str]) -> object:
    for key in path:
        values = values[key]
    return values


if __name__ == "__main__":
    README.write_text(README.read_text().partition(HEAD)[0] + table() + "\n")
