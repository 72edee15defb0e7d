"""Mistakes that people make with clusters, seeded one at a time: each is undone when its block ends, mended or not."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import yaml

from azurebox.facts import AGNHOST, REPOSITORY
from scenarios.harness.azure_seeds import (
    a_cloud_controller_that_writes_nics,
    a_load_balancer_that_takes_the_way_out,
    a_security_group_that_shuts_pods_off,
)
from scenarios.harness.node import AT_REST
from scenarios.harness.pods import servers
from scenarios.harness.product import DAEMON_SET, NAMESPACE, QUICK
from scenarios.harness.program_seeds import OF_PROGRAMS, PLUGINS
from scenarios.harness.stage import LIMIT_S, Stage, come_to_rest

RIVAL = "/etc/cni/net.d/00-rival.conflist"
CLOUD_MANAGER, KUBE_PROXY = "cloud-controller-manager", "kube-proxy"
WRITE = "Microsoft.Network/networkInterfaces/write"


@dataclass(frozen=True, slots=True)
class Mistake:
    """One of them. `code` is what `check` calls it; `pre`: it is seen before the install, too."""

    code: str
    seeded: Callable[[Stage], AbstractContextManager[None]]
    pre: bool = False
    azure: bool = False
    """Only Azure knows it."""

    @property
    def name(self) -> str:
        """For pytest."""
        return self.seeded.__name__


@contextmanager
def a_pause_that_nobody_ended(stage: Stage) -> Iterator[None]:
    stage.node.want(paused=True)
    try:
        yield
    finally:
        stage.node.want()


@contextmanager
def a_forward_policy_that_drops(stage: Stage) -> Iterator[None]:
    stage.node.run("iptables", "-P", "FORWARD", "DROP")
    stage.node.read_now()
    try:
        yield
    finally:
        stage.node.run("iptables", "-P", "FORWARD", "ACCEPT")


@contextmanager
def an_address_of_the_pool_on_another_interface(stage: Stage) -> Iterator[None]:
    address = f"{min(stage.node.on_nic())}/32"
    stage.node.run("ip", "address", "add", address, "dev", "lo")
    try:
        yield
    finally:
        stage.node.ask(["ip", "address", "delete", address, "dev", "lo"])


@contextmanager
def policy_rules_that_divert_pods(stage: Stage) -> Iterator[None]:
    rule = ("pref", "500", "from", f"{min(stage.node.on_nic())}/32", "lookup", "500")
    stage.node.run("ip", "rule", "add", *rule)
    try:
        yield
    finally:
        stage.node.ask(["ip", "rule", "del", *rule])


@contextmanager
def another_conflist_that_sorts_first(stage: Stage) -> Iterator[None]:
    rival = {"cniVersion": "1.0.0", "name": "rival", "plugins": [{"type": "loopback"}]}
    stage.node.write(RIVAL, json.dumps(rival))
    try:
        yield
    finally:
        stage.node.run("sh", "-c", f"rm -f {RIVAL} {RIVAL}.*")


@contextmanager
def a_reference_plugin_that_is_not_installed(stage: Stage) -> Iterator[None]:
    stage.node.run("mv", f"{PLUGINS}/portmap", f"{PLUGINS}/../portmap")
    try:
        yield
    finally:
        stage.node.run("mv", f"{PLUGINS}/../portmap", f"{PLUGINS}/portmap")
        stage.product.install(QUICK)


@contextmanager
def a_role_without_a_permission(stage: Stage) -> Iterator[None]:
    with stage.cloud.without(WRITE):
        stage.node.want(size=AT_REST.allocated + 1)
        try:
            yield
        finally:
            stage.cloud.put_right()
            come_to_rest(stage)


@contextmanager
def a_quota_that_is_too_low(stage: Stage) -> Iterator[None]:
    (quota,) = stage.box.kubectl_json("get", "vnetquotas")["items"]
    name, limit = quota["metadata"]["name"], quota["spec"]["limit"]
    outside = quota["status"].get("azure", {}).get("outside", 0)
    _set_limit(stage, name, quota["status"]["granted"] + quota["spec"].get("reserved", 0) + outside)
    stage.node.want(size=AT_REST.allocated + 4)
    try:
        yield
    finally:
        _set_limit(stage, name, limit)
        come_to_rest(stage)


@contextmanager
def no_controller(stage: Stage) -> Iterator[None]:
    with stage.product.without_controllers():
        yield


@contextmanager
def a_pool_smaller_than_its_kubelets_max_pods(stage: Stage) -> Iterator[None]:
    stage.node.want(max=AT_REST.allocated + 8)
    try:
        yield
    finally:
        stage.node.want()


@contextmanager
def agents_that_may_be_evicted(stage: Stage) -> Iterator[None]:
    _prioritise(stage, "system-cluster-critical")
    try:
        yield
    finally:
        _prioritise(stage, "system-node-critical")


@contextmanager
def a_kube_proxy_that_goes_by_cluster_cidr(stage: Stage) -> Iterator[None]:
    """As kubeadm writes it with a podSubnet. The box's own kube-proxies are set otherwise, and are not touched."""
    configuration = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clusterCIDR": "10.244.0.0/16",
        "detectLocal": {"bridgeInterface": "", "interfaceNamePrefix": ""},
        "detectLocalMode": "",
    }
    metadata = {"name": KUBE_PROXY, "namespace": NAMESPACE}
    map_ = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata,
            "data": {"config.conf": yaml.safe_dump(configuration)}}  # fmt: skip
    pods = _idle(["sleep", "3600"]) | {"nodeSelector": {"scenarios/nowhere": "true"}}
    stage.box.apply(map_, _workload("DaemonSet", KUBE_PROXY, pods))
    try:
        yield
    finally:
        stage.box.kubectl("delete", "-n", NAMESPACE, f"configmap/{KUBE_PROXY}", f"daemonset/{KUBE_PROXY}")


@contextmanager
def a_cloud_controller_manager_that_makes_routes(stage: Stage) -> Iterator[None]:
    command = ["sh", "-c", "sleep 3600", "--allocate-node-cidrs=true", "--configure-cloud-routes=true"]
    document = _workload("Deployment", CLOUD_MANAGER, _idle(command))
    document["spec"]["strategy"] = {"type": "Recreate"}
    stage.box.apply(document)
    try:
        yield
    finally:
        stage.box.kubectl("delete", "-n", NAMESPACE, f"deployment/{CLOUD_MANAGER}", "--cascade=foreground")


@contextmanager
def a_taint_of_a_network_that_is_gone(stage: Stage) -> Iterator[None]:
    stage.box.kubectl("taint", "node", stage.node.name, "node.cilium.io/agent-not-ready=:NoSchedule")
    try:
        yield
    finally:
        taints = stage.box.kubectl("get", "node", stage.node.name, "-o", "jsonpath={.spec.taints[*].key}")
        if "node.cilium.io/agent-not-ready" in taints.split():
            stage.box.kubectl("taint", "node", stage.node.name, "node.cilium.io/agent-not-ready-")


@contextmanager
def a_node_that_waits_for_routes(stage: Stage) -> Iterator[None]:
    """As a cloud controller manager leaves it that made no route."""
    _route(stage, status="True")
    try:
        yield
    finally:
        _route(stage, status="False")


@contextmanager
def an_address_of_a_pod_taken_off_the_nic(stage: Stage) -> Iterator[None]:
    try:
        with servers(stage.box, "robbed", node=stage.node.name, replicas=1) as workload:
            (pod,) = workload.pods()
            stage.box.azure(
                "POST", f"/nics/{stage.node.nic_name}/vanish", {"addresses": [str(pod.address)], "taken": True}
            )
            stage.node.read_now()
            yield
    finally:
        stage.box.azure("POST", "/give-back", {})
        come_to_rest(stage)


@contextmanager
def definitions_of_an_older_release(stage: Stage) -> Iterator[None]:
    field = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/applicationSecurityGroups"
    patch = json.dumps([{"op": "remove", "path": field}])
    stage.box.kubectl("patch", "crd", "nodeippools.azure-cni.io", "--type=json", "-p", patch)
    try:
        yield
    finally:
        stage.box.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(REPOSITORY / "crds"))


MISTAKES = (
    Mistake("PodsShutOff", a_security_group_that_shuts_pods_off, pre=True, azure=True),
    Mistake("NoWayOut", a_load_balancer_that_takes_the_way_out, azure=True),
    Mistake("PoolsByNic", a_cloud_controller_that_writes_nics, azure=True),
    Mistake("KubeProxy", a_kube_proxy_that_goes_by_cluster_cidr, pre=True),
    Mistake("PodRanges", a_cloud_controller_manager_that_makes_routes, pre=True),
    Mistake("LeftTaint", a_taint_of_a_network_that_is_gone, pre=True),
    Mistake("CloudRoutes", a_node_that_waits_for_routes, pre=True),
    Mistake("Paused", a_pause_that_nobody_ended),
    Mistake("ForeignFilter", a_forward_policy_that_drops),
    Mistake("AddressElsewhere", an_address_of_the_pool_on_another_interface),
    Mistake("ForeignPolicyRules", policy_rules_that_divert_pods),
    Mistake("OtherConflist", another_conflist_that_sorts_first),
    Mistake("AccessDenied", a_role_without_a_permission),
    Mistake("QuotaExceeded", a_quota_that_is_too_low),
    Mistake("OldDefinitions", definitions_of_an_older_release),
    Mistake("PodsBeyondPool", a_pool_smaller_than_its_kubelets_max_pods),
    Mistake("AddressesLost", an_address_of_a_pod_taken_off_the_nic),
    Mistake("AwaitingGrant", no_controller),
    Mistake("AgentPriority", agents_that_may_be_evicted),
    *(Mistake(code, seeded) for code, seeded in OF_PROGRAMS),
    Mistake("PluginMissing", a_reference_plugin_that_is_not_installed),
)


def _set_limit(stage: Stage, quota: str, limit: int) -> None:
    """Once what is granted fits: nodes that shrank a moment ago give back later."""

    def is_set() -> bool:
        patch = json.dumps({"spec": {"limit": limit}})
        stage.box.kubectl("patch", "vnetquota", quota, "--type=merge", "-p", patch)
        return True

    stage.box.wait_for(is_set, LIMIT_S, f"the API server to take the limit {limit}")


def _route(stage: Stage, *, status: str) -> None:
    condition = {"type": "NetworkUnavailable", "status": status, "reason": "Scenario", "message": "as seeded"}
    patch = json.dumps({"status": {"conditions": [condition]}})
    stage.box.kubectl("patch", "node", stage.node.name, "--subresource=status", "-p", patch)


def _prioritise(stage: Stage, name: str) -> None:
    patch = {"spec": {"template": {"spec": {"priorityClassName": name}}}}
    stage.box.kubectl("patch", "-n", NAMESPACE, DAEMON_SET, "--type=merge", "-p", json.dumps(patch))
    stage.product.await_ready()


def _idle(command: list[str]) -> dict[str, Any]:
    """A pod on the node's own network that does nothing."""
    container = {"name": "idle", "image": AGNHOST, "imagePullPolicy": "Never", "command": command}
    return {"hostNetwork": True, "terminationGracePeriodSeconds": 0, "containers": [container]}


def _workload(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    labels = {"k8s-app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}},
    }
