"""The one condition that says which permission in Azure a node lacks, and what the node does without meanwhile. Pure.

Each permission is needed only for what uses it: pods that run are not affected by any, and pods start as long as an
address is free. So every failure for want of a permission is listed here, with its cost, and `Ready` says whether pods
can start. A failure that is over, or that nothing tries again (`Failures.lapse`), is not listed any more: what nobody
uses now, nobody lacks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from azure_cni.api.conditions import Condition, PoolKind
from azure_cni.errors import AccessDenied, AzureCniError, CloudError, NotAttested
from azure_cni.model.attachments import AttachedResource
from azure_cni.model.identity import role_assignment
from azure_cni.model.text import addresses, few
from azure_cni.node.pool.failures import Activity, Failure


def permission_missing(
    failures: Iterable[Failure], held_back: Collection[Failure] = (), *, ready: bool, allocated: int
) -> Condition:
    """`held_back`: what Azure does not attach, and is left out of the NIC's writes; `ready`: pods can be wired;
    `allocated`: addresses on the NIC for pods.
    """
    denied = denied_failures(failures, held_back)
    if not denied:
        message = "Azure has denied this node nothing that it asked for"
        return Condition(PoolKind.PERMISSION_MISSING, False, "NothingDenied", message)
    # One permission may be what several activities lack: it is said once.
    left_out = {str(failure.error) for failure in held_back}
    said = []
    for failure in denied:
        cost = _cost(failure, bars=str(failure.error) not in left_out, ready=ready, allocated=allocated)
        command = assignment(failure.error)
        said.append(f"{failure.error!s}; until then {cost}{f'; {command}' if command else ''}")
    return Condition(PoolKind.PERMISSION_MISSING, True, AccessDenied.reason, few(said, between=". ", last=". And "))


def denied_failures(failures: Iterable[Failure], held_back: Collection[Failure] = ()) -> list[Failure]:
    """Those for want of a permission, each permission once; what is held back comes first."""
    return list({str(failure.error): failure for failure in (*held_back, *failures) if _is_denied(failure)}.values())


def _is_denied(failure: Failure) -> bool:
    """For want of a permission, or of an identity that could have one.

    A node that must prove which VM it is (NotAttested) lacks a proof, not a permission.
    """
    error = failure.error
    denied = isinstance(error, AccessDenied) and not isinstance(error, NotAttested)
    return denied or (isinstance(error, CloudError) and bool(error.lacks))


def _cost(failure: Failure, *, bars: bool, ready: bool, allocated: int) -> str:
    """What the node does without while this activity fails. `bars`: it is the whole write that Azure refuses."""
    keeps = f"pods run, and start as long as one of the node's {addresses(allocated)} is free"
    if not ready or not allocated:
        keeps = "pods that run keep their network, and no other pod starts on this node"
    lost = _LOST.get(failure.activity, "")
    if bars and failure.activity in _ANY_WRITE and _is_join(failure.error):
        lost = _NO_WRITE + (_LEFT_ATTACHED if _attached(failure.error) is not None else "")
    if isinstance(failure.error, CloudError) and failure.error.accepted:  # only its operation cannot be followed
        lost = "; what came of a write shows only when the NIC is read"
    return f"{keeps}{lost}"


def _is_join(error: AzureCniError) -> bool:
    """It is about what the NIC refers to, and not about the NIC."""
    return isinstance(error, CloudError) and error.lacks.lower().endswith(_JOINS)


def _attached(error: AzureCniError) -> AttachedResource | None:
    """What a pod may have had attached, if the error is about that."""
    return AttachedResource.parse(error.scope) if isinstance(error, AccessDenied) else None


def assignment(error: AzureCniError) -> str:
    """The command that assigns the permission, "" where Azure has not named it.

    The identity is OBJECT-ID where only the message has it: the error came from the controller.
    """
    if not isinstance(error, AccessDenied) or not error.lacks:
        return ""
    return role_assignment(identity=error.identity, scope=error.scope)


_JOINS: Final = ("/join/action", "/joinipconfiguration/action")

_ANY_WRITE: Final = frozenset({Activity.RECOVER, Activity.GROW, Activity.ATTACH, Activity.REPAIR, Activity.RELEASE})
"""Their writes join nothing that the NIC is not in already, but what is held back where Azure refuses it."""

_NO_WRITE: Final = (
    "; no write of the NIC succeeds, for Azure wants this permission in each of them: the node gets no more addresses "
    "and gives none back, and pods get nothing attached or detached"
)
_LEFT_ATTACHED: Final = (
    ". It stays attached to its pods, whose traffic comes by it; removing it from the chart's podNetworking.allowed "
    "detaches it, and the node then does without the permission"
)

_LOST: Final[Mapping[Activity, str]] = {
    Activity.IDENTITY: "; the NIC is neither read nor written",
    Activity.VNET: "; changes of the VNet and its peerings are not seen",
    Activity.READ: "; the NIC is not written, and what others change on it is not seen",
    Activity.RECOVER: "; pods do not get back what another tool removed from its NIC",
    Activity.GROW: ", and it gets no more",
    Activity.GROUPS: "; the NIC stays in the application security groups that it is in",
    Activity.ATTACH: "; pods do not get what they ask to have attached by annotation",
    Activity.REPAIR: "; its NIC stays as a write that failed left it",
    Activity.RELEASE: "; addresses that it does not need any more stay on its NIC",
}
"""What fails with an activity, beyond that the node has no more addresses.

An agent that cannot say which NIC it has, or what its VNet holds, serves from the ledger of this boot: pods go on to
start. The other activities fail one by one, each without the others.
"""
