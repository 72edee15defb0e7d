"""What the pool task has found out, and what of the node all parts of pool/ work on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import Final

from azure_cni.api import nic_wishes
from azure_cni.api.nic_operation_codec import LONGEST_ETAG
from azure_cni.api.node_ip_pool import NodeIPPool, WriteIntent
from azure_cni.datapath.modes import HIDDEN_LINKS, hides_links
from azure_cni.errors import ConfigInvalid
from azure_cni.faults import Faults
from azure_cni.ipam.ipv6_binding import most_on_nic
from azure_cni.ipam.plan import Plan
from azure_cni.ipam.sizing import Policy, in_blocks, override
from azure_cni.model.attachments import AttachedResource
from azure_cni.model.identity import LinkNames, ModeName, VNetView
from azure_cni.model.nic import NicView, SubnetID
from azure_cni.model.text import shortened
from azure_cni.node.azure_ports import Nic
from azure_cni.node.node_settings import NodePorts, NodeSettings
from azure_cni.node.pods.demand import Demand
from azure_cni.node.pool.failures import Failure
from azure_cni.node.pool.reservation_request import ReservationRequest
from azure_cni.node.ports import Grant
from azure_cni.node.state import NodeState
from azure_cni.node.stored_ledger import StoredLedger

LONGEST_REASON: Final = 512
"""Characters of what a write was for."""


@dataclass(frozen=True, slots=True)
class NodeCore:
    """What all use cases of one node have in common: what it was given, and the state that both sides read."""

    ports: NodePorts
    settings: NodeSettings
    faults: Faults
    state: NodeState
    demand: Demand
    stored: StoredLedger


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
            "reason": shortened(self.reason, LONGEST_REASON),
            "added": self.added,
            "removed": self.removed,
            "result": self.result,
            "etag": shortened(self.etag, LONGEST_ETAG),
        }


@dataclass(frozen=True, slots=True)
class LastRead:
    """The newest reading of the NIC, and the newest request of a person (`READ_NOW`) that it answers."""

    time: str
    request: str

    def document(self) -> dict[str, str]:
        """As in `status.lastRead`."""
        return {"time": self.time, "request": self.request}


@dataclass(frozen=True, slots=True)
class LostAddress:
    """One that a pod has and another tool took off the NIC, in an ipConfiguration of ours: it is asked for again.

    `refused`: why Azure refused that when it was last tried; "" where it was not.
    """

    address: IPv4Address
    refused: str


@dataclass(slots=True)
class PoolState:
    """What is known now. Written by the pool task alone, with its reader and its writer; the status task reads it."""

    policy: Policy
    mode: ModeName = ModeName.TRANSPARENT
    """In which pods shall be wired."""
    pod_subnet: SubnetID | None = None
    """In which the NIC of the pool shall be, as the spec says; None where it does not."""
    security_groups: tuple[str, ...] | None = None
    """That the NIC shall be in; None leaves it in those that it is in."""
    nic_read_only: bool = False
    nic: Nic | None = None
    vnet: VNetView | None = None
    view: NicView | None = None
    """The NIC as kernel and ledger know it."""
    unapplied_view: NicView | None = None
    """The NIC as it was read since, for them to take over."""
    reservation: ReservationRequest = field(default_factory=ReservationRequest)
    grant: Grant = field(default_factory=lambda: Grant(count=0, request_id=0))
    plan: Plan | None = None
    waiting: int = 0
    """Pods that need an address and have none, as last counted."""
    writing: WriteIntent = WriteIntent.NONE
    """The write of the NIC that is under way, or of which kernel and ledger do not know the outcome yet."""
    attached: frozenset[AttachedResource] = frozenset()
    """What pods have attached by the NIC, and what the next write adds."""
    denied: tuple[Failure, ...] = ()
    """For want of permissions: what pods ask to have attached, and Azure refuses to."""
    lost: tuple[LostAddress, ...] = ()
    removed_again: str = ""
    """While the node rests because another tool removes again and again what is added: that, for people."""
    ipv6_singles: bool = False
    """Azure refused the NIC a block of IPv6: single addresses are asked for."""
    ipv6_kept: int = 0
    """See `ipv6_binding.kept_beside`."""
    last_write: LastWrite | None = None
    last_read: LastRead | None = None

    def take_spec(self, pool: NodeIPPool, settings: NodeSettings) -> None:
        """Go by what the pool's spec says, one part after the other.

        ConfigInvalid says at the end what cannot be used: that keeps its value of before, and no other part waits for
        it. A pause holds whatever the numbers are, for somebody may be at work on the NIC.
        """
        faults: list[str] = []
        paused = pool.spec.get("paused", settings.defaults.paused) is True
        self.policy = replace(self.policy, paused=paused or settings.nic_read_only)
        for take in (self._take_numbers, self._take_mode, self._take_pod_subnet, self._take_security_groups):
            try:
                take(pool, settings)
            except ConfigInvalid as error:
                faults.append(str(error))
        if faults:
            raise ConfigInvalid("; ".join(faults))

    def _take_numbers(self, pool: NodeIPPool, settings: NodeSettings) -> None:
        policy = replace(override(settings.defaults, pool.spec_overrides()), paused=self.policy.paused)
        self.policy = _fitting(policy, self.nic)

    def _take_mode(self, pool: NodeIPPool, settings: NodeSettings) -> None:
        mode = pool.wanted_mode(settings.mode)
        if hides_links(mode, settings.link_names):
            raise ConfigInvalid(
                f"cannot use spec.mode of NodeIPPool {pool.name}: it is {mode}, and linkNames is "
                f"{settings.link_names}: {HIDDEN_LINKS}; remove spec.mode, or set the chart's linkNames to "
                f"{LinkNames.HASH} where Calico enforces no policies"
            )
        self.mode = mode

    def _take_pod_subnet(self, pool: NodeIPPool, _: NodeSettings) -> None:
        self.pod_subnet = nic_wishes.wanted_subnet(pool)

    def _take_security_groups(self, pool: NodeIPPool, _: NodeSettings) -> None:
        self.security_groups = nic_wishes.wanted_security_groups(pool)

    def take_nic(self, nic: Nic) -> None:
        """The node's NIC is behind this port."""
        self.nic, self.policy = nic, _fitting(self.policy, nic)

    @property
    def answered(self) -> bool:
        """The newest request has its answer."""
        return self.grant.request_id == self.reservation.request.number

    @property
    def ceiling(self) -> int:
        """What the pool may grow to."""
        if self.nic_read_only and self.view is not None:
            return self.view.held
        limit, held = self._limit, self.view.held if self.view is not None else 0
        return in_blocks(limit, held=held, most=limit, size=self.policy.config_size)

    @property
    def _limit(self) -> int:
        """The same, if a part of a block could be had."""
        limits = (self.policy.maximum, self.policy.size, self.grant.ceiling, self._most_on_nic)
        return min(limit for limit in limits if limit is not None)

    @property
    def _most_on_nic(self) -> int | None:
        if self.view is None:
            return None
        return most_on_nic(self.view, self.policy, singles=self.ipv6_singles, kept=self.ipv6_kept)

    @property
    def bound(self) -> str:
        """Which field of the pool's spec is the ceiling, `max` or `size`; "" where something else is."""
        wanted = {"max": self.policy.maximum, "size": self.policy.size}
        return "" if self.nic_read_only else next((name for name, one in wanted.items() if one == self._limit), "")

    @property
    def crowding(self) -> int:
        """How many ipConfigurations that are for no pod keep the pool from its size on a full NIC."""
        view, most = self.view, self._most_on_nic
        if self.nic_read_only or view is None or most is None or most > self.ceiling or most >= self.policy.maximum:
            return 0
        return len(view.excluded)


def _fitting(policy: Policy, nic: Nic | None) -> Policy:
    """The policy without blocks on a NIC that takes none."""
    return replace(policy, blocks=0) if nic is not None and not nic.takes_blocks else policy
