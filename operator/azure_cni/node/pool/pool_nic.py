"""On which of the VM's NICs the pool is: what people want, and what pods that run allow.

The pool's spec decides (`nic.subnet`), then the chart's rules by the node's labels, then it is the primary NIC. Pods
keep the address that they have, so the pool does not move to another NIC before none of them is left: as with a
change of mode, a condition and an event say which pods are in the way. What an earlier agent of this boot chose stands
in the pool's status, so a restart moves nothing either. Where there is no such status, `pods_nic` looks for the NIC.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from azure_cni.api import reading
from azure_cni.api.conditions import PoolKind
from azure_cni.errors import KubeError
from azure_cni.model.identity import PRIMARY_NIC, is_same
from azure_cni.model.nic import SubnetID
from azure_cni.model.pod_subnets import subnet_for
from azure_cni.model.text import counted, few
from azure_cni.node.pool.pool_object import PoolEvents, PoolObject
from azure_cni.node.pool.pool_state import NodeCore, PoolState

log = logging.getLogger(__name__)

LABELS_S: Final = 600.0
"""How often the node's labels are read, where rules ask for them."""
LABELS_AGAIN_S: Final = 60.0
"""How soon again, when the API server did not answer."""


@dataclass(frozen=True, slots=True)
class PoolPlace:
    """Where the pool is: in which subnet, and whether on the VM's primary NIC."""

    subnet: SubnetID
    on_primary: bool

    @property
    def request(self) -> SubnetID:
        """What to ask for to get the same again."""
        return PRIMARY_NIC if self.on_primary else self.subnet

    def is_as(self, wanted: SubnetID) -> bool:
        """Whether that is wanted."""
        return is_same(self.subnet, wanted) if wanted else self.on_primary


class PoolNic:
    """Of one node."""

    def __init__(self, core: NodeCore, *, pool_state: PoolState, pool_object: PoolObject, events: PoolEvents) -> None:
        self._core = core
        self._pool_state = pool_state
        self._pool_object = pool_object
        self._events = events
        self._labels: Mapping[str, str] | None = None
        """The node's; None before they were read."""
        self._labels_due_s = float("-inf")
        self._announced: SubnetID | None = None
        """The subnet that pods stood in the way of when this was last looked at."""

    @property
    def is_unknown(self) -> bool:
        """Pods run, and neither this agent nor the pool's status says on which NIC: it cannot be read yet, or the pool
        was deleted and made again.
        """
        pool = self._pool_object.pool
        unsaid = self._core.state.identity is None and (pool is None or pool.uplink is None)
        return self._core.settings.in_cluster and unsaid and bool(self._pods())

    async def choose(self) -> SubnetID:
        """The subnet whose NIC the pool is on from now on: as wanted, or while pods run on another NIC, that one's.

        KubeError when the node's labels are asked for and were never read.
        """
        place, pods = self._place(), self._pods()
        wanted = await self._wanted()
        waits = place is not None and bool(pods) and not place.is_as(wanted)
        self._core.state.pending_subnet = wanted if waits else None
        announced, self._announced = self._announced, wanted if waits else None
        if place is None or not waits:
            return wanted
        if announced != wanted:
            message = nic_change(wanted, place.subnet, pods, node=self._pool_object.pool_or_unread.name)
            log.warning("change of the pool's nic waits for running pods", extra={"what": message})
            self._events.publish("Warning", PoolKind.NIC_CHANGE_PENDING.value, message)
        return place.request

    def moves(self, to: SubnetID) -> bool:
        """Whether the pool is on another NIC now: one that pods may have addresses of."""
        place = self._place()
        return place is not None and not place.is_as(to)

    def is_held_back(self, to: SubnetID) -> bool:
        """Whether a pod has come meanwhile that has an address of the NIC that the pool is on now."""
        return self.moves(to) and bool(self._pods())

    async def _wanted(self) -> SubnetID:
        rules = self._core.settings.pod_subnets
        if self._pool_state.pod_subnet is not None or not rules:
            return self._pool_state.pod_subnet or PRIMARY_NIC
        return subnet_for(rules, await self._labels_now())

    async def _labels_now(self) -> Mapping[str, str]:
        """Read, when that is due; as they were, while they cannot be read."""
        now_s, known = self._core.ports.clock.boottime_s(), self._labels
        if known is not None and now_s < self._labels_due_s:
            return known
        try:
            node = await self._core.ports.node.read_node()
        except KubeError as error:
            if known is None:
                raise
            log.info("cannot read the node's labels again: they count as they were", extra={"error": str(error)})
            self._labels_due_s = now_s + LABELS_AGAIN_S
            return known
        self._labels = reading.object_labels(node)
        self._labels_due_s = now_s + LABELS_S
        return self._labels

    def _place(self) -> PoolPlace | None:
        """As this agent found it, or the one before; None where neither has."""
        identity, pool = self._core.state.identity, self._pool_object.pool
        if identity is not None:
            return PoolPlace(identity.subnet_id, identity.node_nic is None)
        if pool is None or not pool.subnet_id:
            return None
        return PoolPlace(pool.subnet_id, pool.node_ip is None)

    def _pods(self) -> list[str]:
        return [str(slot.holder) for slot in self._core.stored.ledger.slots if slot.holder is not None]


def nic_change(wanted: SubnetID, subnet: SubnetID, pods: Sequence[str], *, node: str) -> str:
    """Why the pool does not move to another NIC yet, and what to do."""
    where = f"in subnet {wanted}" if wanted else "on the VM's primary NIC"
    have = counted(len(pods), "pod of this node has its address", "pods of this node have their addresses")
    return (
        f"a pool {where} is wanted, but {have} in subnet {subnet}: {few(pods)}. They keep their network, and new pods "
        f"get addresses there too. Drain the node (kubectl drain {node} --ignore-daemonsets --delete-emptydir-data) "
        "and delete the pods that are left there, or reboot it: the pool moves as soon as no pod is left"
    )
