"""What may be written into a NodeIPPool has an end, and all that the product writes is within it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from azure_cni.api import nic_operation_codec, nic_view_codec, operation_result_codec
from azure_cni.kube.lean_objects import LARGE_FIELD, LARGE_POOL, own_pool
from azure_cni.model.pod_subnets import subnet_id
from unit.chart.crds import STATUS
from unit.chart.longest_pool import statuses
from unit.chart.schema_check import faults, most_bytes
from unit.chart.test_crd import walk

ETCD = 1.5 * 2**20
"""Bytes of one request to etcd (its --max-request-bytes); a larger object cannot be written."""
OF_THE_GRANTOR = {
    *("granted", "grantedFor", "grantReason", "grantMessage", "grantNotBefore"),
    *("recall", "recalling", "nicOperationResult"),
}
"""The controller's alone, by the admission policy `grants`."""
PARTS = dict(walk(STATUS, "status"))


BOUNDS: dict[str, set[str]] = {
    "string": {"maxLength"},
    "array": {"maxItems", "items"},
    "object": {"properties"},
    "integer": {"minimum", "maximum"},
    "number": {"minimum", "maximum"},
    "boolean": set(),
}


def test_everything_that_a_node_may_write_has_bounds() -> None:
    """Whoever has an agent's token writes as much as the definition lets it, and etcd and all watches carry it."""
    endless = {path for path, part in PARTS.items() if "enum" not in part and not BOUNDS[part["type"]] <= part.keys()}
    assert endless == set()


def test_nothing_in_a_status_is_kept_that_the_schema_does_not_name() -> None:
    assert [path for path, part in PARTS.items() if "additionalProperties" in part] == []
    assert [path for path, part in PARTS.items() if "x-kubernetes-preserve-unknown-fields" in part] == []


def test_all_that_a_node_may_write_is_well_below_what_etcd_takes() -> None:
    by_field = {name: most_bytes(part) for name, part in STATUS["properties"].items()}
    of_node = sum(most for name, most in by_field.items() if name not in OF_THE_GRANTOR)
    assert of_node <= 0.5 * ETCD, by_field
    assert sum(by_field.values()) <= 0.9 * ETCD, by_field


@pytest.mark.parametrize("status", statuses(), ids=lambda it: [*it][-1])
def test_the_longest_that_the_product_writes_is_within_them(status: dict[str, Any]) -> None:
    kept = without_nulls(json.loads(json.dumps(status)))
    assert list(faults(STATUS, kept, "status"))[:5] == []


def test_an_agent_reads_all_of_the_longest_pool_that_the_product_writes() -> None:
    """What it did not see it would write again, or wait for, without end."""
    every: dict[str, Any] = {}
    for status in statuses():
        for name, value in status.items():
            every[name] = max(every.get(name, ""), without_nulls(value), key=lambda it: len(json.dumps(it)))
    item = msgspec.json.encode({"metadata": {"name": "vm1"}, "status": every})
    assert own_pool(item) == msgspec.json.decode(item)
    assert max(len(msgspec.json.encode(one)) for one in every.values()) <= LARGE_FIELD
    assert len(item) > LARGE_POOL


@pytest.mark.parametrize("group", ["nodes", "Nodes_(eu).1", "gruppe-für-knoten", "グループ"])
def test_a_pod_subnet_of_any_resource_group_may_be_wanted_asked_for_and_shown(group: str) -> None:
    """Names of resource groups have letters of every script (Azure documentation, naming rules)."""
    subnet = f"/subscriptions/s/resourceGroups/{group}/providers/Microsoft.Network/virtualNetworks/v/subnets/pods"
    assert subnet_id(subnet) == subnet
    for path in ("status.nicOperation.podSubnet", "status.subnetID", "status.nicOperationResult.identity.subnet"):
        assert list(faults(PARTS[path], subnet, path)) == []


def _names(form: type[msgspec.Struct]) -> set[str]:
    return {one.encode_name for one in msgspec.structs.fields(form)}


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("nicOperation", nic_operation_codec._Operation),
        ("nicOperation.attach[]", nic_operation_codec._Change),
        ("nicOperationResult", operation_result_codec._Result),
        ("nicOperationResult.identity", operation_result_codec._Identity),
        ("nicOperationResult.vnet", operation_result_codec._VNet),
        ("nicOperationResult.nic", nic_view_codec.NicInResult),
        ("nicOperationResult.nic.configs[]", nic_view_codec._Config),
        ("nicOperationResult.nic.excluded[]", nic_view_codec._Excluded),
        ("nicOperationResult.error", operation_result_codec._Error),
    ],
)
def test_the_definition_has_the_fields_of_the_codecs(path: str, form: type[msgspec.Struct]) -> None:
    """What it does not name, the API server drops without a word: an operation would say something else."""
    assert PARTS[f"status.{path}"]["properties"].keys() == _names(form)


def test_the_bounds_of_an_operation_are_those_by_which_the_controller_reads_it() -> None:
    """A bound that only the definition had would be none where an older definition is installed."""
    shown = msgspec.json.schema(nic_operation_codec._Operation)["$defs"]
    for name, part in (("_Operation", "status.nicOperation"), ("_Change", "status.nicOperation.attach[]")):
        for field, read in shown[name]["properties"].items():
            assert _bounds(PARTS[part]["properties"][field]) == _bounds(read), field


def _bounds(part: dict[str, Any]) -> dict[str, Any]:
    """The ends of a schema, in the definition's words."""
    found = {key: part[key] for key in ("maxLength", "maxItems", "maximum", "minimum") if key in part}
    if "exclusiveMaximum" in part:
        found["maximum"] = part["exclusiveMaximum"] - 1
    return found | (
        {"items": _bounds(part["items"])}
        if "type" in part.get("items", {}) and part["items"]["type"] != "object"
        else {}
    )


def without_nulls(value: Any) -> Any:
    """As a merge patch leaves it."""
    if isinstance(value, dict):
        return {key: without_nulls(one) for key, one in value.items() if one is not None}
    return [without_nulls(one) for one in value] if isinstance(value, list) else value
