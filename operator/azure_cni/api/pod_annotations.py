"""What a pod asks of the VNet, by its annotations: parsed here and nowhere else. Pure.

An annotation that cannot be used is ignored, and `faults` says why: the pod runs all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from azure_cni.api.node_ip_pool import GROUP
from azure_cni.api.reading import mappings, text
from azure_cni.model.attachments import AttachedResource, AttachmentKind
from azure_cni.model.text import legible

LOAD_BALANCER_POOLS: Final = f"{GROUP}/load-balancer-pools"
"""Resource IDs of backend pools, separated by commas: the pod is in each of them, as a VM would be."""
PUBLIC_IP: Final = f"{GROUP}/public-ip"
"""The resource ID of a public IP address that the pod has."""
KNOWN: Final = (LOAD_BALANCER_POOLS, PUBLIC_IP)
"""What is read of a pod's annotations, and kept of it."""

LOAD_BALANCER_ATTACHED: Final = f"{GROUP}/load-balancer-attached"
"""The readiness gate, and the pod's condition: what the pod asks for is attached to its address."""

MOST_POOLS: Final = 8
"""Of one pod; our own limit. Azure limits the rules that reach an ipConfiguration, not its pools."""
LONGEST_NAMED: Final = 80


@dataclass(frozen=True, slots=True)
class PodAnnotations:
    """`resources`: what the pod wants attached to its address. `faults`: for people, what of it cannot be used."""

    resources: frozenset[AttachedResource] = frozenset()
    faults: tuple[str, ...] = ()


NOTHING: Final = PodAnnotations()


@dataclass(frozen=True, slots=True)
class PodCondition:
    """One condition of a pod's status."""

    type: str
    holds: bool
    reason: str
    message: str


def is_gated(spec: Mapping[str, Any]) -> bool:
    """Whether the pod counts as ready only with LOAD_BALANCER_ATTACHED."""
    return any(gate.get("conditionType") == LOAD_BALANCER_ATTACHED for gate in mappings(spec.get("readinessGates")))


def attached_condition(status: Mapping[str, Any]) -> PodCondition | None:
    """The pod's condition LOAD_BALANCER_ATTACHED as it is; None where it has none."""
    for found in mappings(status.get("conditions")):
        if found.get("type") == LOAD_BALANCER_ATTACHED:
            reason, message = text(found.get("reason")), text(found.get("message"))
            return PodCondition(LOAD_BALANCER_ATTACHED, found.get("status") == "True", reason, message)
    return None


def read_annotations(annotations: Mapping[str, Any]) -> PodAnnotations:
    """What the annotations of a pod ask for."""
    if not any(name in annotations for name in KNOWN):
        return NOTHING
    faults: list[str] = []
    pools = _resources(annotations, LOAD_BALANCER_POOLS, AttachmentKind.POOL, faults, most=MOST_POOLS)
    public_ips = _resources(annotations, PUBLIC_IP, AttachmentKind.PUBLIC_IP, faults, most=1)
    return PodAnnotations(frozenset(pools + public_ips), tuple(faults))


def _resources(
    annotations: Mapping[str, Any], name: str, kind: AttachmentKind, faults: list[str], *, most: int
) -> list[AttachedResource]:
    """The resources that the annotation names; what is wrong with it goes into `faults`."""
    ids = [part for written in text(annotations.get(name)).split(",") if (part := written.strip())]
    if len(ids) > most:
        faults.append(f"{name} has {len(ids)} resource IDs, and {most} {'are' if most > 1 else 'is'} the most")
        ids = []
    found = []
    for resource_id in ids:
        resource = AttachedResource.parse(resource_id)
        if resource is None or resource.kind is not kind:
            shown = legible(resource_id, LONGEST_NAMED)
            faults.append(f"{name} has {shown!r}, which is not the resource ID of a {kind}")
        else:
            found.append(resource)
    return found
