"""What the reconciler is given: its ports and settings; and what it has found out: its standing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Any

from azure_cni.api.identity import NodeIdentity, VNetView
from azure_cni.api.nic import NicView
from azure_cni.api.pool import Wants
from azure_cni.ipam import limits
from azure_cni.ipam.plan import Plan
from azure_cni.ipam.sizing import Policy
from azure_cni.node.asking import Asking
from azure_cni.node.ports import Clock, Cloud, Datapath, Events, Grant, Grants, Nic, Node, Observer, Pools


@dataclass(frozen=True, slots=True)
class Timing:
    """Periods in seconds. The NIC is read again after each write anyway; `nic_s` finds what others changed."""

    nic_s: float = 600.0
    vnet_s: float = 3600.0
    kernel_s: float = 60.0
    shrink_delay_s: float = limits.SHRINK_DELAY_S


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What the chart's values say about the pool and the data plane of every node.

    `observes`: the NIC is somebody else's to change (`azure.nic: observe`): the pool is what it has.
    """

    defaults: Policy = field(default_factory=Policy)
    routable: frozenset[IPv4Network] = frozenset()
    allow_imds: bool = False
    observes: bool = False
    timing: Timing = field(default_factory=Timing)


@dataclass(frozen=True, slots=True)
class World:
    """The ports of the reconciler, in one hand."""

    cloud: Cloud
    nic_of: Callable[[NodeIdentity], Nic]
    grants: Grants
    pools: Pools
    node: Node
    events: Events
    datapath: Datapath
    clock: Clock
    observer: Observer


@dataclass(frozen=True, slots=True)
class LastWrite:
    """The newest NIC write: `result` is `Succeeded` or the reason of its failure; `etag` the NIC's afterwards."""

    time: str
    reason: str
    added: int
    removed: int
    result: str
    etag: str

    def document(self) -> dict[str, str | int]:
        """As in `status.lastWrite`."""
        return {
            "time": self.time,
            "reason": self.reason,
            "added": self.added,
            "removed": self.removed,
            "result": self.result,
            "etag": self.etag,
        }


@dataclass(frozen=True, slots=True)
class LastRead:
    """The newest reading of the NIC, and the newest request of a person (`READ_NOW`) that it answers."""

    time: str
    request: str

    def document(self) -> dict[str, str]:
        """As in `status.lastRead`."""
        return {"time": self.time, "request": self.request}


@dataclass(slots=True)
class Standing:
    """What is known now. Written by the reconciler and its helpers alone, all of them in one task."""

    policy: Policy
    observes: bool = False
    pool: dict[str, Any] | None = None
    nic: Nic | None = None
    vnet: VNetView | None = None
    view: NicView | None = None
    """The NIC as kernel and ledger know it."""
    fresh: NicView | None = None
    """The NIC as it was read since, for them to take over."""
    asking: Asking = field(default_factory=Asking)
    grant: Grant = field(default_factory=lambda: Grant(count=0, request_id=0))
    plan: Plan | None = None
    waiting: int = 0
    """Pods that need an address and have none, as last counted."""
    writing: Wants = Wants.NOTHING
    """The write of the NIC that is under way."""
    last_write: LastWrite | None = None
    last_read: LastRead | None = None

    @property
    def answered(self) -> bool:
        """The newest request has its answer."""
        return self.grant.request_id == self.asking.request.number

    @property
    def ceiling(self) -> int:
        """What the pool may grow to."""
        if self.observes and self.view is not None:
            return len(self.view.secondaries)
        most = self.view.most if self.view is not None else None
        limits = (self.policy.maximum, self.policy.size, self.grant.ceiling, most)
        return min(limit for limit in limits if limit is not None)

    @property
    def crowding(self) -> int:
        """How many ipConfigurations that are for no pod keep the pool from its size on a full NIC."""
        view = self.view
        if self.observes or view is None or view.most > self.ceiling or view.most >= self.policy.maximum:
            return 0
        return len(view.excluded)
