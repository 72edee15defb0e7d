"""Judges a value by a JSON schema, as far as the chart and the custom resources use the language. Pure.

A keyword that is not known here is an error of its own, so that no rule of a newer schema is passed over in silence.
Two things differ from the standard as the API server differs from it: `format` and unknown keywords that begin with
`x-kubernetes-` are annotations; and with `closed` a key that no schema names is a fault, as `kubectl apply` has it, and
null is a field that is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, Final

from azure_cni.api.reading import mapping
from azure_cni.errors import ConfigInvalid
from azure_cni.model.text import counted, few, legible

Path = tuple[str | int, ...]
"""Of a value in a document: keys, and places in lists."""

_SAID: Final = frozenset({"$schema", "$comment", "title", "description", "default", "definitions", "format", "example"})
_OPEN: Final = "x-kubernetes-preserve-unknown-fields"
_KUBERNETES: Final = "x-kubernetes-"


def violations(schema: Mapping[str, Any], value: Any, *, closed: bool = False) -> Iterator[tuple[Path, str]]:
    """Where and how the value breaks it. ConfigInvalid for a schema with a keyword that is not known here."""
    return _judged(schema, value, (), _Root(schema, closed=closed))


class _Root:
    """The whole schema, for its definitions."""

    def __init__(self, schema: Mapping[str, Any], *, closed: bool) -> None:
        self.closed = closed
        self._definitions = mapping(schema.get("definitions"))

    def resolve(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        while "$ref" in schema:
            schema = mapping(self._definitions.get(str(schema["$ref"]).removeprefix("#/definitions/")))
        return schema


def _judged(schema: Mapping[str, Any], value: Any, path: Path, root: _Root) -> Iterator[tuple[Path, str]]:
    schema = root.resolve(schema)
    _require_known(schema)
    if root.closed and isinstance(value, Mapping):  # the API server takes null for a field that is left out
        known = mapping(schema.get("properties"))
        value = {key: one for key, one in value.items() if one is not None or key not in known}
    if (kind := schema.get("type")) and (wrong := _type_fault(kind, value)):
        yield path, wrong
        return
    for keyword, limit in schema.items():
        rule = _RULES.get(keyword)
        if rule is not None and (wrong := rule(value, limit)):
            yield path, wrong
    if isinstance(value, Mapping):
        yield from _keys_judged(schema, value, path, root)
    elif isinstance(value, list) and "items" in schema:
        for place, one in enumerate(value):
            yield from _judged(schema["items"], one, (*path, place), root)


def _require_known(schema: Mapping[str, Any]) -> None:
    for keyword in schema:
        if keyword not in KEYWORDS and not keyword.startswith(_KUBERNETES):
            raise ConfigInvalid(
                f'cannot use the schema: this command line does not know its keyword "{keyword}"; install the version '
                "of azure-cni that belongs to the chart"
            )


def _keys_judged(
    schema: Mapping[str, Any], value: Mapping[str, Any], path: Path, root: _Root
) -> Iterator[tuple[Path, str]]:
    known, others = mapping(schema.get("properties")), schema.get("additionalProperties")
    if others is None:
        others = not (root.closed and known and not schema.get(_OPEN))
    for key, one in value.items():
        if key in known:
            yield from _judged(known[key], one, (*path, key), root)
        elif isinstance(others, Mapping):
            yield from _judged(others, one, (*path, key), root)
        elif not others:
            near = get_close_matches(str(key), list(known), n=1)
            hint = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(sorted(known))}"
            yield (*path, key), f'unknown key "{legible(str(key))}": {hint}'


def _type_fault(wanted: object, value: Any) -> str:
    kinds = wanted if isinstance(wanted, list) else [wanted]
    if any(_is_of(kind, value) for kind in kinds):
        return ""
    return f"it is {_name_of(value)}, and must be {' or '.join(map(str, kinds))}"


def _is_of(kind: object, value: Any) -> bool:
    if isinstance(value, bool) or value is None:
        return kind == ("null" if value is None else "boolean")
    types: dict[object, tuple[type, ...]] = {
        "object": (Mapping,), "array": (list,), "string": (str,), "number": (int, float), "integer": (int,),
    }  # fmt: skip
    whole = kind == "integer" and isinstance(value, float) and value.is_integer()
    return whole or isinstance(value, types.get(kind, ()))


def _name_of(value: Any) -> str:
    names = {Mapping: "an object", list: "a list", str: "a string", bool: "a boolean"}
    shown = next((name for kind, name in names.items() if isinstance(value, kind)), "nothing")
    return (
        shown
        if isinstance(value, Mapping | list) or value is None
        else f"{shown.replace('nothing', 'the number')} {value!r}"
    )


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Go's expressions: ASCII classes, and `$` only at the very end, not before a last newline."""
    return re.compile(re.sub(r"\$(?=$|\||\))", r"\\Z", pattern), re.ASCII)


def _bounded(sign: int, words: str) -> Callable[[Any, Any], str]:
    def rule(value: Any, limit: Any) -> str:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return f"it is {value}, and {words} {limit}" if number and sign * (value - limit) > 0 else ""

    return rule


def _sized(kind: type, sign: int, words: str, noun: str) -> Callable[[Any, Any], str]:
    def rule(value: Any, limit: Any) -> str:
        if not isinstance(value, kind) or sign * (len(value) - limit) <= 0:  # type: ignore[arg-type]
            return ""
        return f"it has {counted(len(value), noun)}, and {words} {limit}"  # type: ignore[arg-type]

    return rule


def _one_of(value: Any, allowed: Any) -> str:
    return "" if value in allowed else f"it is {value!r}, and must be one of {', '.join(map(repr, allowed))}"


def _matches(value: Any, pattern: Any) -> str:
    if not isinstance(value, str) or _compiled(str(pattern)).search(value):
        return ""
    return f"it is {legible(value)!r}, which does not match {pattern}"


def _unique(value: Any, wanted: Any) -> str:
    twice = [one for place, one in enumerate(value) if one in value[:place]] if isinstance(value, list) else []
    return f"it has {few(twice)} more than once" if wanted and twice else ""


def _has_keys(value: Any, keys: Any) -> str:
    absent = [key for key in keys if key not in value] if isinstance(value, Mapping) else []
    return f"it needs {' and '.join(absent)}" if absent else ""


def _elsewhere(_value: Any, _limit: Any) -> str:
    """What `_judged` looks at itself."""
    return ""


_RULES: Final[Mapping[str, Callable[[Any, Any], str]]] = {
    "type": _elsewhere, "properties": _elsewhere, "additionalProperties": _elsewhere, "items": _elsewhere,
    "$ref": _elsewhere, "enum": _one_of, "pattern": _matches, "uniqueItems": _unique, "required": _has_keys,
    "minimum": _bounded(-1, "must be at least"), "maximum": _bounded(1, "must be at most"),
    "minLength": _sized(str, -1, "must have at least", "character"),
    "maxLength": _sized(str, 1, "may have at most", "character"),
    "minItems": _sized(list, -1, "must have at least", "item"),
    "maxItems": _sized(list, 1, "may have at most", "item"),
    "maxProperties": _sized(Mapping, 1, "may have at most", "key"),
}  # fmt: skip
KEYWORDS: Final = _RULES.keys() | _SAID
"""All that are known."""
