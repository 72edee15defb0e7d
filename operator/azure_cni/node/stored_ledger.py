"""The ledger of this node, on disk and in memory.

A change is written to the store first and takes effect after, so that no pod ever gets an address that a restarted
agent would not know about.
"""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address
from typing import Final

from azure_cni.errors import LedgerError
from azure_cni.ipam.address_state import State
from azure_cni.ipam.audit_records import handovers
from azure_cni.ipam.ledger import Change, Ledger
from azure_cni.ipam.limits import COOLING_S
from azure_cni.node.audit import AuditTrail
from azure_cni.node.ports import LedgerStore
from azure_cni.node.state import Broadcast

DAMAGED: Final = (
    "cannot go on with the ledger in memory: it is not what its file says, by a fault in azure-cni; the agent ends, "
    "and starts again from the file"
)


class StoredLedger:
    """The ledger and its store, joined."""

    def __init__(
        self,
        *,
        store: LedgerStore,
        broadcast: Broadcast,
        cooling_s: float = COOLING_S,
        dual: bool = False,
        audit: AuditTrail | None = None,
    ) -> None:
        self._store = store
        self._broadcast = broadcast
        self._audit = audit
        self.ledger = Ledger(store.load(), cooling_s=cooling_s, dual=dual)
        if audit is not None:
            audit.loaded(self.ledger.slots)
        self.damaged = asyncio.Event()
        """The file has a change that memory has not: nothing is changed any more, and the process must start again."""

    @property
    def own_egress(self) -> frozenset[IPv4Address]:
        """The addresses that what their pods send out of the VNet keeps."""
        return frozenset(slot.address for slot in self.ledger.slots if slot.own_egress)

    def commit(self, change: Change) -> None:
        """Make a change, on disk first. LedgerError when that fails: then nothing has changed."""
        if not change:
            return
        if self.damaged.is_set():
            raise LedgerError(DAMAGED)
        self._store.save(change)
        made = handovers(self.ledger, change) if self._audit is not None else ()
        try:
            self.ledger.apply(change)
        except Exception as error:
            self.damaged.set()
            raise LedgerError(f"{DAMAGED}: {error!r}") from error
        if self._audit is not None:
            self._audit.handed_over(made)
        if any(slot.state is State.FREE for slot in change.put):
            self._broadcast.notify_all()
