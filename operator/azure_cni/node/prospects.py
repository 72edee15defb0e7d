"""From what the reconciler knows to what people are told: the outlook for waiting pods, and the pool's conditions.

Pure: a snapshot in, words out. Every message says what is so, with the numbers, and where it helps what to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from azure_cni.api.conditions import Condition, Kind
from azure_cni.errors import SubnetFull, Throttled
from azure_cni.ipam.ledger import Counts
from azure_cni.node.board import STARTING, Outlook
from azure_cni.node.troubles import Trouble, Troubles

NAMED = 5
"""How many addresses a message names before it counts the rest."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that the words are made from. `ready` means identified and wired; `ceiling` is what the pool may grow to."""

    ready: bool
    counts: Counts
    paused: bool
    target: int
    ceiling: int
    writing: bool
    lost: tuple[IPv4Address, ...]
    refusal: str
    refusal_message: str
    now_s: float

    @property
    def at_limit(self) -> bool:
        """The pool may not grow any further."""
        return self.counts.allocated >= self.ceiling

    @property
    def held(self) -> str:
        """The counts in words."""
        counts = self.counts
        return (
            f"{counts.allocated} of at most {self.ceiling} addresses: "
            f"{counts.assigned} assigned, {counts.cooling} cooling, {counts.free} free"
        )


def outlook(snapshot: Snapshot, troubles: Troubles) -> Outlook:
    """What an ADD that waits may expect."""
    hope, cause, message = _prospect(snapshot, troubles)
    return Outlook(hope=hope, cause=cause, message=message, decided_s=snapshot.now_s)


def _prospect(snapshot: Snapshot, troubles: Troubles) -> tuple[bool, str, str]:
    if snapshot.counts.free and snapshot.ready:
        return True, "AddressesFree", f"{snapshot.counts.free} addresses are free"
    worst = troubles.worst()
    if worst is not None:
        return False, worst.reason, str(worst.error)
    if not snapshot.ready:
        return STARTING.hope, STARTING.cause, STARTING.message
    return _growth(snapshot)


def _growth(snapshot: Snapshot) -> tuple[bool, str, str]:
    if snapshot.at_limit:
        return False, "NodeAtLimit", f"this node holds {snapshot.held}"
    if snapshot.paused:
        return False, "PoolPaused", f"the NodeIPPool is paused (spec.paused) and nothing is free: {snapshot.held}"
    if snapshot.refusal:
        return False, snapshot.refusal, snapshot.refusal_message
    return True, "PoolGrowing", f"the pool grows to {snapshot.target} addresses; now {snapshot.held}"


def conditions(snapshot: Snapshot, troubles: Troubles) -> tuple[Condition, ...]:
    """All conditions, each with a reason and a message, whether they hold or not."""
    return (
        _ready(snapshot, troubles),
        _growing(snapshot),
        _at_limit(snapshot),
        _trouble(Kind.SUBNET_FULL, troubles.find(SubnetFull), "SubnetHasRoom", "the subnet has not refused addresses"),
        _trouble(Kind.THROTTLED, troubles.find(Throttled), "NotThrottled", "Azure has not asked to wait"),
        _drifted(snapshot),
    )


def _ready(snapshot: Snapshot, troubles: Troubles) -> Condition:
    prospect = outlook(snapshot, troubles)
    first = troubles.first()
    if not snapshot.ready or not prospect.hope:
        reason = prospect.cause if first is None else first.reason
        message = prospect.message if first is None else str(first.error)
        return Condition(Kind.READY, False, reason, message)
    if first is not None:
        return Condition(Kind.READY, True, first.reason, f"{prospect.message}; but {first.error!s}")
    return Condition(Kind.READY, True, "PodsCanStart", prospect.message)


def _growing(snapshot: Snapshot) -> Condition:
    if snapshot.writing:
        return Condition(
            Kind.GROWING, True, "NicWriteInFlight", f"Azure works on the NIC; target {snapshot.target} addresses"
        )
    if snapshot.counts.allocated < snapshot.target:
        message = f"{snapshot.counts.allocated} of {snapshot.target} addresses wanted are on the NIC"
        return Condition(Kind.GROWING, True, "BelowTarget", message)
    return Condition(Kind.GROWING, False, "AtTarget", f"{snapshot.counts.allocated} addresses on the NIC, as wanted")


def _at_limit(snapshot: Snapshot) -> Condition:
    if snapshot.at_limit:
        return Condition(Kind.AT_LIMIT, True, "NodeAtLimit", f"this node holds {snapshot.held}")
    return Condition(Kind.AT_LIMIT, False, "BelowLimit", f"this node holds {snapshot.held}")


def _trouble(kind: Kind, trouble: Trouble | None, fine: str, fine_message: str) -> Condition:
    if trouble is None:
        return Condition(kind, False, fine, fine_message)
    return Condition(kind, True, trouble.reason, str(trouble.error))


def _drifted(snapshot: Snapshot) -> Condition:
    if not snapshot.lost:
        return Condition(Kind.DRIFTED, False, "AsExpected", "every assigned address is on the NIC")
    names = ", ".join(str(address) for address in snapshot.lost[:NAMED])
    more = f" and {len(snapshot.lost) - NAMED} more" if len(snapshot.lost) > NAMED else ""
    message = (
        f"pods hold addresses that are no longer on the NIC: {names}{more}; another tool removed them: "
        f"delete these pods to give them new ones"
    )
    return Condition(Kind.DRIFTED, True, "AddressesLost", message)
