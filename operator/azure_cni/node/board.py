"""What the reconciler has found out, for those who answer pods: one writer, many readers, no locks.

The ledger and its store are joined here too: a change is written to the store first and takes effect after, so that
no pod ever gets an address that a restarted agent would not know about.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from azure_cni.api.identity import NodeIdentity
from azure_cni.datapath.conflicts import Conflict
from azure_cni.errors import LedgerError
from azure_cni.ipam.ledger import Change, Ledger
from azure_cni.ipam.life import LinkParameters, State
from azure_cni.ipam.limits import COOLING_S
from azure_cni.node.bell import Bell
from azure_cni.node.ports import LedgerStore


@dataclass(frozen=True, slots=True)
class Outlook:
    """Whether a waiting pod may hope for an address soon, and what to tell it if not.

    `decided_s` is the boot time of the decision: an ADD believes only a decision taken after it began to wait.
    `brief` is for those who see their pods and not the nodes, where `message` repeats what Azure or the API server
    said: subscriptions, names of resources and identities are none of theirs.
    """

    hope: bool
    cause: str
    message: str
    decided_s: float = 0.0
    brief: str = ""

    @property
    def for_pods(self) -> str:
        """What the events and errors of pods may say."""
        return self.brief or self.message


ADDRESSES_FREE = "AddressesFree"
"""The cause of an outlook that needs none."""

STARTING = Outlook(
    hope=True, cause="AgentStarting", message="the agent has not yet read who this node is in Azure; it keeps trying"
)

DAMAGED: Final = (
    "cannot go on with the ledger in memory: it is not what its file says, by a fault in azure-cni; the agent ends, "
    "and starts again from the file"
)


class Board:
    """Identity, link parameters and outlook of this node, and the numbers that people watch."""

    def __init__(self) -> None:
        self.identity: NodeIdentity | None = None
        self.link: LinkParameters | None = None
        self.at_limit = False
        self.target = 0
        self.maximum = 0
        self.requested = 0
        """Addresses that the node asks to hold."""
        self.granted = 0
        """Addresses that it may hold, as last answered."""
        self.waiting = 0
        """Pods that need an address, beyond those for which one is free."""
        self.asked_s: float | None = None
        """Boot time since when a request for a NIC write has had no answer; None when there is none."""
        self.nic_read_s: float | None = None
        """Boot time at which the NIC was last read; None before the first time."""
        self.throttled = False
        """Azure asked to wait, and the time is not over."""
        self.tainted = False
        """The scheduler is told to send no pods (`node.taint`)."""
        self.obstacle = ""
        """Why no pod can start although there may be addresses (a plugin of the chain is missing), in words."""
        self.conflicts: tuple[Conflict, ...] = ()
        """What others on the host do against pods' traffic, as last found."""
        self.outlook = STARTING
        self.bell = Bell()

    @property
    def ready(self) -> bool:
        """Sandboxes can be wired: the uplink is known and the node's table stands."""
        return self.link is not None

    @property
    def can_take_a_pod(self) -> bool:
        """A pod that came now would start: an address is free, or one is on its way, and nothing else is missing."""
        return self.ready and self.outlook.hope and not self.obstacle

    def announce(self, outlook: Outlook) -> None:
        """Publish a new outlook to every ADD that waits."""
        self.outlook = outlook
        self.bell.ring()


class Book:
    """The ledger of this node, kept on disk and in memory."""

    def __init__(self, *, store: LedgerStore, bell: Bell, cooling_s: float = COOLING_S) -> None:
        self._store = store
        self._bell = bell
        self.ledger = Ledger(store.load(), cooling_s=cooling_s)
        self.damaged = asyncio.Event()
        """The file has a change that memory has not: nothing is changed any more, and the process must start again."""

    def commit(self, change: Change) -> None:
        """Make a change, on disk first. LedgerError when that fails: then nothing has changed."""
        if not change:
            return
        if self.damaged.is_set():
            raise LedgerError(DAMAGED)
        self._store.save(change)
        try:
            self.ledger.apply(change)
        except Exception as error:
            self.damaged.set()
            raise LedgerError(f"{DAMAGED}: {error!r}") from error
        if any(slot.state is State.FREE for slot in change.put):
            self._bell.ring()
