"""What is known of a node's pool at one moment, for whoever puts it in words (`pool_conditions`). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from azure_cni.api.node_ip_pool import Recall
from azure_cni.datapath.conflicts import Conflict
from azure_cni.ipam.ledger import Counts
from azure_cni.model.identity import PRIMARY_NIC, ModeName
from azure_cni.model.nic import SubnetID
from azure_cni.model.text import addresses
from azure_cni.node.pool.failures import Activity, Failure
from azure_cni.node.pool.pool_state import LostAddress
from azure_cni.node.state import IN_CLUSTER, Advice


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that the words are made from.

    `ready` means identified and wired; `ceiling` is what the pool may grow to; `answered` that the newest request has
    its answer, and `asked_for_s` how long a write has been waiting for one; `growing` that Azure adds addresses now,
    `updating` that it works on the NIC, whatever for and for whomever; `withheld` addresses no pod may get until it is
    certain that they stay on the NIC; `obstacle` says why no pod can start, addresses or not;
    `conflicts` what others on the host do against the traffic of pods.
    """

    ready: bool
    counts: Counts
    paused: bool
    nic_read_only: bool
    target: int
    ceiling: int
    requested: int
    answered: bool
    asked_for_s: float
    growing: bool
    updating: bool
    withheld: int
    vnet_known: bool
    missing: tuple[IPv4Address, ...]
    obstacle: str
    conflicts: tuple[Conflict, ...]
    refusal: str
    refusal_message: str
    throttled_until: str
    now_s: float
    pool: str = "NODE"
    """The name of the NodeIPPool, which is the node's."""
    retry_at: Mapping[Activity, str] = field(default_factory=dict)
    """When activities that failed are tried again (RFC 3339), for those of which that is worth telling."""
    crowding: int = 0
    """ipConfigurations for no pod that take up what else the pool might have of the NIC."""
    bound: str = ""
    """Which field of the pool's spec is the ceiling, `max` or `size`; "" where something else is."""
    block_size: int = 1
    """How many addresses the pool grows by at least."""
    mode: ModeName = ModeName.TRANSPARENT
    """In which pods are wired."""
    pending_mode: ModeName | None = None
    """The mode that the node is to change over to, and has not yet."""
    pending_subnet: SubnetID | None = None
    """In which the NIC is that the pool is to move to, and has not yet; None where it is to stay."""
    subnet: SubnetID = PRIMARY_NIC
    """The one that pods' addresses are in."""
    pods: tuple[str, ...] = ()
    """Who holds an address, in words."""
    recall: Recall | None = None
    recalling: int = 0
    """How many addresses other nodes are to give back for pods of this one."""
    near_limit: bool = False
    """Pods have most of what the pool may grow to."""
    advice: Advice = IN_CLUSTER
    lost: tuple[LostAddress, ...] = ()
    """Those of `missing` that azure-cni asks for again."""
    removed_again: str = ""
    """Why not now: another tool removes them again and again."""
    denied: tuple[Failure, ...] = ()
    """What pods ask to have attached, and a permission lacks for."""

    @property
    def at_limit(self) -> bool:
        """The pool may not grow any further."""
        return self.counts.allocated >= self.ceiling

    @property
    def held(self) -> str:
        """The counts in words."""
        counts = self.counts
        leaving = f", {counts.releasing} being released" if counts.releasing else ""
        return (
            f"{counts.allocated} of at most {addresses(self.ceiling)}: "
            f"{counts.assigned} assigned, {counts.cooling} cooling, {counts.free} free{leaving}"
        )

    @property
    def harmless(self) -> frozenset[Activity]:
        """Failures that need not concern a pod: what they would renew is known well enough, or brings it nothing."""
        known = {Activity.IDENTITY, Activity.VNET} if self.vnet_known else set()
        return frozenset(known if self.withheld else known | {Activity.REPAIR, Activity.RELEASE})
