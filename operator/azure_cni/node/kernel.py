"""The node's own part of the kernel: table, sysctls and uplink, made right after each read of the NIC and by the clock.

The table knows an address before any pod can get it. Sandboxes are not this module's: `node.sandboxes` wires them.

Each pass also learns what others on the host do against it (`datapath.conflicts`). A conflict may last for days, so it
is logged when it appears, changes or ends, and stands on the board in between.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from ipaddress import IPv4Address

from azure_cni.api import pool as pool_api
from azure_cni.api.nic import NicView
from azure_cni.datapath.conflicts import Conflict
from azure_cni.datapath.recurrence import Recurrences
from azure_cni.datapath.snat import NodeTable
from azure_cni.errors import NodeNotReady
from azure_cni.ipam.life import LinkParameters
from azure_cni.node.agenda import Agenda
from azure_cni.node.board import Board, Book
from azure_cni.node.troubles import Activity
from azure_cni.node.world import NodeSettings, Standing, World

log = logging.getLogger(__name__)


class Kernel:
    """Keeps the kernel of one node, and tells by `Board.link` that pods can be wired."""

    def __init__(
        self,
        *,
        world: World,
        settings: NodeSettings,
        standing: Standing,
        book: Book,
        board: Board,
        agenda: Agenda,
        tell: Callable[[str, str, str], Awaitable[None]],
    ) -> None:
        self._world = world
        self._settings = settings
        self._standing = standing
        self._book = book
        self._board = board
        self._agenda = agenda
        self._tell = tell
        """Publishes an event on the pool: kind, reason, message."""
        self._prepared = False
        self._table: NodeTable | None = None
        """As applied last."""
        self._turn = asyncio.Lock()
        """The reconciler applies a new table, and `keep` the last one, from two tasks."""
        self._recurrences = Recurrences()
        self.repairs = 0
        """How many there were, for whoever wants to know whether there was one."""
        self._knows: frozenset[IPv4Address] = frozenset()
        """The pool of the table that was last applied."""

    def unprepared(self, view: NicView) -> frozenset[IPv4Address]:
        """Addresses of `view` that the node's table does not have: no pod may get them yet."""
        return frozenset({config.address for config in view.secondaries if config.address is not None} - self._knows)

    async def resume(self) -> bool:
        """Serve pods while Azure is silent: ledger and kernel are as the last agent of this boot left them.

        False when there was no such agent.
        """
        known = pool_api.last_uplink(self._standing.pool or {})
        if known is None or not self._book.ledger.slots:
            return False
        mac, primary = known
        self._board.link = LinkParameters((await self._world.datapath.uplink(mac, primary)).mtu, primary)
        log.info("serving pods from the ledger until Azure has answered", extra={"mac": mac})
        return True

    async def apply(self, view: NicView) -> bool:
        """Make the kernel fit this read of the NIC; NodeNotReady before identity and VNet are known."""
        identity, vnet = self._board.identity, self._standing.vnet
        if identity is None or vnet is None:
            raise NodeNotReady("cannot prepare the node's kernel: its NIC and VNet are not known yet")
        held = {slot.address for slot in self._book.ledger.slots if slot.holder is not None}
        # A pod keeps its address whatever somebody attaches to its configuration.
        kept = {it.address: it for it in view.excluded if it.address is not None and it.address in held}
        pool = {config.address for config in view.secondaries} | kept.keys()
        table = NodeTable(
            uplink_mac=identity.mac,
            primary=identity.primary_ip,
            pool=frozenset(address for address in pool if address is not None),
            public=frozenset(address for address, config in kept.items() if config.public),
            routable=frozenset({*vnet.prefixes, *vnet.peered, *self._settings.routable}),
            imds_allowed=self._settings.allow_imds,
        )
        async with self._turn:
            self._table = table
            await self._put_right(table)
        self._agenda.put(Activity.KERNEL, self._world.clock.boottime_s() + self._settings.timing.kernel_s)
        return True

    def _wire_with(self, link: LinkParameters) -> None:
        """Pods that come from now on get this. Those that run keep their MTU, and repair gives them the new source.

        To change both ends of a link under a running pod would drop what is longer than the smaller one in between,
        and gains little: this node answers each packet that is too long for the next link ("fragmentation needed"), so
        connections find the smaller size by path MTU discovery.
        """
        before, self._board.link = self._board.link, link
        if before is not None and before.mtu != link.mtu:
            log.warning(
                "mtu of the nic changed: running pods keep theirs until they are recreated",
                extra={"before": before.mtu, "now": link.mtu, "pods": self._book.ledger.counts().assigned},
            )

    async def keep(self, cause: str) -> bool:
        """Somebody else changed something (`cause`, in words): make the kernel fit what was applied last.

        False when nothing was yet.
        """
        async with self._turn:
            if self._table is None:
                return False
            await self._put_right(self._table, cause=cause)
        return True

    async def _put_right(self, table: NodeTable, *, cause: str = "") -> None:
        report = await self._world.datapath.apply_node(table)
        self._knows = table.pool
        now_s = self._world.clock.boottime_s()
        if self._prepared:
            self._report_repairs(report.repaired, cause=cause, now_s=now_s)
        else:
            log.info("kernel prepared", extra={"changes": list(report.repaired)})
            self._prepared = True
        await self._learn((*report.conflicts, *self._recurrences.conflicts(now_s=now_s)))
        uplink = await self._world.datapath.uplink(table.uplink_mac, table.primary)
        self._wire_with(LinkParameters(uplink.mtu, table.primary))

    def _report_repairs(self, repairs: Collection[str], *, cause: str, now_s: float) -> None:
        """Each repair counts; one that has become usual is a conflict, and logged as that once."""
        self._recurrences.record(repairs, now_s=now_s)
        self.repairs += len(repairs)
        for repair in repairs:
            level = logging.DEBUG if self._recurrences.is_usual(repair, now_s=now_s) else logging.WARNING
            log.log(level, "kernel put right", extra={"what": repair, "after": cause})
            self._world.observer.repaired("kernel")

    async def _learn(self, conflicts: tuple[Conflict, ...]) -> None:
        """Put the conflicts on the board, and report what differs from the last pass."""
        known = {conflict.reason: conflict.message for conflict in self._board.conflicts}
        self._board.conflicts = conflicts
        for conflict in conflicts:
            before = known.pop(conflict.reason, None)
            if before != conflict.message:
                log.warning("host conflict", extra={"reason": conflict.reason.value, "what": conflict.message})
            if before is None:
                await self._tell("Warning", conflict.reason.value, conflict.message)
        for reason in known:
            log.info("host conflict ended", extra={"reason": reason.value})
