"""NIC operations: what an agent without any permission in Azure asks of the controller, through its own pool.

The agent writes one operation at a time to `status.nicOperation`, and the controller its result to
`status.nicOperationResult`; the number in both says which belongs to which. Numbers rise with each operation, across
restarts of the agent too, and a newer operation voids the one before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, assert_never

from azure_cni.api import reading
from azure_cni.api.node_ip_pool import NodeIPPool, WriteIntent
from azure_cni.errors import CloudError, InternalFault
from azure_cni.model.identity import IdentityClaim, NodeIdentity, VNetView
from azure_cni.model.ipv6 import NO_IPV6, IPv6Growth
from azure_cni.model.nic import AttachmentChange, ConfigName, NicID, NicView, VNetID


@dataclass(frozen=True, slots=True)
class Identify:
    """Which NIC, subnet and VNet are this machine's?

    `document` is the metadata service's attested document for the controller's last challenge, "" without one.
    """

    claim: IdentityClaim
    document: str = ""


@dataclass(frozen=True, slots=True)
class Challenge:
    """Nothing was done: the node must first attest which VM it is, by a document with `nonce`. `why` is for people."""

    nonce: str
    why: str


@dataclass(frozen=True, slots=True)
class ReadVNet:
    """Prefixes of the VNet that the machine is in."""

    claim: IdentityClaim
    vnet_id: VNetID


@dataclass(frozen=True, slots=True)
class ReadNic:
    """The machine's NIC as it is."""

    claim: IdentityClaim
    nic_id: NicID


@dataclass(frozen=True, slots=True)
class WriteNic:
    """One change of the machine's NIC that still has `etag`, allowed by the grant `grant_number`."""

    claim: IdentityClaim
    nic_id: NicID
    etag: str
    add: int
    remove: tuple[ConfigName, ...]
    grant_number: int
    attach: tuple[AttachmentChange, ...] = ()
    size: int = 1
    """How many of the `add` addresses each new configuration holds."""
    ipv6: IPv6Growth = NO_IPV6

    @property
    def write_intent(self) -> WriteIntent:
        """The intent that the grant must be for. A swap is growth, because what it adds is bounded."""
        if self.add:
            return WriteIntent.GROW
        if self.attach:
            return WriteIntent.ATTACH
        return WriteIntent.SHRINK if self.remove else WriteIntent.REWRITE


@dataclass(frozen=True, slots=True)
class SetSecurityGroups:
    """One write of the machine's NIC that still has `etag`: all of it in these application security groups."""

    claim: IdentityClaim
    nic_id: NicID
    etag: str
    groups: tuple[str, ...]
    grant_number: int

    @property
    def write_intent(self) -> WriteIntent:
        """It adds and removes nothing."""
        return WriteIntent.REWRITE


NicOperation: TypeAlias = Identify | ReadVNet | ReadNic | WriteNic | SetSecurityGroups
OperationResult: TypeAlias = NodeIdentity | VNetView | NicView | Challenge
OperationFailure: TypeAlias = CloudError | InternalFault
"""Azure's error, or a fault of the controller itself."""


def last_number(pool: NodeIPPool) -> int:
    """The highest number that the pool shows of any operation; 0 when there was none."""
    return max(_number(pool.status.get("nicOperation")), _number(pool.status.get("nicOperationResult")))


def pending(pool: NodeIPPool) -> int | None:
    """The number of the operation that has no result yet, None when there is none."""
    newest = _number(pool.status.get("nicOperation"))
    return newest if newest > _number(pool.status.get("nicOperationResult")) else None


def kind(operation: NicOperation) -> str:
    """The operation in one word, as in its document and in logs."""
    match operation:
        case Identify():
            return "identify"
        case ReadVNet():
            return "vnet"
        case ReadNic():
            return "read"
        case WriteNic():
            return "write"
        case SetSecurityGroups():
            return "securityGroups"
        case _:
            assert_never(operation)


def _number(document: object) -> int:
    return reading.last_number(reading.mapping(document).get("id"))
