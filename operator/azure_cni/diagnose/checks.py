"""What can be checked of a cluster by the API server alone, before azure-cni comes and after: nodes and other programs.

Each check has a code that never changes, and a section of the documentation. What only Azure knows is in
`cloud_checks`; what only a node knows without an agent (cloud-init, plugins in /opt/cni/bin) is not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from azure_cni.diagnose.causes import in_words
from azure_cni.diagnose.check_results import CheckResult, ClusterCheck, unknown_check
from azure_cni.diagnose.definition_checks import check_definitions
from azure_cni.diagnose.evidence import TAINT, ClusterEvidence, NodeFacts
from azure_cni.diagnose.findings import ERROR, Finding
from azure_cni.diagnose.overview import Overview
from azure_cni.diagnose.policy_checks import is_beside
from azure_cni.diagnose.pool_checks import check_ledgers, check_room
from azure_cni.diagnose.program_checks import check_programs
from azure_cni.diagnose.settings_checks import check_flags, check_kube_proxy
from azure_cni.ipam.limits import MAX_ADDRESSES_PER_NODE
from azure_cni.model.identity import SCALE_SETS_ROLE
from azure_cni.model.text import few

INSTALL: Final = "docs/install.md"
OLDEST: Final = (1, 30)
"""Of Kubernetes: ValidatingAdmissionPolicy, which the chart needs, is stable from here on."""
UNIFORM: Final = re.compile(r"/virtualMachineScaleSets/[^/]+/virtualMachines/\d+$", re.IGNORECASE)
OTHERS: Final = {
    "calico-node": "Calico",
    "canal": "Canal",
    "cilium": "Cilium",
    "flannel": "Flannel",
    "kube-router": "kube-router",
    "weave-net": "Weave Net",
    "antrea": "Antrea",
    "kindnet": "kindnet",
    "kube-ovn-cni": "Kube-OVN",
    "azure-cns": "Azure CNI",
}
"""Other network plugins, by the label `k8s-app`, `app` or `name` of their DaemonSets' pods.

All are in the nodes' own network; a tenant's pod with such a label is not.
"""
NOT_ASKED: Final = (
    "Azure was not asked about security groups, ways out to the internet, load balancers that write NICs, scale sets, "
    "and what identities may do. To ask it with your own login (az login): azure-cni check --azure"
)
OURS: Final = "azure-cni"
TAINTS: Final = {TAINT: OURS, "node.cilium.io/agent-not-ready": "cilium"}
"""Taints by which agents of networks keep pods off nodes, and whose they are: a label of OTHERS, or OURS."""


NO_ROUTES: Final = (
    """kubectl patch node NODE --subresource=status -p '{"status":{"conditions":[{"type":"NetworkUnavailable","""
    """"status":"False","reason":"NoRoutesNeeded","message":"pods have addresses of the VNet"}]}}'"""
)


@dataclass(frozen=True, slots=True)
class _NodeCheck:
    """One check of each Linux node. `wrong` completes a list of the nodes of which it is so."""

    code: str
    is_wrong: Callable[[NodeFacts], bool]
    result: CheckResult
    good: str
    wrong: str
    do: str
    page: str
    command: str = ""
    """What mends one node; NODE is its name."""

    def made(self, nodes: Sequence[NodeFacts]) -> ClusterCheck:
        """For these nodes."""
        names = [node.name for node in nodes if self.is_wrong(node)]
        if not names:
            return ClusterCheck("nodes", self.code, CheckResult.GOOD, self.good, page=self.page)
        command = "; ".join(in_words(self.command, node=name) for name in names) if self.command else ""
        return ClusterCheck("nodes", self.code, self.result, f"{self.wrong}: {few(names)}", self.do, self.page, command)


NODE_CHECKS: Final = (
    _NodeCheck(
        "UniformScaleSet",
        lambda node: bool(UNIFORM.search(node.provider_id)),
        CheckResult.WARNING,
        good="no node is in a Uniform scale set",
        wrong=f'in a Uniform scale set, whose agents also need the role "{SCALE_SETS_ROLE}"',
        do="assign it (docs/azure-role-scale-sets.json), and read what differs there",
        page=f"{INSTALL}#nodes-in-uniform-scale-sets",
    ),
    _NodeCheck(
        "CloudRoutes",
        lambda node: node.network_unavailable,
        CheckResult.BAD,
        good="no node waits for routes of the cloud",
        wrong="kept from pods by NetworkUnavailable, until somebody makes routes for them",
        do="set --configure-cloud-routes=false of the cloud controller manager, then say that they need no routes",
        page=f"{INSTALL}#2-the-cluster",
        command=NO_ROUTES,
    ),
    _NodeCheck(
        "PodCIDR",
        lambda node: bool(node.pod_cidr),
        CheckResult.WARNING,
        good="no node has a podCIDR",
        wrong="with a podCIDR, which nothing uses with azure-cni",
        do="set --allocate-node-cidrs=false of kube-controller-manager",
        page=f"{INSTALL}#2-the-cluster",
    ),
    _NodeCheck(
        "TooManyPods",
        lambda node: node.most_pods > MAX_ADDRESSES_PER_NODE,
        CheckResult.WARNING,
        good=f"no kubelet takes more than {MAX_ADDRESSES_PER_NODE} pods",
        wrong=f"with a maxPods above {MAX_ADDRESSES_PER_NODE}, the most addresses of one node",
        do="lower the kubelet's maxPods, or pods wait there while other nodes have room",
        page=f"{INSTALL}#2-the-cluster",
    ),
    _NodeCheck(
        "NoProviderID",
        lambda node: not node.provider_id.startswith("azure://"),
        CheckResult.WARNING,
        good="every Node names its VM (spec.providerID)",
        wrong="without a VM of Azure in spec.providerID",
        do="with nicWriter: controller these nodes attest which VM they are; else nothing",
        page=f"{INSTALL}#which-vm-a-node-is",
    ),
    _NodeCheck(
        "OldKubernetes",
        lambda node: _version(node.kubelet) < OLDEST,
        CheckResult.BAD,
        good="every kubelet is 1.30 or newer",
        wrong="older than Kubernetes 1.30",
        do="upgrade them",
        page=f"{INSTALL}#1-what-you-need",
    ),
)


def check_before(evidence: ClusterEvidence) -> list[ClusterCheck]:
    """What must be right before the chart is installed, and stay so."""
    nodes = [node for node in evidence.nodes if node.linux]
    found = [check.made(nodes) for check in NODE_CHECKS]
    if not evidence.knows("nodes"):
        found = [unknown_check(one, "nodes") for one in found]
    of_pods = [_other_network(evidence), check_taints(evidence), *check_flags(evidence.pods)]
    if not evidence.knows("pods"):
        of_pods = [unknown_check(one, "pods") for one in of_pods]
    return [*found, *of_pods, *_of_kube_proxy(evidence)]


def _of_kube_proxy(evidence: ClusterEvidence) -> list[ClusterCheck]:
    """Nothing where kube-proxy is set by other means than kubeadm's ConfigMap."""
    if not evidence.knows("kubeProxy"):
        good = ClusterCheck("cluster", "KubeProxy", CheckResult.GOOD, "", page=f"{INSTALL}#2-the-cluster")
        return [unknown_check(good, "the ConfigMap of kube-proxy")]
    facts, modes = evidence.kube_proxy, {pool.mode for pool in evidence.pools}
    return [] if facts is None else [check_kube_proxy(facts, modes=modes)]


def check_after(findings: Iterable[Finding], *, unread: Sequence[str] = ()) -> list[ClusterCheck]:
    """What `status` finds wrong, as checks; one where that is nothing, which is good if nothing is `unread`."""
    made = [
        ClusterCheck(
            "azure-cni",
            one.code,
            CheckResult.BAD if one.severity == ERROR else CheckResult.WARNING,
            f"{one.about}: {one.message}",
            one.do,
            one.page,
            one.command,
            one.node,
        )
        for one in findings
    ]
    well = ClusterCheck("azure-cni", "Well", CheckResult.GOOD, "agents, controllers, pools and quotas are well")
    return made or [unknown_check(well, "some of agents, controllers, pools and quotas") if unread else well]


def check_all(evidence: ClusterEvidence, overview: Overview, *, version: str, now_s: float) -> list[ClusterCheck]:
    """Every check of a cluster in which azure-cni is installed. `version` is this program's."""
    return [
        *check_before(evidence),
        *check_after(overview.findings, unread=overview.unread),
        *check_definitions(evidence, version=version),
        check_room(evidence),
        check_ledgers(evidence, now_s=now_s),
        *check_programs(evidence),
    ]


def check_taints(evidence: ClusterEvidence) -> ClusterCheck:
    """Whether taints keep pods off nodes, although nothing that would remove them runs here any more."""
    page, well = "docs/uninstall.md#what-stays-and-how-to-remove-it", "no taint of a network that is gone is left"
    good = ClusterCheck("cluster", "LeftTaint", CheckResult.GOOD, well, page=page)
    for kind in ("nodes", "agents"):
        if not evidence.knows(kind):
            return unknown_check(good, kind)
    present = {pod.app for pod in evidence.pods if pod.host_network} | ({OURS} if evidence.agents else set())
    tainted = [(node.name, key) for node in evidence.nodes for key in node.taints if key in TAINTS]
    left = [(name, key) for name, key in tainted if TAINTS[key] not in present]
    if not left:
        return good
    named = few([f"{key} on {name}" for name, key in left])
    message = f"taints keep pods away, and what would remove them does not run here: {named}"
    command = "; ".join(f"kubectl taint node {name} {key}-" for name, key in left)
    return ClusterCheck("cluster", "LeftTaint", CheckResult.WARNING, message, "remove them", page, command)


def _other_network(evidence: ClusterEvidence) -> ClusterCheck:
    found = [
        pod
        for pod in evidence.pods
        if (pod.app in OTHERS and pod.host_network)
        and (pod.other_program is None or not is_beside(evidence, pod.other_program.program))
    ]
    names = sorted({f"{OTHERS[pod.app]} (namespace {pod.namespace})" for pod in found})
    page = "docs/migration.md#node-by-node"
    if not names:
        return ClusterCheck("cluster", "OtherNetwork", CheckResult.GOOD, "no other network plugin runs here", page=page)
    message = f"{few(names)} runs here too, by the labels of pods: a runtime takes the conflist whose name sorts first"
    return ClusterCheck("cluster", "OtherNetwork", CheckResult.WARNING, message, "change over node by node", page)


def _version(text: str) -> tuple[int, ...]:
    """Of a kubelet, "v1.36.3+rke2r1"; one that says none is taken as new."""
    found = re.match(r"v(\d{1,9})\.(\d{1,9})", text, re.ASCII)
    return tuple(map(int, found.groups())) if found else OLDEST
