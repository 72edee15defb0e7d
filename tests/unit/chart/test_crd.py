import re
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

import yaml

from azure_cni.api import conditions, pool
from azure_cni.api.identity import NodeIdentity
from azure_cni.api.nic import MAX_CONFIGS_PER_NIC, NicID, SubnetID, VNetID
from azure_cni.ipam import limits
from azure_cni.node.world import LastWrite
from unit.chart.helm import CHART, CRD, of_kind, render

DOCUMENT: dict[str, Any] = yaml.safe_load(CRD.read_text())
(VERSION,) = DOCUMENT["spec"]["versions"]
SCHEMA = VERSION["schema"]["openAPIV3Schema"]
SPEC, STATUS = SCHEMA["properties"]["spec"], SCHEMA["properties"]["status"]


def walk(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from walk(child, f"{path}.{name}")
    if "items" in schema:
        yield from walk(schema["items"], f"{path}[]")


def test_there_is_one_copy():
    assert of_kind("CustomResourceDefinition") == DOCUMENT
    assert CRD.samefile(CHART / "files" / "crds" / CRD.name)


def test_uninstalling_keeps_it():
    assert DOCUMENT["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_the_chart_can_leave_it_to_others():
    assert "CustomResourceDefinition" not in {manifest["kind"] for manifest in render("crds.install=false")}


def test_it_is_the_object_that_the_agent_speaks_of():
    names = DOCUMENT["spec"]["names"]
    assert (DOCUMENT["spec"]["group"], VERSION["name"], names["kind"], names["plural"], names["shortNames"]) == (
        pool.GROUP,
        pool.VERSION,
        pool.KIND,
        pool.PLURAL,
        ["nip"],
    )
    assert DOCUMENT["spec"]["scope"] == "Cluster"
    assert VERSION["subresources"] == {"status": {}}


def test_kubectl_explain_has_words_for_every_field():
    silent = {path for path, schema in walk(SCHEMA, "nodeippool") if not schema.get("description")}
    assert {path for path in silent if not path.endswith("[]")} == {"nodeippool.metadata"}  # Kubernetes explains that


def test_the_columns_are_those_that_people_know():
    columns = [(column["name"].upper(), column.get("priority", 0)) for column in VERSION["additionalPrinterColumns"]]
    assert [name for name, priority in columns if not priority] == [
        "ALLOCATED",
        "ASSIGNED",
        "FREE",
        "COOLING",
        "GRANTED",
        "READY",
        "AGE",
    ]
    assert [name for name, priority in columns if priority] == ["PRIMARY-IP", "REASON", "SUBNET"]


def test_every_column_reads_a_field_that_exists():
    known = {path.removeprefix("nodeippool") for path, _ in walk(SCHEMA, "nodeippool")} | {
        ".metadata.creationTimestamp"
    }
    for column in VERSION["additionalPrinterColumns"]:
        assert re.sub(r"\[\?\(@\.type==\"(\w+)\"\)\]", "[]", column["jsonPath"]) in known


def test_the_spec_is_what_the_agent_reads():
    assert SPEC["properties"].keys() == pool.SPEC_FIELDS.keys() | {"mode"}
    assert "required" not in SPEC


def test_the_spec_has_no_defaults():
    """They are the chart's values: a default here would be stored in each object and outlive a changed value."""
    assert [path for path, schema in walk(SPEC, "spec") if "default" in schema] == []


def test_the_bounds_are_those_of_the_product():
    bounds = {name: (schema.get("minimum"), schema.get("maximum")) for name, schema in SPEC["properties"].items()}
    most = limits.MAX_ADDRESSES_PER_NODE
    assert bounds["max"] == bounds["size"] == bounds["batch"] == (1, most)
    assert bounds["minFree"] == (0, most)
    assert STATUS["properties"]["granted"]["maximum"] == most
    assert STATUS["properties"]["addresses"]["maxItems"] == MAX_CONFIGS_PER_NIC


def test_the_rules_count_what_is_left_out_as_the_products_defaults():
    (rule,) = (rule["rule"] for rule in SPEC["x-kubernetes-validations"] if "orValue" in rule["rule"])
    assert dict(re.findall(r"self\.\?(\w+)\.orValue\((\d+)\)", rule)) == {
        "minFree": str(limits.MIN_FREE),
        "maxFree": str(limits.MAX_FREE),
        "batch": str(limits.BATCH),
    }


def test_the_status_holds_all_that_the_agent_writes():
    """What the schema does not name, the API server drops without a word."""
    identity = NodeIdentity(
        vm_id="",
        vm_resource_id="",
        nic_id=NicID(""),
        subnet_id=SubnetID(""),
        vnet_id=VNetID(""),
        mac="",
        primary_ip=IPv4Address("10.0.0.4"),
    )
    fields = STATUS["properties"]
    assert pool.identity_status(identity).keys() <= fields.keys()
    assert LastWrite("", "", 0, 0, "", "").document().keys() == fields["lastWrite"]["properties"].keys()
    assert pool.address_entry(IPv4Address("10.0.0.5"), "").keys() == fields["addresses"]["items"]["properties"].keys()
    condition = conditions.Condition(conditions.Kind.READY, True, "", "")
    (written,) = conditions.merge((), [condition], now="", generation=1)
    assert written.keys() == fields["conditions"]["items"]["properties"].keys()


def test_every_condition_is_explained():
    explained = STATUS["properties"]["conditions"]["description"]
    assert [kind.value for kind in conditions.Kind if f"{kind.value}:" not in explained] == []
