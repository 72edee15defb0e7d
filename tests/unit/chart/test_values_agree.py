"""Values, schema, documentation, product and the environment of its processes say the same."""

import json
import re
from typing import Any

import pytest
import yaml

from azure_cni.cni.conflist import MULTUS
from azure_cni.cni.extra_plugins import ADDRESS_GIVERS, GIVEN, INTERFACE_MAKERS
from azure_cni.entrypoints import controller_settings, settings
from azure_cni.entrypoints.environment_values import PREFIX
from azure_cni.ipam import limits
from azure_cni.ipam.sizing import Policy
from azure_cni.model.attachments import AttachedResource
from azure_cni.model.nic import SubnetID
from azure_cni.model.pod_subnets import PodSubnetRule
from unit.chart import values_table
from unit.chart.crds import QUOTA_SPEC
from unit.chart.helm import (
    CHART,
    METRICS,
    POD_SUBNET,
    REPOSITORY,
    VALUES,
    WORKLOAD,
    Asked,
    agent_env,
    controller_env,
)

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())


def test_the_schema_knows_every_value_and_no_other():
    assert undocumented(VALUES, SCHEMA, "") == []


def undocumented(values: dict[str, Any], schema: dict[str, Any], path: str) -> list[str]:
    known = schema.get("properties", {})
    found = [f"{path}{name}" for name in values if name not in known]
    if known and schema.get("additionalProperties") is not False:
        found.append(f"{path}* is open")
    for name, value in values.items():
        if isinstance(value, dict) and known.get(name, {}).get("properties"):
            found += undocumented(value, known[name], f"{path}{name}.")
    return found


def test_the_defaults_are_those_of_the_product():
    assert VALUES["pool"] == {
        "minFree": limits.MIN_FREE,
        "maxFree": limits.MAX_FREE,
        "batch": limits.BATCH,
        "size": 0,
        "max": limits.MAX_ADDRESSES_PER_NODE,
        "subnets": [],
        "blocks": Policy().blocks,
    }
    assert VALUES["quota"]["perNodeLimit"] == limits.MAX_ADDRESSES_PER_NODE
    assert VALUES["agent"]["coolingSeconds"] == limits.COOLING_S
    assert VALUES["agent"]["shrinkDelaySeconds"] == limits.SHRINK_DELAY_S


def leaves(values: dict[str, Any], path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= leaves(value, f"{path}{name}.") if isinstance(value, dict) and value else {f"{path}{name}": value}
    return found


def test_the_table_in_the_documentation_has_every_value_and_its_default():
    rows = re.findall(r"^\| `([\w.]+)` \| `([^`]*)` \|", (REPOSITORY / "docs" / "values.md").read_text(), re.MULTILINE)
    assert {name: yaml.safe_load(default) for name, default in rows} == leaves(VALUES)


def test_the_charts_readme_has_the_table_that_its_values_make():
    assert values_table.README.read_text().endswith(f"\n\n{values_table.table()}\n"), values_table.__doc__


def test_a_fixed_size_displaces_the_elastic_three():
    fixed = agent_env("pool.size=32")
    assert fixed["AZURE_CNI_POOL_SIZE"] == "32"
    assert fixed.keys().isdisjoint({"AZURE_CNI_POOL_MIN_FREE", "AZURE_CNI_POOL_MAX_FREE", "AZURE_CNI_POOL_BATCH"})
    assert "AZURE_CNI_POOL_SIZE" not in agent_env()


def test_values_reach_the_agent_as_it_reads_them():
    env = agent_env(
        *("routablePrefixes={192.168.50.0/24,10.9.0.0/16}", "imds.allowPods=true", "metrics.port=9900"),
        "podNetworking.egress.namespaces={shop,blog}",
    )
    assert env["AZURE_CNI_EGRESS_NAMESPACES"] == "shop,blog"
    assert env["AZURE_CNI_ROUTABLE_PREFIXES"] == "192.168.50.0/24,10.9.0.0/16"
    assert env["AZURE_CNI_ALLOW_IMDS"] == "true"
    assert (env["AZURE_CNI_MODE"], agent_env("mode=bridge")["AZURE_CNI_MODE"]) == ("transparent", "bridge")
    assert env["AZURE_CNI_METRICS_PORT"] == "9900"


def test_the_agent_reads_the_pod_subnets_of_the_values():
    env = agent_env(f"pool.subnets[0].subnet={POD_SUBNET}", "pool.subnets[0].nodeLabels.pool=web")
    known = {name: value for name, value in env.items() if value is not None}
    rules = settings.read(known | {"AZURE_CNI_NODE_NAME": "vm1", "AZURE_CNI_HOST_IP": "10.0.0.4"}).node.pod_subnets
    assert rules == (PodSubnetRule({"pool": "web"}, SubnetID(POD_SUBNET)),)
    assert agent_env()["AZURE_CNI_POD_SUBNETS"] == "[]"


def test_a_controller_that_writes_nics_reads_them_too():
    chosen = (f"pool.subnets[0].subnet={POD_SUBNET}", "nicWriter=controller")
    env = {name: value for name, value in controller_env(*chosen).items() if value is not None}
    given = {"AZURE_CNI_POD_NAME": "c", "AZURE_CNI_NAMESPACE": "kube-system", "AZURE_CNI_HOST_IP": "10.0.0.4"}
    assert controller_settings.read(env | given).pod_subnets == (PodSubnetRule({}, SubnetID(POD_SUBNET)),)
    assert "AZURE_CNI_POD_SUBNETS" not in controller_env(chosen[0])


def test_the_chart_refuses_the_same_plugins_and_keys_as_the_agent():
    """Both have the lists: helm says it before anything changes, the agent wherever its variables come from."""
    helpers = (CHART / "templates" / "_helpers.tpl").read_text()
    rules = helpers.partition('define "azure-cni.validate.plugins"')[2].partition("define")[0]
    _, refused, multus, keys = (
        set(re.findall(r'"([^"]+)"', words)) for words in re.findall(r'list ((?:"[^"]+" ?)+)', rules)
    )
    assert refused == INTERFACE_MAKERS | ADDRESS_GIVERS
    assert multus == MULTUS
    assert keys == GIVEN


def test_the_quota_begins_with_what_its_schema_says():
    """The same number whether the controller makes the object or a person does."""
    assert VALUES["quota"] == {
        name: part["default"] for name, part in QUOTA_SPEC["properties"].items() if name != "vnetID"
    }


@pytest.mark.parametrize("values", [(), ("pool.size=32",), (WORKLOAD, "azure.caBundle.configMap=ca"), METRICS], ids=str)
def test_the_agent_reads_every_variable_that_the_chart_sets(values: tuple[str, ...]):
    """A misspelt one would leave the agent with its default, and nobody would know."""
    facts = {"AZURE_CNI_NODE_NAME": "azbox-vm1", "AZURE_CNI_HOST_IP": "10.240.0.4"}
    environ = Asked({name: facts[name] if value is None else value for name, value in agent_env(*values).items()})
    settings.read(environ)
    assert {name for name in environ if name.startswith(PREFIX)} <= environ.names


@pytest.mark.parametrize("kind", ["loadBalancers/{}/backendAddressPools/web", "publicIPAddresses/{}"])
@pytest.mark.parametrize("name", ["shop", "Shop_1.a-(b)", "shop ", ".shop", "sh/op", "läden", "", "a" * 90, "a" * 91])
def test_what_the_schema_takes_for_a_resource_agents_take_too(kind: str, name: str) -> None:
    """An agent with a value that it cannot use does not start."""
    written = f"/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/{kind.format(name)}"
    entry = SCHEMA["properties"]["podNetworking"]["properties"]["allowed"]["items"]["properties"]
    listed = entry["loadBalancerPools" if "loadBalancers" in kind else "publicIPs"]["items"]["pattern"]
    taken = re.search(listed, written, re.ASCII) is not None
    assert taken == (AttachedResource.parse(written) is not None)
