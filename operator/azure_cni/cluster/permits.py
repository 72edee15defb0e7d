"""How far a node's order may go: no further than its own machine, and than what it was granted. Pure.

A node that is not what it seems can order whatever it likes; what it may not do is refused here, by what the controller
itself granted and by what Azure itself says, never by what the order says.
"""

from __future__ import annotations

import re
from typing import Final

from azure_cni.api.identity import MachineClaim
from azure_cni.api.nic import NicView
from azure_cni.api.orders import WriteNic
from azure_cni.api.plurals import addresses
from azure_cni.api.pool import PoolView, Request
from azure_cni.errors import AccessDenied, CloudError, CloudNotFound
from azure_cni.ipam.grants import usable

_OF_AZURE: Final = re.compile(
    r"azure://(/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.Compute/.+)", re.IGNORECASE
)
"""As Azure's cloud provider writes it, in lower case in parts."""


def names_another(provider_id: str, *, vm: str) -> str:
    """The VM that a Node says it is (`spec.providerID`) if it is another one than `vm`; "" if it may be that.

    The cloud provider writes it, or the kubelet when it registers. The API server lets nobody change it afterwards
    (ValidateNodeUpdate), and no agent may set it. Of a Node that says nothing, or nothing of Azure, nothing is known.
    """
    named = _OF_AZURE.fullmatch(provider_id)
    return named[1] if named is not None and named[1].lower() != vm.lower() else ""


def refuse_unlike(claim: MachineClaim, provider_id: str, *, node: str) -> None:
    """Raise AccessDenied if the Node says that it is another VM."""
    if other := names_another(provider_id, vm=claim.vm_resource_id):
        raise AccessDenied(
            f"cannot carry out an order of node {node} for {claim.vm_resource_id}: its Node says that it is {other} "
            f"(spec.providerID, which cannot be changed); was the VM moved or recreated? then delete the Node (kubectl "
            f"delete node {node}) and restart its kubelet, which registers it again",
            scope=claim.vm_resource_id,
        )


def not_its_vm(error: CloudError, *, node: str) -> CloudError:
    """What the node may read of an error that came of asking whose the VM is: that it is not the node's.

    The error itself names what only the VM knows (its unique ID, its MACs), and with that an order would be served. It
    is for the controller's log. Where Azure refuses the controller, or does not answer, the node may know why.
    """
    words = f"cannot carry out an order of node {node}: not this node's VM; the controller's log says why"
    if isinstance(error, CloudNotFound):
        return CloudNotFound(words)
    ours = isinstance(error, AccessDenied) and not error.azure_code
    return AccessDenied(words) if ours else error


def refuse_foreign(named: str, *, own: str, node: str) -> None:
    """Raise AccessDenied unless the resource is the one that Azure says is this machine's."""
    if named.lower() != own.lower():
        raise AccessDenied(f"cannot act on {named} for node {node}: its VM has {own}", scope=named)


def refuse_unpermitted(order: WriteNic, seen: NicView, pool: PoolView, *, node: str) -> None:
    """Raise AccessDenied unless the node's newest request is answered, and the answer covers what the write leaves."""
    cannot = f"cannot change the NIC of node {node}"
    if order.permit != pool.request.number or order.permit != pool.granted_for:
        raise AccessDenied(
            f"{cannot}: the order is under request {order.permit}; the newest is {pool.request.number}, and the last "
            f"that was answered {pool.granted_for}"
        )
    leaving = sum(config.name in order.remove for config in seen.secondaries)
    after = len(seen.secondaries) - leaving + order.add
    allowed = usable(Request(pool.request.count, order.permit), pool)
    if order.add and after > allowed:
        raise AccessDenied(f"{cannot}: it would hold {addresses(after)} and may hold {allowed}")
