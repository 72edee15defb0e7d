import re
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest

from azure_cni.api import conditions, node_ip_pool, pool_entries, vnet_quota
from azure_cni.api.node_ip_pool import MOST_WAITING
from azure_cni.api.reading import LARGEST_NUMBER
from azure_cni.diagnose.component_settings import defined_fields
from azure_cni.diagnose.definition_checks import FIELDS
from azure_cni.ipam import limits
from azure_cni.model.identity import NodeIdentity
from azure_cni.model.nic import MAX_CONFIGS_PER_NIC, NicID, SubnetID, VNetID
from azure_cni.node.pool.pool_state import LastWrite
from unit.chart.crds import POOLS, QUOTA_SPEC, QUOTA_STATUS, QUOTAS, SPEC, STATUS, schema, version
from unit.chart.helm import CHART, CRDS, of_kind, render

BOTH = pytest.mark.parametrize("crd", [POOLS, QUOTAS], ids=["nodeippools", "vnetquotas"])


def walk(part: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, part
    for name, child in part.get("properties", {}).items():
        yield from walk(child, f"{path}.{name}")
    if "items" in part:
        yield from walk(part["items"], f"{path}[]")
    if "additionalProperties" in part:
        yield from walk(part["additionalProperties"], f"{path}{{}}")


@BOTH
def test_there_is_one_copy(crd: dict[str, Any]):
    assert of_kind("CustomResourceDefinition", name=crd["metadata"]["name"]) == crd
    file = f"azure-cni.io_{crd['spec']['names']['plural']}.yaml"
    assert (CRDS / file).samefile(CHART / "files" / "crds" / file)


@BOTH
def test_both_versions_have_one_schema_and_one_is_served_and_stored(crd: dict[str, Any]):
    """So that nothing is converted but the version's name (docs/releases.md)."""
    alpha, beta = crd["spec"]["versions"]
    assert crd["spec"].get("conversion", {"strategy": "None"}) == {"strategy": "None"}
    assert [(one["name"], one["served"], one["storage"]) for one in (alpha, beta)] == [
        ("v1alpha1", True, True), ("v1beta1", False, False),
    ]  # fmt: skip
    own = {"name", "served", "storage"}
    assert {key: one for key, one in alpha.items() if key not in own} == {
        key: one for key, one in beta.items() if key not in own
    }


@BOTH
def test_the_other_version_is_stored_when_the_values_say_so_and_both_are_served(crd: dict[str, Any]):
    name = crd["metadata"]["name"]
    rendered = of_kind("CustomResourceDefinition", "crds.storedVersion=v1beta1", name=name)
    assert [(one["name"], one["served"], one["storage"]) for one in rendered["spec"]["versions"]] == [
        ("v1alpha1", True, False), ("v1beta1", True, True),
    ]  # fmt: skip
    for one, written in zip(rendered["spec"]["versions"], crd["spec"]["versions"], strict=True):
        assert one["schema"] == written["schema"]


@BOTH
def test_uninstalling_keeps_it(crd: dict[str, Any]):
    assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_the_chart_can_leave_them_to_others():
    assert "CustomResourceDefinition" not in {manifest["kind"] for manifest in render("crds.install=false")}


def test_they_are_the_objects_that_the_product_speaks_of():
    names = POOLS["spec"]["names"]
    assert (POOLS["spec"]["group"], version(POOLS)["name"], names["kind"], names["plural"], names["shortNames"]) == (
        node_ip_pool.GROUP,
        node_ip_pool.VERSION,
        node_ip_pool.KIND,
        node_ip_pool.PLURAL,
        ["nip"],
    )
    names = QUOTAS["spec"]["names"]
    assert (names["kind"], names["plural"], names["shortNames"]) == ("VNetQuota", "vnetquotas", ["vnq"])
    for crd in (POOLS, QUOTAS):
        assert crd["spec"]["scope"] == "Cluster"
        assert version(crd)["subresources"] == {"status": {}}


@BOTH
def test_kubectl_explain_has_words_for_every_field(crd: dict[str, Any]):
    silent = {path for path, part in walk(schema(crd), "") if not part.get("description")}
    assert {path for path in silent if not path.endswith("[]")} == {".metadata"}  # Kubernetes explains that


@pytest.mark.parametrize(
    ("crd", "shown", "wide"),
    [
        (
            POOLS,
            ["ALLOCATED", "ASSIGNED", "FREE", "COOLING", "GRANTED", "READY", "AGE"],
            ["PRIMARY-IP", "REASON", "SUBNET"],
        ),
        (
            QUOTAS,
            ["LIMIT", "GRANTED", "ASSIGNED", "NODES", "READY", "EXHAUSTED", "AGE"],
            ["REASON", "OUTSIDE", "THROTTLED", "VNET"],
        ),
    ],
    ids=["nodeippools", "vnetquotas"],
)
def test_the_columns_are_those_that_people_know(crd: dict[str, Any], shown: list[str], wide: list[str]):
    columns = [
        (column["name"].upper(), column.get("priority", 0)) for column in version(crd)["additionalPrinterColumns"]
    ]
    assert [name for name, priority in columns if not priority] == shown
    assert [name for name, priority in columns if priority] == wide


@BOTH
def test_every_column_reads_a_field_that_exists(crd: dict[str, Any]):
    known = {path for path, _ in walk(schema(crd), "")} | {".metadata.creationTimestamp"}
    for column in version(crd)["additionalPrinterColumns"]:
        assert re.sub(r"\[\?\(@\.type==\"(\w+)\"\)\]", "[]", column["jsonPath"]) in known


def test_the_spec_of_a_pool_is_what_the_agent_reads():
    assert SPEC["properties"].keys() == node_ip_pool.SPEC_FIELDS.keys() | {"mode", "nic", "applicationSecurityGroups"}
    assert "required" not in SPEC


def test_the_spec_of_a_pool_has_no_defaults():
    """They are the chart's values: a default here would be stored in each object and outlive a changed value."""
    assert [path for path, part in walk(SPEC, "spec") if "default" in part] == []


def test_the_bounds_are_those_of_the_product():
    bounds = {name: (part.get("minimum"), part.get("maximum")) for name, part in SPEC["properties"].items()}
    most = limits.MAX_ADDRESSES_PER_NODE
    assert bounds["max"] == bounds["size"] == bounds["batch"] == (1, most)
    assert bounds["minFree"] == (0, most)
    assert STATUS["properties"]["granted"]["maximum"] == most
    assert QUOTA_SPEC["properties"]["perNodeLimit"]["maximum"] == most
    assert QUOTA_STATUS["properties"]["grants"]["additionalProperties"]["properties"]["count"]["maximum"] == most
    assert STATUS["properties"]["vnetAddresses"]["maxItems"] == MAX_CONFIGS_PER_NIC


def test_describe_shows_each_condition_before_the_first_address():
    """It prints fields in the order of their names: 250 addresses must stand behind what a person looks for."""
    long = {name for name, part in STATUS["properties"].items() if part.get("type") == "array"} - {"conditions"}
    assert long == {"excluded", "vnetAddresses", "vnetAttachments"}
    assert min(long) > "conditions"
    assert all(STATUS["properties"][name]["items"]["type"] == "string" for name in long)  # one line each
    behind = {name for name in STATUS["properties"] if name > "vnetAddresses"} - {"vnetAttachments"}
    assert behind == {"vnetID", "waiting", "writeIntent"}


def test_numbers_that_all_share_have_the_bounds_by_which_they_are_read():
    assert STATUS["properties"]["waiting"]["maximum"] == MOST_WAITING
    assert STATUS["properties"]["requestID"]["maximum"] == LARGEST_NUMBER


def test_the_rules_count_what_is_left_out_as_the_products_defaults():
    rules = [rule["rule"] for rule in SPEC["x-kubernetes-validations"]]
    (of_three,) = (rule for rule in rules if "self.?minFree" in rule)
    defaults = {"minFree": limits.MIN_FREE, "maxFree": limits.MAX_FREE, "batch": limits.BATCH}
    left_out = {name: int(number) for name, number in re.findall(r"self\.\?(\w+)\.orValue\((\d+)\)", of_three)}
    assert left_out == defaults
    of_blocks = [rule for rule in rules if "self.?blocks.orValue(0)" in rule]
    assert len(of_blocks) == 3
    assert not any(
        defaults["batch"] % number for rule in of_blocks for number in map(int, re.findall(r"% (\d+)", rule))
    )


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
    assert pool_entries.identity_status(identity).keys() <= fields.keys()
    assert LastWrite("", "", 0, 0, "", "").document().keys() == fields["lastWrite"]["properties"].keys()
    longest = pool_entries.address_entry(IPv4Address("255.255.255.255"), "x" * 9000)
    assert len(longest) <= fields["vnetAddresses"]["items"]["maxLength"]
    condition = conditions.Condition(conditions.PoolKind.READY, True, "", "")
    (written,) = conditions.merge((), [condition], now="", generation=1)
    assert written.keys() == fields["conditions"]["items"]["properties"].keys()


GROUP = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/RG_(größe).1"
NETWORK = f"{GROUP}/providers/Microsoft.Network"
IDS = {
    "nicID": f"{NETWORK}/networkInterfaces/vm-1_nic.0",
    "subnetID": f"{NETWORK}/virtualNetworks/vnet/subnets/pods",
    "vnetID": f"{NETWORK}/virtualNetworks/vnet",
}


def accepts(part: dict[str, Any], value: str) -> bool:
    """As the API server judges a string; there $ is not before a last newline."""
    return len(value) <= part["maxLength"] and re.search(part["pattern"].replace("$", r"\Z"), value) is not None


@pytest.mark.parametrize("name", IDS)
def test_an_id_in_a_pool_is_one_of_azure_or_empty(name: str):
    """Azure varies the case of all but names. Who observes only knows no IDs. What was "x" ended the controller."""
    part, right = STATUS["properties"][name], IDS[name]
    assert all(accepts(part, value) for value in ("", right, right.lower(), right.upper()))
    wrong = (
        "x",
        right[1:],
        f"{right}/more",
        f"{right}\n",
        right.replace("RG", "R/G"),
        right.replace("Network/", "Web/"),
    )
    assert not any(accepts(part, value) for value in wrong)
    assert [other for other, value in IDS.items() if accepts(part, value)] == [name]


def test_the_vnet_of_a_quota_is_one_of_azure():
    part = QUOTA_SPEC["properties"]["vnetID"]
    assert all(accepts(part, value) for value in (IDS["vnetID"], IDS["vnetID"].lower()))
    assert not any(accepts(part, value) for value in ("", "x", IDS["nicID"]))
    assert accepts(STATUS["properties"]["vnetID"], IDS["vnetID"]), "what a pool shows, a quota is made of"


def test_the_longest_nic_has_room_in_the_ledger():
    """A label that is too long would be refused with everything that is written with it."""
    part = STATUS["properties"]["nicID"]
    longest = IDS["nicID"].replace("RG_(größe).1", "g" * 90).replace("vm-1_nic.0", "n" * 80)
    assert accepts(part, longest)
    assert not accepts(part, longest + "n")
    assert not accepts(part, longest.replace("gg", "ggg", 1))
    of_set = f"Microsoft.Compute/virtualMachineScaleSets/{'s' * 64}/virtualMachines/{'1' * 10}/networkInterfaces"
    longest_of_set = longest.replace("Microsoft.Network/networkInterfaces", of_set)
    assert accepts(part, longest_of_set)
    assert not accepts(part, longest_of_set.replace("/1", "/x1"))
    entry = QUOTA_STATUS["properties"]["grants"]["additionalProperties"]["properties"]
    for one in (longest, longest_of_set):
        assert 0 < len(vnet_quota.nic_label(one)) <= entry["nic"]["maxLength"]


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("vmID", "5c08b38e-4d57-4c23-ac45-aca61037f084", "a/b"),
        ("macAddress", "00:0d:3a:1b:c7:21", "00-0D-3A-1B-C7-21"),
        ("primaryIP", "10.224.0.4", "fd00::4"),
    ],
)
def test_what_else_a_pool_says_of_its_machine_has_its_form(name: str, right: str, wrong: str):
    part = STATUS["properties"][name]
    assert accepts(part, right)
    assert accepts(part, "")
    assert not accepts(part, wrong)
    assert not accepts(part, right * 20)


def test_every_condition_is_explained():
    for kinds, status in ((conditions.PoolKind, STATUS), (conditions.QuotaKind, QUOTA_STATUS)):
        explained = status["properties"]["conditions"]["description"]
        assert [kind.value for kind in kinds if f"{kind.value}:" not in explained] == []


def test_what_an_answer_may_allow_are_the_products_words():
    assert STATUS["properties"]["writeIntent"]["enum"] == [intent.value for intent in node_ip_pool.WriteIntent]


def test_a_quotas_ledger_takes_every_write_that_a_pool_can_ask_for():
    """The API server refuses a ledger with another word, and the node that asked would never write its NIC."""
    entry = QUOTA_STATUS["properties"]["grants"]["additionalProperties"]["properties"]
    writes = [intent.value for intent in node_ip_pool.WriteIntent if intent is not node_ip_pool.WriteIntent.NONE]
    assert entry["writeIntent"]["enum"] == writes


class Asked(dict[str, Any]):
    """A document that remembers what was asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.keys_asked: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.keys_asked.add(key)
        return default

    def __bool__(self) -> bool:
        return True


def test_the_status_holds_all_of_the_grant_protocol():
    """A field that is read and the schema drops would be empty for ever, and no node would be served."""
    status = Asked()
    node_ip_pool.parse({"status": status})
    assert {"requested", "granted"} <= status.keys_asked <= STATUS["properties"].keys()


def test_the_ledger_is_one_value_and_bounded():
    """Atomic, or the managed fields double each write; bounded, or the rule's cost has no bound."""
    ledger = QUOTA_STATUS["properties"]["grants"]
    assert (ledger["x-kubernetes-map-type"], ledger["maxProperties"]) == ("atomic", 8192)


@BOTH
def test_check_knows_all_of_its_fields(crd: dict[str, Any]):
    known = FIELDS[crd["spec"]["names"]["plural"]]
    assert defined_fields(crd) == known, "name the fields in FIELDS of diagnose/definition_checks.py"
