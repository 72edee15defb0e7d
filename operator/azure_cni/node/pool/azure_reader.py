"""What Azure is asked, and when: who this node is, its VNet, and its NIC. All else goes on while it thinks.

A NIC that was read is `PoolState.unapplied_view` until kernel and ledger have taken it over.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from azure_cni.api import pool_entries
from azure_cni.ipam import limits
from azure_cni.model.identity import PRIMARY_NIC, NodeIdentity
from azure_cni.model.nic import NicView, SubnetID
from azure_cni.node.pool.failures import Activity
from azure_cni.node.pool.pod_attachments import PodAttachments
from azure_cni.node.pool.pods_nic import PodsNic
from azure_cni.node.pool.pool_nic import PoolNic
from azure_cni.node.pool.pool_object import PoolObject
from azure_cni.node.pool.pool_state import LastRead, NodeCore, PoolState
from azure_cni.node.pool.reading_hints import ReadingHints
from azure_cni.node.pool.schedule import Schedule

log = logging.getLogger(__name__)

R = TypeVar("R")

OLD_FOR_S: Final = 120.0
"""How long an etag that another has replaced is known to be old. Reads of Azure lag by seconds."""
LAG_POLL_S: Final = 2.0
"""When to read again after an answer that lags."""


class AzureReader:
    """Make the reads that are due; returns False if there were none."""

    def __init__(
        self,
        core: NodeCore,
        *,
        pool_state: PoolState,
        pool_object: PoolObject,
        schedule: Schedule,
        pod_attachments: PodAttachments,
        hints: ReadingHints,
        pool_nic: PoolNic,
        pods_nic: PodsNic,
        suspend: Callable[[], None],
    ) -> None:
        self._core = core
        self._hints = hints
        self._pool_nic = pool_nic
        self._pods_nic = pods_nic
        self._suspend = suspend
        """No pod is wired from now on, until the kernel fits another NIC."""
        self._identified_for: SubnetID | None = None
        """The subnet that the node was last identified for."""
        self._pod_attachments = pod_attachments
        self._pool_state = pool_state
        self._pool_object = pool_object
        self._schedule = schedule
        self._etag = ""
        """Of the newest NIC that was seen."""
        self._replaced: dict[str, float] = {}
        """Etags from before that, and the boot times at which they were replaced."""

    async def identify(self) -> bool:
        """Once, and again when the NIC shows another primary address, or the pool is to move to another NIC. With the
        pool on another NIC than the node's address also on a hint, and each hour: that NIC does not show the address.

        VNet and kernel are looked at again then, too. Where nobody says on which NIC pods are, it is the one that has
        an address of theirs (`pods_nic`); while none is found the kernel stays as it is.
        """
        if self._hints.take_doubt():
            self._set_due(Activity.IDENTITY, in_s=0.0)
        if self._pool_nic.is_unknown:
            return await self._find()
        subnet = await self._pool_nic.choose()
        if not self._is_due(Activity.IDENTITY) and subnet == self._identified_for:
            return False
        identity = await self._ask(self._core.ports.cloud.identify(subnet))
        if self._pool_nic.is_held_back(subnet):
            return False
        if self._pool_nic.moves(subnet):
            self._suspend()
            self._pool_state.reservation.change_nic()
        self._take(identity, asked_for=subnet)
        return True

    async def _find(self) -> bool:
        if not self._is_due(Activity.IDENTITY) and not self._pods_nic.looks_elsewhere:
            return False
        wanted = PRIMARY_NIC if self._pool_object.pool is None else await self._pool_nic.choose()
        identity = await self._pods_nic.find(wanted)
        if identity is None:
            self._set_due(Activity.IDENTITY, in_s=self._core.settings.timing.nic_s)
            return False
        log.info("the pool is on the nic that pods have their addresses of", extra={"nic": identity.nic_id})
        self._take(identity, asked_for=PRIMARY_NIC if identity.node_nic is None else identity.subnet_id)
        return True

    def _take(self, identity: NodeIdentity, *, asked_for: SubnetID) -> None:
        before, self._identified_for = self._core.state.identity, asked_for
        if before is None or before.nic_id != identity.nic_id:
            self._pool_state.take_nic(self._core.ports.nic_of(identity))
            self._etag, self._replaced = "", {}
            self._set_due(Activity.READ, in_s=0.0)
        self._core.state.identity = identity
        again_s = float("inf") if identity.node_nic is None else self._core.settings.timing.vnet_s
        self._set_due(Activity.IDENTITY, in_s=again_s)
        self._set_due(Activity.VNET, in_s=0.0)
        self._set_due(Activity.KERNEL, in_s=0.0)
        log.info("node identified", extra=pool_entries.identity_status(identity))

    async def read_vnet(self) -> bool:
        """The VNet of the NIC, once the node is known."""
        identity = self._core.state.identity
        if identity is None or not self._is_due(Activity.VNET):
            return False
        self._pool_state.vnet = await self._ask(self._core.ports.cloud.vnet(identity))
        self._set_due(Activity.VNET, in_s=self._core.settings.timing.vnet_s)
        return True

    async def read_nic(self) -> bool:
        """The NIC, once VNet and node are known: before that, nothing could be made of it."""
        if self._hints.take():
            self._set_due(Activity.READ, in_s=0.0)
        nic, asked = self._pool_state.nic, self._pool_object.pool_or_unread.read_now
        due = self._is_due(Activity.READ) or asked != self._answered
        if nic is None or self._pool_state.vnet is None or not due:
            return False
        view = self._pod_attachments.admitted(await self._ask(nic.read()))
        if asked != self._answered:
            log.info("nic read on request", extra={"request": asked})
        return self.observe_nic(view, answers=asked)

    @property
    def _answered(self) -> str:
        """The newest request for a reading that was answered, by this agent or the one before it."""
        last = self._pool_state.last_read
        return self._pool_object.pool_or_unread.read_answered if last is None else last.request

    def observe_nic(self, view: NicView, *, answers: str | None = None) -> bool:
        """The NIC was read, or written and read; `answers` the request that a person had made before it was.

        False where it is older than what was seen before: it is read again soon. It may show addresses that a write
        has removed since, and it says nothing about a write whose outcome is unknown.
        """
        if self._is_old(view.etag):
            log.info("a read of the nic lags: it is older than the one before", extra={"etag": view.etag})
            self._set_due(Activity.READ, in_s=LAG_POLL_S)
            return False
        clock = self._core.ports.clock
        self._pool_state.last_read = LastRead(clock.utc(), self._answered if answers is None else answers)
        self._core.state.nic_read_s = clock.boottime_s()
        self._pool_state.unapplied_view = view
        self._hints.observe(view)
        self._set_due(Activity.READ, in_s=self._core.settings.timing.nic_s if view.settled else limits.SETTLE_POLL_S)
        identity, primary = self._core.state.identity, view.primary.address
        if identity is not None and primary not in {None, identity.primary_ip}:
            log.warning("primary address changed", extra={"was": str(identity.primary_ip), "is": str(primary)})
            self._set_due(Activity.IDENTITY, in_s=0.0)
        return True

    def _is_old(self, etag: str) -> bool:
        """Whether another etag came after this one. Azure's do not come back. With a read-only NIC the etag is made
        of its addresses, and may.
        """
        now_s = self._core.ports.clock.boottime_s()
        self._replaced = {old: at_s for old, at_s in self._replaced.items() if now_s - at_s < OLD_FOR_S}
        if etag in self._replaced and not self._core.settings.nic_read_only:
            return True
        if etag != self._etag:
            self._replaced[self._etag] = now_s
            self._etag = etag
        return False

    async def _ask(self, call: Coroutine[Any, Any, R]) -> R:
        with self._schedule.azure_wait(self._core.ports.clock):
            return await call

    def _is_due(self, activity: Activity) -> bool:
        return self._schedule.is_due(activity, now_s=self._core.ports.clock.boottime_s())

    def _set_due(self, activity: Activity, *, in_s: float) -> None:
        self._schedule.set_due(activity, self._core.ports.clock.boottime_s() + in_s)
