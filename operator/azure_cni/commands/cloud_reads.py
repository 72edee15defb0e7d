"""Reads what `check --azure` needs to know of Azure: the nodes' NICs, and what their traffic passes.

A few reads for each resource group and VNet, however many nodes there are. What may not be read is noted, and the rest
is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from azure_cni.commands.machine_reads import MachineReader
from azure_cni.commands.output import progress
from azure_cni.commands.reads import at_once
from azure_cni.diagnose.cloud_evidence import (
    CloudEvidence,
    NicFacts,
    group_of,
    has_address,
    parent_of,
    parse_balancer,
    parse_nic,
    parse_routes,
    parse_subnets,
    vm_id_of,
)
from azure_cni.diagnose.evidence import ClusterEvidence, NodeFacts
from azure_cni.diagnose.security_rules import parse_group
from azure_cni.errors import AzureCniError

if TYPE_CHECKING:
    from azure_cni.commands.azure_access import AzureAccess

T = TypeVar("T")


class CloudReader:
    """One look at Azure."""

    def __init__(self, access: AzureAccess, *, groups: Sequence[str] = ()) -> None:
        """`groups`: IDs of resource groups in which to look for VMs of Nodes that do not name theirs."""
        self._access, self._groups = access, groups
        self._unread: dict[str, str] = {}

    def read(self, cluster: ClusterEvidence) -> CloudEvidence:
        """All of it."""
        with progress("asking Azure"):
            nodes = [one for one in cluster.nodes if one.linux or cluster.pool(one.name)]
            wanted = {one.name: _ids(one, cluster) for one in nodes}
            groups = sorted({*self._groups, *filter(None, (group_of(one) for ids in wanted.values() for one in ids))})
            machines = MachineReader(self._access, groups)
            wanted |= {node: (machines.named(node),) for node, ids in wanted.items() if not ids}
            found = self._find_nics(wanted, groups)
            nics = {node: nic for node, nic in found.items() if nic is not None}
            vnets = self._each({parent_of(nic.subnet_id) for nic in nics.values()}, parse_subnets)
            subnets = {key: one for some in vnets.values() for key, one in some.items()}
            self._note_children(nics.values(), subnets)
            passed = [subnets[nic.subnet_id.lower()] for nic in nics.values() if nic.subnet_id.lower() in subnets]
            filters = {one.security_group_id for one in passed} | {one.security_group_id for one in nics.values()}
            return CloudEvidence(
                nics=nics,
                subnets=subnets,
                groups=self._each(filters, parse_group),
                tables=self._each({one.route_table_id for one in passed}, parse_routes),
                gateways=self._each({one.nat_gateway_id for one in passed}, has_address),
                balancers=self._each({parent_of(pool) for nic in nics.values() for pool in nic.pools}, parse_balancer),
                unread=self._unread,
                unfound=tuple(node for node, nic in found.items() if nic is None),
                machines=machines.read(
                    _vms(nodes, nics), nics, served={pool.name for pool in cluster.pools if pool.nic_id}
                ),
            )

    def _find_nics(self, wanted: Mapping[str, Sequence[str]], groups: Sequence[str]) -> dict[str, NicFacts | None]:
        """By node: the NIC that its pool names, else the primary one of its Node's VM; None where neither is there."""
        listed = at_once(self._list, groups)
        documents = [one for found in listed for one in found]
        nics = [parse_nic(one) for one in documents]
        known = {nic.id.lower(): nic for nic in nics}
        known |= {nic.vm_id.lower(): nic for nic in nics if nic.vm_id and nic.primary}
        found = {node: [known[one.lower()] for one in ids if one.lower() in known] for node, ids in wanted.items()}
        return {node: nics[0] if nics else None for node, nics in found.items()}

    def _list(self, group_id: str) -> list[Mapping[str, Any]]:
        try:
            return list(self._access.list_nics(group_id))
        except AzureCniError as error:
            self._unread[group_id.lower()] = str(error)
            return []

    def _each(self, ids: Iterable[str], parse: Callable[[Mapping[str, Any]], T]) -> dict[str, T]:
        """Of each resource what `parse` makes of it, by ID in lower case."""
        wanted = sorted({one.lower(): one for one in ids if one}.values())

        def one(resource_id: str) -> T | None:
            try:
                return parse(self._access.read(resource_id))
            except AzureCniError as error:
                self._unread[resource_id.lower()] = str(error)
                return None

        found = dict(zip(wanted, at_once(one, wanted), strict=True))
        return {key.lower(): value for key, value in found.items() if value is not None}

    def _note_children(self, nics: Iterable[NicFacts], subnets: Mapping[str, object]) -> None:
        """Why a subnet is not known: its VNet could not be read."""
        for nic in nics:
            why = self._unread.get(parent_of(nic.subnet_id).lower())
            if why and nic.subnet_id.lower() not in subnets:
                self._unread[nic.subnet_id.lower()] = why


def _vms(nodes: Iterable[NodeFacts], nics: Mapping[str, NicFacts]) -> dict[str, str]:
    """By node the ID of its VM: as the Node has it, else as its NIC has."""
    named = {one.name: vm_id_of(one.provider_id) or (nics[one.name].vm_id if one.name in nics else "") for one in nodes}
    return {node: vm_id for node, vm_id in named.items() if vm_id}


def _ids(node: NodeFacts, cluster: ClusterEvidence) -> tuple[str, ...]:
    """By which its NIC is found: its own ID, or its VM's."""
    pool = cluster.pool(node.name)
    return tuple(filter(None, (pool.nic_id if pool else "", vm_id_of(node.provider_id))))
