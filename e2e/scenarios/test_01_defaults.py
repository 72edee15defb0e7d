"""As installed, with the chart's defaults and nothing else."""

import json

from azurebox.client import Box
from scenarios.harness.cloud import Cloud
from scenarios.harness.node import AT_REST, BINARY, CONFLIST, Counts, Node
from scenarios.harness.pods import servers
from scenarios.harness.product import DAEMON_SET, Product

VALUES: dict[str, object] = {}
SHOWN_S = 90.0


def test_a_fresh_node_is_ready_and_has_a_pool(box: Box, nodes: list[Node]) -> None:
    """`kubectl get nodes` says Ready, `kubectl get nodeippools` sixteen free addresses; both say what stands behind."""
    for node in nodes:
        node.shows(AT_REST, within_s=SHOWN_S)
        row = node.shown()
        assert (row["GRANTED"], row["READY"]) == ("16", "True")
        status = node.pool()["status"]
        assert status["nicID"].lower() == node.nic()["id"].lower()
        assert status["primaryIP"] == str(node.primary())
        assert {condition["type"] for condition in status["conditions"] if condition["status"] == "True"} == {"Ready"}
        owner = node.pool()["metadata"]["ownerReferences"][0]
        assert (owner["kind"], owner["name"]) == ("Node", node.name)
    wide = box.kubectl("get", "nip", "-o", "wide")
    assert "PodsCanStart" in wide
    assert str(nodes[0].primary()) in wide


def test_the_node_has_binary_and_conflist(nodes: list[Node]) -> None:
    """The runtime finds the plugin where it looks, and the plugin answers."""
    for node in nodes:
        conflist = json.loads(node.run("cat", CONFLIST))
        assert [plugin["type"] for plugin in conflist["plugins"]] == ["azure-cni", "portmap"]
        answer = node.ask([BINARY], env={"CNI_COMMAND": "VERSION"}, stdin='{"cniVersion": "1.0.0"}')
        assert json.loads(answer.output)["supportedVersions"] == ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]


def test_the_agent_has_only_what_it_needs(box: Box, product: Product, nodes: list[Node]) -> None:
    """No privileged container, a root file system that it cannot write, two capabilities."""
    container = box.kubectl_json("get", "-n", "kube-system", DAEMON_SET)["spec"]["template"]["spec"]["containers"][0]
    security = container["securityContext"]
    assert not security.get("privileged")
    assert security["readOnlyRootFilesystem"]
    assert security["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN", "SYS_ADMIN"]}
    status = nodes[0].run("cat", f"/proc/{product.processes(nodes[0])[0]}/status")
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff"))
    assert int(effective, 16) == 1 << 12 | 1 << 21, f"CapEff is {effective}, not NET_ADMIN and SYS_ADMIN"


def test_an_address_rests_before_it_is_used_again(box: Box, cloud: Cloud, nodes: list[Node]) -> None:
    """The address of a pod that ended shows as COOLING; the next pod gets another one, and no NIC is written for it."""
    node = nodes[0]
    with servers(box, "cooling", node=node.name, replicas=1) as workload:
        first = workload.pods()[0]
        writes = cloud.requests()
        workload.settle(0)
        # Looked at before the next pod starts: it cools for 30 s, which may be less than that takes.
        cooling = [slot.address for slot in node.slots() if slot.state == "cooling"]
        assert cooling == [first.address]
        node.shows(Counts(allocated=16, assigned=0, free=15, cooling=1), within_s=SHOWN_S)
        second = workload.settle(1)[0]
        assert second.address != first.address
        assert cloud.requests() == writes
