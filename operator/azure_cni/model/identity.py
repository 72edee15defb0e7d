"""Who a node is in Azure, and in which mode it wires pods: found at the start, and published in its pool's status.

The identity comes from the metadata service and the resource manager. What a mode means is the data plane's to say
(`datapath.modes`).
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from azure_cni.model.nic import NicID, SubnetID, VNetID

MAX_ATTESTED_DOCUMENT: Final = 16_384
"""Characters of an attested document. Azure's have 4,000; with the authorities' certificates it would be 10,000."""


def short_id(resource_id: str) -> str:
    """`RESOURCE-GROUP/NAME` of a resource ID, for logs; what is none, as it is."""
    parts = resource_id.strip("/").split("/")  # subscriptions/S/resourceGroups/G/providers/NAMESPACE/TYPE/NAME
    return f"{parts[3]}/{parts[7]}" if len(parts) == 8 else resource_id  # noqa: PLR2004


PRIMARY_NIC: Final = SubnetID("")
"""In place of a pod subnet: the pool is on the VM's primary NIC, whatever subnet that is in."""


def is_same(one: str, other: str) -> bool:
    """Whether two resource IDs name one resource: Azure varies their case."""
    return one.lower() == other.lower()


ROLE: Final = "azure-cni agent"
"""Of docs/azure-role.json, which has every action that a node may lack whose VM is a resource of its own."""
SCALE_SETS_ROLE: Final = "azure-cni scale sets"
"""Of docs/azure-role-scale-sets.json, which has what is lacking beside it for an instance of a Uniform scale set."""
_SCALE_SET: Final = re.compile(r"(/.+/Microsoft\.Compute/virtualMachineScaleSets/[^/]+)/.*", re.IGNORECASE)
_LOCATION: Final = re.compile(r"(/subscriptions/[^/]+)/providers/([^/]+)/locations/.*", re.IGNORECASE)
"""Where operations are polled: nothing at which a role can be assigned."""
_OBJECT_ID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SCOPE: Final = re.compile(r"/subscriptions/[A-Za-z0-9_.()/-]+")


def role_assignment(*, identity: str, scope: str) -> str:
    """The command that assigns the role to who has that object ID, at a resource ID; "" where `scope` is none.

    Both may be words of others, for a person to copy: what is no object ID stands there as OBJECT-ID. At an instance of
    a Uniform scale set, and at operations of its provider, it is the role for those.
    """
    if not _SCOPE.fullmatch(scope):
        return ""
    who = identity if _OBJECT_ID.fullmatch(identity) else "OBJECT-ID"
    polled = _LOCATION.fullmatch(scope)
    of_sets = _SCALE_SET.fullmatch(scope) or (polled and polled[2].lower() == "microsoft.compute")
    role = SCALE_SETS_ROLE if of_sets else ROLE
    return f'az role assignment create --assignee {who} --role "{role}" --scope {shlex.quote(assignable(scope))}'


def assignable(scope: str) -> str:
    """Where a role is assigned that something lacks at this scope: for an instance of a Uniform scale set the set, for
    operations in a region the subscription, else that scope itself.
    """
    found = _SCALE_SET.fullmatch(scope) or _LOCATION.fullmatch(scope)
    return found[1] if found else scope


@dataclass(frozen=True, slots=True)
class NodeNic:
    """The VM's primary NIC where the pool is on another one: its MAC, and its primary address, which is the node's."""

    mac: str
    address: IPv4Address


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """The VM behind a node, and the NIC whose addresses its pods use.

    `vm_id` is the VM's GUID as IMDS gives it: a node name that comes back with another one is another machine.
    `mac` is lower case with colons, as the kernel writes it. `primary_ip` is the primary address of the pool's NIC.
    `beside` are the VM's further NICs, whose ipConfigurations count toward the VM's 256 as well; who counts
    them knows them.
    """

    vm_id: str
    vm_resource_id: str
    nic_id: NicID
    subnet_id: SubnetID
    vnet_id: VNetID
    mac: str
    primary_ip: IPv4Address
    node_nic: NodeNic | None = None
    beside: tuple[NicID, ...] = ()

    @property
    def node_ip(self) -> IPv4Address:
        """The node's own address."""
        return self.primary_ip if self.node_nic is None else self.node_nic.address


@dataclass(frozen=True, slots=True)
class IdentityClaim:
    """What a machine says of itself: its GUID and resource id, and the MACs of its NICs, as the kernel writes them; and
    in which subnet the NIC is that its pool shall be on.
    """

    vm_id: str
    vm_resource_id: str
    macs: tuple[str, ...]
    pod_subnet: SubnetID = PRIMARY_NIC


@dataclass(frozen=True, slots=True)
class VNetView:
    """Where traffic of pods keeps its source address: the VNet's own prefixes and those of its peers."""

    prefixes: tuple[IPv4Network, ...]
    peered: tuple[IPv4Network, ...]


class ModeName(StrEnum):
    """As the chart's values and `spec.mode` of a NodeIPPool have it."""

    TRANSPARENT = "transparent"
    BRIDGE = "bridge"


class LinkNames(StrEnum):
    """After what the node's end of a pod's link is named: its sandbox, or the pod as Calico finds it."""

    HASH = "hash"
    CALICO = "calico"
