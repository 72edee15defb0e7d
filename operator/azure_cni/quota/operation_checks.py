"""What a node's NIC operation may do: only on its own VM, and only within its grant. Pure.

A node under someone else's control can write any operation. What it may not do is refused here, by what the controller
itself granted and by what Azure itself shows, never by what the operation claims.
"""

from __future__ import annotations

import re
from typing import Final

from azure_cni.api.nic_operation import SetSecurityGroups, WriteNic
from azure_cni.api.nic_wishes import wanted_security_groups
from azure_cni.api.node_ip_pool import NodeIPPool, PoolView, Request, WriteIntent
from azure_cni.api.vnet_quota import LedgerEntry, nic_label
from azure_cni.errors import (
    AccessDenied,
    CloudError,
    CloudNotFound,
    ConfigInvalid,
    PreconditionFailed,
    RequestRefused,
)
from azure_cni.ipam.grants import usable
from azure_cni.model.attachments import AttachedResource
from azure_cni.model.identity import IdentityClaim, is_same
from azure_cni.model.nic import ConfigName, NicID, NicView, SubnetID
from azure_cni.model.text import addresses, counted, legible

_OF_AZURE: Final = re.compile(
    r"azure://(/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.Compute/.+)", re.IGNORECASE
)
"""As Azure's cloud provider writes it, in lower case in parts."""


def names_another(provider_id: str, *, vm: str) -> str:
    """The VM that a Node says it is (`spec.providerID`) if it is another one than `vm`; "" if it may be that.

    The cloud provider writes it, or the kubelet when it registers. The API server lets nobody change it afterwards
    (ValidateNodeUpdate), and no agent may set it. Of a Node that says nothing, or nothing of Azure, nothing is known.
    """
    named = vm_named(provider_id)
    return named if named.lower() != vm.lower() else ""


def vm_named(provider_id: str) -> str:
    """The resource ID of the VM that a `spec.providerID` names; "" when it names none of Azure's."""
    named = _OF_AZURE.fullmatch(provider_id)
    return named[1] if named is not None else ""


def refuse_unlike(claim: IdentityClaim, provider_id: str, *, node: str) -> None:
    """Raise AccessDenied if the Node says that it is another VM."""
    if other := names_another(provider_id, vm=claim.vm_resource_id):
        raise AccessDenied(
            f"cannot execute a NIC operation of node {node} for {claim.vm_resource_id}: its Node says that it is "
            f"{other} (spec.providerID, which cannot be changed); was the VM moved or recreated? then delete the Node "
            f"(kubectl delete node {node}) and restart its kubelet, which registers it again",
            scope=claim.vm_resource_id,
        )


def not_its_vm(error: CloudError, *, node: str) -> CloudError:
    """What the node may read of an error that came of asking whose the VM is: that it is not the node's.

    The error itself names what only the VM knows (its unique ID, its MACs), and whoever knows those can write an
    operation that is executed. So it is for the controller's log. Where Azure refuses the controller, or does not
    answer, the node may know why.
    """
    words = f"cannot execute a NIC operation of node {node}: not this node's VM; the controller's log says why"
    if isinstance(error, CloudNotFound):
        return CloudNotFound(words)
    ours = isinstance(error, AccessDenied) and not error.azure_code
    return AccessDenied(words) if ours else error


def refuse_foreign(named: str, *, own: str, node: str) -> None:
    """Raise AccessDenied unless the resource is the one that Azure says is this machine's."""
    if named.lower() != own.lower():
        raise AccessDenied(f"cannot act on {named} for node {node}: its VM has {own}", scope=named)


def refuse_unchosen(subnet: SubnetID, *, spec: SubnetID, ruled: SubnetID, node: str) -> None:
    """Raise AccessDenied unless `subnet` is what people chose for the node's pods: in the `spec` of its pool, else in
    the chart's rules (`ruled`). Both are PRIMARY_NIC where they name none.
    """
    chosen = spec or ruled
    if is_same(subnet, chosen):
        return
    instead = f"it is {chosen}" if chosen else "there is none"
    raise AccessDenied(
        f"cannot execute a NIC operation of node {node}: it claims the pod subnet {legible(subnet)}, and by spec.nic "
        f"of its NodeIPPool and the chart's pool.subnets {instead}; if pods of the node are there, name it in "
        f"spec.nic.subnet of NodeIPPool {node} until they are gone"
    )


def refuse_ungranted(operation: WriteNic | SetSecurityGroups, pool: PoolView, *, node: str) -> None:
    """Raise AccessDenied unless the operation names the node's newest grant."""
    if operation.grant_number != pool.request.number or operation.grant_number != pool.granted_for:
        raise AccessDenied(
            f"{_cannot(node)}: the operation names grant {operation.grant_number}, the newest request is "
            f"{pool.request.number}, and the newest grant {pool.granted_for}"
        )


def refuse_used(operation: WriteNic | SetSecurityGroups, *used: tuple[int, int], serving: int, node: str) -> None:
    """Raise AccessDenied if another operation than the one of the number `serving` has used its grant: one grant allows
    one write, because the write budget counts grants. `used`: grants, each with the operation that used it.
    """
    if any(grant == operation.grant_number and by != serving for grant, by in used):
        raise AccessDenied(f"{_cannot(node)}: an earlier operation has already used grant {operation.grant_number}")


def refuse_unpaid(operation: WriteNic | SetSecurityGroups, reserved: LedgerEntry, *, own: NicID, node: str) -> None:
    """Raise AccessDenied unless the ledger has a token for this grant, for such a write of the NIC `own`.

    The ledger and not the pool, where the node may write something else once it is answered.
    """
    if reserved.request_id != operation.grant_number:
        raise AccessDenied(
            f"{_cannot(node)}: the operation names grant {operation.grant_number}, and the ledger of the NIC's VNet "
            "has " + (f"grant {reserved.request_id}" if reserved.request_id else "none for this node")
        )
    if reserved.nic != nic_label(own):
        raise AccessDenied(
            f"{_cannot(node)}: grant {operation.grant_number} is for {reserved.nic}, and its VM has {own}"
        )
    if reserved.write_intent is not operation.write_intent:
        allowed = "no write" if reserved.write_intent is WriteIntent.NONE else reserved.write_intent
        raise AccessDenied(
            f"{_cannot(node)}: grant {operation.grant_number} allows {allowed}, by its entry in the "
            f"VNetQuota, and the operation is to {operation.write_intent}"
        )


def refuse_unlisted(
    operation: WriteNic | SetSecurityGroups, pool: NodeIPPool, allowed: frozenset[AttachedResource], *, node: str
) -> None:
    """Raise AccessDenied if the write puts the NIC, or a part of it, into what no administrator lists for it."""
    if isinstance(operation, SetSecurityGroups):
        refuse_unwanted(operation, pool, node=node)
    else:
        refuse_attachments(operation, allowed, node=node)


def refuse_changed(operation: WriteNic | SetSecurityGroups, seen: NicView, *, node: str) -> None:
    """Raise PreconditionFailed if the NIC is not the one any more that the node decided on."""
    if seen.etag != operation.etag:
        raise PreconditionFailed(f"{_cannot(node)}: it changed since {operation.etag} ({seen.etag})")


def refuse_attachments(operation: WriteNic, allowed: frozenset[AttachedResource], *, node: str) -> None:
    """Raise AccessDenied if the write attaches what the values allow to no namespace.

    Which pods of a node may have what, its agent decides: the controller does not know which pod has an address. Of
    what azure-cni made on its own NIC a node may remove anything: nobody else loses by it.
    """
    if foreign := frozenset().union(*(change.add for change in operation.attach)) - allowed:
        raise AccessDenied(
            f"{_cannot(node)}: podNetworking.allowed does not list the {min(foreign)}", scope=min(foreign).id
        )


def refuse_beyond(operation: WriteNic, seen: NicView, pool: PoolView, reserved: LedgerEntry, *, node: str) -> None:
    """Raise AccessDenied if the write leaves more than is granted, RequestRefused if it takes what others made.

    `seen`: the NIC without what has something attached that is not listed (`attachment_plan.admitted`). What azure-cni
    made of that counts: a node had it attached while the values listed it, and would have its grant again otherwise.
    """
    ours = {config.name: config.size for config in seen.secondaries if config.ours}
    leaving = sum(size for name, size in ours.items() if name in operation.remove)
    there = {config.name for config in seen.configs} | {ConfigName(config.name) for config in seen.excluded}
    if foreign := there & set(operation.remove) - ours.keys():
        raise RequestRefused(
            f"{_cannot(node)}: azure-cni did not make {counted(len(foreign), 'ipConfiguration', 'ipConfigurations')} "
            f"that would be removed, such as {legible(min(foreign))}"
        )
    after = seen.held + seen.held_for_others - leaving + operation.add
    allowed = min(usable(Request(pool.request.count, operation.grant_number), pool), reserved.count)
    if operation.add and after > allowed:
        raise AccessDenied(f"{_cannot(node)}: it would hold {addresses(after)} and may hold {allowed}")
    singles = sum(not it.block and it.name not in operation.remove for it in seen.ipv6) + operation.ipv6.singles
    # Beyond that one for each new address: pods whose IPv4 address another tool removed go on with theirs of IPv6.
    if operation.ipv6.singles > operation.add and singles > after:
        raise AccessDenied(f"{_cannot(node)}: it would hold {singles} IPv6 addresses beside {after} of IPv4")


def refuse_unwanted(operation: SetSecurityGroups, pool: NodeIPPool, *, node: str) -> None:
    """Raise AccessDenied unless the pool's spec, which people write, names just these groups."""
    try:
        wanted = wanted_security_groups(pool)
    except ConfigInvalid as error:
        raise RequestRefused(f"{_cannot(node)}: {error}") from error
    if wanted is None or {one.lower() for one in wanted} != {one.lower() for one in operation.groups}:
        raise AccessDenied(
            f"{_cannot(node)}: the application security groups of the operation are not those of "
            "spec.applicationSecurityGroups of its NodeIPPool"
        )


def _cannot(node: str) -> str:
    return f"cannot change the NIC of node {node}"
