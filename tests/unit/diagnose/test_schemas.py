"""The small judge of JSON schemas: every keyword that the chart and the definitions use, and none passed over."""

from __future__ import annotations

import json
from typing import Any

import pytest

from azure_cni.diagnose.schemas import KEYWORDS, violations
from azure_cni.errors import ConfigInvalid
from unit.chart.crds import POOLS, QUOTAS, schema
from unit.chart.helm import CHART


def keywords(found: Any) -> set[str]:
    """Of all schemas in a schema. Below `properties` and `definitions` keys are names."""
    if not isinstance(found, dict):
        return set()
    names = {key for key in found if key not in {"default", "enum", "required"}}
    below = [one for key in ("properties", "definitions") for one in found.get(key, {}).values()]
    below += [found.get("items"), found.get("additionalProperties")]
    return names.union(*map(keywords, below))


@pytest.mark.parametrize(
    "whole", [json.loads((CHART / "values.schema.json").read_text()), schema(POOLS), schema(QUOTAS)]
)
def test_every_keyword_of_ours_is_known(whole: dict[str, Any]):
    found = keywords(whole)
    assert {"type", "properties", "maximum"} <= found
    assert [one for one in found if one not in KEYWORDS and not one.startswith("x-kubernetes-")] == []


def test_an_unknown_keyword_is_an_error_and_not_passed_over():
    with pytest.raises(ConfigInvalid, match='does not know its keyword "oneOf"'):
        list(violations({"properties": {"a": {"oneOf": []}}}, {"a": 1}))


@pytest.mark.parametrize(
    ("judge", "good", "bad"),
    [
        ({"type": "integer"}, [1, 1.0, -5], [1.5, "1", True, None, [], {}]),
        ({"type": "number"}, [1, 1.5], ["1", False]),
        ({"type": ["string", "null"]}, ["", None], [0]),
        ({"type": "boolean"}, [True], [0, "true"]),
        ({"minimum": 0, "maximum": 5}, [0, 5, "x", True], [-1, 6, 5.1]),
        ({"minLength": 2, "maxLength": 3}, ["ab", "abc", 7], ["a", "abcd"]),
        ({"minItems": 1, "maxItems": 2}, [[1], [1, 2]], [[], [1, 2, 3]]),
        ({"maxProperties": 1}, [{}, {"a": 1}], [{"a": 1, "b": 1}]),
        ({"uniqueItems": True}, [[1, 2]], [[1, 2, 1]]),
        ({"enum": ["a", "b"]}, ["a"], ["c", 1]),
        ({"pattern": "^$|^a+$"}, ["", "aa"], ["b", "aa\n", "\n"]),
        ({"pattern": r"^\w$"}, ["a"], ["\u00e9"]),
        ({"required": ["a"]}, [{"a": None}, 7], [{}]),
        ({"items": {"type": "string"}}, [["a"], "x"], [[1]]),
        ({"additionalProperties": {"type": "string"}}, [{"a": "b"}], [{"a": 1}]),
        ({"additionalProperties": False, "properties": {"a": {}}}, [{"a": 1}, {}], [{"b": 1}]),
        ({"$ref": "#/definitions/x", "definitions": {"x": {"type": "string"}}}, ["a"], [1]),
    ],
)
def test_each_keyword(judge: dict[str, Any], good: list[Any], bad: list[Any]):
    assert [one for one in good if list(violations(judge, one))] == []
    assert [one for one in bad if not list(violations(judge, one))] == []


def test_unknown_keys_count_where_the_api_server_counts_them():
    judge = {"properties": {"spec": {"type": "object", "properties": {"a": {}}}, "metadata": {"type": "object"}}}
    value = {"spec": {"b": 1}, "metadata": {"x": 1}}
    assert list(violations(judge, value)) == []
    assert [path for path, _ in violations(judge, value, closed=True)] == [("spec", "b")]
