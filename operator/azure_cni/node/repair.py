"""Comparing the ledger with the kernel, at start and from time to time, and putting right what differs.

A link of ours without a ledger entry is what a crash in the middle of a DEL leaves: it goes. An entry without a link
belongs to a sandbox that is dead (a veth goes with its namespace); if its pod is gone too, no DEL will come any more
and the address is taken back. Both are told: a repair that happens often is a bug somewhere.
"""

from __future__ import annotations

import logging

from azure_cni.datapath import names
from azure_cni.ipam.life import Holder, Sandbox, Slot
from azure_cni.node.board import Book
from azure_cni.node.demand import Demand
from azure_cni.node.ports import Clock, Datapath, Observer
from azure_cni.node.sandboxes import Sandboxes

log = logging.getLogger(__name__)

GRACE_S = 60.0
"""How long an entry must have been without link and pod: a younger one may belong to an ADD that is under way, and
just after a start not every pod of the node has been listed yet."""


class Repair:
    """Brings ledger and kernel together."""

    def __init__(
        self,
        *,
        book: Book,
        demand: Demand,
        datapath: Datapath,
        sandboxes: Sandboxes,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._book = book
        self._demand = demand
        self._datapath = datapath
        self._sandboxes = sandboxes
        self._clock = clock
        self._observer = observer
        self._suspected: dict[Holder, float] = {}

    async def once(self) -> None:
        """One comparison. DatapathError when the kernel cannot be read."""
        links = {seen.host_ifname: seen for seen in await self._datapath.sandboxes()}
        held = {_link_of(slot): slot for slot in self._book.ledger.slots if slot.holder is not None}
        for ifname in links.keys() - held.keys():
            await self._datapath.detach(ifname, links[ifname].routes)
            log.warning("stale link removed", extra={"link": ifname, "addresses": sorted(links[ifname].routes)})
            self._observer.repaired("stale_link")
        now_s = self._clock.boottime_s()
        orphans = [held[ifname].holder for ifname in held.keys() - links.keys()]
        suspects = [holder for holder in orphans if holder is not None and self._abandoned(holder)]
        self._suspected = {holder: self._suspected.get(holder, now_s) for holder in suspects}
        for holder in suspects:
            if now_s - self._suspected[holder] >= GRACE_S:
                await self._sandboxes.delete(holder.sandbox)
                log.warning("leaked address taken back", extra={"holder": str(holder)})
                self._observer.repaired("leaked_address")

    def _abandoned(self, holder: Holder) -> bool:
        """Nobody will ever send the DEL of this sandbox: its pod is not on this node."""
        if not holder.pod_name:
            return True
        pod = self._demand.pod(holder.pod_namespace, holder.pod_name)
        return self._demand.listed and (pod is None or holder.pod_uid not in {"", pod.uid})


def _link_of(slot: Slot) -> str:
    sandbox = slot.holder.sandbox if slot.holder is not None else Sandbox("", "")
    return names.host_ifname(sandbox.container_id, sandbox.ifname)
