"""What people get wrong, each refused with a sentence that says what and why; and nothing is lost by it."""

import json
from collections.abc import Iterator, Mapping

import pytest

from azurebox import release
from azurebox.client import Box
from azurebox.steps import StepError
from scenarios.harness.node import BINARY, CONFLIST, Node
from scenarios.harness.pods import servers
from scenarios.harness.product import NAMESPACE, QUICK, Product

RIGHT_S = 50.0  # before the agent compares byte by byte, which it does each minute
CONF = {"cniVersion": "1.0.0", "name": "azure-cni", "type": "azure-cni"}
ENV = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "scenario",
    "CNI_NETNS": "/run/netns/no-such-namespace",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/opt/cni/bin",
}


@pytest.fixture
def untouched(nodes: list[Node]) -> Iterator[None]:
    """Ledgers and kernels are afterwards as they were before."""
    before = [(node.slots(), node.links(), node.routes()) for node in nodes]
    yield
    assert [(node.slots(), node.links(), node.routes()) for node in nodes] == before


REFUSED: dict[str, tuple[Mapping[str, str], Mapping[str, object] | str, int, str]] = {
    # what is wrong: variables, configuration, error code, words
    "unknown key": ({}, CONF | {"sokcet": "/run/x.sock"}, 7, 'unknown key "sokcet": did you mean "socket"?'),
    "ipam": ({}, CONF | {"ipam": {"type": "host-local"}}, 7, "remove the key ipam"),
    "relative socket": ({}, CONF | {"socket": "cni.sock"}, 7, "not an absolute path"),
    "other version": ({}, CONF | {"cniVersion": "9.9.9"}, 1, "9.9.9"),
    "half a document": ({}, '{"cniVersion": "1.0.0", "name"', 6, ""),
    "no container": ({"CNI_CONTAINERID": ""}, CONF, 4, "CNI_CONTAINERID"),
    "no interface": ({"CNI_IFNAME": ""}, CONF, 4, "CNI_IFNAME"),
    "interface too long": ({"CNI_IFNAME": "much-too-long-a-name"}, CONF, 4, "interface name"),
    "no namespace": ({"CNI_NETNS": ""}, CONF, 4, "CNI_NETNS"),
    "namespace that is not there": ({}, CONF, 5, "/run/netns/no-such-namespace: No such file or directory"),
    "unknown command": ({"CNI_COMMAND": "REPAIR"}, CONF, 4, "CNI_COMMAND"),
    "arguments": ({"CNI_ARGS": "nonsense"}, CONF, 4, "nonsense"),
    "no previous result": ({"CNI_COMMAND": "CHECK", "CNI_NETNS": "/proc/self/ns/net"}, CONF, 7, "prevResult"),
}


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("wrong", REFUSED)
def test_the_plugin_refuses_what_it_cannot_use(nodes: list[Node], wrong: str) -> None:
    """The plugin's own error: the code of the specification, and words that name the key or the variable."""
    env, conf, code, words = REFUSED[wrong]
    stdin = conf if isinstance(conf, str) else json.dumps(conf)
    answer = nodes[0].ask([BINARY], stdin=stdin, env={**ENV, **env})
    error = json.loads(answer.output)
    assert answer.status != 0
    assert error["code"] == code, error
    assert words in error["msg"] + error.get("details", ""), error


def test_an_edited_conflist_is_put_right(box: Box, nodes: list[Node]) -> None:
    """A misspelt key in the conflist is gone within seconds; a pod that met it starts all the same."""
    node = nodes[0]
    good = node.run("cat", CONFLIST)
    conflist = json.loads(good)
    conflist["plugins"][0]["sokcet"] = "/run/x.sock"
    with servers(box, "misspelt", node=node.name) as workload:
        node.write(CONFLIST, json.dumps(conflist))
        workload.scale(1)
        box.wait_for(lambda: node.run("cat", CONFLIST) == good, RIGHT_S, "the agent to write the conflist again")
        workload.ready(1)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("pool.max", 300, "250"),
        ("pool.minFree", -1, "0"),
        ("pool.maxFree", 20, "pool.maxFree is 20 but must be at least pool.minFree + pool.batch = 24"),
        ("pool.size", 251, "250"),
        ("pool.batch", "many", "integer"),
        ("pools.max", 100, "additional properties 'pools' not allowed"),
        ("agent.resyncSeconds", 1, "30"),
        ("azure.cloud", "Mars", "AzurePublicCloud"),
        ("azure.identity", "workload", "needs azure.clientID and azure.tenantID"),
        ("routablePrefixes[0]", "10.0.0.0/33", '"10.0.0.0/33" is not an IPv4 prefix'),
        ("cni.binDir", "opt/cni/bin", "cni"),
        ("metrics.port", 70000, "65,535"),
    ],
)
def test_helm_refuses_values_out_of_range(box: Box, product: Product, key: str, value: object, words: str) -> None:
    """`helm upgrade` names the value and its bounds, and leaves the release as it is."""
    before = _revision(box)
    with pytest.raises(StepError) as refused:
        product.helm_upgrade({**QUICK, key: value})
    assert words in refused.value.output
    assert key.partition("[")[0].partition(".")[0] in refused.value.output
    assert _revision(box) == before


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"max": 300}, "should be less than or equal to 250"),
        ({"max": 0}, "should be greater than or equal to 1"),
        ({"minFree": -1}, "should be greater than or equal to 0"),
        ({"size": 20, "minFree": 4}, "size fixes the pool"),
        ({"size": 20, "max": 10}, "size cannot be more than max"),
        ({"minFree": 20}, "maxFree must be at least minFree + batch"),
        ({"minFree": 4, "maxFree": 10, "batch": 8}, "maxFree must be at least minFree + batch"),
        ({"mode": "tunnel"}, 'supported values: "transparent", "bridge"'),
        ({"batch": "16"}, ".spec.batch: expected numeric"),
        ({"maximum": 16}, ".spec.maximum: field not declared in schema"),
    ],
    ids=str,
)
def test_the_api_server_refuses_a_pool_that_cannot_be(
    box: Box, nodes: list[Node], fields: Mapping[str, object], words: str
) -> None:
    """`kubectl apply` of a NodeIPPool out of range or against itself is refused, and the pool is as before."""
    node = nodes[0]
    before = node.pool()["metadata"]["generation"]
    document = {
        "apiVersion": "azure-cni.io/v1alpha1",
        "kind": "NodeIPPool",
        "metadata": {"name": node.name},
        "spec": fields,
    }
    with pytest.raises(StepError) as refused:
        box.kubectl("apply", "--server-side", "--field-manager=scenario", "-f", "-", input=json.dumps(document))
    assert words in refused.value.output
    assert node.pool()["metadata"]["generation"] == before


def test_the_api_server_refuses_a_grant_over_the_limit(box: Box, nodes: list[Node]) -> None:
    """Not even a status may say that a node is granted more than 250."""
    with pytest.raises(StepError) as refused:
        box.kubectl(
            "patch",
            "nodeippool",
            nodes[0].name,
            "--subresource=status",
            "--type=merge",
            "-p",
            '{"status":{"granted":251}}',
        )
    assert "should be less than or equal to 250" in refused.value.output


def _revision(box: Box) -> object:
    history = json.loads(box.helm("history", release.NAME, "-n", NAMESPACE, "-o", "json"))
    return history[-1]["revision"], history[-1]["status"]
