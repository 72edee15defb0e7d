"""What Azure is asked, and when: who this node is, its VNet, and its NIC. All else goes on while it thinks.

A NIC that was read is `Standing.fresh` until kernel and ledger have taken it over.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from azure_cni.api import pool as pool_api
from azure_cni.api.nic import NicView
from azure_cni.ipam import limits
from azure_cni.node.agenda import Agenda
from azure_cni.node.board import Board
from azure_cni.node.meanwhile import meanwhile
from azure_cni.node.troubles import Activity
from azure_cni.node.world import LastRead, NodeSettings, Standing, World

log = logging.getLogger(__name__)

OLD_FOR_S: Final = 120.0
"""How long an etag that another has replaced is known to be old. Reads of Azure lag by seconds."""
LAG_POLL_S: Final = 2.0
"""When to read again after an answer that lags."""


class Inquiry:
    """Asks what is due by the agenda; what was not asked returns False. `breathe` is called each second of a wait."""

    def __init__(
        self,
        *,
        world: World,
        settings: NodeSettings,
        standing: Standing,
        board: Board,
        agenda: Agenda,
        breathe: Callable[[], Awaitable[None]],
    ) -> None:
        self._world = world
        self._settings = settings
        self._standing = standing
        self._board = board
        self._agenda = agenda
        self._breathe = breathe
        self._etag = ""
        """Of the newest NIC that was seen."""
        self._replaced: dict[str, float] = {}
        """Etags from before that, and the boot times at which they were replaced."""

    async def identify(self) -> bool:
        """Once, and again when the NIC shows another primary address: then VNet and kernel are looked at anew too."""
        if not self._is_due(Activity.IDENTITY):
            return False
        identity, before = await meanwhile(self._world.cloud.identify(), self._breathe), self._board.identity
        if before is None or before.nic_id != identity.nic_id:
            self._standing.nic = self._world.nic_of(identity)
            self._put(Activity.READ, in_s=0.0)
        self._board.identity = identity
        self._put(Activity.IDENTITY, in_s=float("inf"))
        self._put(Activity.VNET, in_s=0.0)
        self._put(Activity.KERNEL, in_s=0.0)
        log.info("node identified", extra=pool_api.identity_status(identity))
        return True

    async def read_vnet(self) -> bool:
        """The VNet of the NIC, once the node is known."""
        identity = self._board.identity
        if identity is None or not self._is_due(Activity.VNET):
            return False
        self._standing.vnet = await meanwhile(self._world.cloud.vnet(identity), self._breathe)
        self._put(Activity.VNET, in_s=self._settings.timing.vnet_s)
        return True

    async def read_nic(self) -> bool:
        """The NIC, once VNet and node are known: before that, nothing could be made of it."""
        nic, asked = self._standing.nic, pool_api.read_request(self._standing.pool or {})
        due = self._is_due(Activity.READ) or asked != self._answered
        if nic is None or self._standing.vnet is None or not due:
            return False
        view = await meanwhile(nic.read(), self._breathe)
        if asked != self._answered:
            log.info("nic read on request", extra={"request": asked})
        return self.seen(view, answers=asked)

    @property
    def _answered(self) -> str:
        """The newest request for a reading that was answered, by this agent or the one before it."""
        last = self._standing.last_read
        return pool_api.read_answered(self._standing.pool or {}) if last is None else last.request

    def seen(self, view: NicView, *, answers: str | None = None) -> bool:
        """The NIC was read, or written and read; `answers` the request that a person had made before it was.

        False where it is older than what was seen before: it is read again soon. It may show addresses that a write has
        taken off since, and of a write whose outcome is not known it says nothing.
        """
        if self._is_old(view.etag):
            log.info("a read of the nic lags: it is older than the one before", extra={"etag": view.etag})
            self._put(Activity.READ, in_s=LAG_POLL_S)
            return False
        clock = self._world.clock
        self._standing.last_read = LastRead(clock.utc(), self._answered if answers is None else answers)
        self._board.nic_read_s = clock.boottime_s()
        self._standing.fresh = view
        self._put(Activity.READ, in_s=self._settings.timing.nic_s if view.settled else limits.SETTLE_POLL_S)
        identity, primary = self._board.identity, view.primary.address
        if identity is not None and primary not in {None, identity.primary_ip}:
            log.warning("primary address changed", extra={"was": str(identity.primary_ip), "is": str(primary)})
            self._put(Activity.IDENTITY, in_s=0.0)
        return True

    def _is_old(self, etag: str) -> bool:
        """Whether another etag came after this one. Those of Azure do not come back; what a node that only observes has
        for one stands for its addresses, and may.
        """
        now_s = self._world.clock.boottime_s()
        self._replaced = {old: at_s for old, at_s in self._replaced.items() if now_s - at_s < OLD_FOR_S}
        if etag in self._replaced and not self._settings.observes:
            return True
        if etag != self._etag:
            self._replaced[self._etag] = now_s
            self._etag = etag
        return False

    def _is_due(self, activity: Activity) -> bool:
        return self._agenda.is_due(activity, now_s=self._world.clock.boottime_s())

    def _put(self, activity: Activity, *, in_s: float) -> None:
        self._agenda.put(activity, self._world.clock.boottime_s() + in_s)
