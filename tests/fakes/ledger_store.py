"""A ledger store in memory: all of a change is stored or nothing, and a test can make it fail."""

from collections.abc import Iterable
from dataclasses import replace

from azure_cni.errors import LedgerError
from azure_cni.ipam.ledger import Change, Slot, State


class FakeLedgerStore:
    """Obeys the rules of the real one; what was saved is there for the next agent that is given the same store."""

    def __init__(self, slots: Iterable[Slot] = ()) -> None:
        self._slots = {slot.address: slot for slot in slots}
        self.fail_next: LedgerError | None = None
        """Raised once, by the next call."""
        self.broken = False
        """Nothing can be written until this is False again."""
        self.saved: list[Change] = []

    def load(self) -> tuple[Slot, ...]:
        self._fail()
        return tuple(self._slots.values())

    def save(self, change: Change) -> None:
        self._fail()
        if self.broken:
            raise LedgerError("cannot write the ledger: disk I/O error")
        after = {address: slot for address, slot in self._slots.items() if address not in change.drop}
        after |= {slot.address: slot for slot in change.put}
        for slot in after.values():
            if (slot.state is State.ASSIGNED) != (slot.holder is not None):
                raise LedgerError(f"cannot write the ledger: {slot.address} is {slot.state} and held by {slot.holder}")
        self._slots = after
        self.saved.append(change)

    def _fail(self) -> None:
        error, self.fail_next = self.fail_next, None
        if error is not None:
            raise error


def without_network(slot: Slot) -> Slot:
    """As a ledger is migrated that an agent of schema 1 or 2 wrote."""
    if slot.holder is None:
        return slot
    return replace(slot, holder=replace(slot.holder, sandbox=slot.holder.sandbox._replace(network="")))
