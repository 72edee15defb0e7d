"""Whether the holder of an address is alive: a decision over what was observed of it.

A runtime sends a DEL for each sandbox that it knows. It forgets sandboxes when its state is lost, or when it dies
between an ADD and its own records, and their addresses would be held for ever. So an address is taken back without a
DEL when its holder is dead:

- nothing can live in it: its link is gone (a veth goes with its namespace), and no DEL will come, because its pod is
  not on this node, or has a newer sandbox;
- nobody lives in it: its link is there, but no process is in its namespace, and its pod is not on this node, or has a
  newer sandbox.

An engine (Docker) that lists its containers counts as the API server does: a container that it has is like a pod that
is here, and one that it does not have like a pod that is not; but it makes endpoints minutes before they get their
link, so a newer list has to confirm that even where there is no link.

An ADD that waits for an address, or was refused one, is a newer sandbox, too: when a chained plugin was missing, its
DEL fails before ours is called, nobody calls it again, and on a full node the pod would wait for ever for the address
that its own first attempt holds.

This must be so for GRACE_S. What cannot be known counts as alive. A sandbox whose pod is here and has no newer one is
never suspected: the runtime may have wired it before the first process runs. Nor is one without a pod (cnitool, podman)
while its link is there: such a namespace may be empty on purpose.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from azure_cni.ipam.address_state import Holder, Slot

GRACE_S: Final = 60.0
"""How long a holder must have looked dead: a younger one may belong to an ADD that is under way, or to a sandbox that
is being taken down; and just after a start not every pod of the node has been listed yet."""


class Presence(StrEnum):
    """What is known of the pod that a sandbox belongs to."""

    NO_POD = "no-pod"
    """It belongs to none."""
    HERE = "here"
    ABSENT = "absent"
    UNKNOWN = "unknown"
    """The pods of this node have not been listed yet."""
    FORGOTTEN = "forgotten"
    """It is a container's without a pod, and the engine of which it was does not have it (any more)."""


class Occupancy(StrEnum):
    """Whether processes are in a sandbox's network namespace."""

    NOT_LOOKED = "not-looked"
    OCCUPIED = "occupied"
    EMPTY = "empty"
    UNREADABLE = "unreadable"
    """Unknown: the namespace is not at its path, or not all processes of the node can be seen."""


class RollCall(Protocol):
    """Who knows of a sandbox that has no pod: a container engine that can list what it has."""

    @property
    def lists_requested(self) -> int:
        """How many lists were requested since this process began."""

    @property
    def lists_applied(self) -> int:
        """The number of the last one that came and that `presence` goes by."""

    def presence(self, holder: Holder) -> Presence:
        """What is known of the holder. NO_POD for one that is not of the engine, or while it has never answered."""

    def request(self) -> None:
        """Have a list made soon."""


class Verdict(StrEnum):
    """What to do about a holder."""

    ALIVE = "alive"
    WAIT = "wait"
    """Suspect, within the grace time."""
    LIST = "list"
    """Suspect because its pod or container is absent: have them listed once more before that is believed."""
    LOOK = "look"
    """Suspect for long enough: look for processes."""
    OCCUPIED = "occupied"
    """Processes live in it although its pod does not: alive, and to be reported."""
    UNDECIDED = "undecided"
    """It may be dead, and that cannot be found out: kept, and to be reported."""
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Facts:
    """What was observed of one holder. The last three matter for a suspect only.

    `wired`: its host end is there. `superseded`: its pod has a newer sandbox. `suspected_s`: for how many seconds it
    has been suspect. `relisted`: a list of pods or containers that was requested after that has been applied.
    """

    wired: bool
    pod: Presence
    superseded: bool = False
    suspected_s: float = 0.0
    relisted: bool = False
    occupancy: Occupancy = Occupancy.NOT_LOOKED


def suspicion(facts: Facts) -> str:
    """Why the holder may be dead, as words; "" when there is no reason to think so."""
    if facts.pod is Presence.NO_POD:
        return "" if facts.wired else "its sandbox is gone"
    if facts.superseded:
        return "its pod has a newer sandbox"
    if facts.pod is Presence.ABSENT:
        return "its pod is not on this node"
    return "its engine has no container with it" if facts.pod is Presence.FORGOTTEN else ""


def judge(facts: Facts) -> Verdict:
    """The verdict on one holder; see the module for the rules."""
    if not suspicion(facts):
        return Verdict.ALIVE
    if facts.suspected_s < GRACE_S:
        return Verdict.WAIT
    if not facts.wired and facts.pod is not Presence.FORGOTTEN:
        return Verdict.DEAD
    if not facts.superseded and not facts.relisted:
        return Verdict.LIST
    if not facts.wired:
        return Verdict.DEAD
    return {
        Occupancy.NOT_LOOKED: Verdict.LOOK,
        Occupancy.OCCUPIED: Verdict.OCCUPIED,
        Occupancy.EMPTY: Verdict.DEAD,
        Occupancy.UNREADABLE: Verdict.UNDECIDED,
    }[facts.occupancy]


PodKey = tuple[str, str, str]
"""A pod's namespace, name and UID, as the runtime says them."""


class UnmetAdd(NamedTuple):
    """An ADD that found no address free: of which container, and its boot time."""

    container_id: str
    at_s: float


def superseded(slots: Iterable[Slot], asked: Mapping[PodKey, UnmetAdd] | None = None) -> frozenset[Holder]:
    """The holders whose pod has a newer sandbox. `asked`: each pod's newest ADD that found no address free.

    Interfaces of one container (Multus) are one sandbox, as old as its first address: one that asked for a further
    address is no newer by that. Of two that are equally old neither is newer.
    """
    held = [(slot.holder, slot.since_s) for slot in slots if slot.holder is not None and slot.holder.pod_name]
    born: dict[str, float] = {}
    for holder, since_s in held:
        container = holder.sandbox.container_id
        born[container] = min(since_s, born.get(container, since_s))
    newest = {pod: add.at_s for pod, add in (asked or {}).items() if add.container_id not in born}
    for holder, _ in held:
        pod = pod_key(holder)
        newest[pod] = max(born[holder.sandbox.container_id], newest.get(pod, 0.0))
    return frozenset(holder for holder, _ in held if born[holder.sandbox.container_id] < newest[pod_key(holder)])


def pod_key(holder: Holder) -> PodKey:
    """The pod of a holder."""
    return holder.pod_namespace, holder.pod_name, holder.pod_uid
