"""Whether Azure asks the nodes of a VNet to wait, judged from what the nodes say. Pure, but for what it remembers.

Azure limits the writes of a whole subscription, so when it asks one node to wait, others are about to be asked as well:
to go on would waste writes and prolong the storm. But each node reports that itself (`status.throttledUntil`), by its
own clock, and its pool may go on saying so when the node is gone; and a node could lie to keep all others from growing.
Hence these rules:

- *A time is bounded.* A node is believed for as long as Azure could have asked it to wait, and no report is believed
  twice. The same goes for the time that the quota shows, which another controller wrote by its clock.
- *A clock that is set back takes along what it has measured*, or all would wait until it has caught up.
- *One node slows itself.* Its own writes wait until the time that it names; that costs nobody else anything.
- *A quorum stops all*, or one node while Azure also asks the controller itself to wait.
- *A stop that only nodes have confirmed is tried.* Once a minute one node that does not report it gets a grant. If it
  uses the grant without being asked to wait, there was no storm: the stop ends, and the nodes that reported it are not
  believed about others for half an hour. Nodes that lie in concert gain a minute; in a real storm the trial costs one
  write a minute.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from azure_cni.ipam.limits import LONGEST_RETRY_AFTER_S
from azure_cni.quota.node_record import NodeRecord

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
class ThrottleState:
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
class _Claim:
    """What a node said, and until when it is believed; seconds since 1970."""

    said_s: float
    until_s: float


@dataclass(frozen=True, slots=True)
class _Trial:
    """A grant that was given although nodes said that Azure asked to wait."""

    name: str
    request_id: int
    allocated: int


class ThrottleTracker:
    """What the nodes of one VNet have said."""

    def __init__(self) -> None:
        self._claims: dict[str, _Claim] = {}
        self._discredited: dict[str, float] = {}
        """Nodes whose word was found untrue, and until when they are not believed about others."""
        self._lifted_s = 0.0
        """The stop that was found to be none, if the quota still shows it."""
        self._trial: _Trial | None = None
        self._trial_due_s = float("inf")
        self._now_s = float("-inf")
        """When it was last asked."""

    def assess(
        self, nodes: Sequence[NodeRecord], *, known_until_s: float, own_until_s: float, now_s: float
    ) -> ThrottleState:
        """Judge it from one read of everything; times are since 1970.

        `known_until_s`: until when the quota says that all wait; `own_until_s`: until when Azure asked the controller.
        """
        self._pass_to(now_s)
        slowed = self._listen(nodes, now_s=now_s)
        self._judge_trial(nodes, slowed, known_until_s=known_until_s, now_s=now_s)
        # A stop that a trial has lifted stays lifted, also while the quota still shows it.
        known_s = believable(known_until_s, now_s=now_s) if known_until_s > self._lifted_s else 0.0
        stopped_s = max(known_s, self._confirmed_s(slowed, nodes=len(nodes), own_until_s=own_until_s, now_s=now_s))
        if stopped_s <= now_s:  # no stop, so nothing to try
            self._trial, self._trial_due_s = None, float("inf")
        elif self._trial_due_s == float("inf"):  # a stop begins: the first trial is a minute away
            self._trial_due_s = now_s + TRIAL_S
        # While Azure asks the controller itself to wait, the storm is a fact and a trial would only waste a write.
        trial = own_until_s <= now_s and now_s >= self._trial_due_s
        return ThrottleState(slowed, all_until_s=stopped_s, known_until_s=known_s, trial=trial)

    def tried(self, node: NodeRecord, *, now_s: float) -> None:
        """That node has the grant of a trial."""
        self._trial = _Trial(node.name, node.view.request.number, node.view.allocated)
        self._trial_due_s = now_s + TRIAL_S

    def _pass_to(self, now_s: float) -> None:
        """What was to last for some time lasts no longer than that, also when the clock is set back."""
        back_s = self._now_s - now_s
        self._now_s = now_s
        if back_s <= 0:
            return
        self._claims = {name: replace(one, until_s=one.until_s - back_s) for name, one in self._claims.items()}
        self._discredited = {name: until_s - back_s for name, until_s in self._discredited.items()}
        self._trial_due_s -= back_s

    def _listen(self, nodes: Sequence[NodeRecord], *, now_s: float) -> dict[str, float]:
        """Until when each node says that it was asked to wait; those for whom that is over are left out."""
        claims = {}
        for node in nodes:
            said_s = node.throttled_until_s
            known = self._claims.get(node.name)
            if known is not None and known.said_s == said_s:  # the same report as before: its time was bounded then
                claims[node.name] = known
            elif said_s > now_s:
                claims[node.name] = _Claim(said_s, believable(said_s, now_s=now_s))
        self._claims = claims
        return {name: claim.until_s for name, claim in claims.items() if claim.until_s > now_s}

    def _confirmed_s(self, slowed: Mapping[str, float], *, nodes: int, own_until_s: float, now_s: float) -> float:
        """Until when a quorum says that Azure asked to wait; 0 if there is no quorum."""
        self._discredited = {name: until_s for name, until_s in self._discredited.items() if until_s > now_s}
        untils_s = sorted((slowed[name] for name in slowed.keys() - self._discredited.keys()), reverse=True)
        needed = quorum(nodes)
        by_nodes_s = untils_s[needed - 1] if 0 < needed <= len(untils_s) else 0.0
        by_controller_s = min(max(slowed.values()), own_until_s) if slowed and own_until_s > now_s else 0.0
        return max(by_nodes_s, by_controller_s)

    def _judge_trial(
        self, nodes: Sequence[NodeRecord], slowed: Mapping[str, float], *, known_until_s: float, now_s: float
    ) -> None:
        """Whether the node has used its trial grant: then it asks again, or holds another number of addresses."""
        trial = self._trial
        node = next((node for node in nodes if trial is not None and node.name == trial.name), None)
        if trial is None or node is None:
            return
        if node.name in slowed:  # Azure asked it to wait as well: the stop is confirmed, until the next trial
            self._trial = None
        elif node.view.request.number > trial.request_id or node.view.allocated != trial.allocated:
            self._trial, self._trial_due_s = None, float("inf")
            self._lifted_s = known_until_s
            self._discredited |= dict.fromkeys(slowed, now_s + DISCREDITED_S)
