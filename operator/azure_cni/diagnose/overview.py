"""The cluster on one screen: what is wrong first, then agents, controllers, pools and quotas, and their versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from azure_cni.api.conditions import QuotaKind
from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.api.reading import mapping, text, whole
from azure_cni.api.vnet_quota import MOST_IN_A_VNET, VNetQuota
from azure_cni.diagnose.causes import PAGE, RAISE, Actor, in_words
from azure_cni.diagnose.evidence import ClusterEvidence, ProcessFacts, condition_of
from azure_cni.diagnose.findings import ERROR, WARNING, Finding, finding_of, of_condition, of_near_limit, own_finding
from azure_cni.diagnose.pool_findings import Problems, of_pools
from azure_cni.diagnose.sizing_advice import sufficient_limit
from azure_cni.ipam.limits import MAX_ADDRESSES_PER_NODE
from azure_cni.ipam.near_limit import was_near
from azure_cni.model.text import counted, few

AGENT_PRIORITY: Final = "system-node-critical"
"""What the chart gives agents: a kubelet that runs out of memory or disk ends them last."""


class NodeRow(msgspec.Struct, frozen=True, rename="camel"):
    """One node, in addresses. `reason` is that of its pool's Ready condition; `ready` is None where nobody says it now:
    there is no pool, or no agent (`agent` is "away"; "" where that could not be read), which leaves it as it was.
    """

    node: str
    ready: bool | None
    reason: str
    allocated: int
    assigned: int
    free: int
    cooling: int
    granted: int
    waiting: int
    agent: str
    version: str


class QuotaRow(msgspec.Struct, frozen=True, rename="camel"):
    """One VNet. `writes_left` of at most `writes_kept` NIC writes; `used_by_others` as Azure counts. `ready` is None
    where no controller has said it yet, and where none is ready: it stays as the last one left it.
    """

    quota: str
    ready: bool | None
    reason: str
    limit: int
    granted: int
    assigned: int
    used_by_others: int
    writes_left: float
    writes_kept: float


class Overview(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to `status`. `controllers`: how many are ready of how many there are."""

    findings: list[Finding]
    nodes: list[NodeRow]
    quotas: list[QuotaRow]
    controllers: str
    versions: list[str]
    unread: list[str]

    @property
    def well(self) -> bool:
        """Everything was read, and nothing is wrong; warnings count as well."""
        return not self.findings and not self.unread


def survey(evidence: ClusterEvidence, *, version: str, problems: Problems | None = None) -> Overview:
    """The whole of it. `version` is this command line's; with `problems` it has more of the commands."""
    findings = [*_of_processes(evidence, version), *_of_quotas(evidence), *of_pools(evidence, problems or {})]
    ready = sum(one.ready for one in evidence.controllers)
    return Overview(
        findings=sorted(findings, key=lambda finding: finding.severity),  # error before warning
        nodes=[_node_row(name, evidence) for name in _node_names(evidence)],
        quotas=[_quota_row(quota, evidence) for quota in evidence.quotas],
        controllers=f"{ready} of {len(evidence.controllers)} ready",
        versions=_versions(evidence),
        unread=list(evidence.unread),
    )


def _node_names(evidence: ClusterEvidence) -> list[str]:
    return sorted({pool.name for pool in evidence.pools} | {agent.node for agent in evidence.agents if agent.node})


def _node_row(name: str, evidence: ClusterEvidence) -> NodeRow:
    pool, agent = evidence.pool(name), evidence.agent(name)
    ready: Mapping[str, Any] = condition_of(pool.status, "Ready") if pool else {}
    is_away = agent is None and evidence.knows("agents")
    return NodeRow(
        node=name,
        ready=ready.get("status") == "True" if ready and not is_away else None,
        reason="AgentAway" if is_away else text(ready.get("reason")),
        allocated=pool.view.allocated if pool else 0,
        assigned=pool.assigned if pool else 0,
        free=pool.free if pool else 0,
        cooling=_count(pool, "cooling"),
        granted=pool.view.granted if pool else 0,
        waiting=pool.waiting if pool else 0,
        agent=_agent_words(agent, is_away=is_away),
        version=agent.version if agent else "",
    )


def _agent_words(agent: ProcessFacts | None, *, is_away: bool) -> str:
    if agent is None:
        return "away" if is_away else ""
    return "ready" if agent.ready else f"not ready ({agent.state})"


def _count(pool: NodeIPPool | None, key: str) -> int:
    return whole(pool.status.get(key) if pool else 0, most=MAX_ADDRESSES_PER_NODE)


def _quota_row(quota: VNetQuota, evidence: ClusterEvidence) -> QuotaRow:
    is_kept = any(one.ready for one in evidence.controllers) or not evidence.knows("controllers")
    ready, budget = condition_of(quota.status, "Ready"), mapping(quota.status.get("budget"))
    kept = budget.get("capacity")
    return QuotaRow(
        quota=quota.name,
        ready=ready.get("status") == "True" if ready and is_kept else None,
        reason=text(ready.get("reason")),
        limit=quota.limits.limit,
        granted=quota.granted,
        assigned=whole(quota.status.get("assigned"), most=MOST_IN_A_VNET),
        used_by_others=quota.azure.outside if quota.azure else 0,
        writes_left=round(quota.tokens.tokens, 1) if quota.tokens else 0.0,
        writes_kept=float(kept) if isinstance(kept, int | float) else 0.0,
    )


def _of_processes(evidence: ClusterEvidence, version: str) -> Iterator[Finding]:
    if not evidence.agents and evidence.knows("agents"):
        do = "install the chart; where it is not in kube-system, name its namespace with --system-namespace"
        message = "no agent of azure-cni runs here"
        yield own_finding(ERROR, "NoAgents", "the cluster", message, do, system=evidence.system)
    seen = {agent.node for agent in evidence.agents}
    on_windows = any(agent.windows for agent in evidence.agents)  # elsewhere such nodes are another plugin's
    for node in evidence.nodes:
        if (node.linux or on_windows) and evidence.agents and node.name not in seen:
            yield finding_of(ERROR, "AgentAway", f"node {node.name}", "the node has no agent", evidence, node=node.name)
    for name in sorted(seen):
        agent = evidence.agent(name)
        if agent is not None and not agent.ready:
            message = f"the agent {agent.full_name} is not ready ({agent.state}, {counted(agent.restarts, 'restart')})"
            yield finding_of(ERROR, "AgentAway", f"node {name}", message, evidence, node=name)
    yield from _of_priority(evidence)
    yield from _of_controllers(evidence)
    yield from _of_versions(evidence, version)


def _of_controllers(evidence: ClusterEvidence) -> Iterator[Finding]:
    """Without a quota nothing says that there should be a controller."""
    wanted = evidence.quotas or evidence.controllers
    if any(one.ready for one in evidence.controllers) or not wanted or not evidence.knows("controllers"):
        return
    if not evidence.controllers and evidence.agents:
        message = "no controller is ready: there is no pod of one"
        found = finding_of(ERROR, "AwaitingGrant", "the controller", message, evidence)
        yield msgspec.structs.replace(found, do="scale its Deployment up, or see why it makes no pod")
        return
    states = few([f"{one.full_name} is {one.state}" for one in evidence.controllers]) or "there is no pod of one"
    yield finding_of(ERROR, "AwaitingGrant", "the controller", f"no controller is ready: {states}", evidence)


def _of_priority(evidence: ClusterEvidence) -> Iterator[Finding]:
    """An agent that the kubelet evicts leaves its node without: pods wait, and the NIC is not written."""
    low = [one for one in evidence.agents if one.priority != AGENT_PRIORITY]
    if low:
        patch = f'{{"spec":{{"template":{{"spec":{{"priorityClassName":"{AGENT_PRIORITY}"}}}}}}}}'
        message = (
            f"agents have the priority class {low[0].priority or 'none'} on {few(sorted(one.node for one in low))}: a "
            "node that runs out of memory or disk may end its agent before other pods"
        )
        yield Finding(
            WARNING, "AgentPriority", "the cluster", "", message, Actor.CLUSTER.value,
            f"give them {AGENT_PRIORITY}, and set agent.priorityClassName in the chart's values to it",
            f"kubectl -n {low[0].namespace} patch daemonset {low[0].workload} --type=merge -p '{patch}'",
            f"{PAGE}#an-agent-does-not-become-ready-or-restarts",
        )  # fmt: skip


def _of_versions(evidence: ClusterEvidence, version: str) -> Iterator[Finding]:
    found = _versions(evidence)
    if len(found) > 1:
        message = f"agents and controllers are of versions {' and '.join(found)}"
        do = "wait for the rollout to end; if it does not, see which pods are old"
        yield own_finding(WARNING, "VersionSkew", "the cluster", message, do, system=evidence.system)
    elif found and version not in found:
        message = f"this command line is {version}, the cluster runs {found[0]}"
        do = f"install azure-cni {found[0]}"
        yield own_finding(WARNING, "ClientSkew", "this command line", message, do, system=evidence.system)


def _versions(evidence: ClusterEvidence) -> list[str]:
    return sorted({one.version for one in (*evidence.agents, *evidence.controllers) if one.version})


def _of_full_subnet(about: str, condition: Mapping[str, Any], system: str) -> Finding:
    """Pods that wait are found at their nodes; this says what to do before others do."""
    return of_condition(
        WARNING, about, condition, do="enlarge it, remove what uses addresses there, or add nodes in another one",
        command=in_words("azure-cni forecast", system=system), section="a-subnet-is-full",
    )  # fmt: skip


def _of_quotas(evidence: ClusterEvidence) -> Iterator[Finding]:
    for quota in evidence.quotas:
        for kind in (QuotaKind.EXHAUSTED, QuotaKind.SUBNET_FULL, QuotaKind.THROTTLED):
            if was_near(quota.status, kind):
                near = condition_of(quota.status, kind)
                yield of_near_limit(f"VNetQuota {quota.name}", near, system=evidence.system)
        if quota.holds(QuotaKind.SUBNET_FULL):
            full = condition_of(quota.status, QuotaKind.SUBNET_FULL)
            yield _of_full_subnet(f"VNetQuota {quota.name}", full, evidence.system)
        limit = sufficient_limit(evidence, quota)
        raising = in_words(RAISE, quota=quota.name, limit=limit)
        ready, usage = condition_of(quota.status, "Ready"), condition_of(quota.status, "UsageKnown")
        shown = {
            **({ERROR: ready} if ready.get("status") == "False" else {}),
            **({WARNING: usage} if usage.get("status") == "False" and ready.get("status") != "False" else {}),
        }
        for severity, condition in shown.items():
            yield of_condition(
                severity,
                f"VNetQuota {quota.name}",
                condition,
                do="raise spec.limit" if severity == ERROR and limit else "read the message",
                command=raising if severity == ERROR and limit else f"kubectl describe vnetquota {quota.name}",
                section="the-quota-of-a-vnet-is-exhausted",
            )
