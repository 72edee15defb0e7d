"""The life of one address: states, events, and the one table of what may follow what.

                   seen               assign                unassign
    (unknown) ───────────────► free ─────────► assigned ───────────────► cooling
        │ pending             ▲ │ ▲ ◄───────── abandon                      │
        ▼             seen    │ │ └──────────────── cooled ─────────────────┘
    programming ──────────────┘ │            (cooling ─ assign ─► assigned at the node's limit)
        │ release               │ release
        └──────► releasing ◄────┘
                     │ gone
                     ▼
                 (unknown)

The NIC is read from time to time and each address told what it showed of it: `seen`, `pending`, `excluded` or `gone`.
An address that is gone or excluded is forgotten in every state but one: a pod lives with an assigned one, so it stays,
marked, until the pod ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import IPv4Address
from types import MappingProxyType
from typing import Final, NamedTuple

from azure_cni.api.nic import ConfigName, ExcludedConfiguration, IPConfiguration
from azure_cni.errors import AzureCniError


class State(StrEnum):
    """Where an address is in its life."""

    PROGRAMMING = "programming"
    """On the NIC, but no pod may have it yet: its operation has not Succeeded, or the node's kernel is not prepared."""
    FREE = "free"
    ASSIGNED = "assigned"
    COOLING = "cooling"
    """Given back by a pod; waits until no connection of the old holder can reach the new one."""
    RELEASING = "releasing"
    """Chosen to leave the NIC; may no longer be assigned."""


class Event(StrEnum):
    """What can happen to an address. The first four are what a read of the NIC shows of it."""

    SEEN = "seen"
    """On the NIC, and its operation Succeeded."""
    PENDING = "pending"
    """On the NIC, with an operation under way or failed, or with a kernel that does not know it."""
    EXCLUDED = "excluded"
    """On the NIC, in a configuration that is not for pods, or no longer: somebody attached something to it."""
    GONE = "gone"
    ASSIGN = "assign"
    UNASSIGN = "unassign"
    ABANDON = "abandon"
    """Given back before any packet could leave from it: its sandbox was never wired."""
    COOLED = "cooled"
    RELEASE = "release"


TRANSITIONS: Final[Mapping[tuple[State | None, Event], State | None]] = MappingProxyType(
    {
        (None, Event.SEEN): State.FREE,
        (None, Event.PENDING): State.PROGRAMMING,
        (None, Event.EXCLUDED): None,
        (State.PROGRAMMING, Event.SEEN): State.FREE,
        (State.PROGRAMMING, Event.PENDING): State.PROGRAMMING,
        (State.PROGRAMMING, Event.GONE): None,
        (State.PROGRAMMING, Event.EXCLUDED): None,
        (State.PROGRAMMING, Event.RELEASE): State.RELEASING,  # its operation failed: it will never be usable
        (State.FREE, Event.SEEN): State.FREE,
        (State.FREE, Event.PENDING): State.FREE,  # each write of the NIC marks all of it; what worked goes on working
        (State.FREE, Event.GONE): None,
        (State.FREE, Event.EXCLUDED): None,
        (State.FREE, Event.ASSIGN): State.ASSIGNED,
        (State.FREE, Event.RELEASE): State.RELEASING,
        (State.ASSIGNED, Event.SEEN): State.ASSIGNED,
        (State.ASSIGNED, Event.PENDING): State.ASSIGNED,
        (State.ASSIGNED, Event.GONE): State.ASSIGNED,  # marked as off the NIC
        (State.ASSIGNED, Event.EXCLUDED): State.ASSIGNED,  # marked: no pod gets it after this one
        (State.ASSIGNED, Event.UNASSIGN): State.COOLING,
        (State.ASSIGNED, Event.ABANDON): State.FREE,
        (State.COOLING, Event.SEEN): State.COOLING,
        (State.COOLING, Event.PENDING): State.COOLING,
        (State.COOLING, Event.GONE): None,
        (State.COOLING, Event.EXCLUDED): None,
        (State.COOLING, Event.COOLED): State.FREE,
        (State.COOLING, Event.ASSIGN): State.ASSIGNED,  # the node is at its limit
        # A releasing address hears of the NIC only once no write can take it off any more: what is there then stays.
        (State.RELEASING, Event.SEEN): State.FREE,
        (State.RELEASING, Event.PENDING): State.PROGRAMMING,
        (State.RELEASING, Event.GONE): None,
        (State.RELEASING, Event.EXCLUDED): None,
    }
)
"""All that an address can do. A pair that is not here is a fault of the program and is refused."""


_SHOWN: Final = frozenset({Event.SEEN, Event.PENDING, Event.GONE})
"""After these a slot is as the NIC shows it, and nothing of before is remembered."""


class Sandbox(NamedTuple):
    """The identity of an attachment in CNI: container ID and interface name."""

    container_id: str
    ifname: str


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds an assigned address. Pod fields are "" for containers without a pod."""

    sandbox: Sandbox
    netns: str = ""
    pod_namespace: str = ""
    pod_name: str = ""
    pod_uid: str = ""

    def __str__(self) -> str:
        if self.pod_name:
            return f"pod {self.pod_namespace}/{self.pod_name}"
        return f"container {self.sandbox.container_id[:13]}"


@dataclass(frozen=True, slots=True)
class LinkParameters:
    """What a sandbox takes from the NIC: MTU in bytes, and the primary address, from which the node speaks to it."""

    mtu: int
    primary: IPv4Address


@dataclass(frozen=True, slots=True)
class Slot:
    """One address of the pool. `since_s` is the boot time (seconds) of the last transition."""

    address: IPv4Address
    config: ConfigName
    state: State
    since_s: float
    holder: Holder | None = None
    on_nic: bool = True
    """False when the NIC no longer shows an address that a pod still holds: drift, told as a condition."""
    link: LinkParameters | None = None
    """What its holder was wired with; the NIC's may have changed since. None where that was not written down (schema 1
    of the ledger)."""
    excluded: bool = False
    """On the NIC, and a pod still holds it, but its configuration is not for pods any more."""

    @property
    def in_pool(self) -> bool:
        """What the NIC has for pods; any other address is forgotten when its pod gives it back."""
        return self.on_nic and not self.excluded


def moved(slot: Slot, event: Event, *, now_s: float) -> Slot | None:
    """The slot after the event; None when the address leaves the ledger. The same value when nothing changes."""
    if (slot.state, event) not in TRANSITIONS:
        held = f", held by {slot.holder}" if slot.holder else ""
        raise AzureCniError(f"cannot {event} {slot.address}: it is {slot.state}{held}")
    state = TRANSITIONS[slot.state, event]
    if state is None:
        return None
    on_nic = event in {Event.SEEN, Event.EXCLUDED} or (slot.on_nic and event is not Event.GONE)
    excluded = event is Event.EXCLUDED or (slot.excluded and event not in _SHOWN)
    if (state, on_nic, excluded) == (slot.state, slot.on_nic, slot.excluded):
        return slot
    if state is slot.state:
        return replace(slot, on_nic=on_nic, excluded=excluded)
    return replace(slot, state=state, since_s=now_s, on_nic=on_nic, excluded=excluded, holder=None, link=None)


def observed(
    address: IPv4Address,
    before: Slot | None,
    config: IPConfiguration | ExcludedConfiguration | None,
    *,
    now_s: float,
    prepared: bool = True,
) -> Slot | None:
    """The slot after a read that showed the address in `config`, or nowhere; `prepared`: the kernel knows it."""
    slot = before
    if slot and (config is None or config.name != slot.config):  # another name: deleted and made anew
        slot = moved(slot, Event.GONE, now_s=now_s)
    if config is None:
        return slot
    event = _event(config, prepared=prepared)
    if slot is None:
        state = TRANSITIONS[None, event]
        return Slot(address, ConfigName(config.name), state, now_s) if state else None
    if slot.config != config.name:
        slot = replace(slot, config=ConfigName(config.name))
    return moved(slot, event, now_s=now_s)


def _event(config: IPConfiguration | ExcludedConfiguration, *, prepared: bool) -> Event:
    if isinstance(config, ExcludedConfiguration):
        return Event.EXCLUDED
    return Event.SEEN if config.ready and prepared else Event.PENDING
