"""Takes settings out of a TOML file, and says all that is wrong with it: each fault with its line and what to write.

A value that is wrong counts as a fault, and its default stands in for it, so that one look at the file finds every
fault. tomllib says no lines of what it could read; `lines_of` finds them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from azure_cni.errors import ConfigInvalid
from azure_cni.model.text import legible

T = TypeVar("T")

SHOWN: Final = 80
"""Characters of a wrong value in a message."""
LONGEST_FAULT: Final = 2000
"""Characters: more than all names that are known."""


class TomlValues:
    """Takes values out of the document by their dotted names, and knows which were never asked for."""

    def __init__(self, text: str, *, file: str) -> None:
        """ConfigInvalid when the text is no TOML."""
        try:
            self._values = dict(_flat(tomllib.loads(text)))
        except (ValueError, RecursionError) as error:  # of a number with very many digits it is no TOMLDecodeError
            raise ConfigInvalid(f"cannot start: {file} is no TOML: {legible(str(error))}") from error
        self._text = text
        self._file = file
        self._known: set[str] = set()
        self._faults: list[tuple[str, str]] = []

    def take(self, name: str, default: T, what: str, parse: Callable[[Any], T]) -> T:
        """The value, as `parse` understands it; after a ValueError of that, the default and a fault: write `what`."""
        self._known.add(name)
        if name not in self._values:
            return default
        try:
            return parse(self._values[name])
        except ValueError as error:
            self.fault(name, f"{error}; write {what}" if str(error) else f"write {what}")
            return default

    def fault(self, name: str, why: str) -> None:
        """Something is wrong with the value of this name, or with those of this table."""
        self._faults.append((name, why))

    def text(self, name: str, default: str = "") -> str:
        """A string."""
        return self.take(name, default, "a text in quotation marks", only(str))

    def choice(self, name: str, *allowed: str) -> str:
        """One of the allowed words; the first is the default."""

        def parse(value: Any) -> str:
            if value not in allowed:
                raise ValueError
            return str(value)

        return self.take(name, allowed[0], f"one of {', '.join(allowed)}", parse)

    def whole(self, name: str, default: int, *, least: int, most: int) -> int:
        """A whole number, both ends included."""

        def parse(value: Any) -> int:
            number: int = only(int)(value)
            if not least <= number <= most:
                raise ValueError
            return number

        return self.take(name, default, f"a whole number from {least} to {most}", parse)

    def seconds(self, name: str, default: float, *, least: float = 0.0, most: float = 86_400.0) -> float:
        """Seconds, both ends included."""

        def parse(value: Any) -> float:
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
                raise ValueError
            return float(value)

        return self.take(name, default, f"a number of seconds from {least:g} to {most:g}", parse)

    def flag(self, name: str, *, default: bool) -> bool:
        """True or false."""
        return self.take(name, default, "true or false", only(bool))

    def path(self, name: str, default: str) -> Path:
        """An absolute path."""

        def parse(value: Any) -> Path:
            path = Path(only(str)(value))
            if not path.is_absolute() or "\0" in str(path):
                raise ValueError
            return path

        return self.take(name, Path(default), "an absolute path in quotation marks", parse)

    def url(self, name: str, default: str, *, schemes: Sequence[str]) -> str:
        """A URL with a host and one of these schemes; or the default."""

        def parse(value: Any) -> str:
            parts = urlsplit(only(str)(value))
            plain = value.isprintable() and " " not in value and not any((parts.username, parts.query, parts.fragment))
            if value != default and (parts.scheme not in schemes or not parts.hostname or not plain or parts.port == 0):
                raise ValueError
            return str(value)

        return self.take(name, default, " or ".join(f"{scheme}://HOST" for scheme in schemes), parse)

    def refuse_faults(self) -> None:
        """ConfigInvalid with all faults, in the order of the file, unless all of it is right."""
        for name, value in self._values.items():
            if name not in self._known and not (value == {} and self._is_table(name)):
                self.fault(name, self._unknown(name))
        if not self._faults:
            return
        lines = lines_of(self._text)
        placed = sorted((self._line(name, lines), name, why) for name, why in self._faults)
        said = [
            f"line {line}: {legible(name, SHOWN)}{self._shown(name)}: {legible(why, LONGEST_FAULT)}"
            for line, name, why in placed
        ]
        first = f"cannot start: {self._file} has {len(said)} fault{'s' if len(said) > 1 else ''}"
        raise ConfigInvalid("\n  ".join([first, *said]))

    def _unknown(self, name: str) -> str:
        if self._is_table(name):
            return f"it is a table; write [{legible(name, SHOWN)}], and its settings below"
        near = get_close_matches(name.lower(), [known.lower() for known in self._known], n=1)
        meant = next((known for known in self._known if near and known.lower() == near[0]), None)
        if meant:
            return f"it is not known; write {meant}"
        return f"it is not known; known are {', '.join(sorted(self._known))}"

    def _is_table(self, name: str) -> bool:
        return any(known.startswith(f"{name}.") for known in self._known)

    def _line(self, name: str, lines: Mapping[str, int]) -> int:
        below = [line for key, line in lines.items() if key.startswith(f"{name}.")]
        return lines.get(name) or min(below, default=1)

    def _shown(self, name: str) -> str:
        if name not in self._values or name not in self._known:
            return ""
        return f" is {legible(repr(self._values[name]), SHOWN)}"


def lines_of(text: str, *, parse: Callable[[str], dict[str, Any]] = tomllib.loads) -> dict[str, int]:
    """On which line each dotted name of a TOML document gets its value, from 1; the document is right.

    The lines of a statement are a document too, and those down to the middle of one are none. What a table's own line
    is a document of, its statements are parts of.
    """
    found: dict[str, int] = {}
    lines = text.replace("\r\n", "\n").split("\n")
    table, begins = "", 1
    for end in range(1, len(lines) + 1):
        try:
            document = parse("\n".join(lines[begins - 1 : end]))
        except tomllib.TOMLDecodeError:
            continue
        names = [name for name, _ in _flat(document)]
        if lines[begins - 1].lstrip().startswith("["):
            table = _only_path(document)
            found.setdefault(table, begins)
            table += "."
        else:
            for name in names:
                found.setdefault(table + name, begins)
        begins = end + 1
    return found


def _only_path(document: Any) -> str:
    """The dotted name of the one table in it, also where that is the first of an array."""
    path = []
    while isinstance(document, Mapping) and document:
        ((key, document),) = document.items()
        path.append(key)
    return ".".join(path)


def only(kind: type[T]) -> Callable[[Any], T]:
    """A parser that takes values of exactly this type: a bool is an int too. ValueError."""

    def parse(value: Any) -> T:
        if type(value) is not kind:
            raise ValueError
        return value

    return parse


def _flat(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values by their dotted names, an empty table as one."""
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
