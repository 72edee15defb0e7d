"""What Azure is asked, and when: who this node is, its VNet, and its NIC. All else goes on while it thinks.

A NIC that was read is `Standing.fresh` until kernel and ledger have taken it over.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from azure_cni.api import pool as pool_api
from azure_cni.api.nic import NicView
from azure_cni.ipam import limits
from azure_cni.node.agenda import Agenda
from azure_cni.node.board import Board
from azure_cni.node.meanwhile import meanwhile
from azure_cni.node.troubles import Activity
from azure_cni.node.world import LastRead, NodeSettings, Standing, World

log = logging.getLogger(__name__)


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
            log.info("nic read because somebody asked", extra={"request": asked})
        self.seen(view, answers=asked)
        return True

    @property
    def _answered(self) -> str:
        """The newest request for a reading that was answered, by this agent or the one before it."""
        last = self._standing.last_read
        return pool_api.read_answered(self._standing.pool or {}) if last is None else last.request

    def seen(self, view: NicView, *, answers: str | None = None) -> None:
        """The NIC was read, or written and read; `answers` the request that a person had made before it was."""
        clock = self._world.clock
        self._standing.last_read = LastRead(clock.utc(), self._answered if answers is None else answers)
        self._board.nic_read_s = clock.boottime_s()
        self._standing.fresh = view
        self._put(Activity.READ, in_s=self._settings.timing.nic_s if view.settled else limits.SETTLE_POLL_S)
        identity, primary = self._board.identity, view.primary.address
        if identity is not None and primary not in {None, identity.primary_ip}:
            log.warning("primary address changed", extra={"was": str(identity.primary_ip), "is": str(primary)})
            self._put(Activity.IDENTITY, in_s=0.0)

    def _is_due(self, activity: Activity) -> bool:
        return self._agenda.is_due(activity, now_s=self._world.clock.boottime_s())

    def _put(self, activity: Activity, *, in_s: float) -> None:
        self._agenda.put(activity, self._world.clock.boottime_s() + in_s)
