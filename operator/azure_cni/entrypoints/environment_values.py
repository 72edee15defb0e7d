"""Values of the environment (prefix AZURE_CNI_): each taken by name, and refused in words that name its variable.

What is refused is repeated in part and on one line: whoever set it knows the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv4Network
from typing import Final, TypeVar

from azure_cni.errors import ConfigInvalid
from azure_cni.model.text import legible

PREFIX: Final = "AZURE_CNI_"
SHOWN: Final = 80
"""Characters of a wrong value in a message."""

T = TypeVar("T")


class Reader:
    """Takes variables out of the environment, and names the variable when its value is wrong."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str, default: str = "") -> str:
        """The value, or the default where it is not set or blank."""
        return self._environ.get(PREFIX + name, "").strip() or default

    def required(self, name: str) -> str:
        """A value that the chart always sets."""
        value = self.text(name)
        if not value:
            raise ConfigInvalid(f"cannot start: {PREFIX}{name} is not set; the chart sets it, see its templates")
        return value

    def choice(self, name: str, *allowed: str) -> str:
        """One of the allowed words; the first is the default."""
        value = self.text(name, allowed[0])
        if value not in allowed:
            raise ConfigInvalid(
                f"cannot start: {PREFIX}{name} is {shown(value)}; it must be one of {', '.join(allowed)}"
            )
        return value

    def parsed(self, name: str, parse: Callable[[str], T], what: str, default: T) -> T:
        """A value that `parse` understands. Where it raises ValueError, the error names `what` the value must be."""
        value = self.text(name)
        if not value:
            return default
        try:
            return parse(value)
        except ValueError as error:
            raise ConfigInvalid(
                f"cannot start: {PREFIX}{name} is {shown(value)}; it must be {what} ({legible(str(error))})"
            ) from None

    def whole(self, name: str, default: int) -> int:
        """A whole number."""
        return self.parsed(name, int, "a whole number", default)

    def seconds(self, name: str, default: float, *, least: float = 0.0) -> float:
        """A time."""
        value = self.parsed(name, float, "a number of seconds", default)
        if not value >= least:  # nan is neither
            raise ConfigInvalid(f"cannot start: {PREFIX}{name} is {value}; it must be at least {least} seconds")
        return value

    def prefixes(self, name: str) -> frozenset[IPv4Network]:
        """Those of a list with commas."""

        def parse(text: str) -> frozenset[IPv4Network]:
            return frozenset(IPv4Network(part.strip()) for part in text.split(",") if part.strip())

        return self.parsed(name, parse, "a comma-separated list of IPv4 prefixes", frozenset())

    def flag(self, name: str, *, default: bool) -> bool:
        """`true` or `false`."""
        return self.choice(name, *(("true", "false") if default else ("false", "true"))) == "true"


def shown(value: str) -> str:
    """What is refused: on one line, and not too long."""
    return legible(repr(value), SHOWN)
