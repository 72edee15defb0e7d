"""Compares the ledger with the kernel, at start and periodically, and repairs what differs.

A crash in the middle of a DEL can leave one of our links without a ledger entry: it is removed. Entries of sandboxes
that are dead and will get no DEL are taken back (`leaks`). What leads to a sandbox that lives and is lost (routes that
somebody flushed, or that the kernel dropped with the node's primary address) is put back. All are logged: a repair that
happens often is a bug somewhere.

All this trusts the ledger. One that was lost would have every pod of the node cut off: that is looked for first.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from azure_cni.errors import DatapathError, LedgerError
from azure_cni.ipam.address_state import Holder
from azure_cni.model.text import NAMED, counted, few
from azure_cni.node.pods.leaks import Leaks
from azure_cni.node.pods.sandboxes import Sandboxes
from azure_cni.node.ports import Datapath, LinkKey, ObservedSandbox, Observer
from azure_cni.node.stored_ledger import StoredLedger

log = logging.getLogger(__name__)


class Repair:
    """Brings ledger and kernel together."""

    def __init__(
        self,
        *,
        stored: StoredLedger,
        datapath: Datapath,
        sandboxes: Sandboxes,
        observer: Observer,
        leaks: Leaks,
    ) -> None:
        self._stored = stored
        self._datapath = datapath
        self._sandboxes = sandboxes
        self._observer = observer
        self._leaks = leaks

    async def verify_ledger(self) -> None:
        """Before anything else, also before the NIC is read: LedgerError where pods run and the ledger is empty.

        No crash leaves that: an address is written down before its route is made, and the route goes first. So the
        file was lost, and the pods cannot be adopted: which containers they belong to stood only there. They keep
        running for as long as nobody serves from the empty ledger, which would cut them off and give their addresses
        away. A ledger that has once seen the NIC is never empty, so the same is found however often the agent starts.
        """
        if self._stored.ledger.slots:
            return
        links = await self._datapath.sandboxes()
        if links:
            found = {address for observed in links for address in observed.addresses}
            addresses = sorted(found, key=lambda address: (address.version, int(address)))
            whose = f"with {few(addresses)}" if addresses else f"behind {few(sorted(link.key for link in links))}"
            raise LedgerError(
                f"cannot serve this node: the ledger is empty, but pods run {whose}; "
                "was its file, ledger.sqlite, removed? These pods keep running, and to go on would cut them off. "
                "Drain the node and reboot it; without a reboot, delete the pods that a drain leaves (DaemonSets') too"
            )

    async def compare(self) -> bool:
        """One comparison; true when routes were put back.

        DatapathError when the kernel cannot be read, or does not take back what was lost.
        """
        before = self._held()
        links = {observed.key: observed for observed in await self._datapath.sandboxes()}
        held = self._held()
        for key in links.keys() - held.keys() - before.keys():  # one that ended meanwhile is no stale one
            await self._datapath.remove(key)
            addresses = sorted(map(str, links[key].addresses))
            log.warning("stale link removed", extra={"link": key, "addresses": addresses})
            self._observer.repaired("stale_link")
        await self._leaks.take_back(wired=[held[key] for key in held.keys() & links.keys()])
        return await self._restore_routes([(held[key], links[key]) for key in held.keys() & links.keys()])

    async def _restore_routes(self, wired: Sequence[tuple[Holder, ObservedSandbox]]) -> bool:
        """Put back what leads to pods. What the kernel refuses now is for the next time: all of it is tried."""
        restored: list[str] = []
        refused: list[DatapathError] = []
        for holder, observed in wired:
            try:
                found = await self._sandboxes.restore_routes(holder.sandbox, observed)
            except DatapathError as error:
                refused.append(error)
                continue
            if found:
                restored.append(f"{holder}: {', '.join(found)}")
                self._observer.repaired("route")
        if restored:  # one line: the primary address takes the routes of all pods along
            log.warning("lost routes put back", extra={"pods": len(restored), "first": restored[:NAMED]})
        if refused:
            raise DatapathError(
                f"cannot put back the routes of {len(refused)} of {counted(len(wired), 'pod')} (is the node's primary "
                f"address on its interface? it is tried again): {refused[0]}"
            )
        return bool(restored)

    def _held(self) -> dict[LinkKey, Holder]:
        """Who holds an address, by the link that should be there."""
        holders = (slot.holder for slot in self._stored.ledger.slots if slot.holder is not None)
        return {self._datapath.key(holder.sandbox): holder for holder in holders}
