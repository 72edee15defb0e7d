"""The life cycle of one address: its states, events, and the single table of transitions.

                   ready              assign                unassign
    (unknown) ───────────────► free ─────────► assigned ───────────────► cooling
        │ pending             ▲ │ ▲ ◄───────── abandon                      │
        ▼             ready   │ │ └──────────────── cooled ─────────────────┘
    programming ──────────────┘ │            (cooling ─ assign ─► assigned at the node's limit)
        │ release               │ release
        └──────► releasing ◄────┘
                     │ gone
                     ▼
                 (unknown)

Each read of the NIC yields one event for each address: `ready`, `pending`, `attached`, `excluded` or `gone`. An
address that is gone or excluded is forgotten in every state but one: a pod uses an assigned one, so it stays, marked,
until the pod ends.

What a pod had attached to its address (a load balancer pool, a public IP address) must be off it before the next pod
gets it. So `Slot.attached` is set before the write that attaches, and stays set until a read shows that nothing is
there and no write can come any more. While it is set the address is neither free nor assigned again, and it cools from
then on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType
from typing import Final, NamedTuple

from azure_cni.errors import AzureCniError
from azure_cni.model.identity import ModeName
from azure_cni.model.nic import ConfigName, ExcludedConfiguration, IPConfiguration


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
    """What can happen to an address. The first five are what a read of the NIC shows of it."""

    READY = "ready"
    """On the NIC, and its operation Succeeded."""
    PENDING = "pending"
    """On the NIC, with an operation under way or failed, or with a kernel that does not know it."""
    ATTACHED = "attached"
    """On the NIC, with something attached that a pod asked for, and that no other pod may find there."""
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
        (None, Event.READY): State.FREE,
        (None, Event.PENDING): State.PROGRAMMING,
        (None, Event.EXCLUDED): None,
        (None, Event.ATTACHED): State.PROGRAMMING,
        (State.PROGRAMMING, Event.READY): State.FREE,
        (State.PROGRAMMING, Event.PENDING): State.PROGRAMMING,
        (State.PROGRAMMING, Event.GONE): None,
        (State.PROGRAMMING, Event.EXCLUDED): None,
        (State.PROGRAMMING, Event.ATTACHED): State.PROGRAMMING,
        (State.PROGRAMMING, Event.RELEASE): State.RELEASING,  # its operation failed: it will never be usable
        (State.FREE, Event.READY): State.FREE,
        (State.FREE, Event.PENDING): State.FREE,  # each write of the NIC marks all of it; what worked goes on working
        (State.FREE, Event.GONE): None,
        (State.FREE, Event.EXCLUDED): None,
        (State.FREE, Event.ATTACHED): State.PROGRAMMING,  # by hand: it is removed
        (State.FREE, Event.ASSIGN): State.ASSIGNED,
        (State.FREE, Event.RELEASE): State.RELEASING,
        (State.ASSIGNED, Event.READY): State.ASSIGNED,
        (State.ASSIGNED, Event.PENDING): State.ASSIGNED,
        (State.ASSIGNED, Event.GONE): State.ASSIGNED,  # marked as off the NIC
        (State.ASSIGNED, Event.EXCLUDED): State.ASSIGNED,  # marked: no pod gets it after this one
        (State.ASSIGNED, Event.ATTACHED): State.ASSIGNED,
        (State.ASSIGNED, Event.UNASSIGN): State.COOLING,
        (State.ASSIGNED, Event.ABANDON): State.FREE,
        (State.COOLING, Event.READY): State.COOLING,
        (State.COOLING, Event.PENDING): State.COOLING,
        (State.COOLING, Event.GONE): None,
        (State.COOLING, Event.EXCLUDED): None,
        (State.COOLING, Event.ATTACHED): State.COOLING,
        (State.COOLING, Event.COOLED): State.FREE,
        (State.COOLING, Event.ASSIGN): State.ASSIGNED,  # the node is at its limit
        # A releasing address gets events only when no write can remove it any more: what the NIC shows then stays.
        (State.RELEASING, Event.READY): State.FREE,
        (State.RELEASING, Event.PENDING): State.PROGRAMMING,
        (State.RELEASING, Event.GONE): None,
        (State.RELEASING, Event.EXCLUDED): None,
        (State.RELEASING, Event.ATTACHED): State.PROGRAMMING,
    }
)
"""All that an address can do. A pair that is not here is a fault of the program and is refused."""


_SHOWN: Final = frozenset({Event.READY, Event.PENDING, Event.ATTACHED, Event.GONE})
"""After these a slot is as the NIC shows it, and nothing of before is remembered."""


class Sandbox(NamedTuple):
    """The identity of an attachment in CNI: network name, container ID and interface name.

    `network` is "" where it is not known: in rows that an agent of schema 1 or 2 wrote, and in a DEL whose network
    configuration cannot be read. A container has one interface of a name whatever its networks are, so an unknown
    network means the one that holds the interface.
    """

    network: str
    container_id: str
    ifname: str

    @property
    def interface(self) -> tuple[str, str]:
        """Container ID and interface name, by which a kernel knows the sandbox: no two networks can both have it."""
        return self.container_id, self.ifname

    def matches(self, other: Sandbox) -> bool:
        """Both name one attachment, as far as their networks are known."""
        networks = {self.network, other.network}
        return self.interface == other.interface and (len(networks) == 1 or "" in networks)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds an assigned address. Pod fields are "" for containers without a pod."""

    sandbox: Sandbox
    netns: str = ""
    pod_namespace: str = ""
    pod_name: str = ""
    pod_uid: str = ""

    def __str__(self) -> str:
        if self.pod_name and self.pod_namespace:
            return f"pod {self.pod_namespace}/{self.pod_name}"
        return f"container {self.pod_name or self.sandbox.container_id[:13]}"  # podman names its containers so


@dataclass(frozen=True, slots=True)
class LinkParameters:
    """What a sandbox is wired with: MTU in bytes and primary address of the NIC, from which the node speaks to it; and
    the mode.
    """

    mtu: int
    primary: IPv4Address
    mode: ModeName = ModeName.TRANSPARENT


@dataclass(frozen=True, slots=True)
class Slot:
    """One address of the pool. `since_s` is the boot time (seconds) of the last transition.

    A sandbox may hold several: then each is a slot, and all have the same holder.
    """

    address: IPv4Address
    config: ConfigName
    state: State
    since_s: float
    holder: Holder | None = None
    on_nic: bool = True
    """False when the NIC no longer shows an address that a pod still holds: drift, reported as a condition."""
    link: LinkParameters | None = None
    """What its holder was wired with; the NIC's may have changed since. None where that was not written down (schema 1
    of the ledger)."""
    excluded: bool = False
    """On the NIC, and a pod still holds it, but its configuration is not for pods any more."""
    own_egress: bool = False
    """What its holder sends out of the VNet keeps this address, and does not take the node's."""
    attached: bool = False
    """Something that a pod asked for is attached to it, or may be by a write that has not ended."""
    ipv6: IPv6Address | None = None
    """In dual stack, the address that goes with this one (`ipv6_binding`)."""
    attaching: bool = False
    """A write that attaches something to it is not known to have worked: if the NIC has failed, this may be why."""

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
    if slot.attached and state is State.FREE:
        raise AzureCniError(f"cannot free {slot.address}: what its pod asked for is still attached to it")
    on_nic = event in {Event.READY, Event.EXCLUDED, Event.ATTACHED} or (slot.on_nic and event is not Event.GONE)
    excluded = event is Event.EXCLUDED or (slot.excluded and event not in _SHOWN)
    attached = event is Event.ATTACHED or slot.attached
    after = replace(slot, on_nic=on_nic, excluded=excluded, attached=attached)
    if state is not slot.state:
        after = replace(after, state=state, since_s=now_s, holder=None, link=None, own_egress=False)
    return slot if after == slot else after


def observed(
    address: IPv4Address,
    before: Slot | None,
    config: IPConfiguration | ExcludedConfiguration | None,
    *,
    now_s: float,
    prepared: bool = True,
    conclusive: bool = True,
    failed: bool = False,
) -> Slot | None:
    """The slot after a read that showed the address in `config`, or nowhere; `prepared`: the kernel knows it.

    `conclusive`: no write that could attach something to it is under way, and the kernel has nothing of what was
    attached before. So what the read does not show is not there. `failed`: nor does what it shows have to work.
    """
    slot = before
    if slot and (config is None or config.name != slot.config):  # another name: deleted and created again
        slot = moved(slot, Event.GONE, now_s=now_s)
    if config is None:
        return slot
    if slot is None:
        event = _event(config, prepared=prepared)
        state = TRANSITIONS[None, event]
        attached = event is Event.ATTACHED
        return Slot(address, ConfigName(config.name), state, now_s, attached=attached) if state else None
    if slot.config != config.name:
        slot = replace(slot, config=ConfigName(config.name))
    if slot.attaching and conclusive and not failed:
        slot = replace(slot, attaching=False)
    if slot.attached and not config.attached and conclusive:
        # A load balancer sent clients there until now, and what they try lasts as long as what any other peer does.
        slot = replace(
            slot, attached=False, attaching=False, since_s=now_s if slot.state is State.COOLING else slot.since_s
        )
    return moved(slot, _event(config, prepared=prepared and not slot.attached), now_s=now_s)


def _event(config: IPConfiguration | ExcludedConfiguration, *, prepared: bool) -> Event:
    if isinstance(config, ExcludedConfiguration):
        return Event.EXCLUDED
    if config.attached:
        return Event.ATTACHED
    return Event.READY if config.ready and prepared else Event.PENDING
