"""Every check that needs Azure's answer (`azure-cni check --azure`), and what it says where Azure cannot say it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Final

from azure_cni.diagnose.check_results import ASK_A_READER, CheckResult, ClusterCheck
from azure_cni.diagnose.cloud_evidence import CloudEvidence, NicFacts, az_scope, name_of, parent_of
from azure_cni.diagnose.machine_checks import check_machines
from azure_cni.diagnose.outbound_checks import WayKind, check_ways_out, way_out
from azure_cni.diagnose.security_checks import check_security
from azure_cni.model.text import few

GROUP: Final = "azure"
PAGE: Final = "docs/command-line.md#ask-azure-too"
SERVICES: Final = "docs/vnet-features.md#services-of-type-loadbalancer"
RULE_OF_A_SERVICE: Final = re.compile(r"a[0-9a-f]{31}(?:-|$)")
"""How cloud-provider-azure names the rules of a Service: after its UID (`GetDefaultLoadBalancerName`)."""


def check_cloud(evidence: CloudEvidence) -> list[ClusterCheck]:
    """All of them."""
    of_network = [*check_security(evidence), check_ways_out(evidence), check_pools(evidence)]
    return [_check_found(evidence), *check_machines(evidence), *of_network]


def _check_found(evidence: CloudEvidence) -> ClusterCheck:
    """Whether Azure showed the NIC of each node; what it did not show is not checked."""
    code = "NicNotFound"
    if not evidence.unfound:
        return ClusterCheck(GROUP, code, CheckResult.GOOD, "Azure shows the NIC of each node", page=PAGE)
    why = few(list(dict.fromkeys(evidence.unread.values()))) or (
        "neither Node nor NodeIPPool names one that is there, or it is in a Uniform scale set"
    )
    message = f"Azure did not show the NICs of {few(evidence.unfound)}, which are not checked: {why}"
    do = "run it with a login that may read them (Reader on their resource group)"
    return ClusterCheck(GROUP, code, CheckResult.UNKNOWN, message, do, PAGE)


def check_pools(evidence: CloudEvidence) -> ClusterCheck:
    """Whether the cloud controller keeps the nodes' NICs in the pools of Services' load balancers, by writing them."""
    found = list(_members(evidence))
    code, well = "PoolsByNic", "no load balancer of a Service has the nodes' NICs in its pools"
    if not found:
        unread = evidence.unknown(*(parent_of(pool) for nic in evidence.nics.values() for pool in nic.pools))
        if unread:
            message = f"load balancers could not be read: {few(unread)}"
            return ClusterCheck(GROUP, code, CheckResult.UNKNOWN, message, ASK_A_READER, SERVICES)
        return ClusterCheck(GROUP, code, CheckResult.GOOD, well, page=SERVICES)
    balancers = few(sorted({name_of(parent_of(pool)) for _, _, _, pool in found}))
    nodes = few(list(dict.fromkeys(node for node, *_ in found)))
    message = (
        f"load balancer {balancers} has NICs of nodes in its pools: {nodes}; the cloud controller writes them for each "
        "Service, beside azure-cni"
    )
    do = (
        "set loadBalancerBackendPoolConfigurationType: nodeIP in the cloud controller's configuration and start it "
        "again; then take out what it left in the pools"
    )
    pools = {pool for *_, pool in found}
    bound = [node for node in dict.fromkeys(node for node, *_ in found) if _leave_by(pools, node, evidence)]
    if bound:
        do += f"; give {few(bound)} first another way out, such as a NAT gateway: without these pools they have none"
    commands = "; ".join(_leaving(nic, config, pool) for node, nic, config, pool in found if node not in bound)
    return ClusterCheck(GROUP, code, CheckResult.WARNING, message, do, SERVICES, commands)


def _members(evidence: CloudEvidence) -> Iterator[tuple[str, NicFacts, str, str]]:
    """Node, NIC, primary ipConfiguration and pool, of pools with a rule of a Service.

    Other pools, such as one for outbound rules, are joined once when a VM is made. azure-cni attaches none to primary
    ipConfigurations.
    """
    for node, nic in evidence.nics.items():
        for config in nic.configs[:1]:
            for pool in config.pools:
                balancer = evidence.balancers.get(parent_of(pool).lower())
                if balancer is not None and any(map(RULE_OF_A_SERVICE.match, balancer.rules)):
                    yield node, nic, config.name, pool


def _leave_by(pools: Collection[str], node: str, evidence: CloudEvidence) -> bool:
    """Whether the node has a way out by one of these pools, and none once its NIC is in none of them."""
    nic, scale_set = evidence.nics[node], evidence.machines.scale_sets.get(node, "")
    others = [replace(one, pools=tuple(pool for pool in one.pools if pool not in pools)) for one in nic.configs]
    now, then = (way_out(one, evidence, scale_set=scale_set) for one in (nic, replace(nic, configs=tuple(others))))
    return now.way is WayKind.BALANCER and then.way is WayKind.NONE


def _leaving(nic: NicFacts, config: str, pool: str) -> str:
    return (
        f"az network nic ip-config address-pool remove {az_scope(nic.id)} --nic-name {shlex.quote(name_of(nic.id))} "
        f"--ip-config-name {shlex.quote(config)} --address-pool {shlex.quote(pool)}"
    )
