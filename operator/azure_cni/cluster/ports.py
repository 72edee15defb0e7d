"""What the use cases of the cluster need of the world, named by need.

As with the node's: each port is small and declared here by its consumer, an adapter and a fake implement it, and one
contract suite holds both to the same behaviour. Every method raises only errors of `azure_cni.errors`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any, Protocol

from azure_cni.api.identity import MachineClaim, NodeIdentity, VNetView
from azure_cni.api.nic import ConfigName, NicID, NicView, VNetID
from azure_cni.api.quota import Draft, Limits, VNetQuota


class Clock(Protocol):
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


class Pools(Protocol):
    """All nodes' NodeIPPools, and what a controller writes to them."""

    def walk(self) -> AsyncIterator[Mapping[str, Any]]:
        """Every pool, page by page; KubeError when it did not come to its end."""

    async def read(self, name: str) -> Mapping[str, Any] | None:
        """One pool, None when there is none."""

    async def write(self, name: str, *, version: str, status: Mapping[str, Any]) -> Mapping[str, Any]:
        """Merge `status` into a pool that is still at that resourceVersion; KubeConflict when it changed."""


class VNets(Protocol):
    """Azure, as far as the whole cluster asks."""

    async def used(self, vnet_id: VNetID) -> int:
        """How many addresses of the VNet are in use, by whomever."""

    async def ours_on(self, nic_id: str) -> int | None:
        """How many of the NIC's ipConfigurations are ours; None when there is no such NIC."""


class Machines(Protocol):
    """Azure, on behalf of nodes that may not ask it. No retries inside; CloudError when anything fails."""

    async def identify(self, claim: MachineClaim) -> NodeIdentity:
        """The VM of that id, if it has that GUID, and its primary NIC, if that has one of those MACs."""

    async def vnet(self, identity: NodeIdentity) -> VNetView:
        """Prefixes of the VNet and of its connected peers."""

    async def read(self, nic_id: NicID) -> NicView:
        """One GET of a NIC; a configuration under an operation is not ready, whatever it was before."""

    async def write(self, seen: NicView, *, add: int, remove: Collection[ConfigName]) -> NicView:
        """One write of the NIC that was seen, guarded by its etag, as a node itself would make it."""


class Nodes(Protocol):
    """The Node objects of Kubernetes."""

    async def provider_id(self, name: str) -> str:
        """What the Node says of its machine (`spec.providerID`); "" when it says nothing, or there is no such Node."""


class Orders(Protocol):
    """What agents that may not ask Azure themselves ask of the controller, in their pools."""

    def see(self, body: Mapping[str, Any]) -> None:
        """A pool was listed, added or changed."""

    def forget(self, name: str, uid: str = "") -> None:
        """A pool was deleted. With `uid` only that one: another of its name may have been seen since."""

    async def run(self) -> None:
        """Carry orders out, until cancelled."""


class Leases(Protocol):
    """The one Lease that controllers compete for, as the document that Kubernetes knows."""

    async def read(self) -> Mapping[str, Any] | None:
        """The object, None when there is none."""

    async def create(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make it; KubeConflict when somebody was faster."""

    async def write(self, seen: Mapping[str, Any], spec: Mapping[str, Any]) -> Mapping[str, Any]:
        """Change it: a compare-and-swap on `seen`, KubeConflict when it changed since."""


class Observer(Protocol):
    """Hooks for measurements; called synchronously, must not block or raise."""

    def granted(self, result: str) -> None:
        """A pool was told: `full`, `short`, `taken_back`, `put_off`, `refused`, or its write failed (the reason)."""

    def ledger_written(self, result: str) -> None:
        """A write of a quota's ledger ended: `written`, or an error's reason."""

    def round(self, seconds: float) -> None:
        """One look at all pools of a VNet, with the writes that came of it."""

    def throttled(self, seconds: float) -> None:
        """Azure asked to wait this long, more than was known."""

    def reclaimed(self, result: str) -> None:
        """An entry without a pool was looked into: `reclaimed`, `kept`, or an error's reason."""

    def internal_error(self, activity: str) -> None:
        """An activity failed by a fault of azure-cni."""
