"""The limits of a whole VNet, as people meet them: who waits and why, what is granted, what vanished nodes held."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from azurebox.client import Box
from azurebox.steps import StepError
from scenarios.harness.cloud import Cloud
from scenarios.harness.node import AT_REST, Counts, Node
from scenarios.harness.pods import Pod, Workload, event_for, servers
from scenarios.harness.product import QUICK, Product

VALUES = {**QUICK, "controller.reclaimSeconds": 2, "controller.usagesSeconds": 5}
STEP_S = 180
RECLAIMED_S = 180


class Quota:
    """The one VNetQuota of the box."""

    def __init__(self, box: Box) -> None:
        self._box = box

    def read(self) -> dict[str, Any]:
        """The object."""
        (found,) = self._box.kubectl_json("get", "vnetquotas")["items"]
        return dict(found)

    @property
    def name(self) -> str:
        return str(self.read()["metadata"]["name"])

    def shown(self) -> dict[str, str]:
        """The line of `kubectl get vnetquotas`, by column."""
        head, line = (line.split() for line in self._box.kubectl("get", "vnetquotas").splitlines())
        return dict(zip(head, line, strict=True))

    def edit(self, **spec: int) -> None:
        """What a person does with `kubectl edit`."""
        self._box.kubectl("patch", "vnetquota", self.name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def outside(self) -> int | None:
        """What others use of the VNet, once Azure's count and the ledger are of one state: nothing is being written."""
        status = self.read()["status"]
        ours = sum(entry["count"] + 1 for entry in status["grants"].values())  # and each node's own address
        azure = status["azure"]
        return int(azure["outside"]) if azure["used"] == azure["outside"] + ours else None

    def entry(self, node: str) -> int:
        """How many addresses the ledger has for a node."""
        return int((self.read()["status"].get("grants") or {}).get(node, {}).get("count", 0))

    def summary(self) -> tuple[str, ...]:
        """Limit, granted, nodes and ready as they are shown, and the reasons of Ready and Exhausted."""
        shown = self.shown()
        reasons = (self.condition(kind)["reason"] for kind in ("Ready", "Exhausted"))
        return (*(shown[column] for column in ("LIMIT", "GRANTED", "NODES", "READY")), *reasons)

    def condition(self, kind: str) -> dict[str, str]:
        """One of its conditions."""
        return next(one for one in self.read()["status"]["conditions"] if one["type"] == kind)


@pytest.fixture
def quota(box: Box, nodes: list[Node]) -> Iterator[Quota]:
    """The quota; limit and pools are as before in the end."""
    quota = Quota(box)
    before = quota.read()["spec"]["limit"]
    yield quota
    quota.edit(limit=before)
    for node in nodes:
        node.want()


def test_two_nodes_share_what_there_is_and_pods_learn_why_they_wait(box: Box, nodes: list[Node], quota: Quota) -> None:
    """20 for two nodes that ask for 16 each: no more than 20, the quota is named, a raised limit starts the rest."""
    for node in nodes:
        node.want(size=8)
    for node in nodes:
        node.shows(Counts(8, assigned=0, free=8, cooling=0), within_s=STEP_S)
    box.wait_for(lambda: quota.shown()["GRANTED"] == "16", STEP_S, "what was given back to be granted no more")
    quota.edit(limit=20)
    # The control plane's VM is in the VNet too.
    room = 20 - box.wait_for(quota.outside, STEP_S, "the quota to have counted what others use")
    agents = _agents(box)
    for node in nodes:
        node.want(minFree=8, maxFree=24, batch=16)
    box.wait_for(lambda: quota.shown()["EXHAUSTED"] == "True", STEP_S, "the quota to be exhausted")
    with ExitStack() as stack:
        loads = [stack.enter_context(servers(box, f"load-{node.name}", node=node.name)) for node in nodes]
        for load in loads:
            load.scale(14)
        waiting = box.wait_for(lambda: _stuck(loads, ready=room), STEP_S, "the others to wait")
        event_for(box, waiting[0].name, "NoAddress", "QuotaExceeded", f"VNetQuota {quota.name} allows 20")
        # The first may say instead that idle addresses are on their way: the nodes' pods do not all come at once.
        event_for(box, waiting[0].name, "QuotaExceeded", f"kubectl edit vnetquota {quota.name}")
        expected = ("20", str(room), "2", "False", "QuotaExceeded", "QuotaExceeded")
        box.wait_for(lambda: quota.summary() == expected, STEP_S, f"the quota to say {expected}")
        assert sum(len(node.on_nic()) for node in nodes) == room
        event_for(box, nodes[0].name, "NoFreeAddresses", kind="Node")
        quota.edit(limit=16000)
        for load in loads:
            load.ready(14)
        assert _agents(box) == agents, "no agent was restarted"
        box.wait_for(lambda: quota.shown()["EXHAUSTED"] == "False", STEP_S, "the quota to have room again")
        box.kubectl("wait", "vnetquota", quota.name, "--for=condition=Ready", f"--timeout={STEP_S}s")
        box.wait_for(lambda: quota.shown()["ASSIGNED"] == "28", STEP_S, "the quota to count 28 pods' addresses")


def test_recall_lets_pods_of_one_node_use_what_the_other_holds_idle(box: Box, nodes: list[Node], quota: Quota) -> None:
    """70 for two nodes that both keep many ready: pods of one get them all, but the last one of the other."""
    hungry, rich = nodes[:2]
    quota.edit(limit=70)
    room = 70 - box.wait_for(quota.outside, STEP_S, "the quota to have counted what others use")
    for node in (hungry, rich):
        node.want(minFree=40, maxFree=60, batch=1)
    box.wait_for(lambda: len(hungry.on_nic()) + len(rich.on_nic()) == room, STEP_S, "the nodes to hold all there is")
    with servers(box, "load", node=hungry.name) as load:
        load.settle(room - 1, timeout_s=2 * STEP_S)
        assert (len(hungry.on_nic()), len(rich.on_nic())) == (room - 1, 1)
        assert "pods of other nodes wait" in event_for(box, rich.name, "IdleRecalled", kind="NodeIPPool")
        assert rich.condition("Growing")["reason"] == "IdleRecalled"


def test_recall_in_a_full_subnet(box: Box, nodes: list[Node], quota: Quota, cloud: Cloud) -> None:
    """Nothing is left in the subnet, and much of the quota: pods of one node get what the other holds idle."""
    hungry, rich = nodes[:2]
    for node in (hungry, rich):
        node.want(size=20)
    for node in (hungry, rich):
        node.shows(Counts(20, assigned=0, free=20, cooling=0), within_s=STEP_S)
        node.want(minFree=20, maxFree=40, batch=1)
    rich.forget_events()
    with cloud.subnet_left_with(0):
        box.wait_for(lambda: quota.condition("SubnetFull")["status"] == "True", STEP_S, "the quota to see it")
        (subnet,) = (use for use in quota.read()["status"]["subnets"] if use["name"] == "nodes")
        assert subnet["used"] == subnet["limit"]
        with servers(box, "load", node=hungry.name) as load:
            load.settle(30, timeout_s=2 * STEP_S)
            assert len(hungry.on_nic()) >= 30
            assert 1 <= len(rich.on_nic()) <= 10
            assert "pods of other nodes wait" in event_for(box, rich.name, "IdleRecalled", kind="NodeIPPool")
            assert rich.condition("Growing")["reason"] == "IdleRecalled"
            assert quota.condition("Exhausted")["status"] == "False"
    box.wait_for(lambda: quota.condition("SubnetFull")["status"] == "False", STEP_S, "the quota to see room again")
    for node in (hungry, rich):  # what they hold now is no surplus to a pool by batches, so it would stay
        node.want(size=AT_REST.allocated)
        node.shows(AT_REST, within_s=STEP_S)


@pytest.fixture
def third(box: Box) -> Iterator[str]:
    """A node more; it is gone in the end."""
    before = set(box.nodes)
    try:
        yield box.add_node()
    finally:
        for name in set(box.nodes) - before:
            box.remove(name, keep_nic=False)


def test_a_vanished_node_keeps_its_grant_until_its_nic_is_gone(box: Box, quota: Quota, third: str) -> None:
    """Its VM is deleted and its NIC lives on: the addresses are still taken. The NIC goes: they are granted again."""
    name = third
    node = Node(box, name)
    box.wait_for(
        lambda: len(node.on_nic()) == 16 and node.state() == "Succeeded", STEP_S, f"addresses on the NIC of {name}"
    )
    box.wait_for(lambda: quota.entry(name) == 16, STEP_S, f"the ledger to have all of {name}")
    box.remove(name, keep_nic=True)
    try:
        gone = ("get", "nodeippool", name, "--ignore-not-found")
        box.wait_for(lambda: not box.kubectl(*gone), RECLAIMED_S, "the pool to go with its node")
        with pytest.raises(StepError, match="in vain"):
            box.wait_for(lambda: quota.entry(name) != 16, 12, "a grant that is reclaimed too early")
    finally:
        box.azure("DELETE", f"/nics/{name}-nic")
    box.wait_for(lambda: quota.entry(name) == 0, RECLAIMED_S, "the grant to be reclaimed")
    assert name not in quota.read()["status"]["grants"]


def test_without_a_controller_pods_have_what_their_node_holds(box: Box, product: Product, nodes: list[Node]) -> None:
    """The sixteen that the node holds are used; a pod beyond says whom it waits for, and starts when one is back."""
    node = nodes[0]
    with servers(box, "load", node=node.name) as load:
        with product.without_controllers():
            waiting = load.scale_beyond(20, ready=16)
            event = event_for(box, waiting[0].name, "NoAddress", "AwaitingGrant")
            assert "this node asked to hold 32 addresses and has no answer yet; now 16 of at most 250" in event
            assert "kubectl get pods -A -l app.kubernetes.io/component=controller" in event
            assert len(node.on_nic()) == 16
        started = load.ready(20)
    assert {pod.uid for pod in waiting} <= {pod.uid for pod in started}


def _agents(box: Box) -> list[tuple[str, int]]:
    """Every agent's pod and how often it was started again."""
    selector = "app.kubernetes.io/name=azure-cni,app.kubernetes.io/component=agent"
    pods = box.kubectl_json("get", "pods", "-n", "kube-system", "-l", selector)["items"]
    return sorted((pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"]) for pod in pods)


def _stuck(loads: list[Workload], *, ready: int) -> list[Pod] | None:
    """The pods that wait, once exactly that many of all are ready."""
    pods = [pod for load in loads for pod in load.pods()]
    waiting = [pod for pod in pods if not pod.ready]
    return waiting if waiting and len(pods) - len(waiting) == ready else None
