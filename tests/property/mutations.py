"""Odd but possible documents out of good ones: what versions, proxies, faults and people make of JSON.

random = Random(7)
document = mutated(good, random)             # another document, one to three changes deep inside
content = mutated_bytes(encoded, random)     # the same on the wire: half of it, other encodings, a page
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

ODD: Final[Sequence[Any]] = (
    None, True, False, 0, -1, 1.5, 1e308, 2**31, 2**53, 2**63 - 1, 2**63, 10**40,
    "", " ", "null", "\u0000", "\ud7ff\u00b2\u0663", "x" * 5000, [], [None], [[]], {}, {"": None}, {"code": 7},
    "10.0.0.300", "fd00::1", "10.0.0.16/28", "{", '{"error": {}}', "try again after '99999999' seconds",
    "Wed, 21 Oct 2065 07:28:00 GMT", "2026-13-40T25:61:61Z", "9999-12-31T23:59:59-14:00",
)  # fmt: skip
"""Values that may stand where another is expected."""
PAGES: Final = (
    b"",
    b"<html><h1>Access denied</h1></html>",
    b"\xff\xfe\x00",
    b"null",
    b"[]",
    b'"text"',
    b"[" * 3000,
    b'{"a":' * 3000,
    b"NaN",
    b"1e999",
)


def mutated(document: Any, random: Random) -> Any:
    """A copy with one to three changes: a value replaced, left out, doubled, wrapped, or its name spelt differently."""
    changed = json.loads(json.dumps(document))
    for _ in range(random.randint(1, 3)):
        places = list(_places(changed))
        if not places:
            return random.choice(ODD)
        parent, key = random.choice(places)
        random.choice(_CHANGES)(parent, key, random)
    return changed


def mutated_bytes(content: bytes, random: Random) -> bytes:
    """The same bytes, or as somebody on the way may leave them."""
    at = random.randrange(len(content) + 1)
    ways: Sequence[Callable[[], bytes]] = (
        lambda: content[:at],
        lambda: content[:at] + bytes([random.randrange(256)]) + content[at + 1 :],
        lambda: random.choice(PAGES),
        lambda: content.decode().encode("utf-16"),
        lambda: b"\xef\xbb\xbf" + content,
        lambda: json.dumps(content.decode()).encode(),  # JSON inside a string
    )
    return random.choice(ways)() if random.random() < 0.6 else content


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Each container in the document with each of its keys."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    found = [(value, key) for key in keys]
    for key in keys:
        found += _places(value[key])
    return found


def _replace(parent: Any, key: Any, random: Random) -> None:
    parent[key] = json.loads(json.dumps(random.choice(ODD)))


def _leave_out(parent: Any, key: Any, _: Random) -> None:
    del parent[key]


def _double(parent: Any, key: Any, _: Random) -> None:
    if isinstance(parent, list):
        parent.append(parent[key])
    else:
        parent[f"{key}2"] = parent[key]


def _wrap(parent: Any, key: Any, random: Random) -> None:
    value = parent[key]
    parent[key] = random.choice([[value], {"value": value}, json.dumps(value), str(value)])


def _respell(parent: Any, key: Any, random: Random) -> None:
    if isinstance(parent, dict):
        parent[random.choice([key.upper(), key.lower(), key.title()])] = parent.pop(key)


_Change = Callable[[Any, Any, Random], None]
_CHANGES: Final[Sequence[_Change]] = (
    _replace,
    _replace,
    _leave_out,
    _double,
    _wrap,
    _respell,
)
