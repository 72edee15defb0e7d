"""What others do on a node while the agent runs, and what a boot does: the agent is right about it within seconds."""

import json
import time
from collections.abc import Callable, Iterator

import pytest

from azurebox.client import Box
from azurebox.steps import StepError
from scenarios.harness.cloud import Cloud
from scenarios.harness.node import BINARY, CONFLIST, RUN_DIR, Node
from scenarios.harness.pods import NAMESPACE, Workload, event_for, servers
from scenarios.harness.product import QUICK, Product

PLUGINS = "/opt/cni/bin"
TOLD_S = 40.0  # docs/operations.md: within ten seconds, where nothing else keeps the machine busy
BACK_S = 240.0
STATUS_ASKED_S = 12.0  # the kubelet asks the runtime each five seconds


@pytest.fixture(scope="module")
def workload(box: Box, nodes: list[Node]) -> Iterator[Workload]:
    with servers(box, "host", node=nodes[0].name, replicas=1) as made:
        yield made


def test_a_chained_plugin_that_is_removed_while_the_agent_runs(
    box: Box, workload: Workload, nodes: list[Node], figure: Callable[[str], None]
) -> None:
    """The pool says PluginMissing within seconds, the Node has an event, and all is right once it is back."""
    node = nodes[0]
    node.run("mv", f"{PLUGINS}/portmap", f"{PLUGINS}/../portmap")
    removed = time.monotonic()
    try:
        says(box, node, "PluginMissing", within_s=TOLD_S)
        figure(f"a removed plugin is in the pool's status after {time.monotonic() - removed:.1f} s")
        assert "portmap is missing" in node.condition("Ready")["message"]
    finally:
        node.run("mv", f"{PLUGINS}/../portmap", f"{PLUGINS}/portmap")
    says(box, node, "PodsCanStart", within_s=TOLD_S)
    workload.settle(2)


def test_a_chained_plugin_behind_a_link_that_the_agent_cannot_follow(workload: Workload, nodes: list[Node]) -> None:
    """As k3s has it: pods start, and nobody says that it is missing."""
    node = nodes[0]
    node.run("sh", "-c", f"mkdir -p /var/lib/data && cp -a {PLUGINS}/portmap /var/lib/data/")
    try:
        # In one step: for a moment without it the pool says so for seconds, and rightly.
        node.run("sh", "-c", f"ln -s /var/lib/data/portmap {PLUGINS}/.link && mv -T {PLUGINS}/.link {PLUGINS}/portmap")
        workload.settle(3)
        assert node.condition("Ready")["reason"] == "PodsCanStart"
    finally:
        node.run("mv", "/var/lib/data/portmap", f"{PLUGINS}/portmap")


def test_a_directory_of_plugins_that_is_replaced(
    box: Box, workload: Workload, product: Product, nodes: list[Node]
) -> None:
    """As a package upgrade does it, rm -r and mkdir: the agent sees the new one, installs itself there, pods start."""
    node = nodes[0]
    node.run("sh", "-c", f"cp -a {PLUGINS} {PLUGINS}.new && rm {PLUGINS}.new/azure-cni && rm -r {PLUGINS} && "
             f"mv {PLUGINS}.new {PLUGINS}")  # fmt: skip

    def installed() -> bool:
        return node.ask(["test", "-x", BINARY]).status == 0

    box.wait_for(installed, BACK_S, "the agent to install its binary in the new directory")
    product.await_ready()
    workload.settle(4)
    says(box, node, "PodsCanStart", within_s=BACK_S)


def test_a_directory_of_configurations_that_is_replaced(
    box: Box, workload: Workload, product: Product, nodes: list[Node]
) -> None:
    """The agent lets go of the old directory; containerd 2 sees that it is gone and ends, and systemd starts it again.

    containerd 1.6 goes on without any configuration, and the node is NotReady until somebody restarts it.
    """
    node, directory, runtime = nodes[0], CONFLIST.rpartition("/")[0], f"{nodes[0].name}-containerd"
    node.run("sh", "-c", f"rm -r {directory} && mkdir {directory}")
    try:
        if asks_status(box, node):
            box.wait_for(lambda: node.ask(["ctr", "version"]).status != 0, BACK_S, "containerd to end")
        else:
            box.wait_for(lambda: ready(box, node) == "False", BACK_S, "the node to be NotReady")
            box.stop(runtime)
    finally:
        box.start(runtime)
        box.revive()  # whatever ended with it
    box.wait_for(lambda: node.ask(["test", "-e", CONFLIST]).status == 0, BACK_S, "the conflist in the new directory")
    product.await_ready()
    workload.settle(3)


def test_the_runtime_asks_status_and_the_agent_may_be_away(
    box: Box, workload: Workload, product: Product, nodes: list[Node], figure: Callable[[str], None]
) -> None:
    """With cni.specVersion 1.1.0 the node stays Ready while agents are away for longer than the kubelet's patience.

    On an old runtime, which could not read a result of 1.1.0, the conflist stays as it was.
    """
    node = nodes[0]
    product.use({**QUICK, "cni.specVersion": "1.1.0"})
    try:
        version = "1.1.0" if asks_status(box, node) else "1.0.0"
        box.wait_for(lambda: _conflist(node)["cniVersion"] == version, BACK_S, f"a conflist of {version}")
        assert node.ask(["test", "-e", f"{RUN_DIR}/served"]).status == 0
        workload.settle(5)
        with product.away():
            seen, until = [], time.monotonic() + STATUS_ASKED_S
            while time.monotonic() < until:
                seen.append(ready(box, node))
                time.sleep(1)
            assert seen == ["True"] * len(seen)
            workload.scale(4)
        workload.ready(4)
    finally:
        product.use(QUICK)
    box.wait_for(lambda: _conflist(node)["cniVersion"] == "1.0.0", BACK_S, "a conflist of 1.0.0")
    figure(f"conflist of {version}: Ready at each of {len(seen)} looks while no agent ran")


def test_pods_of_before_a_reboot_end_while_azure_is_silent(
    box: Box, workload: Workload, cloud: Cloud, nodes: list[Node], figure: Callable[[str], None]
) -> None:
    """The node is NotReady; pods that are deleted end, where the runtime asks STATUS; all run in the end."""
    node = nodes[0]
    asks = asks_status(box, node)
    pods = workload.settle(4)
    gone = ("get", "pod", "-n", NAMESPACE, pods[0].name, "--ignore-not-found")
    with cloud.fault("silent", at=node.name, operation="imds.*", times=0):
        box.reboot(node.name)
        box.wait_for(lambda: ready(box, node) == "False", BACK_S, "the node to be NotReady")
        event_for(box, node.name, "AzureUnreachable", kind="NodeIPPool", timeout_s=BACK_S)
        box.kubectl("delete", "pod", "-n", NAMESPACE, pods[0].name, "--wait=false")
        if asks:
            assert _conflist(node)["cniVersion"] == "1.1.0"
            box.wait_for(lambda: not box.kubectl(*gone), BACK_S, f"{pods[0].name} to end")
        else:  # docs/limits.md
            event_for(box, pods[0].name, "FailedKillPod", "cni plugin not initialized", timeout_s=BACK_S)
    answered = time.monotonic()
    box.wait_for(lambda: not box.kubectl(*gone), BACK_S, f"{pods[0].name} to end")
    workload.ready(4, timeout_s=2 * BACK_S)
    box.wait_for(lambda: ready(box, node) == "True", BACK_S, "the node to be Ready")
    figure(f"boot with Azure silent: 4 pods ready {time.monotonic() - answered:.0f} s after Azure answered")


def says(box: Box, node: Node, reason: str, *, within_s: float) -> None:
    """Wait until the pool's Ready has that reason."""

    def said() -> bool:
        condition = node.condition("Ready")
        if condition["reason"] != reason:
            raise StepError("not yet", output=str(condition))
        return True

    box.wait_for(said, within_s, f"the pool of {node.name} to say {reason}")


def asks_status(box: Box, node: Node) -> bool:
    """Whether the node's runtime asks STATUS: containerd 2 does, and 1.6 does not."""
    info = box.kubectl_json("get", "node", node.name)["status"]["nodeInfo"]
    return "containerd://1." not in info["containerRuntimeVersion"]


def ready(box: Box, node: Node) -> str:
    """The status of the Node's condition Ready."""
    conditions = box.kubectl_json("get", "node", node.name)["status"]["conditions"]
    return next(str(condition["status"]) for condition in conditions if condition["type"] == "Ready")


def _conflist(node: Node) -> dict[str, object]:
    document: dict[str, object] = json.loads(node.run("cat", CONFLIST))
    return document
