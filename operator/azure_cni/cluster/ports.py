"""The ports of the cluster's use cases.

As with the node's, each port is small and declared here by its consumer, an adapter and a fake implement it, and one
contract suite holds both to the same behaviour. Every method raises only errors of `azure_cni.errors`.

Also here: what a controller is given at its start, its settings (`ClusterSettings`) and its ports in one hand.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.api.vnet_quota import Draft, LedgerEntry, Limits, VNetQuota
from azure_cni.model.identity import IdentityClaim, NodeIdentity, VNetView
from azure_cni.model.ipv6 import NO_IPV6, IPv6Growth
from azure_cni.model.nic import AttachmentChange, ConfigName, NicID, NicView, SubnetUsage, VNetID


class ControllerClock(Protocol):
    """Time. Waiting is the event loop's, which must run at the same speed."""

    def monotonic_s(self) -> float:
        """Seconds that never go back, from an arbitrary beginning."""

    def utc_s(self) -> float:
        """Wall clock in seconds since 1970: for people, and for what two controllers share."""


class Quotas(Protocol):
    """The VNetQuota objects."""

    async def list(self) -> tuple[VNetQuota, ...]:
        """All of them."""

    async def read(self, name: str) -> VNetQuota | None:
        """One of them, None when there is none of that name."""

    async def create(self, name: str, *, vnet_id: VNetID, limits: Limits) -> VNetQuota:
        """Make one, without a ledger; KubeConflict when the name is taken."""

    async def delete(self, seen: VNetQuota) -> None:
        """Remove one: a compare-and-swap on `seen`, KubeConflict when it changed since."""

    async def write(self, seen: VNetQuota, draft: Draft) -> VNetQuota:
        """Change the status: a compare-and-swap on `seen`, KubeConflict when it changed since.

        KubeInvalid when the API server refuses it: the entries' sum would be over the limit.
        """


class MemberPools(Protocol):
    """All nodes' NodeIPPools, and what a controller writes to them."""

    def walk(self) -> AsyncIterator[NodeIPPool]:
        """Every pool, page by page; KubeError if the list ends early."""

    async def read(self, name: str) -> NodeIPPool | None:
        """One pool, None when there is none."""

    async def write(self, name: str, *, version: str, status: Mapping[str, Any]) -> NodeIPPool:
        """Merge `status` into a pool that is still at that resourceVersion; KubeConflict when it changed."""


class VNets(Protocol):
    """Reads from Azure for the whole cluster."""

    async def usages(self, vnet_id: VNetID) -> tuple[SubnetUsage, ...]:
        """How many addresses of each subnet of the VNet are in use, by whomever."""

    async def ours_on(self, nic_id: str) -> int | None:
        """How many of the NIC's ipConfigurations are ours; None when there is no such NIC."""

    async def vm_of(self, nic_id: str) -> str:
        """The resource ID of the VM that the NIC is on; "" when it is on none, or there is no such NIC."""


class Machines(Protocol):
    """Azure, on behalf of nodes without access to it. No retries inside; CloudError when anything fails."""

    async def identify(self, claim: IdentityClaim) -> NodeIdentity:
        """The VM of that id, if it has that GUID, and its primary NIC, or the one in the pod subnet of the claim, if
        that has one of those MACs.
        """

    async def vnet(self, identity: NodeIdentity) -> VNetView:
        """Prefixes of the VNet and of its connected peers."""

    async def read(self, nic_id: NicID, *, beside: Sequence[NicID] = ()) -> NicView:
        """One GET of a NIC, and of those `beside` it on the VM; a configuration under an operation is not ready,
        whatever it was before.
        """

    async def write(
        self,
        seen: NicView,
        *,
        add: int,
        size: int = 1,
        remove: Collection[ConfigName],
        attach: Sequence[AttachmentChange] = (),
        ipv6: IPv6Growth = NO_IPV6,
    ) -> NicView:
        """One write of the NIC, guarded by the etag of `seen`, as a node itself would make it."""

    async def set_security_groups(self, seen: NicView, groups: Sequence[str]) -> NicView:
        """Put all configurations of the NIC into these application security groups, in one such write."""


class Attestations(Protocol):
    """Verifies Azure's signed statement of which VM asked its metadata service."""

    async def verify(self, document: str, *, nonce: str, vm_id: str) -> None:
        """NotAttested says why the document does not prove that the holder of `nonce` is that VM."""


class Nodes(Protocol):
    """The Node objects of Kubernetes."""

    async def provider_id(self, name: str) -> str:
        """What the Node says of its machine (`spec.providerID`); "" when it says nothing, or there is no such Node."""

    async def labels(self, name: str) -> Mapping[str, str]:
        """Its Node's labels; none where there is no such Node."""

    async def is_silent(self, name: str) -> bool:
        """Whether Kubernetes has not heard from that node's kubelet for a while; False where there is no such Node."""


class ClusterEvents(Protocol):
    """Kubernetes events, for people who `kubectl describe`. Repeats are counted, not multiplied; never raises."""

    async def publish(
        self, regarding: Mapping[str, Any], *, kind: str, reason: str, message: str, cause: str = ""
    ) -> None:
        """As `azure_cni.node.ports.Events` has it."""


class Reservations(Protocol):
    """What nodes may do, according to the ledgers of their VNets."""

    async def of(self, node: str, vnet_id: VNetID, *, request_id: int) -> LedgerEntry:
        """The node's entry in the ledger of that VNet, at least as new as the request; an empty one if it has none."""


class Operations(Protocol):
    """NIC operations that agents without access to Azure write into their pools."""

    @property
    def stuck(self) -> int:
        """How many nodes have an operation whose result could not be written at the last attempt."""

    def see(self, pool: NodeIPPool) -> None:
        """A pool was listed, added or changed."""

    def forget(self, name: str, uid: str = "") -> None:
        """A pool was deleted. With `uid` only that one: another of its name may have been seen since."""

    async def run(self) -> None:
        """Execute operations, until cancelled."""


class Leases(Protocol):
    """The one Lease that controllers compete for, as the document that Kubernetes knows."""

    async def read(self) -> Mapping[str, Any] | None:
        """The object, None when there is none."""

    async def create(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make it; KubeConflict when somebody was faster."""

    async def write(self, seen: Mapping[str, Any], spec: Mapping[str, Any]) -> Mapping[str, Any]:
        """Change it: a compare-and-swap on `seen`, KubeConflict when it changed since."""


class ControllerObserver(Protocol):
    """Hooks for measurements; called synchronously, must not block or raise."""

    def granted(self, result: str) -> None:
        """A pool was written: `full`, `short`, `taken_back`, `delayed`, `refused`, `recalled`, `told` (of what others
        give back), or its write failed (the reason).
        """

    def recalled(self, addresses: int) -> None:
        """A node was asked to give so many idle addresses back for pods of other nodes."""

    def ledger_written(self, result: str) -> None:
        """A write of a quota's ledger ended: `written`, or an error's reason."""

    def round(self, seconds: float) -> None:
        """One round over all pools of a VNet, with its writes."""

    def throttled(self, seconds: float) -> None:
        """Azure asked to wait this long, more than was known."""

    def reclaimed(self, result: str) -> None:
        """An entry without a pool was looked into: `reclaimed`, `kept`, or an error's reason."""

    def internal_error(self, activity: str) -> None:
        """An activity failed by a fault of azure-cni."""


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """From the chart. `defaults` are for new quotas only; people edit an existing one."""

    defaults: Limits = field(default_factory=Limits)
    reclaim_s: float = 300.0
    """How often entries without a pool are checked."""
    usages_s: float = 300.0
    """How often the VNet's usage is read from Azure."""


@dataclass(frozen=True, slots=True)
class ClusterPorts:
    """The ports that a leading controller needs for its VNets."""

    quotas: Quotas
    pools: MemberPools
    nodes: Nodes
    vnets: VNets
    events: ClusterEvents
    clock: ControllerClock
    observer: ControllerObserver
