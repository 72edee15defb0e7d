"""`azure-cni why` for every cause that keeps a pod from an address, each brought about on the box.

One line of pods on one node (`harness.line_of_pods`): in each case the next one waits, is asked about, and starts when
the cause is mended; where the command in the answer mends it, by that command. `NOT_HERE` has the causes without a
case.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from azurebox.client import Box
from azurebox.steps import StepError
from scenarios.harness.cloud import Cloud
from scenarios.harness.commandline import follow
from scenarios.harness.line_of_pods import Queue, queue
from scenarios.harness.node import Node
from scenarios.harness.product import QUICK, Product
from scenarios.harness.why import (
    AZURE,
    CLUSTER,
    DESCRIBE,
    KUBELET,
    LOGS,
    NEXT_TRY,
    NOBODY,
    READ_NOW,
    TIME,
    Case,
    Scene,
    Trouble,
    filled,
    judge,
)
from scenarios.test_09_quota import Quota

VALUES = {
    **QUICK,
    "controller.usagesSeconds": 5,
    "pool.minFree": 20,  # so that a spec which the API server takes can contradict it
    "pool.maxFree": 40,
}
STEP_S = 120.0
SLOW_S = 20.0
THROTTLED_S = 15.0
PLUGINS = "/opt/cni/bin"
WRITE = "Microsoft.Network/networkInterfaces/write"
FOLLOW = "Microsoft.Network/locations/operations/read"
AGENT_ROLE = "azure-cni-agent"
AS_CONTROLLER = ("--as=system:serviceaccount:kube-system:azure-cni-controller", "--as-group=system:masters")
"""Nobody else may write a ledger, and kubectl reads first what it patches, which the controller may not."""
PODS_OF = "kubectl -n kube-system get pods -l app.kubernetes.io/name=azure-cni,app.kubernetes.io/component="
AGENTS = f"{PODS_OF}agent --field-selector spec.nodeName=NODE -o wide"
CONTROLLERS = (
    "kubectl scale -n kube-system deployment -l app.kubernetes.io/name=azure-cni,app.kubernetes.io/"
    "component=controller --replicas=2"
)


@pytest.fixture(scope="module")
def scene(box: Box, cloud: Cloud, product: Product, nodes: list[Node]) -> Iterator[Scene]:
    """The second node has one address, so that nothing can be taken back from it."""
    node, other = nodes
    other.want(size=1)
    yield Scene(box, cloud, product, Quota(box), node, other, time.time())
    other.want()


@pytest.fixture(scope="module")
def line(scene: Scene) -> Iterator[Queue]:
    """On the first node."""
    with queue(scene.box, scene.node) as made:
        yield made


# What brings a cause about.


def _faulty(kind: str, **when: object) -> Trouble:
    """Each write of the node's NIC meets it."""
    return lambda scene: scene.cloud.fault(kind, at=scene.node.nic_name, operation="nic.put", **{"times": 0, **when})


@contextmanager
def _unfollowed(scene: Scene) -> Iterator[None]:
    """A slow write is accepted, and how it goes may not be asked."""
    with scene.cloud.without(FOLLOW), scene.cloud.fault("slow", at=scene.node.nic_name, duration=SLOW_S):
        yield


@contextmanager
def _nothing(_: Scene) -> Iterator[None]:
    yield


@contextmanager
def _quota_used_up(scene: Scene) -> Iterator[None]:
    """No more than what is granted."""
    quota, before = scene.quota, scene.quota.read()["spec"]["limit"]
    outside = scene.box.wait_for(quota.outside, STEP_S, "the quota to have counted what others use")
    quota.edit(limit=outside + int(quota.shown()["GRANTED"]))
    try:
        yield
    finally:
        quota.edit(limit=before)


@contextmanager
def _idle_elsewhere(scene: Scene) -> Iterator[None]:
    """The same, while the other node has addresses that it needs not; it takes its time to give them."""
    scene.other.want(minFree=4, maxFree=12, batch=4)
    try:
        scene.box.wait_for(lambda: len(scene.other.on_nic()) == 4, STEP_S, "the other node to hold four")
        slow = scene.cloud.fault("slow", at=scene.other.nic_name, operation="nic.put", times=0, duration=SLOW_S)
        with slow, _quota_used_up(scene):
            yield
    finally:
        scene.other.want(size=1)


@contextmanager
def _no_write_left(scene: Scene) -> Iterator[None]:
    """One write a minute for both nodes, and the other node has made it."""
    quota, before = scene.quota, scene.quota.read()["spec"]["writesPerMinute"]
    size = len(scene.other.on_nic()) + 1
    quota.edit(writesPerMinute=1)
    try:
        scene.other.want(size=size)
        scene.box.wait_for(lambda: len(scene.other.on_nic()) == size, STEP_S, "the other node to have written")
        yield
    finally:
        quota.edit(writesPerMinute=before)
        scene.other.want(size=1)


@contextmanager
def _entry_refused(scene: Scene) -> Iterator[None]:
    """Somebody's policy refuses the ledger with one address more for the node."""
    name, held = "scenario-ledger", scene.quota.entry(scene.node.name)
    entry = f"object.status.grants['{scene.node.name}']"
    rule = f"!has(object.status.grants) || !('{scene.node.name}' in object.status.grants) || {entry}.count <= {held}"
    resources = {"apiGroups": ["azure-cni.io"], "apiVersions": ["*"], "operations": ["UPDATE"]}
    policy = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [{**resources, "resources": ["vnetquotas/status"]}]},
        "validations": [{"expression": rule, "message": "a scenario refuses it"}],
    }
    kind, meta = "ValidatingAdmissionPolicy", {"name": name}
    group = "admissionregistration.k8s.io/v1"
    binding = {"policyName": name, "validationActions": ["Deny"]}
    try:
        scene.box.apply(
            {"apiVersion": group, "kind": kind, "metadata": meta, "spec": policy},
            {"apiVersion": group, "kind": f"{kind}Binding", "metadata": meta, "spec": binding},
        )
        scene.box.wait_for(partial(_is_denied, scene, held + 1), STEP_S, "the policy to be in force")
        yield
    finally:
        scene.box.kubectl("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", name)
        scene.box.wait_for(lambda: not _is_denied(scene, held + 1), STEP_S, "the policy to be in force no more")


@contextmanager
def _vnet_unknown(scene: Scene) -> Iterator[None]:
    """Azure shows the controller no such VNet, and somebody has deleted its quota; in the end it is made by hand.

    A controller that has seen the VNet since it leads makes the quota again, so it is one that begins to lead.
    """
    quota = scene.quota.read()
    made = {key: quota[key] for key in ("apiVersion", "kind", "spec")}
    with scene.cloud.fault("hidden", at="*", operation="vnet.usages", times=0):
        with scene.product.without_controllers():
            scene.box.kubectl("delete", "vnetquota", quota["metadata"]["name"])
        try:
            yield
        finally:
            scene.box.apply({**made, "metadata": {"name": quota["metadata"]["name"]}})


def _is_denied(scene: Scene, count: int) -> bool:
    status = {"status": {"grants": {scene.node.name: {"count": count}}}}
    try:
        scene.box.kubectl(
            "patch", "vnetquota", scene.quota.name, "--subresource=status", "--type=merge", "--dry-run=server",
            *AS_CONTROLLER, "-p", json.dumps(status),
        )  # fmt: skip
    except StepError as error:
        return "a scenario refuses it" in error.output
    return False


@contextmanager
def _plugin_away(scene: Scene) -> Iterator[None]:
    node = scene.node
    node.run("mv", f"{PLUGINS}/portmap", f"{PLUGINS}/../portmap")
    try:
        yield
    finally:
        node.run("mv", f"{PLUGINS}/../portmap", f"{PLUGINS}/portmap")


@contextmanager
def _ledger_unwritable(scene: Scene) -> Iterator[None]:
    """An address is free, and no file of the agent may grow or be written, as on a disk that is full."""
    node, size = scene.node, scene.node.counts().allocated + 1
    node.want(size=size)
    scene.box.wait_for(lambda: node.counts().free == 1, STEP_S, "an address to be free")
    pids = scene.product.processes(node)
    for pid in pids:
        node.run("prlimit", "--pid", str(pid), "--fsize=0:")
    try:
        yield
    finally:
        for pid in pids:
            node.run("prlimit", "--pid", str(pid), "--fsize=unlimited:")


@contextmanager
def _status_forbidden(scene: Scene) -> Iterator[None]:
    """The agents' role lacks the right to write their pools' status; helm puts it back."""
    role: dict[str, Any] = scene.box.kubectl_json("get", "clusterrole", AGENT_ROLE)
    left = [rule for rule in role["rules"] if "nodeippools/status" not in rule["resources"]]
    patch = json.dumps([{"op": "replace", "path": "/rules", "value": left}])
    scene.box.kubectl("patch", "clusterrole", AGENT_ROLE, "--type=json", "-p", patch)
    try:
        yield
    finally:
        scene.product.helm_upgrade(VALUES)


CASES = (
    Case("PoolGrowing", _faulty("slow", times=1, duration=SLOW_S), NOBODY, "azure-cni plan NODE",
         "Azure is working on the NIC; the pool grows to COUNT addresses",
         f"Azure is at a write of the NIC, and {KUBELET}", dated=True),
    Case("NodeAtLimit", _nothing, CLUSTER, "kubectl edit nodeippool NODE",
         "raise spec.max of the NodeIPPool (kubectl edit nodeippool NODE), or pool.max of the chart",
         f"{KUBELET}; it starts when the limit is raised", spec={"max": "HELD"}, mends=True,
         editor="sed -i -E 's/^  max: .*/  max: COUNT/'"),
    Case("InvalidConfig", _nothing, CLUSTER, "kubectl edit nodeippool NODE",
         "maxFree 30: it must be at least minFree + batch (20 + 16)", "nothing before the spec is corrected",
         spec={"maxFree": 30}, mends=True,
         editor="sed -i -E 's/^  maxFree: .*/  size: COUNT/'"),
    Case("PoolPaused", _nothing, CLUSTER, "azure-cni resume NODE", "the NodeIPPool is paused (spec.paused)",
         "nothing while it is paused; what waits for a write of the NIC is done once the pause ends",
         spec={"size": "COUNT", "paused": True}, mends=True, dated=True),
    Case("QuotaExceeded", _quota_used_up, CLUSTER, "kubectl patch vnetquota QUOTA --type=merge -p '{",
         "of COUNT addresses granted: VNetQuota",
         f"the controller grants more as soon as the quota has it, and {KUBELET}", mends=True,
         dated=True),
    Case("IdleRecalled", _idle_elsewhere, NOBODY, "kubectl describe vnetquota QUOTA",
         "1 idle address is taken back from other nodes", KUBELET, named="QuotaExceeded", mends=True, dated=True),
    Case("WriteBudget", _no_write_left, NOBODY, "kubectl get vnetquota QUOTA -o yaml",
         "all together may make 1 NIC write a minute", f"the controller answers the node in its turn, and {KUBELET}"),
    Case("AwaitingGrant", lambda scene: scene.product.without_controllers(), CLUSTER, CONTROLLERS,
         "this node asked to hold COUNT addresses and has no answer yet",
         f"any controller that works answers within seconds, and {KUBELET}", mends=True),
    Case("SubnetFull", lambda scene: scene.cloud.subnet_left_with(0), AZURE, READ_NOW, "does not have enough capacity",
         dated=True),
    Case("Throttled", _faulty("throttle", seconds=THROTTLED_S), NOBODY, DESCRIBE, "too many requests",
         rf"(is at|is asked again at) {TIME}", dated=True),
    Case("NicUpdating", _faulty("busy"), NOBODY, DESCRIBE, "another operation is under way (RetryableError)"),
    Case("AccessDenied", lambda scene: scene.cloud.without(WRITE), AZURE, READ_NOW,
         '--role "azure-cni agent" --scope /subscriptions/', dated=True),
    Case("ChangedMeanwhile", _faulty("touched"), NOBODY, DESCRIBE, "somebody changed it since it was read"),
    Case("OperationFailed", _faulty("fail"), NOBODY, DESCRIBE, "Azure accepted it, and it then ended Failed"),
    Case("OutcomeUnknown", _unfollowed, NOBODY, DESCRIBE, FOLLOW, rf"{NEXT_TRY}|{KUBELET}"),
    Case("AzureUnreachable", _faulty("proxy-page"), CLUSTER, DESCRIBE,
         "does a proxy or a firewall answer in Azure's place?", TIME),
    Case("NotFound", _faulty("hidden"), AZURE, DESCRIBE, "Azure does not find it, or hides it from this identity"),
    Case("RequestRefused", _faulty("locked"), AZURE, READ_NOW, "remove the lock on the resource"),
    Case("PluginMissing", _plugin_away, CLUSTER, "helm upgrade azure-cni", "portmap",
         f"the agent looks for it every ten seconds, and {KUBELET}", pasted=False),
    Case("LedgerFailed", _ledger_unwritable, CLUSTER, LOGS, "cannot write the ledger", rf"{KUBELET}|is at {TIME}"),
    Case("KubernetesDenied", _status_forbidden, CLUSTER, AGENTS, "nodeippools", f"is at {TIME}", dated=True),
    Case("AgentAway", lambda scene: scene.product.away(), CLUSTER, AGENTS, "cannot reach the azure-cni agent",
         f"{KUBELET}; it starts once an agent serves the node", dated=True),
    Case("EntryRefused", _entry_refused, CLUSTER, "kubectl delete nodeippool NODE", "a scenario refuses it", KUBELET),
    Case("VNetUnconfirmed", _vnet_unknown, AZURE, DESCRIBE, "the controller cannot confirm that VNet", KUBELET),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.cause)
def test_a_pod_that_waits_learns_why_and_starts_when_that_is_mended(scene: Scene, line: Queue, case: Case) -> None:
    held = line.settle()
    names = {"NODE": scene.node.name, "QUOTA": scene.quota.name, "COUNT": str(held + 1), "HELD": str(held)}
    spec = {key: int(filled(value, names)) if isinstance(value, str) else value for key, value in case.spec.items()}
    editor, begun_s = filled(case.editor, names), time.time() if case.dated else scene.begun_s
    with case.trouble(scene):
        scene.node.want(**spec)
        why = scene.asked(line.lengthen(), case, names)
        judge(why, case, names, begun_s=begun_s)
        if case.mends:
            follow(why["command"], editor=editor)
            line.runs()
    if not case.mends:
        if case.pasted:
            follow(why["command"])
        line.runs()
