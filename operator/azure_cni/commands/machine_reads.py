"""Reads what `check --azure` needs to know of the nodes' machines: VMs, scale sets, and what identities may do.

For an identity Azure is asked once in each resource group, of at most `MOST_PRINCIPALS` identities: nodes of one kind
are set up alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from azure_cni.commands.reads import at_once
from azure_cni.diagnose.cloud_evidence import NicFacts, group_of
from azure_cni.diagnose.machine_facts import (
    GrantFacts,
    MachineEvidence,
    RoleFacts,
    VmFacts,
    is_uniform,
    parse_assignment,
    parse_role,
    parse_vm,
    scale_set_of,
)
from azure_cni.errors import AzureCniError

if TYPE_CHECKING:
    from azure_cni.commands.azure_access import AzureAccess

MOST_PRINCIPALS: Final = 32
T = TypeVar("T")
U = TypeVar("U")


class MachineReader:
    """One look at the machines of some resource groups (IDs)."""

    def __init__(self, access: AzureAccess, groups: Sequence[str]) -> None:
        self._access = access
        found, self._unread_vms = _tried(access.list_vms, groups)
        self._vms = [parse_vm(one) for documents in found.values() for one in documents]

    def named(self, node: str) -> str:
        """The ID of the one VM that has that name, for a Node that does not name its VM; "" where that is unclear."""
        found = [vm.id for vm in self._vms if node.lower() in {vm.computer_name.lower(), vm.name.lower()}]
        return found[0] if len(found) == 1 else ""

    def read(self, vm_ids: Mapping[str, str], nics: Mapping[str, NicFacts], served: Iterable[str]) -> MachineEvidence:
        """Of these VMs, by node; `served` are the nodes with an agent, which says itself what it lacks."""
        known = {vm.id.lower(): vm for vm in self._vms}
        vms = {node: known[one.lower()] for node, one in vm_ids.items() if one.lower() in known}
        instances = {node: scale_set_of(one) for node, one in vm_ids.items()}
        sets = {node: one for node, one in instances.items() if one}
        sets |= {node: vm.scale_set_id for node, vm in vms.items() if vm.scale_set_id}
        uniform, unread_sets = _tried(lambda one: is_uniform(self._access.read(one)), sorted(set(sets.values())))
        new = {node: vm for node, vm in vms.items() if node not in set(served)}
        grants, unread_grants = self._read_grants(new, nics)
        return MachineEvidence(
            vms=new,
            scale_sets=sets,
            uniform={key.lower(): value for key, value in uniform.items()},
            grants=grants,
            unread_vms=self._unread_vms,
            unread_sets=unread_sets,
            unread_grants=unread_grants,
        )

    def _read_grants(
        self, vms: Mapping[str, VmFacts], nics: Mapping[str, NicFacts]
    ) -> tuple[dict[str, tuple[GrantFacts, ...]], tuple[str, ...]]:
        """Of a principal all or nothing: half of what it may do would look like a lack."""
        pairs: dict[tuple[str, str], None] = {}
        principals = list(dict.fromkeys(one for vm in vms.values() for one in vm.principals))[:MOST_PRINCIPALS]
        for node, vm in vms.items():
            nic = nics.get(node)
            groups = {group_of(one) for one in (vm.id, nic.id if nic else "", nic.subnet_id if nic else "")} - {""}
            pairs |= dict.fromkeys(
                (one, group) for one in vm.principals if one in principals for group in sorted(groups)
            )
        listed, unread = _tried(lambda pair: self._access.list_assignments(pair[1], pair[0]), list(pairs))
        given = {pair: [parse_assignment(one) for one in found] for pair, found in listed.items()}
        subscription = {role: pair[1] for pair, found in given.items() for _, role in found}
        roles, unread_roles = _tried(
            lambda one: parse_role(self._access.read_role(one, subscription[one])), list(subscription)
        )
        whole = {one for one in principals if all(pair in given for pair in pairs if pair[0] == one)}
        grants = {one: _grants_of(one, given, roles) for one in whole}
        return {one: found for one, found in grants.items() if found is not None}, (*unread, *unread_roles)


def _grants_of(
    principal: str, given: Mapping[tuple[str, str], Sequence[tuple[str, str]]], roles: Mapping[str, RoleFacts]
) -> tuple[GrantFacts, ...] | None:
    """None where a role of it could not be read."""
    mine = dict.fromkeys(one for pair, found in given.items() if pair[0] == principal for one in found)
    if any(role not in roles for _, role in mine):
        return None
    return tuple(GrantFacts(scope, roles[role]) for scope, role in mine)


def _tried(work: Callable[[T], U], things: Sequence[T]) -> tuple[dict[T, U], tuple[str, ...]]:
    """What came of each, and why some failed."""

    def one(thing: T) -> tuple[U | None, str]:
        try:
            return work(thing), ""
        except AzureCniError as error:
            return None, str(error)

    answers: list[Any] = at_once(one, things)
    found = {thing: value for thing, (value, why) in zip(things, answers, strict=True) if not why}
    return found, tuple(dict.fromkeys(why for _, why in answers if why))
