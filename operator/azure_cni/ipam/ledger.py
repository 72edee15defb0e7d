"""The address ledger of one node: the (state, event) table of an address's life."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address
from typing import NamedTuple

from azure_cni.api.nic import ConfigName


class State(StrEnum):
    """Where an address is in its life."""

    PROGRAMMING = "programming"
    """On the NIC, but its operation has not Succeeded yet."""
    FREE = "free"
    ASSIGNED = "assigned"
    COOLING = "cooling"
    """Given back by a pod; waits until no connection of the old holder can reach the new one."""
    RELEASING = "releasing"
    """Chosen to leave the NIC; may no longer be assigned."""


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


@dataclass(frozen=True, slots=True)
class Change:
    """A transition decided but not yet done: slots to write, addresses to forget. Applied as a whole or not at all."""

    put: tuple[Slot, ...] = ()
    drop: tuple[IPv4Address, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.put or self.drop)
