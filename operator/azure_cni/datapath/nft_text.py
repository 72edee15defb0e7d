"""Parts of a script that `nft -f` takes: as short as it needs to be, for three modules that write one."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

DROP = '{} counter drop comment "{}"'
"""To be formatted with what is dropped, and why."""


def block(head: str, lines: Iterable[str]) -> str:
    """A set or a chain of a table."""
    inner = "".join(f"\t\t{line}\n" for line in lines)
    return f"\t{head} {{\n{inner}\t}}\n"


def ipv4_set(name: str, elements: Iterable[IPv4Address | IPv4Network], *, flags: str = "") -> str:
    """A set of addresses or prefixes."""
    # Not "type ipv4_addr", the same to the kernel: as written by nft from 1.1 on, a node's own older nft (1.0.6 of
    # Debian 12) crashes when it lists such a set, and with it every other table.
    lines = ["typeof ip saddr"]
    if flags:
        lines.append(f"flags {flags}")
    return block(f"set {name}", [*lines, *listed(map(str, elements))])


def listed(elements: Iterable[str]) -> list[str]:
    """The line of a set's elements; none where there are none, because nft refuses an empty list."""
    text = ", ".join(elements)
    return [f"elements = {{ {text} }}"] if text else []


def replacing(table: str) -> str:
    """The beginning of a script that removes a table. The empty declaration makes that succeed where there is none."""
    return f"{table}\ndelete {table}\n"
