"""The API server's judgement of a value by a definition's schema, as far as our definitions use it; and how long the
longest value is that a schema accepts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

TYPES: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}
ESCAPED: Final = 6
"""Bytes of one character in the API server's JSON, at most: it writes < as \\u003c."""
_SUM: Final = re.compile(r"self\.map\(id, size\(id\)\)\.sum\(\) <= (\d+)")
_ONE_CLASS: Final = re.compile(r"\^\[(?:[^\]\\]|\\.)+\]\*\$")


def faults(part: dict[str, Any], value: Any, path: str) -> Iterator[str]:
    """What is wrong with it. A field that the schema does not have is a fault here; the API server drops it."""
    if not isinstance(value, TYPES[part["type"]]) or (isinstance(value, bool) and part["type"] != "boolean"):
        yield f"{path} is no {part['type']}"
        return
    match value:
        case str():
            yield from _text_faults(part, value, path)
        case dict():
            yield from _field_faults(part, value, path)
        case list():
            yield from _item_faults(part, value, path)
        case bool():
            pass
        case _ if not part["minimum"] <= value <= part["maximum"]:
            yield f"{path} is {value}"


def _field_faults(part: dict[str, Any], value: dict[str, Any], path: str) -> Iterator[str]:
    known = part["properties"]
    yield from (f"{path}.{name} is unknown" for name in value.keys() - known.keys())
    yield from (f"{path}.{name} is missing" for name in set(part.get("required", ())) - value.keys())
    for name in value.keys() & known.keys():
        yield from faults(known[name], value[name], f"{path}.{name}")


def _item_faults(part: dict[str, Any], value: list[Any], path: str) -> Iterator[str]:
    if len(value) > part["maxItems"]:
        yield f"{path} has {len(value)} items"
    if (most := sum_of_lengths(part)) is not None and sum(map(len, value)) > most:
        yield f"{path} has {sum(map(len, value))} characters"
    for number, item in enumerate(value):
        yield from faults(part["items"], item, f"{path}[{number}]")


def _text_faults(part: dict[str, Any], value: str, path: str) -> Iterator[str]:
    if len(value) > part.get("maxLength", len(value)):
        yield f"{path} has {len(value)} characters"
    if value not in part.get("enum", [value]):
        yield f"{path} is {value}"
    if "pattern" in part and not re.search(part["pattern"].replace("$", r"\Z"), value):
        yield f"{path} has another form: {value[:80]}"
    if part.get("format") == "date-time":
        datetime.fromisoformat(value)


def sum_of_lengths(part: dict[str, Any]) -> int | None:
    """How long the texts of a list may be together, where a rule says so."""
    rules = (_SUM.fullmatch(rule["rule"]) for rule in part.get("x-kubernetes-validations", ()))
    return next((int(rule[1]) for rule in rules if rule), None)


def most_bytes(part: dict[str, Any]) -> int:
    """Of the JSON of the longest value that the schema accepts."""
    match part["type"]:
        case "string":
            most = max(map(len, part["enum"])) if "enum" in part else part["maxLength"] * bytes_per_character(part)
        case "array":
            most = part["maxItems"] * (most_bytes(part["items"]) + 1)
            if (together := sum_of_lengths(part)) is not None:
                most = part["maxItems"] * 3 + together * bytes_per_character(part["items"])
        case "object":
            most = sum(len(name) + 4 + most_bytes(child) for name, child in part["properties"].items())
        case "integer":
            return max(len(str(part["minimum"])), len(str(part["maximum"])))
        case _:
            return 25  # true, false, or a number with sign, fraction and exponent
    return most + 2


def bytes_per_character(part: dict[str, Any]) -> int:
    """One where the pattern is one class of characters that are one byte each in JSON."""
    pattern = part.get("pattern", "")
    odd = [chr(number) for number in (*range(32), *range(127, 0x3000), 0xFFFD, 0x1F600)] + list('"\\<>&')
    plain = _ONE_CLASS.fullmatch(pattern) and not any(re.fullmatch(pattern.strip("^$"), one) for one in odd)
    return 1 if plain or part.get("format") == "date-time" else ESCAPED
