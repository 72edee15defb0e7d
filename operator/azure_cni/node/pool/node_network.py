"""The node's own part of the kernel: table, sysctls and uplink, made right after each read of the NIC and by the clock.

The table knows an address before any pod can get it. Sandboxes are not this module's: `node.sandboxes` wires them.

Each pass also learns what others on the host do against it (`datapath.conflicts`). A conflict may last for days, so it
is logged when it appears, changes or ends, and stands in `NodeState.kernel_conflicts` in between.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from dataclasses import replace
from ipaddress import IPv4Address

from azure_cni.api.conditions import PoolKind
from azure_cni.datapath.conflicts import Conflict, Recurrences
from azure_cni.datapath.conntrack import DropWatch
from azure_cni.datapath.modes import effective, mode_change
from azure_cni.datapath.node_table import NodeTable
from azure_cni.errors import DatapathError, NodeNotReady
from azure_cni.ipam.address_state import LinkParameters
from azure_cni.model.identity import ModeName
from azure_cni.model.nic import NicView
from azure_cni.node.pool.failures import Activity
from azure_cni.node.pool.pool_object import PoolEvents, PoolObject
from azure_cni.node.pool.pool_state import NodeCore, PoolState
from azure_cni.node.pool.schedule import Schedule
from azure_cni.node.state import AppliedTable

log = logging.getLogger(__name__)


class NodeNetwork:
    """Keeps the kernel of one node, and shows by `NodeState.link` that pods can be wired."""

    def __init__(
        self,
        core: NodeCore,
        *,
        pool_state: PoolState,
        pool_object: PoolObject,
        schedule: Schedule,
        events: PoolEvents,
    ) -> None:
        self._core = core
        self._pool_state = pool_state
        self._pool_object = pool_object
        self._schedule = schedule
        self._events = events
        self._prepared = False
        self._announced: ModeName | None = None
        """The mode that pods stood in the way of when this was last looked at."""
        self._table: NodeTable | None = None
        """As applied last."""
        self._applying = asyncio.Lock()
        """The reconciler applies a new table, and `restore` the last one, from two tasks."""
        self._recurrences = Recurrences()
        self._drops = DropWatch()
        self.repairs = 0
        """How many there were, for callers that must notice a new one."""
        self._knows: frozenset[IPv4Address] = frozenset()
        """The pool that the kernel's table has for certain: while one is applied, and after that has failed, any part
        of it may be there.
        """
        self._public: frozenset[IPv4Address] = frozenset()
        """The addresses that it may have with a public one."""
        self._own_egress: frozenset[IPv4Address] | None = None
        """What the kernel has of `StoredLedger.own_egress`; None until this agent has written it."""
        self._unsure: frozenset[IPv4Address] = frozenset()
        """The addresses of which that is not certain."""

    def unprepared(self, view: NicView) -> frozenset[IPv4Address]:
        """Addresses of `view` that the node's table does not have, or has with a public one that is gone: no pod may
        get them yet.
        """
        public = {address for config in view.secondaries if config.public for address in config.addresses}
        return view.addresses - (self._knows - (self._public - public))

    async def resume(self) -> bool:
        """Serve pods while Azure is silent: ledger and kernel are as the last agent of this boot left them.

        False when there was no such agent, when this one has prepared the kernel itself and changes the mode, or when
        the kernel has no guards of the mode that pods would be wired in: that agent ended before it could write down
        another mode, or somebody has removed them. Azure has to say then what the table holds.
        """
        known = self._pool_object.pool_or_unread.uplink
        if known is None or not self._core.stored.ledger.slots or self._table is not None:
            return False
        mac, primary = known
        mode = effective(self._pool_object.pool_or_unread.mode, self._running_modes())
        if await self._core.ports.datapath.guarded_mode() is not mode:
            return False
        mtu = (await self._core.ports.datapath.uplink(mac, primary)).mtu
        node_address = self._pool_object.pool_or_unread.node_ip or primary
        self._core.state.link = LinkParameters(mtu, node_address, mode)
        log.info("serving pods from the ledger until Azure has answered", extra={"mac": mac})
        return True

    async def apply(self, view: NicView) -> bool:
        """Make the kernel fit this read of the NIC; NodeNotReady before identity and VNet are known."""
        async with self._applying:  # all of it: a repair under way would let pods in again in the mode of before
            self._table = self._table_for(view)
            await self._put_right(self._table)
        self._schedule.set_due(
            Activity.KERNEL, self._core.ports.clock.boottime_s() + self._core.settings.timing.kernel_s
        )
        return True

    def _table_for(self, view: NicView) -> NodeTable:
        identity, vnet = self._core.state.identity, self._pool_state.vnet
        if identity is None or vnet is None:
            raise NodeNotReady("cannot prepare the node's kernel: its NIC and VNet are not known yet")
        held = {slot.address for slot in self._core.stored.ledger.slots if slot.holder is not None}
        # A pod keeps its address whatever somebody attaches to its configuration.
        kept = {address: it for it in view.excluded for address in it.addresses if address in held}
        pool = view.addresses | kept.keys()
        public = {address for address, config in kept.items() if config.public}
        public |= {address for config in view.secondaries if config.public for address in config.addresses}
        if view.failed or not view.settled:  # it shows what it shall have: until then the node's own is the way out
            public &= self._public
        return NodeTable(
            uplink_mac=identity.mac,
            primary=identity.primary_ip,
            pool=pool,
            public=frozenset(public),
            routable=frozenset({*vnet.prefixes, *vnet.peered, *self._core.settings.routable}),
            imds_allowed=self._core.settings.allow_imds,
            mode=self._take_mode(),
            kept=frozenset(held - pool),
            node_nic=identity.node_nic,
            ipv6_pairs=self._core.stored.ledger.pairs(view),
            ipv6_blocks=frozenset(it.network for it in view.ipv6 if it.block and it.network is not None),
        )

    def suspend(self) -> None:
        """Wire no pod before the kernel has been prepared again: its addresses come by another NIC then."""
        self._core.state.link, self._prepared = None, False

    def review_mode(self) -> bool:
        """Whether the node has to change over to another mode now: it does so with the next `apply`.

        Not while pods run that were wired in another mode: then the condition and an event of the pool name them.
        """
        link, wanted = self._core.state.link, self._pool_state.mode
        if link is None:
            return False
        mode = effective(wanted, self._running_modes())
        self._core.state.pending_mode = None if link.mode is wanted else wanted
        announced, self._announced = self._announced, None if mode is wanted else wanted
        if self._announced not in {None, announced}:
            pods = [str(slot.holder) for slot in self._core.stored.ledger.slots if slot.holder is not None]
            message = mode_change(wanted, mode, pods, node=self._pool_object.pool_or_unread.name)
            log.warning("change of mode waits for running pods", extra={"what": message})
            self._events.publish("Warning", PoolKind.MODE_CHANGE_PENDING.value, message)
        return mode is not link.mode

    def _running_modes(self) -> frozenset[ModeName]:
        """In which the pods of this node were wired; before modes were written down there was one."""
        held = (slot for slot in self._core.stored.ledger.slots if slot.holder is not None)
        return frozenset(slot.link.mode if slot.link is not None else ModeName.TRANSPARENT for slot in held)

    def _take_mode(self) -> ModeName:
        """The mode to prepare the kernel for. While that is another than before, no pod is wired: an ADD waits.

        There is no pod then, and none comes in between: nothing is awaited here, and nobody else applies a table.
        """
        mode = effective(self._pool_state.mode, self._running_modes())
        before = self._core.state.link
        if before is not None and before.mode is not mode:
            self._core.state.link, self._prepared = None, False
            log.info("mode changes", extra={"before": before.mode.value, "now": mode.value})
        return mode

    def _wire_with(self, link: LinkParameters) -> None:
        """Pods that come from now on get this. Those that run keep their MTU, and repair gives them the new source.

        To change both ends of a link under a running pod would drop what is longer than the smaller one in between,
        and gains little: this node answers each packet that is too long for the next link ("fragmentation needed"), so
        connections find the smaller size by path MTU discovery.
        """
        before, self._core.state.link = self._core.state.link, link
        if before is None:
            self._core.state.pending_mode = None
            self._core.state.broadcast.notify_all()
        if before is not None and before.mtu != link.mtu:
            log.warning(
                "mtu of the nic changed: running pods keep theirs until they are recreated",
                extra={"before": before.mtu, "now": link.mtu, "pods": self._core.stored.ledger.counts().assigned},
            )

    async def restore(self, cause: str) -> bool:
        """Somebody else changed something (`cause`, in words): make the kernel fit what was applied last.

        False when nothing was yet.
        """
        async with self._applying:
            if self._table is None:
                return False
            await self._put_right(self._table, cause=cause)
        return True

    async def settle_egress(self, addresses: Collection[IPv4Address] = ()) -> None:
        """Make the kernel know which addresses leave the VNet as they are: all of them, or at least these.

        For these it returns at once where nothing has to change, whatever else is being applied. DatapathError.
        """
        due = self._unsettled_egress()
        if due is not None and (due.isdisjoint(addresses) if addresses else not due):
            return
        async with self._applying:
            if self._unsettled_egress() == frozenset():
                return
            wanted = self._core.stored.own_egress
            try:
                await self._core.ports.datapath.set_egress(wanted)
            except DatapathError:
                if self._table is None:
                    raise
                await self._put_right(self._table)  # somebody removed it
                return
            self._own_egress, self._unsure = wanted, frozenset()

    def _unsettled_egress(self) -> frozenset[IPv4Address] | None:
        """The addresses of which the kernel has something else, or may have; None where nothing is known."""
        known = self._own_egress
        return None if known is None else (known ^ self._core.stored.own_egress) | self._unsure

    async def _put_right(self, table: NodeTable, *, cause: str = "") -> None:
        """With the pods' own addresses of this moment: a table may have waited for its turn."""
        table = replace(table, own_egress=self._core.stored.own_egress)
        self._knows, self._public = self._knows & table.pool, self._public | table.public
        self._unsure |= (self._own_egress or frozenset()) ^ table.own_egress
        report = await self._core.ports.datapath.apply_node(table)
        self._knows, self._public = table.pool, table.public
        self._own_egress, self._unsure = table.own_egress, frozenset()
        self._core.state.routable = table.routable
        self._core.state.applied = AppliedTable(table, report.uplink.name, report.way_out, report.node_nic)
        now_s = self._core.ports.clock.boottime_s()
        if self._prepared:
            self._report_repairs(report.repaired, cause=cause, now_s=now_s)
        else:
            log.info("kernel prepared", extra={"changes": list(report.repaired)})
            self._prepared = True
        self._wire_with(LinkParameters(report.uplink.mtu, table.node_address, table.mode))
        self._core.state.conntrack = report.conntrack
        self._drops.record(report.conntrack, now_s=now_s)
        dropping = self._drops.conflicts(report.conntrack, now_s=now_s)
        self._learn((*report.conflicts, *dropping, *self._recurrences.conflicts(now_s=now_s)))

    def _report_repairs(self, repairs: Collection[str], *, cause: str, now_s: float) -> None:
        """Each repair counts; one that has become usual is a conflict, and logged as that once."""
        self._recurrences.record(repairs, now_s=now_s)
        self.repairs += len(repairs)
        for repair in repairs:
            level = logging.DEBUG if self._recurrences.is_usual(repair, now_s=now_s) else logging.WARNING
            log.log(level, "kernel put right", extra={"what": repair, "after": cause})
            self._core.ports.observer.repaired("kernel")

    def _learn(self, conflicts: tuple[Conflict, ...]) -> None:
        """Publish the conflicts, and report what differs from the last pass."""
        known = {conflict.reason: conflict.message for conflict in self._core.state.kernel_conflicts}
        self._core.state.kernel_conflicts = conflicts
        for conflict in conflicts:
            before = known.pop(conflict.reason, None)
            if before != conflict.message:
                log.warning("host conflict", extra={"reason": conflict.reason.value, "what": conflict.message})
            if before is None:
                self._events.publish("Warning", conflict.reason.value, conflict.message)
        for reason in known:
            log.info("host conflict ended", extra={"reason": reason.value})
