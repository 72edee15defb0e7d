"""What became of what a pod asks to have attached, in words for its owner: for its readiness gate and its events. Pure.

The words name the pod's own resources and say what must change. Azure's own messages stay in the log and in the
NodeIPPool: identities and other people's resources are none of a pod's owner's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from ipaddress import IPv4Address

from azure_cni.api.pod_annotations import KNOWN, LOAD_BALANCER_ATTACHED
from azure_cni.errors import AccessDenied, CloudError, CloudNotFound
from azure_cni.ipam.attachment_blame import MISSING, TAKEN
from azure_cni.ipam.attachment_plan import is_for_attachments
from azure_cni.model.attachments import AttachedResource, AttachmentKind
from azure_cni.model.nic import ExcludedConfiguration, IPConfiguration, NicView
from azure_cni.model.text import addresses, few

ATTACHED = "Attached"
PENDING = "AttachmentPending"
PAUSED = "PoolPaused"
"""As of a pod that waits for an address: the same person ends it."""
NOTHING_ASKED = "AttachmentNotAsked"
INVALID = "AttachmentInvalid"
NOT_ALLOWED = "AttachmentNotAllowed"
NOT_FOUND = "AttachmentNotFound"
DENIED = "AttachmentDenied"
IN_USE = "AttachmentInUse"
REFUSED = "AttachmentRefused"
IMPOSSIBLE = "AttachmentImpossible"
HOST_NETWORK = "AttachmentHostNetwork"

_JOIN = {
    AttachmentKind.POOL: "Microsoft.Network/loadBalancers/backendAddressPools/join/action",
    AttachmentKind.PUBLIC_IP: "Microsoft.Network/publicIPAddresses/join/action",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """`reason` is CamelCase. `done`: everything is attached. `problem`: a person has to change something."""

    reason: str
    message: str
    done: bool = False
    problem: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """What one pod asks for: `resources`, of which its namespace may use `allowed`; `faults`: what cannot be used."""

    namespace: str
    resources: frozenset[AttachedResource]
    allowed: frozenset[AttachedResource]
    faults: tuple[str, ...] = ()


_NOTHING_ASKED = Outcome(
    NOTHING_ASKED,
    f"the pod has the readiness gate {LOAD_BALANCER_ATTACHED} and asks for nothing, so it never becomes ready: remove "
    f"the gate, or name what it shall have by the annotations {' and '.join(KNOWN)}",
    problem=True,
)
_BARRED = Outcome(
    DENIED,
    "Azure refuses every write of the node's NIC, because the identity that writes it lacks a permission on something "
    "that the NIC has already: the condition PermissionMissing of the node's NodeIPPool names it",
    problem=True,
)


def outcome(
    asked: Asked,
    address: IPv4Address | None,
    view: NicView | None,
    *,
    refusal_of: Callable[[AttachedResource], CloudError | None],
    taken: Collection[AttachedResource] = (),
    written: bool = True,
    barred: bool = False,
    paused: str = "",
) -> Outcome:
    """What became of it. `address`: the pod's, None while it has none; `view`: the NIC as last read and settled.

    `taken`: public IP addresses that other pods of this node asked for first. `written` is False where nobody writes
    the NIC. `barred`: Azure refuses every write of it, for want of a permission on what it has already. `paused`: the
    name of the node's pool, where somebody has paused it; else "".
    """
    if asked.faults:
        return Outcome(INVALID, "; ".join(asked.faults), problem=True)
    if foreign := sorted(asked.resources - asked.allowed):
        names = few([str(resource) for resource in foreign])
        it = "it" if len(foreign) == 1 else "them"
        message = (
            f"namespace {asked.namespace} may not use the {names}: an administrator can allow {it}, by an entry for "
            "the namespace in the value podNetworking.allowed of the chart azure-cni"
        )
        return Outcome(NOT_ALLOWED, message, problem=True)
    if not asked.resources:
        return _NOTHING_ASKED  # else nobody would ask: a pod with neither gate nor annotation is no concern
    if not written:
        return Outcome(IMPOSSIBLE, "nicWriter is none: nobody writes this node's NIC", problem=True)
    found = _on_nic(asked, address, view, refusal_of=refusal_of, taken=taken)
    return found if found.reason != PENDING else _waiting(found, barred=barred, paused=paused)


def _waiting(found: Outcome, *, barred: bool, paused: str) -> Outcome:
    """Where a person has to act before what is not attached yet is."""
    if paused:
        return Outcome(PAUSED, f"{found.message}: the pool of the node is paused; end it: azure-cni resume {paused}")
    return _BARRED if barred else found


def on_node_network(*, gated: bool) -> Outcome:
    """Of a pod that asks for something, and has the node's address. `gated`: it waits for that, and is never ready."""
    asks = f"readiness gate {LOAD_BALANCER_ATTACHED}" if gated else f"annotations {' and '.join(KNOWN)}"
    message = (
        "the pod is on its node's network (hostNetwork: true), so it has the node's address, and no load balancer pool "
        f"or public IP address can be attached to that for a pod: remove hostNetwork from the pod, or its {asks}"
    )
    return Outcome(HOST_NETWORK, message, problem=True)


def _on_nic(
    asked: Asked,
    address: IPv4Address | None,
    view: NicView | None,
    *,
    refusal_of: Callable[[AttachedResource], CloudError | None],
    taken: Collection[AttachedResource],
) -> Outcome:
    config = None if view is None or address is None else view.with_address(address)
    missing = sorted(asked.resources - (config.attached if config is not None else frozenset()))
    if not missing:
        return Outcome(ATTACHED, f"{few([str(resource) for resource in sorted(asked.resources)])} attached", done=True)
    if config is not None and (why := _never(config, address)):
        return Outcome(IMPOSSIBLE, why, problem=True)
    for resource in missing:
        if resource in taken:
            message = f"another pod of this node has the {resource}: it is attached when that pod has ended"
            return Outcome(IN_USE, message, problem=True)
        if (error := refusal_of(resource)) is not None:
            return _refused(resource, error)
    return Outcome(PENDING, f"{few([str(resource) for resource in missing])} not attached yet")


def _never(config: IPConfiguration | ExcludedConfiguration, address: IPv4Address | None) -> str:
    """Why nothing is ever attached to this address of the ipConfiguration; "" where something may be."""
    if isinstance(config, IPConfiguration) and not config.attachable:
        return (
            "the pod's node is an instance of a Uniform scale set, where azure-cni attaches nothing to addresses: run "
            "the pod on a node that is a VM of its own, or in a Flexible scale set"
        )
    if isinstance(config, IPConfiguration) and config.size > 1:
        return (
            f"{address} is in a block of {addresses(config.size)}, and azure-cni attaches nothing to blocks: run the "
            "pod on a node whose NodeIPPool has none (spec.blocks: 0)"
        )
    if is_for_attachments(config):
        return ""
    return (
        f"others made the ipConfiguration of {address}, or attached something to it, and azure-cni attaches nothing "
        "there: delete the pod to give it another address"
    )


def _refused(resource: AttachedResource, error: CloudError) -> Outcome:
    if isinstance(error, CloudNotFound) or error.azure_code in MISSING:
        return Outcome(
            NOT_FOUND, f"Azure does not find the {resource}: does it exist, and in the NIC's region?", problem=True
        )
    if isinstance(error, AccessDenied) and not error.azure_code:
        message = f"the controller's podNetworking.allowed does not list the {resource}: is it still starting?"
        return Outcome(NOT_ALLOWED, message, problem=True)
    if isinstance(error, AccessDenied):
        message = f"the identity that writes the NIC lacks {_JOIN[resource.kind]} on the {resource}"
        return Outcome(DENIED, message, problem=True)
    if error.azure_code in TAKEN:
        return Outcome(IN_USE, f"the {resource} is in use elsewhere in Azure", problem=True)
    code = f" ({error.azure_code})" if error.azure_code else ""
    return Outcome(
        REFUSED,
        f"Azure refuses to attach the {resource}{code}; the log of this node's agent has Azure's words",
        problem=True,
    )
