"""What Azure says of the nodes' machines and of what their identities may do, as frozen values. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from azure_cni.api.reading import mapping, mappings, text

_INSTANCE: Final = re.compile(r"(.+/virtualMachineScaleSets/[^/]+)/virtualMachines/\d+", re.IGNORECASE)
"""A VM's ID in a Uniform scale set, whose instances have numbers and are no resources of their own."""
_ABOVE: Final = "/providers/microsoft.management/managementgroups/"
"""How a management group's ID begins. Of a resource group Azure lists the roles at those above it, and at no others."""


@dataclass(frozen=True, slots=True)
class VmFacts:
    """A virtual machine. `principals` are the object IDs of its identities, `scale_set_id` is "" for one in none."""

    id: str
    name: str
    computer_name: str
    scale_set_id: str = ""
    principals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RoleFacts:
    """What a role allows: patterns with `*`, in pairs of what is allowed and what is not."""

    allowances: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]

    def allows(self, action: str) -> bool:
        """Whether it includes that action."""
        return any(_matches(these, action) and not _matches(but, action) for these, but in self.allowances)


@dataclass(frozen=True, slots=True)
class GrantFacts:
    """A role that a principal has at a scope, and in all that lies below it."""

    scope: str
    role: RoleFacts

    def allows(self, action: str, *, at: str) -> bool:
        """Whether it lets the principal do that to the resource of that ID."""
        scope = self.scope.lower()
        within = f"{at.lower()}/".startswith(f"{scope.rstrip('/')}/") or scope.startswith(_ABOVE)
        return bool(scope) and within and self.role.allows(action)


def scale_set_of(vm_id: str) -> str:
    """The scale set that the ID of an instance names; "" for a VM of its own."""
    found = _INSTANCE.fullmatch(vm_id)
    return found[1] if found else ""


def is_uniform(scale_set: Mapping[str, Any]) -> bool:
    """Of a virtualMachineScaleSets document. Sets that were made before there were Flexible ones say nothing."""
    return text(mapping(scale_set.get("properties")).get("orchestrationMode")).lower() != "flexible"


def parse_vm(document: Mapping[str, Any]) -> VmFacts:
    """A virtualMachines document."""
    properties, identity = mapping(document.get("properties")), mapping(document.get("identity"))
    assigned = mapping(identity.get("userAssignedIdentities")).values()
    principals = [text(identity.get("principalId")), *(text(mapping(one).get("principalId")) for one in assigned)]
    return VmFacts(
        id=text(document.get("id")),
        name=text(document.get("name")),
        computer_name=text(mapping(properties.get("osProfile")).get("computerName")),
        scale_set_id=text(mapping(properties.get("virtualMachineScaleSet")).get("id")),
        principals=tuple(filter(None, principals)),
    )


def parse_role(document: Mapping[str, Any]) -> RoleFacts:
    """A roleDefinitions document."""
    permissions = mappings(mapping(document.get("properties")).get("permissions"))
    return RoleFacts(tuple((_texts(one.get("actions")), _texts(one.get("notActions"))) for one in permissions))


def parse_assignment(document: Mapping[str, Any]) -> tuple[str, str]:
    """Scope and role, both by ID, of a roleAssignments document."""
    properties = mapping(document.get("properties"))
    return text(properties.get("scope")), text(properties.get("roleDefinitionId"))


def _texts(value: object) -> tuple[str, ...]:
    return tuple(filter(None, map(text, value))) if isinstance(value, list) else ()


def _matches(patterns: Iterable[str], action: str) -> bool:
    return any(
        re.fullmatch(".*".join(map(re.escape, one.split("*"))), action, re.IGNORECASE) is not None for one in patterns
    )


@dataclass(frozen=True, slots=True)
class MachineEvidence:
    """What was read of machines. `unread`: what Azure refused, with the reason in words."""

    vms: Mapping[str, VmFacts] = field(default_factory=dict)
    """By node, of those that no agent serves yet."""
    scale_sets: Mapping[str, str] = field(default_factory=dict)
    """By node, the ID of its scale set."""
    uniform: Mapping[str, bool] = field(default_factory=dict)
    """Whether a scale set is, by ID in lower case."""
    grants: Mapping[str, tuple[GrantFacts, ...]] = field(default_factory=dict)
    """By principal."""
    unread_vms: tuple[str, ...] = ()
    unread_sets: tuple[str, ...] = ()
    unread_grants: tuple[str, ...] = ()
