"""One node as the grants see it: the few facts of its NodeIPPool from which they are decided. Pure.

Thousands of pools with hundreds of addresses each would not fit a small process, so only these few values are kept. A
node writes most of them itself, so they are claims: each rule that uses one says what it believes of it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from azure_cni.api.node_ip_pool import NodeIPPool, PoolView, Recall, WriteIntent
from azure_cni.api.reading import Version
from azure_cni.api.vnet_quota import nic_label
from azure_cni.model.nic import BLOCK_SIZE, VNetID


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """One node's pool as it was last seen. Counts are addresses."""

    name: str
    version: Version
    vnet_id: VNetID
    """"" while its agent has not found out."""
    subnet: str
    """The resource ID of its NIC's subnet in lower case; "" while its agent has not found out."""
    nic: str
    """RESOURCE-GROUP/NAME, or for an instance of a Uniform scale set RESOURCE-GROUP/SET/INSTANCE/NAME."""
    view: PoolView
    write_intent: WriteIntent
    waiting: int
    """Pods without an address, beyond those that the free ones serve."""
    free: int
    assigned: int
    target: int
    """What it wants to hold for its pods; it asks for more where others use addresses of configurations of its own."""
    releasable: int
    """Idle addresses that it could give back at once."""
    recall: Recall | None
    recall_met: int
    """The number of the newest recall for which it says that nothing remains to be done."""
    recalling: int
    """How many addresses it was told that others are to give back for its pods."""
    subnet_refused: str
    """When its subnet last had too few for its pods; "" while that has enough, or none waits."""
    by_blocks: bool
    """It grows by blocks of addresses."""
    throttled_until_s: float
    """Since 1970; 0 when Azure did not ask its agent to wait."""
    reason: str
    """Why the pool's newest request is not granted in full, as the pool shows it now; "" when it is."""
    not_before_s: float | None
    """The time that goes with the reason, since 1970: before it the request is not answered."""
    asking_since_s: float
    """Monotonic time at which its newest request was first seen."""

    def in_blocks(self, count: int) -> int:
        """How many addresses it has once it got what brings it to `count`: all of a block of which it needs a part."""
        more = count - self.view.allocated
        return count if not self.by_blocks or more <= 0 else self.view.allocated + -(-more // BLOCK_SIZE) * BLOCK_SIZE

    def usable(self, count: int) -> int:
        """How many of `count` addresses it can have: no part of a block beyond what it holds."""
        more = count - self.view.allocated
        return count if not self.by_blocks or more <= 0 else self.view.allocated + more // BLOCK_SIZE * BLOCK_SIZE

    @property
    def answered(self) -> bool:
        """Its newest request has its answer, or there never was one."""
        return self.view.granted_for == self.view.request.number

    def asks_as(self, before: NodeRecord) -> bool:
        """Whether grants are decided as they were: nothing changed, or only what is counted and explained."""
        return self._asks == before._asks

    @property
    def is_instance(self) -> bool:
        """Its NIC is that of an instance of a Uniform scale set, whose writes Azure counts on their own."""
        return self.nic.count("/") > 1

    @property
    def _asks(self) -> tuple[object, ...]:
        asked = (self.view, self.write_intent, self.waiting, self.throttled_until_s, self.subnet_refused)
        return (self.vnet_id, self.nic, *asked)


def node_record(pool: NodeIPPool, *, now_s: float) -> NodeRecord:
    """The record of a pool that is seen at `now_s` (monotonic)."""
    return NodeRecord(
        name=pool.name,
        version=pool.version,
        vnet_id=VNetID(sys.intern(pool.vnet_id)),
        subnet=sys.intern(pool.subnet_id.lower()),
        nic=nic_label(pool.nic_id),
        view=pool.view,
        write_intent=pool.write_intent,
        waiting=pool.waiting,
        free=pool.free,
        assigned=pool.assigned,
        target=pool.target,
        releasable=pool.releasable,
        recall=pool.recall,
        recall_met=pool.recall_met,
        recalling=pool.recalling,
        subnet_refused=pool.subnet_refused,
        by_blocks=pool.by_blocks,
        throttled_until_s=pool.throttled_until_s,
        reason=pool.grant_reason,
        not_before_s=pool.grant_not_before_s,
        asking_since_s=now_s,
    )
