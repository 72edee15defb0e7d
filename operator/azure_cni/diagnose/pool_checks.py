"""What can be checked of pools beside the pods and limits that the API server shows: two numbers that must agree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.api.reading import whole
from azure_cni.diagnose.check_results import CheckResult, ClusterCheck, unknown_check
from azure_cni.diagnose.evidence import ENDED, ClusterEvidence
from azure_cni.diagnose.pod_diagnosis import LAG_S, listed_addresses
from azure_cni.ipam.limits import MAX_ADDRESSES_PER_NODE
from azure_cni.model.text import addresses, counted, few

CLUSTER_PAGE: Final = "docs/install.md#2-the-cluster"


def check_ledgers(evidence: ClusterEvidence, *, now_s: float) -> ClusterCheck:
    """Whether each node's ledger knows as many pods as have addresses there by the API server.

    A node whose ledger and links were removed under its pods looks like one that has just booted, to its agent too:
    only the API server still shows the pods. What changed within `LAG_S` does not count. A warning: a pod that is
    just ending has given its address back before the API server shows it.
    """
    page = "docs/operations.md#a-pod-has-an-address-but-no-traffic"
    good = ClusterCheck("azure-cni", "UnknownPods", CheckResult.GOOD, "each node's ledger knows its pods", page=page)
    for kind in ("pods", "pools", "agents"):
        if not evidence.knows(kind):
            return unknown_check(good, kind)
    wrong = [f"{pool.name} ({pods}, {pool.assigned} in its ledger)" for pool, pods in _unknown_pods(evidence, now_s)]
    if not wrong:
        return good
    message = f"more pods have addresses than the node's ledger knows, which may give them to others: {few(wrong)}"
    do = "try again in a minute; if it stays so, azure-cni addresses NODE names these pods: delete them"
    return ClusterCheck("azure-cni", "UnknownPods", CheckResult.WARNING, message, do, page)


def _unknown_pods(evidence: ClusterEvidence, now_s: float) -> Iterator[tuple[NodeIPPool, str]]:
    """Pools with fewer addresses assigned than pods have, and how many those are."""
    for pool in evidence.pools:
        agent, listed = evidence.agent(pool.name), listed_addresses(pool)
        if agent is None or not agent.ready:
            continue  # its numbers are old
        held = [
            pod
            for pod in evidence.pods_on(pool.name)
            if (pod.holds_address and not pod.ending and pod.addresses[0] in listed)
            and (pod.scheduled_s is None or now_s - pod.scheduled_s > LAG_S)
        ]
        if len(held) > pool.assigned:
            yield pool, counted(len(held), "pod")


def check_room(evidence: ClusterEvidence) -> ClusterCheck:
    """Whether each node's pool may grow to as many addresses as its kubelet takes pods.

    Two limits bound it: its own, and the one that the VNet's quota has for each node. Pods on the node's own network
    need none: those that run there now are subtracted.
    """
    page, said = CLUSTER_PAGE, "each pool may grow to its node's maxPods"
    good = ClusterCheck("azure-cni", "PodsBeyondPool", CheckResult.GOOD, said, page=page)
    for kind in ("pods", "pools", "nodes"):
        if not evidence.knows(kind):
            return unknown_check(good, kind)
    found, raised = [], dict[tuple[str, str], int]()
    for pool, pods in _pools_with_pods(evidence):
        low = {what: most for what, most in _limits_of(pool, evidence).items() if most < pods}
        raised |= {what: max(pods, raised.get(what, 0)) for what in low}
        if low:
            found.append(f"{pool.name} (at most {addresses(min(low.values()))}, {counted(pods, 'pod')})")
    if not found:
        return good
    commands = [
        f'kubectl patch {what} --type=merge -p \'{{"spec":{{"{field}":{pods}}}}}\''
        for (what, field), pods in raised.items()
    ]
    return ClusterCheck(
        "azure-cni", "PodsBeyondPool", CheckResult.WARNING,
        "the kubelet takes more pods than the node may have addresses, by spec.max of its NodeIPPool or "
        f"spec.perNodeLimit of the VNetQuota: {few(found)}",
        "raise the limit, or lower the kubelet's maxPods; else pods wait there while other nodes have room",
        page, "; ".join(commands),
    )  # fmt: skip


def _pools_with_pods(evidence: ClusterEvidence) -> Iterator[tuple[NodeIPPool, int]]:
    """Pools that grow with their pods, and how many of those that need an address the node may have."""
    for node in evidence.nodes:
        pool = evidence.pool(node.name)
        if pool is None or pool.spec.get("size") is not None:
            continue
        hosted = sum(pod.host_network and pod.phase not in ENDED for pod in evidence.pods_on(node.name))
        yield pool, min(node.most_pods - hosted, MAX_ADDRESSES_PER_NODE)


def _limits_of(pool: NodeIPPool, evidence: ClusterEvidence) -> dict[tuple[str, str], int]:
    """How many addresses the node may have, by the object and the field of its spec that say so."""
    quota = evidence.quota(pool.vnet_id)
    own = whole(pool.spec.get("max"), most=MAX_ADDRESSES_PER_NODE, default=MAX_ADDRESSES_PER_NODE)
    limits = {(f"nodeippool {pool.name}", "max"): own}
    return limits if quota is None else limits | {(f"vnetquota {quota.name}", "perNodeLimit"): quota.limits.per_node}
