"""YAML and JSON with the line of each value; and what a tolerant reader would pass over: keys that are there twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from azure_cni.diagnose.schemas import Path
from azure_cni.model.text import legible

MOST_VALUES: Final = 200_000


@dataclass(slots=True)
class LocatedDocument:
    """One document of a file. `lines`: of each value by its path, counted from 1. `faults`: line, and what is wrong."""

    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    faults: list[tuple[int, str]] = field(default_factory=list)
    size: int = 0
    """Values, those of aliases each time."""

    def line_of(self, path: Path) -> int:
        """Of the value, or of the nearest that is around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def parse_located(text: str) -> list[LocatedDocument]:
    """The documents of a file that are not empty. One that is no YAML has a fault, and ends the list."""
    found: list[LocatedDocument] = []
    try:
        loader = yaml.SafeLoader(text)
        while loader.check_node():
            document = LocatedDocument()
            document.value = _value(loader, loader.get_node(), (), document)
            if document.value is not None:
                found.append(document)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        found.append(LocatedDocument(faults=[((mark.line if mark else 0) + 1, f"it is no YAML: {error.problem}")]))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        found.append(LocatedDocument(faults=[(1, f"it is no YAML: {legible(str(error))}")]))
    return found


def _value(loader: yaml.SafeLoader, node: Any, path: Path, document: LocatedDocument) -> Any:
    document.size += 1
    if document.size > MOST_VALUES:  # aliases of aliases grow without a bound
        raise yaml.YAMLError(f"it has more than {MOST_VALUES} values")
    document.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        own = [pair for pair in node.value if pair[0].tag != "tag:yaml.org,2002:merge"]
        loader.flatten_mapping(node)  # `<<`, whose keys come first; those of the mapping itself win
        keys = [loader.construct_object(key, deep=True) for key, _ in own]
        for (key_node, _), key in zip(own, keys, strict=True):
            if isinstance(key, list | dict):
                raise yaml.constructor.ConstructorError(None, None, "a key is no text", key_node.start_mark)
            if keys.count(key) > 1 and (*path, key) in document.lines:
                line = key_node.start_mark.line + 1
                document.faults.append((line, f'the key "{legible(str(key))}" is there twice'))
            document.lines[*path, key] = key_node.start_mark.line + 1
        found: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = loader.construct_object(key_node, deep=True)
            found[key] = _value(loader, value_node, (*path, key), document)
        return found
    if isinstance(node, yaml.SequenceNode):
        return [_value(loader, one, (*path, place), document) for place, one in enumerate(node.value)]
    return loader.construct_object(node, deep=True)


def merged_values(defaults: Any, own: Any) -> Any:
    """As helm merges a values file with the chart's own: key by key, and null removes a key."""
    if not isinstance(defaults, Mapping) or not isinstance(own, Mapping):
        return own
    found = {key: merged_values(defaults.get(key), value) for key, value in own.items()}
    return {key: value for key, value in {**defaults, **found}.items() if not (key in own and value is None)}
