"""Whether the cluster's custom resource definitions are as old as its agents: an older one loses fields in silence.

The API server drops what a definition does not name, with no error to whoever wrote it. An upgrade of the chart
brings its definitions along; whoever installs them apart (`crds.install: false`) may forget it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from azure_cni.api import node_ip_pool, vnet_quota
from azure_cni.diagnose.causes import PAGE, REDEFINE
from azure_cni.diagnose.check_results import ASK_A_READER, CheckResult, ClusterCheck
from azure_cni.diagnose.evidence import ClusterEvidence
from azure_cni.model.text import few

FIELDS: Final[Mapping[str, frozenset[str]]] = {
    node_ip_pool.PLURAL: frozenset(
        [
            "spec.applicationSecurityGroups",
            "spec.batch",
            "spec.blocks",
            "spec.max",
            "spec.maxFree",
            "spec.minFree",
            "spec.mode",
            "spec.nic",
            "spec.paused",
            "spec.size",
            "status.allocated",
            "status.assigned",
            "status.blocks",
            "status.conditions",
            "status.cooling",
            "status.excluded",
            "status.free",
            "status.grantMessage",
            "status.grantNotBefore",
            "status.grantReason",
            "status.granted",
            "status.grantedFor",
            "status.lastRead",
            "status.lastWrite",
            "status.macAddress",
            "status.mode",
            "status.nicID",
            "status.nicOperation",
            "status.nicOperationResult",
            "status.nodeIP",
            "status.observedGeneration",
            "status.primaryIP",
            "status.recall",
            "status.recallMet",
            "status.recalling",
            "status.releasable",
            "status.requestID",
            "status.requested",
            "status.subnetID",
            "status.subnetRefusedTime",
            "status.target",
            "status.throttledUntil",
            "status.vmID",
            "status.vnetAddresses",
            "status.vnetAttachments",
            "status.vnetID",
            "status.waiting",
            "status.writeIntent",
        ]
    ),
    vnet_quota.PLURAL: frozenset(
        [
            "spec.limit",
            "spec.perNodeLimit",
            "spec.reserved",
            "spec.vnetID",
            "spec.writesPerMinute",
            "status.assigned",
            "status.azure",
            "status.budget",
            "status.conditions",
            "status.granted",
            "status.grants",
            "status.nodes",
            "status.observedGeneration",
            "status.subnets",
            "status.throttledUntil",
        ]
    ),
}
"""What this version's definitions have, by plural (`tests/unit/chart/test_crd.py`)."""


def check_definitions(evidence: ClusterEvidence, *, version: str) -> list[ClusterCheck]:
    """One check; none where agents are of another version than this program, which has other fields.

    Nor where there are no definitions at all: everything else says so.
    """
    page = f"{PAGE}#an-agent-does-not-become-ready-or-restarts"
    good = ClusterCheck("azure-cni", "OldDefinitions", CheckResult.GOOD, "the definitions have all fields", page=page)
    if {agent.version for agent in evidence.agents} != {version}:
        return []
    if why := evidence.missing.get("definitions"):
        return [ClusterCheck(good.group, good.code, CheckResult.UNKNOWN, why, ASK_A_READER, page)]
    if not evidence.definitions:
        return []
    lost = [f"{plural} lack {few(fields)}" for plural, fields in _lost(evidence.definitions)]
    if not lost:
        return [good]
    message = f"the custom resource definitions are older than the agents, and the API server drops fields: {few(lost)}"
    do = "apply those of the agents' version, from a checkout of it"
    return [ClusterCheck(good.group, good.code, CheckResult.BAD, message, do, page, REDEFINE)]


def _lost(definitions: Mapping[str, frozenset[str]]) -> Iterable[tuple[str, list[str]]]:
    """Of the definitions that are there."""
    for plural, fields in definitions.items():
        if lost := sorted(FIELDS[plural] - fields):
            yield plural, lost
