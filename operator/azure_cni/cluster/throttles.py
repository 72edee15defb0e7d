"""Until when Azure is held to have asked the nodes of a VNet to wait, and whether that is so.

Each node says it by its own clock, which may be days ahead, and its pool may go on saying it when the node is gone; the
quota says what a controller wrote by its clock. So nobody is believed for longer than Azure could have asked, and each
word of a node only once.

One node's word slows that node. All are stopped when several say so (`quorum`), or one while Azure asks the controller
itself to wait. What nodes alone have confirmed is tried: each minute one node that does not say so gets a permit. When
it has used it without being asked to wait, the stop was none: it ends, and those who said so are not believed about
others for half an hour. So whoever lies in concert gains a minute, and a storm of Azure's costs a write a minute.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from azure_cni.cluster.census import Member
from azure_cni.ipam.limits import LONGEST_RETRY_AFTER_S

LEAST_QUORUM: Final = 3
MOST_QUORUM: Final = 8
"""In a storm each of these wastes one write before all are stopped."""
ONE_IN: Final = 10
"""That share of the nodes is a quorum, between those two."""
TRIAL_S: Final = 60.0
DISCREDITED_S: Final = LONGEST_RETRY_AFTER_S


def believable(until_s: float, *, now_s: float) -> float:
    """That time, or the latest that Azure can have named; seconds since 1970."""
    return min(until_s, now_s + LONGEST_RETRY_AFTER_S)


def quorum(nodes: int) -> int:
    """How many nodes must say that Azure asks to wait before all do."""
    return min(nodes, max(LEAST_QUORUM, min(MOST_QUORUM, math.ceil(nodes / ONE_IN))))


@dataclass(frozen=True, slots=True)
class Heard:
    """What is held to be so now. Times are seconds since 1970."""

    slowed: Mapping[str, float] = field(default_factory=dict)
    """Nodes that say that Azure asked them to wait, and until when: they write no NIC before."""
    all_until_s: float = 0.0
    """Nobody does before; 0 when nothing of the kind is confirmed."""
    known_until_s: float = 0.0
    """What of that a controller had written before."""
    trial: bool = False
    """One node that is not slowed may write all the same, so that it is known whether this is so."""


@dataclass(frozen=True, slots=True)
class _Word:
    """What a node said, and until when it is believed; seconds since 1970."""

    said_s: float
    until_s: float


@dataclass(frozen=True, slots=True)
class _Trial:
    """A permit that was given while nodes said that there should be none."""

    name: str
    request_id: int
    allocated: int


class Throttles:
    """What the nodes of one VNet have said."""

    def __init__(self) -> None:
        self._words: dict[str, _Word] = {}
        self._discredited: dict[str, float] = {}
        """Nodes whose word was found untrue, and until when they are not believed about others."""
        self._lifted_s = 0.0
        """The stop that was found to be none, if the quota still shows it."""
        self._trial: _Trial | None = None
        self._trial_due_s = float("inf")

    def heard(self, members: Sequence[Member], *, known_until_s: float, own_until_s: float, now_s: float) -> Heard:
        """Judge it of one read of everything; times are since 1970.

        `known_until_s`: until when the quota says that all wait; `own_until_s`: until when Azure asked the controller.
        """
        slowed = self._listen(members, now_s=now_s)
        self._judge_trial(members, slowed, known_until_s=known_until_s, now_s=now_s)
        known_s = believable(known_until_s, now_s=now_s) if known_until_s > self._lifted_s else 0.0
        stopped_s = max(known_s, self._confirmed_s(slowed, nodes=len(members), own_until_s=own_until_s, now_s=now_s))
        if stopped_s <= now_s:
            self._trial, self._trial_due_s = None, float("inf")
        elif self._trial_due_s == float("inf"):
            self._trial_due_s = now_s + TRIAL_S
        trial = own_until_s <= now_s and now_s >= self._trial_due_s
        return Heard(slowed, all_until_s=stopped_s, known_until_s=known_s, trial=trial)

    def tried(self, member: Member, *, now_s: float) -> None:
        """That node has the permit of a trial."""
        self._trial = _Trial(member.name, member.view.request.number, member.view.allocated)
        self._trial_due_s = now_s + TRIAL_S

    def _listen(self, members: Sequence[Member], *, now_s: float) -> dict[str, float]:
        """Until when each node says that it was asked to wait; those for whom that is over are left out."""
        words = {}
        for member in members:
            said_s = member.throttled_until_s
            known = self._words.get(member.name)
            if known is not None and known.said_s == said_s:
                words[member.name] = known
            elif said_s > now_s:
                words[member.name] = _Word(said_s, believable(said_s, now_s=now_s))
        self._words = words
        return {name: word.until_s for name, word in words.items() if word.until_s > now_s}

    def _confirmed_s(self, slowed: Mapping[str, float], *, nodes: int, own_until_s: float, now_s: float) -> float:
        """Until when as many as are needed say that Azure asked to wait, 0 if so many do not."""
        self._discredited = {name: until_s for name, until_s in self._discredited.items() if until_s > now_s}
        untils_s = sorted((slowed[name] for name in slowed.keys() - self._discredited.keys()), reverse=True)
        needed = quorum(nodes)
        by_nodes_s = untils_s[needed - 1] if 0 < needed <= len(untils_s) else 0.0
        by_controller_s = min(max(slowed.values()), own_until_s) if slowed and own_until_s > now_s else 0.0
        return max(by_nodes_s, by_controller_s)

    def _judge_trial(
        self, members: Sequence[Member], slowed: Mapping[str, float], *, known_until_s: float, now_s: float
    ) -> None:
        """Whether who had the permit has used it: then it asks again, or holds another number of addresses."""
        trial = self._trial
        member = next((member for member in members if trial is not None and member.name == trial.name), None)
        if trial is None or member is None:
            return
        if member.name in slowed:
            self._trial = None
        elif member.view.request.number > trial.request_id or member.view.allocated != trial.allocated:
            self._trial, self._trial_due_s = None, float("inf")
            self._lifted_s = known_until_s
            self._discredited |= dict.fromkeys(slowed, now_s + DISCREDITED_S)
