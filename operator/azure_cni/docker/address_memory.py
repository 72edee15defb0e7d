"""What this process remembers of Docker's addresses beside the ledger. The next process knows nothing of it.

- Whether an address was free when it was requested. Then no connection of a former holder can reach it, and it is free
  at once if it comes back unused. Of an address that is not remembered the contrary is assumed.
- Which container had an address that cools, by the name that Docker gives with its request (29 and later; others give
  none). Cooling keeps packets for one container from another, so the same one may have it at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address

from azure_cni.ipam.address_state import Slot, State


class AddressMemory:
    """Of one node. At most one entry for each address that it ever had, and for each that cools."""

    def __init__(self) -> None:
        self._fresh: set[IPv4Address] = set()
        self._names: dict[IPv4Address, str] = {}
        self._left: dict[str, tuple[IPv4Address, float]] = {}
        """By the name of who gave it back: the address, and since when (boot time) it cools."""

    def request(self, address: IPv4Address, *, name: str, fresh: bool) -> None:
        """It is held for the container of that name, "" where that is not known; `fresh`: it was free before."""
        self._names[address] = name
        self._left = {former: left for former, left in self._left.items() if left[0] != address}
        (self._fresh.add if fresh else self._fresh.discard)(address)

    def is_fresh(self, address: IPv4Address) -> bool:
        """It was free when it was requested, and nobody has used it since."""
        return address in self._fresh

    def use(self, address: IPv4Address) -> None:
        """An endpoint has it."""
        self._fresh.discard(address)

    def release(self, address: IPv4Address, slots: Iterable[Slot]) -> None:
        """It was given back; `slots` are all addresses as they are now."""
        self._fresh.discard(address)
        cooling = {slot.address: slot.since_s for slot in slots if slot.state is State.COOLING}
        self._left = {name: left for name, left in self._left.items() if cooling.get(left[0]) == left[1]}
        name = self._names.pop(address, "")
        if name and address in cooling:
            self._left[name] = (address, cooling[address])

    def former(self, name: str, slots: Iterable[Slot]) -> IPv4Address | None:
        """What the container of that name had last, if it has cooled ever since."""
        left = self._left.get(name)
        now = {(slot.address, slot.since_s) for slot in slots if slot.state is State.COOLING}
        return left[0] if left in now else None
