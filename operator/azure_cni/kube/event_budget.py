"""How many new events a node may make, and whose: a flood about some pods leaves room for what is said of others.

Each kind of object has a budget of its own, and pods have two: why one has no address is all that its owner learns of
it, so what pods ask for by annotations counts apart. Of a budget, everybody takes first from what is common. Once that
is used up, a namespace still has its own share. So a tenant who starts pods without end uses up the common part and its
own, and no other's. All shares together are limited, too: a node makes two budgets' worth of events at most, also for
somebody with ten namespaces, who then leaves none for others.

What is left out is logged when that begins. It ends, and can begin again, once half of the common part is back: at the
edge of a budget every other event would be a beginning.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from azure_cni.errors import NoAddress

BURST: Final = 600  # of the common part of a budget: two for each pod of a full node, and some
REFILL_S: Final = 2.0  # another one after that
SHARE_BURST: Final = 64  # of one namespace
SHARE_REFILL_S: Final = 20.0  # ten namespaces that make events without end use up the shares of all
NAMESPACES: Final = 512  # whose shares are remembered; more than a node has pods

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Bucket:
    size: float
    refill_s: float
    since_s: float
    left: float = field(init=False)

    def __post_init__(self) -> None:
        self.left = self.size

    def holds_one(self, now_s: float) -> bool:
        """Whether one may be taken now."""
        self.left = min(self.size, self.left + (now_s - self.since_s) / self.refill_s)
        self.since_s = now_s
        return self.left >= 1.0


class _Budget:
    """Of the events about one kind of object."""

    def __init__(self, now_s: float) -> None:
        self._common, self._shares = (_Bucket(BURST, REFILL_S, now_s) for _ in range(2))
        self._share_of: OrderedDict[str, _Bucket] = OrderedDict()
        self.left_out = 0
        """Events since the last time that there was room."""

    def take(self, namespace: str, now_s: float) -> bool:
        """One event for this namespace; False when it may make none now."""
        if self._common.holds_one(now_s):
            self._common.left -= 1.0
            return True
        share = self._share_of.setdefault(namespace, _Bucket(SHARE_BURST, SHARE_REFILL_S, now_s))
        self._share_of.move_to_end(namespace)
        if len(self._share_of) > NAMESPACES:
            self._share_of.popitem(last=False)
        if not (share.holds_one(now_s) and self._shares.holds_one(now_s)):
            return False
        share.left -= 1.0
        self._shares.left -= 1.0
        return True

    @property
    def has_recovered(self) -> bool:
        """Whether half of the common part was there at the last look."""
        return self._common.left >= BURST / 2


class EventBudget:
    """The budgets of one node."""

    def __init__(self) -> None:
        self._budgets: dict[tuple[str, bool], _Budget] = {}

    def take(self, *, kind: str, namespace: str, reason: str, now_s: float) -> bool:
        """Whether one more event about such an object, with this reason, may be made; `now_s` never goes back."""
        budget = self._budgets.setdefault((kind, reason == NoAddress.reason), _Budget(now_s))
        may = budget.take(namespace, now_s)
        about = {"about": kind, "event_reason": reason, "namespace": namespace}
        if not may:
            budget.left_out += 1
            if budget.left_out == 1:
                log.warning("too many events: some are left out, the log has their content", extra=about)
        elif budget.left_out and budget.has_recovered:
            log.info("no more events are left out", extra={"about": kind, "left_out": budget.left_out})
            budget.left_out = 0
        return may
