"""YAML and JSON with the line of each value; and what a tolerant reader would pass over: keys that are there twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from azure_cni.diagnose.schemas import Path
from azure_cni.model.text import legible

MOST_VALUES: Final = 200_000
_TAG: Final = "tag:yaml.org,2002:{}"


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


class _Loader(yaml.SafeLoader):
    """Takes what has no quotes as helm and kubectl do, whose YAML has neither dates (an image's tag may look like one)
    nor numbers to the base of sixty.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._own: dict[int, tuple[Any, list[Any]]] = {}

    def resolve(self, kind: type, value: Any, implicit: Any) -> str:
        """The tag of a node."""
        tag = str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]
        number = tag in {_TAG.format("int"), _TAG.format("float")}
        return _TAG.format("str") if tag == _TAG.format("timestamp") or (number and ":" in value) else tag

    def own_keys(self, node: yaml.MappingNode) -> list[Any]:
        """Nodes of the keys that stand in the mapping itself. What `<<` names becomes a part of the node, whose keys
        come first and which those of the mapping itself override; an alias shows the same node again.
        """
        if id(node) not in self._own:
            self._own[id(node)] = node, [key for key, _ in node.value if key.tag != _TAG.format("merge")]
            self.flatten_mapping(node)
        return self._own[id(node)][1]


def parse_located(text: str) -> list[LocatedDocument]:
    """The documents of a file that are not empty. One that is no YAML has a fault, and ends the list."""
    found: list[LocatedDocument] = []
    try:
        loader = _Loader(text)
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


def _value(loader: _Loader, node: Any, path: Path, document: LocatedDocument) -> Any:
    document.size += 1
    if document.size > MOST_VALUES:  # aliases of aliases grow without a bound
        raise yaml.YAMLError(f"it has more than {MOST_VALUES} values")
    document.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen = set[Any]()
        for key_node in loader.own_keys(node):
            key = loader.construct_object(key_node, deep=True)
            if isinstance(key, list | dict):
                raise yaml.constructor.ConstructorError(None, None, "a key is no text", key_node.start_mark)
            if key in seen:
                line = key_node.start_mark.line + 1
                document.faults.append((line, f'the key "{legible(str(key))}" is there twice'))
            seen.add(key)
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
