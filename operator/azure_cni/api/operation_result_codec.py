"""Results of NIC operations as documents in the pool (`status.nicOperationResult`).

They are written as merge patches, so a document names every one of its keys: None removes what an earlier one left
there. What would be longer than the custom resource definition allows is cut here, or the API server would refuse all
of the result. Two fields outlive the result that brought them: which VM the node was found to be, and on which NIC
(`read_identified`, `read_pod_subnet`), and the last grant that it used (`read_used_grant`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, collapse_addresses
from typing import Annotated, Any, Final, assert_never

import msgspec

from azure_cni.api import reading
from azure_cni.api.nic_operation import (
    Challenge,
    OperationFailure,
    OperationResult,
)
from azure_cni.api.nic_operation_codec import Number, built, parsed
from azure_cni.api.nic_view_codec import NicInResult, nic_shape, read_nic
from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.errors import (
    AccessDenied,
    CloudError,
    CloudNotFound,
    CloudUnreachable,
    DecodeFailed,
    InternalFault,
    NotAttested,
    OperationFailed,
    OutcomeUnknown,
    PreconditionFailed,
    RequestRefused,
    ResourceBusy,
    SubnetFull,
    Throttled,
    WritesSpent,
)
from azure_cni.model.identity import PRIMARY_NIC, NodeIdentity, NodeNic, VNetView
from azure_cni.model.nic import (
    NicID,
    NicView,
    SubnetID,
    VNetID,
)
from azure_cni.model.pod_subnets import NicMissing
from azure_cni.model.text import shortened

ERRORS: Final[Mapping[str, type[CloudError]]] = {
    kind.reason: kind
    for kind in (
        CloudError,
        CloudUnreachable,
        Throttled,
        WritesSpent,
        ResourceBusy,
        PreconditionFailed,
        SubnetFull,
        AccessDenied,
        NotAttested,
        CloudNotFound,
        NicMissing,
        RequestRefused,
        OperationFailed,
        OutcomeUnknown,
    )
}
"""By reason. A reason that this build does not know is a plain CloudError, which callers treat cautiously."""

LONGEST_MESSAGE: Final = 4096
LONGEST_NAME: Final = 1024
"""Characters of an error's message, and of each name in it, in a result."""
LONGEST_RETRY_S: Final = 1e9
MOST_PREFIXES: Final = 1024
MOST_PEERED: Final = 4096
"""Prefixes of a VNet and of all its peers. A VNet has 500 peers at most (Azure's subscription limits, networking)."""


class _Identity(msgspec.Struct, rename="camel"):
    vm_id: str
    vm: str
    nic: str
    subnet: str
    vnet: str
    mac: str
    primary_ip: str
    attested: bool = False
    node_mac: str | None = None
    node_ip: str | None = None


class _VNet(msgspec.Struct):
    prefixes: tuple[str, ...]
    peered: tuple[str, ...]


class _Error(msgspec.Struct, rename="camel"):
    reason: str
    message: str
    azure_code: str
    retry_after_s: float | None = None
    action: str = ""
    scope: str = ""


class _Result(msgspec.Struct, rename="camel"):
    id: Number
    identity: _Identity | None = None
    vnet: _VNet | None = None
    nic: NicInResult | None = None
    error: _Error | None = None
    used_grant: Number = 0
    challenge: Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{1,10}\Z")] | None = None


def result_document(
    number: int, result: OperationResult | OperationFailure, *, attested: bool = False, used_grant: int = 0
) -> dict[str, Any]:
    """As in `status.nicOperationResult`. `attested`: the node has proven that it is the VM of the identity.

    `used_grant` is the number of the grant that the operation has used up, 0 where it has used none.
    """
    raw = _Result(number, used_grant=used_grant)
    match result:
        case NodeIdentity():
            raw.identity = _identity_shape(result, attested=attested)
        case VNetView():
            raw.vnet = _VNet(_prefixes(result.prefixes, MOST_PREFIXES), _prefixes(result.peered, MOST_PEERED))
        case NicView():
            raw.nic = nic_shape(result)
        case Challenge():  # an error, too: for agents that know no challenge
            raw.challenge, raw.error = result.nonce, _error_document(NotAttested(result.why))
        case InternalFault() | CloudError():
            raw.error = _error_document(result)
        case _:
            assert_never(result)
    document = built(raw)
    if raw.identity is None:
        del document["identity"]
    if not used_grant:
        del document["usedGrant"]
    return document


def _error_document(error: OperationFailure) -> _Error:
    """Of bounded length: the message may quote what a node wrote, and what Azure says of it."""
    message = shortened(str(error), LONGEST_MESSAGE)
    if isinstance(error, InternalFault):
        return _Error(error.reason, message, azure_code="")
    scope = error.scope if isinstance(error, AccessDenied) else ""
    code, action, scope = (shortened(text, LONGEST_NAME) for text in (error.azure_code, error.lacks, scope))
    wait_s = None if error.retry_after_s is None else min(max(error.retry_after_s, 0.0), LONGEST_RETRY_S)
    return _Error(error.reason, message, code, wait_s, action, scope)


def _prefixes(networks: Sequence[IPv4Network], most: int) -> tuple[str, ...]:
    """As texts. Where they are too many, in fewer larger ones; pods' traffic to what is still left out is translated to
    the node's address, as if it were outside.
    """
    found = networks if len(networks) <= most else [*collapse_addresses(networks)][:most]
    return tuple(map(str, found))


def read_result(document: object) -> OperationResult | OperationFailure:
    """The result of an operation. An error is returned, for the caller to raise. DecodeFailed when it is no result."""
    raw = parsed(document, _Result, what="NIC operation's result")
    try:
        if raw.challenge is not None:
            return Challenge(raw.challenge, raw.error.message if raw.error else "")
        if raw.error is not None:
            return _error(raw.error)
        if raw.nic is not None:
            return read_nic(raw.nic)
        if raw.vnet is not None:
            return _vnet(raw.vnet)
        if raw.identity is not None:  # last: it is still there in the results that follow
            return _identity(raw.identity)
    except ValueError as error:
        raise DecodeFailed(f"cannot use the NIC operation's result: {error}") from error
    raise DecodeFailed("cannot use the NIC operation's result: it says nothing")


@dataclass(frozen=True, slots=True)
class Identified:
    """The VM that a controller last found to be a pool's, "" when none did; `attested`: the node has proven it."""

    vm_id: str
    attested: bool


def read_identified(pool: NodeIPPool) -> Identified:
    """As the pool shows it. No agent may write it."""
    result = reading.mapping(pool.status.get("nicOperationResult"))
    identity = reading.mapping(result.get("identity"))
    return Identified(reading.text(identity.get("vmId")), attested=identity.get("attested") is True)


def read_pod_subnet(pool: NodeIPPool) -> SubnetID:
    """In which subnet a controller last found the NIC of the pool, PRIMARY_NIC where that was the VM's primary one. No
    agent may write it.
    """
    result = reading.mapping(pool.status.get("nicOperationResult"))
    identity = reading.mapping(result.get("identity"))
    return SubnetID(reading.text(identity.get("subnet"))) if reading.text(identity.get("nodeIp")) else PRIMARY_NIC


def read_challenge(pool: NodeIPPool) -> str:
    """The nonce that the controller's last result wants attested; "" when it wants none. No agent may write it."""
    result = reading.mapping(pool.status.get("nicOperationResult"))
    return reading.text(result.get("challenge"))


def read_used_grant(pool: NodeIPPool) -> int:
    """The number of the last grant that this pool's node used, by the results; 0 for none. No agent may write it."""
    result = reading.mapping(pool.status.get("nicOperationResult"))
    return reading.number(result.get("usedGrant"))


def _error(raw: _Error) -> OperationFailure:
    if raw.reason == InternalFault.reason:
        return InternalFault(raw.message)
    kind = ERRORS.get(raw.reason, CloudError)
    if issubclass(kind, AccessDenied):
        return kind(raw.message, action=raw.action, scope=raw.scope, azure_code=raw.azure_code)
    error = kind(raw.message, azure_code=raw.azure_code, retry_after_s=raw.retry_after_s)
    error.lacks = raw.action
    return error


def _identity_shape(result: NodeIdentity, *, attested: bool) -> _Identity:
    node = result.node_nic
    return _Identity(
        result.vm_id, result.vm_resource_id, result.nic_id, result.subnet_id, result.vnet_id, result.mac,
        str(result.primary_ip), attested,
        node_mac=None if node is None else node.mac,
        node_ip=None if node is None else str(node.address),
    )  # fmt: skip


def _identity(raw: _Identity) -> NodeIdentity:
    return NodeIdentity(
        vm_id=raw.vm_id,
        vm_resource_id=raw.vm,
        nic_id=NicID(raw.nic),
        subnet_id=SubnetID(raw.subnet),
        vnet_id=VNetID(raw.vnet),
        mac=raw.mac,
        primary_ip=IPv4Address(raw.primary_ip),
        node_nic=_node_nic(raw),
    )


def _node_nic(raw: _Identity) -> NodeNic | None:
    if raw.node_mac is None or raw.node_ip is None:
        return None
    return NodeNic(raw.node_mac, IPv4Address(raw.node_ip))


def _vnet(raw: _VNet) -> VNetView:
    prefixes, peered = (tuple(map(IPv4Network, texts)) for texts in (raw.prefixes, raw.peered))
    return VNetView(prefixes, peered)
