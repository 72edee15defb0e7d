"""Whether the nodes' machines are of a kind that works, have an identity, and whether it may do what agents do.

Once an agent serves a node, it says itself which permission it lacks, so identities are only looked at before that.
What the chart's values will be is not known then: with `azure.identity: workload` or `nicWriter: controller` VMs need
no identity of their own, so that these checks warn.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Final

from azure_cni.diagnose.check_results import ASK_A_READER, CheckResult, ClusterCheck
from azure_cni.diagnose.cloud_evidence import CloudEvidence, NicFacts, az_scope, group_of, parent_of
from azure_cni.diagnose.machine_facts import GrantFacts, MachineEvidence, VmFacts
from azure_cni.model.identity import ROLE, SCALE_SETS_ROLE, role_assignment
from azure_cni.model.text import few

GROUP: Final = "azure"
IDENTITY: Final = "docs/install.md#4-identity-in-azure"
UNLESS: Final = "unless azure.identity is workload or nicWriter is controller"
NETWORK, COMPUTE = "Microsoft.Network", "Microsoft.Compute"


def check_machines(evidence: CloudEvidence) -> list[ClusterCheck]:
    """All of them."""
    machines = evidence.machines
    return [check_scale_sets(machines), check_identities(machines), check_permissions(machines, evidence.nics)]


def check_scale_sets(machines: MachineEvidence) -> ClusterCheck:
    """By the orchestration mode that Azure says, whatever the Node calls itself."""
    code, page = "ScaleSetMode", "docs/install.md#nodes-in-uniform-scale-sets"
    uniform = [node for node, one in machines.scale_sets.items() if machines.uniform.get(one.lower())]
    if uniform:
        message = (
            f"Azure has these nodes in Uniform scale sets; their NICs and identities are not checked: {few(uniform)}"
        )
        do = f'see that their identity has the role "{SCALE_SETS_ROLE}" as well (docs/azure-role-scale-sets.json)'
        return ClusterCheck(GROUP, code, CheckResult.WARNING, message, do, page)
    if machines.unread_sets:
        message = f"scale sets could not be read: {few(machines.unread_sets)}"
        return ClusterCheck(GROUP, code, CheckResult.UNKNOWN, message, ASK_A_READER, page)
    return ClusterCheck(GROUP, code, CheckResult.GOOD, "Azure has no node in a Uniform scale set", page=page)


def check_identities(machines: MachineEvidence) -> ClusterCheck:
    """Whether each VM has one."""
    code = "VmIdentity"
    bare = {node: vm for node, vm in machines.vms.items() if not vm.principals}
    if bare:
        message = f"VMs without an identity, {UNLESS}: {few(list(bare))}"
        do = f'make one, give it to them and assign it the role "{ROLE}"'
        return ClusterCheck(GROUP, code, CheckResult.WARNING, message, do, IDENTITY, _identity_for(list(bare.values())))
    if machines.unread_vms:
        message = f"VMs could not be read: {few(machines.unread_vms)}"
        return ClusterCheck(GROUP, code, CheckResult.UNKNOWN, message, ASK_A_READER, IDENTITY)
    return ClusterCheck(GROUP, code, CheckResult.GOOD, "each VM without an agent yet has an identity", page=IDENTITY)


def _identity_for(vms: list[VmFacts]) -> str:
    group = group_of(vms[0].id)
    identity = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/azure-cni"
    ids = " ".join(shlex.quote(vm.id) for vm in vms)
    make = f"az identity create {az_scope(vms[0].id)} -n azure-cni"
    return f"{make} && az vm identity assign --ids {ids} --identities {shlex.quote(identity)}"


def check_permissions(machines: MachineEvidence, nics: Mapping[str, NicFacts]) -> ClusterCheck:
    """Whether an identity of each VM may do all that an agent does to its NIC."""
    code, page = "RolePermissions", "docs/install.md#what-each-permission-is-for"
    lacking: dict[tuple[str, ...], list[str]] = {}
    commands: dict[str, None] = {}
    for node, vm in machines.vms.items():
        nic = nics.get(node)
        known = [one for one in vm.principals if one in machines.grants]
        if nic is None or not known:
            continue
        needed = list(dict.fromkeys(needed_by(vm, nic)))
        missing, principal = min(((_missing(needed, machines.grants[one]), one) for one in known), key=_count)
        if missing:
            lacking.setdefault(tuple(dict.fromkeys(action for action, _ in missing)), []).append(node)
            for scope in dict.fromkeys(group_of(where) for _, where in missing):
                commands[role_assignment(identity=principal, scope=scope)] = None
    if lacking:
        message = "; ".join(
            f"{few(nodes)}: the VM's identity lacks {few(list(these))}" for these, nodes in lacking.items()
        )
        do = f'assign it the role "{ROLE}" (docs/azure-role.json), {UNLESS}'
        return ClusterCheck(GROUP, code, CheckResult.WARNING, message, do, page, "; ".join(filter(None, commands)))
    if unread := (*machines.unread_vms, *machines.unread_grants):
        message = f"what the VMs' identities may do could not be read: {few(unread)}"
        return ClusterCheck(GROUP, code, CheckResult.UNKNOWN, message, ASK_A_READER, page)
    message = "the identity of each VM without an agent yet may do what agents do"
    return ClusterCheck(GROUP, code, CheckResult.GOOD, message, page=page)


def _count(found: tuple[list[tuple[str, str]], str]) -> int:
    return len(found[0])


def _missing(needed: list[tuple[str, str]], grants: tuple[GrantFacts, ...]) -> list[tuple[str, str]]:
    return [(action, at) for action, at in needed if not any(one.allows(action, at=at) for one in grants)]


def needed_by(vm: VmFacts, nic: NicFacts) -> Iterator[tuple[str, str]]:
    """Actions of docs/azure-role.json, and the resource each is needed for: a written NIC with all it refers to.

    The VNet's usages are the controller's to read, whose identity may be another.
    """
    vnet = parent_of(nic.subnet_id)
    yield f"{COMPUTE}/virtualMachines/read", vm.id
    yield f"{NETWORK}/networkInterfaces/read", nic.id
    yield f"{NETWORK}/networkInterfaces/write", nic.id
    yield f"{NETWORK}/locations/operations/read", group_of(nic.id)
    yield f"{NETWORK}/virtualNetworks/read", vnet
    yield f"{NETWORK}/virtualNetworks/subnets/join/action", nic.subnet_id
    if nic.security_group_id:
        yield f"{NETWORK}/networkSecurityGroups/join/action", nic.security_group_id
    for config in nic.configs:
        yield from config.joins
