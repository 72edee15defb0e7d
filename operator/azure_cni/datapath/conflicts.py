"""What others on the host do that stands in the way of pods' traffic, as data. Pure.

A conflict is what the agent must not or cannot put right itself: a rule, a table, a switch or a service that belongs
to somebody else. It differs from a repair, which is done and over: a conflict lasts until a person ends it. The
pool's condition HostConflict, one log line, one event and a metric report it; see `node.kernel`.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from azure_cni.model.nic import Address

USUAL = 3
"""So often at least, and..."""
WITHIN_S = 3600.0
"""... no further apart than this, which is also how long a conflict outlives its last repair."""

_NAMED = 3


class ConflictReason(StrEnum):
    """Every conflict that the agent recognises, as conditions, events and metrics name it."""

    FOREIGN_POLICY_RULES = "ForeignPolicyRules"
    AMBIGUOUS_UPLINK = "AmbiguousUplink"
    DEFAULT_ROUTE_ELSEWHERE = "DefaultRouteElsewhere"
    ADDRESS_ELSEWHERE = "AddressElsewhere"
    FOREIGN_FILTER = "ForeignFilter"
    CONNTRACK_FULL = "ConntrackFull"
    REPAIRS_UNDONE = "RepairsUndone"
    OTHER_CONFLIST = "OtherConflist"


@dataclass(frozen=True, slots=True)
class Conflict:
    """One conflict; a host has at most one of each reason.

    `message` says what is in the way of pods, whose it is, and the command that ends it. It must be the same from pass
    to pass while nothing changes: no counters, no times. `command` is that command alone, as a shell on this node takes
    it as root; "" where no command ends it without a person's decision.
    """

    reason: ConflictReason
    message: str
    command: str = ""


def address_elsewhere(held: Iterable[tuple[str, Address]], pool: Collection[Address]) -> tuple[Conflict, ...]:
    """The conflict with interfaces other than the NIC's, by name and address, that have addresses of the pool.

    On the NIC's own they are removed, because programs that configure it put them there for want of knowing better.
    What has them elsewhere (a person on `lo`, keepalived, kube-proxy's `kube-ipvs0` for an external IP of a Service)
    means it and would put them back, so it is reported.
    """
    found = {(address, name) for name, address in held if address in pool}
    taken = sorted(found, key=lambda one: (one[0].version, int(one[0]), one[1]))
    if not taken:
        return ()
    named = ", ".join(f"{address} on {name}" for address, name in taken[:_NAMED])
    more = " and more" if len(taken) > _NAMED else ""
    command = "; ".join(f"ip address delete {address} dev {shlex.quote(name)}" for address, name in taken[:_NAMED])
    message = (
        f"interfaces of the node have addresses that are for pods: {named}{more}. The node answers for the pods "
        f"that get them. Run: {command} (on kube-ipvs0: take the address out of the externalIPs of its Service)"
    )
    return (Conflict(ConflictReason.ADDRESS_ELSEWHERE, message, command),)


def conflists_before(others: Sequence[str], *, directory: str, ours: str, multus: bool = False) -> tuple[Conflict, ...]:
    """The conflict with configurations in the runtime's `directory` whose names, `others`, sort before `ours`.

    `multus`: the first is Multus', and delegates to another network. Somebody may mean that.
    """
    if not others:
        return ()
    if multus:
        message = (
            f"the container runtime uses {directory}/{others[0]}, by which Multus delegates to another network: pods "
            "get azure-cni's addresses only for the interfaces that they ask Multus for. For eth0, have Multus "
            f"delegate to {ours} (docs/works-beside.md#networks)"
        )
        return (Conflict(ConflictReason.OTHER_CONFLIST, message),)
    command = "; ".join(f"mv {path} {path}.unused" for path in (shlex.quote(f"{directory}/{name}") for name in others))
    message = (
        f"the container runtime uses {directory}/{others[0]} and not {ours}: its name sorts first; pods get no "
        f"azure-cni address until {' and '.join(others)} {'is' if len(others) == 1 else 'are'} removed. Run: {command}"
    )
    return (Conflict(ConflictReason.OTHER_CONFLIST, message, command),)


@dataclass(frozen=True, slots=True)
class _Row:
    count: int
    last_s: float


class Recurrences:
    """Repairs that somebody undoes again and again: a hardening agent, configuration management, a timer.

    One repair is news. The third of the same kind is a state of the host that a person must end, and is reported as
    one: a conflict, for as long as it goes on. It is put right each time all the same. Repairs are counted by their
    words; times are seconds of any clock that does not go back.
    """

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}

    def record(self, repairs: Iterable[str], *, now_s: float) -> None:
        """These were just made. What is long ago is forgotten."""
        self._rows = {words: row for words, row in self._rows.items() if now_s - row.last_s < WITHIN_S}
        for words in repairs:
            before = self._rows.get(words)
            self._rows[words] = _Row(before.count + 1 if before else 1, now_s)

    def is_usual(self, words: str, *, now_s: float) -> bool:
        """It was made often enough, and not long ago."""
        row = self._rows.get(words)
        return row is not None and row.count >= USUAL and now_s - row.last_s < WITHIN_S

    def conflicts(self, *, now_s: float) -> tuple[Conflict, ...]:
        """One for all that are usual, the same from pass to pass while these are the same; none where there is none."""
        usual = sorted(words for words in self._rows if self.is_usual(words, now_s=now_s))
        if not usual:
            return ()
        message = (
            f"something on this host keeps undoing what pods need; it is put right each time: {'; '.join(usual)}. "
            "Find what does it (a hardening agent, configuration management, a timer of the host: "
            "systemctl list-timers) and exempt this node"
        )
        return (Conflict(ConflictReason.REPAIRS_UNDONE, message),)
