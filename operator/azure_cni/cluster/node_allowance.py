"""What one node may have executed, and what it has used of that: its share of reads from Azure, its newest grant. Pure.

Each NIC operation asks Azure about the node's VM and NIC. A healthy node writes a few operations a minute, and a dozen
in a row when it starts or when pods come in a burst. A node that writes more has to wait. Otherwise one node could use
up what Azure allows the controller for all nodes, or get the controller throttled.

What is used outlives the node's pool. An agent may create its pool in such a way that the API server soon collects it
(an owner that does not exist), and create it again. Without this memory its operations would have no pace, and it could
use one grant for two writes.

How often a node's changes start a round of grants is bounded in the same way (`Wakes`). A round looks at all nodes of a
VNet, and a node can change its pool as fast as the API server answers. Its first changes start a round at once, later
ones at a bounded pace. Rounds that other nodes start see its changes too, so none is missed.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from azure_cni.cluster.ports import ControllerClock


@dataclass(frozen=True, slots=True)
class Pace:
    """`burst` operations in a row, `spacing_s` apart, and then one each `refill_s`.

    That is as often as Azure lets one principal read one VM: 12 times a minute, of which 36 are saved up (Azure
    documentation, throttling limits of the compute provider).
    """

    spacing_s: float = 1.0
    burst: int = 12
    refill_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Started:
    """The operations of one node so far. Times are monotonic seconds."""

    last_s: float = float("-inf")
    """When its last operation started."""
    used_until_s: float = float("-inf")
    """Up to when its operations have used its share: one refill each."""

    def next_s(self, pace: Pace) -> float:
        """When its next operation may start."""
        return max(self.last_s + pace.spacing_s, self.used_until_s - (pace.burst - 1) * pace.refill_s)

    def again(self, pace: Pace, *, now_s: float) -> Started:
        """One more has started."""
        return Started(now_s, max(self.used_until_s, now_s) + pace.refill_s)


OPERATION_PACE: Final = Pace()


MOST: Final = 8192
"""Nodes that are remembered: more than a cluster has. An agent can write operations under its own node's name only."""


@dataclass(slots=True, eq=False)
class Spent:
    """Of one node."""

    started: Started = field(default_factory=Started)
    grant: tuple[int, int] = (0, 0)
    """Numbers of the newest grant that it has used, and of the operation that used it (0: one of a former pool)."""
    pod_subnets: set[str] = field(default_factory=set)
    """Those that people chose for it, in lower case: a few, for nobody chooses often (`pod_subnet_claims`)."""


class SpentByNode:
    """The newest `MOST` nodes with a pool, by name."""

    def __init__(self) -> None:
        self._nodes: OrderedDict[str, Spent] = OrderedDict()

    def for_new_pool(self, name: str) -> Spent:
        """What the node used up under its former pool. The new pool numbers its own operations."""
        spent = self._nodes.setdefault(name, Spent())
        spent.grant = (spent.grant[0], 0)
        self._nodes.move_to_end(name)
        while len(self._nodes) > MOST:
            self._nodes.popitem(last=False)
        return spent


ROUND_PACE: Final = Pace(spacing_s=0.0, burst=10, refill_s=2.0)
"""Thirty a minute: as many as a node gets answers (`quota.write_budget`)."""
REMEMBERED: Final = 4096
"""Nodes; above this, those are dropped whose burst is complete again."""

Wake = Callable[[], None]


class Wakes:
    """Calls back for changed nodes, for each at `ROUND_PACE`."""

    def __init__(self, clock: ControllerClock) -> None:
        self._clock = clock
        self._started: dict[str, Started] = {}
        self._waiting: dict[str, Wake] = {}
        """The newest pending call of each node that has to wait."""

    def __call__(self, name: str, wake: Wake) -> None:
        """That node changed: call `wake` now, or when the node's pace allows."""
        if name in self._waiting:
            self._waiting[name] = wake
            return
        now_s = self._clock.monotonic_s()
        started = self._started.get(name, Started())
        wait_s = started.next_s(ROUND_PACE) - now_s
        if wait_s > 0:
            self._waiting[name] = wake
            asyncio.get_running_loop().call_later(wait_s, self._call_waiting, name)
            return
        self._started[name] = started.again(ROUND_PACE, now_s=now_s)
        if len(self._started) > REMEMBERED:
            self._started = {name: started for name, started in self._started.items() if started.used_until_s > now_s}
        wake()

    def _call_waiting(self, name: str) -> None:
        self(name, self._waiting.pop(name))
