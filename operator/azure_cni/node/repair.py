"""Comparing the ledger with the kernel, at start and from time to time, and putting right what differs.

A link of ours without a ledger entry is what a crash in the middle of a DEL leaves: it goes. Entries of sandboxes that
are dead and will get no DEL are taken back (`leaks`). What leads to a sandbox that lives and is lost (routes that
somebody flushed, or that the kernel dropped with the node's primary address) is put back. All are told: a repair that
happens often is a bug somewhere.

All this trusts the ledger. One that was lost would have every pod of the node cut off: that is looked for first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from azure_cni.api.plurals import counted
from azure_cni.datapath import names
from azure_cni.errors import DatapathError, LedgerError
from azure_cni.ipam.life import Holder
from azure_cni.node.board import Book
from azure_cni.node.demand import Demand
from azure_cni.node.leaks import Leaks
from azure_cni.node.ports import Clock, Datapath, ObservedSandbox, Observer
from azure_cni.node.sandboxes import Sandboxes
from azure_cni.node.wording import NAMED, few

log = logging.getLogger(__name__)


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
        relist: Callable[[], None],
    ) -> None:
        self._book = book
        self._datapath = datapath
        self._sandboxes = sandboxes
        self._observer = observer
        self._leaks = Leaks(
            book=book,
            demand=demand,
            datapath=datapath,
            sandboxes=sandboxes,
            clock=clock,
            observer=observer,
            relist=relist,
        )

    async def examine(self) -> None:
        """Before anything else, also before the NIC is read: LedgerError where pods run and the ledger is empty.

        No crash leaves that: an address is written down before its route is made, and the route goes first. So the
        file was lost, and the pods cannot be adopted: which containers they belong to stood only there. They keep
        running for as long as nobody serves from the empty ledger, which would cut them off and give their addresses
        away. A ledger that has once seen the NIC is never empty, so the same is found however often the agent starts.
        """
        if self._book.ledger.slots:
            return
        running = sorted({address for seen in await self._datapath.sandboxes() for address in seen.addresses})
        if running:
            raise LedgerError(
                f"cannot serve this node: the ledger is empty, but pods run with {few(running)}; "
                "was /run/azure-cni/ledger.sqlite removed? These pods keep running, and to go on would cut them off. "
                "Drain the node and reboot it; without a reboot, delete the pods that a drain leaves (DaemonSets') too"
            )

    async def once(self) -> bool:
        """One comparison; true when routes were put back.

        DatapathError when the kernel cannot be read, or does not take back what was lost.
        """
        before = self._held()
        links = {seen.host_ifname: seen for seen in await self._datapath.sandboxes()}
        held = self._held()
        for ifname in links.keys() - held.keys() - before.keys():  # one that ended meanwhile is no stale one
            await self._datapath.detach(ifname, links[ifname].addresses)
            log.warning("stale link removed", extra={"link": ifname, "addresses": sorted(links[ifname].addresses)})
            self._observer.repaired("stale_link")
        await self._leaks.take_back(wired=[held[ifname] for ifname in held.keys() & links.keys()])
        return await self._mend([(held[ifname], links[ifname]) for ifname in held.keys() & links.keys()])

    async def _mend(self, wired: Sequence[tuple[Holder, ObservedSandbox]]) -> bool:
        """Put back what leads to pods. What the kernel refuses now is for the next time: all of it is tried."""
        mended: list[str] = []
        refused: list[DatapathError] = []
        for holder, seen in wired:
            try:
                found = await self._sandboxes.mend(holder.sandbox, seen)
            except DatapathError as error:
                refused.append(error)
                continue
            if found:
                mended.append(f"{holder}: {', '.join(found)}")
                self._observer.repaired("route")
        if mended:  # one line: the primary address takes the routes of all pods along
            log.warning("lost routes put back", extra={"pods": len(mended), "first": mended[:NAMED]})
        if refused:
            raise DatapathError(
                f"cannot put back the routes of {len(refused)} of {counted(len(wired), 'pod')} (is the node's primary "
                f"address on its interface? it is tried again): {refused[0]}"
            )
        return bool(mended)

    def _held(self) -> dict[str, Holder]:
        """Who holds an address, by the name of the link that should be there."""
        holders = (slot.holder for slot in self._book.ledger.slots if slot.holder is not None)
        return {names.host_ifname(*holder.sandbox): holder for holder in holders}
