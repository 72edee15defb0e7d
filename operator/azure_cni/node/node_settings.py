"""What a node is given: its settings (the pool's policy, the data plane, periods), and its ports in one hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from azure_cni.api.egress import EgressNamespaces
from azure_cni.ipam import limits
from azure_cni.ipam.sizing import Policy
from azure_cni.model.attachments import Allowance
from azure_cni.model.identity import LinkNames, ModeName, NodeIdentity
from azure_cni.model.pod_subnets import PodSubnetRule
from azure_cni.node.audit import AuditTrail
from azure_cni.node.azure_ports import Cloud, Nic, ShownAddresses
from azure_cni.node.ports import (
    Clock,
    Datapath,
    Events,
    Grants,
    LedgerStore,
    NodeObject,
    Observer,
    PodConditions,
    PodList,
    Pools,
)
from azure_cni.node.recorded_deletes import ReleasedRecords


@dataclass(frozen=True, slots=True)
class Timing:
    """Periods in seconds. The NIC is read again after each write anyway; `nic_s` finds what others changed, and sooner
    than that what the metadata service, asked each `hint_s`, gives a hint of.
    """

    nic_s: float = 600.0
    hint_s: float = 15.0
    vnet_s: float = 3600.0
    kernel_s: float = 60.0
    shrink_delay_s: float = limits.SHRINK_DELAY_S


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What the chart's values say about the pool and the data plane of every node.

    `mode`: how pods hang on the node where its NodeIPPool does not say. `link_names`: after what the node's ends of
    pods' links are named. `nic_read_only`: azure-cni does not write the
    NIC (`nicWriter: none`), and the pool is what it has. `egress`: the namespaces whose pods may leave the VNet with
    their own address. `cooling_s`: how long a released address is held back. `attachable`: which pools and public IP
    addresses the pods of which namespaces may use. `in_cluster`: what CNI runtimes wire is pods, which the API
    server lists. Otherwise it is containers, which nobody lists; and only then a runtime may name the address of one,
    because in a cluster Multus passes on what a pod's annotations ask for, and the pod would choose.
    """

    defaults: Policy = field(default_factory=Policy)
    mode: ModeName = ModeName.TRANSPARENT
    link_names: LinkNames = LinkNames.HASH
    routable: frozenset[IPv4Network] = frozenset()
    allow_imds: bool = False
    egress: EgressNamespaces = field(default_factory=EgressNamespaces)
    nic_read_only: bool = False
    cooling_s: float = limits.COOLING_S
    attachable: tuple[Allowance, ...] = ()
    in_cluster: bool = True
    pod_subnets: tuple[PodSubnetRule, ...] = ()
    """Which nodes' pools are in a subnet of their own, where the NodeIPPool does not say."""
    timing: Timing = field(default_factory=Timing)


@dataclass(frozen=True, slots=True)
class NodePorts:
    """All ports of a node's use cases, for the assembly."""

    cloud: Cloud
    nic_of: Callable[[NodeIdentity], Nic]
    grants: Grants
    pools: Pools
    node: NodeObject
    pods: PodList
    pod_conditions: PodConditions
    events: Events
    datapath: Datapath
    store: LedgerStore
    released: ReleasedRecords
    clock: Clock
    observer: Observer
    audit: AuditTrail | None = None
    """None where no trail is kept."""
    shown_addresses: ShownAddresses | None = None
    """None where nothing shows the NIC's addresses beside what reads it."""
