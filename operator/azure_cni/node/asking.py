"""The node's side of the grant protocol: what it asks for, and which one write of its NIC an answer allows.

A request is a count with a number. The count covers what the NIC holds and what a write that is not known to have
ended could still leave there; the number rises with each change. An answered number is a permit for one write, for
the purpose that the request named: whoever grants can so count, and pace, the writes of all nodes. The rules
themselves are in `ipam.grants`; this keeps the little state that they need between two decisions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from azure_cni.api import pool as pool_api
from azure_cni.api.nic import NicView
from azure_cni.api.pool import Request, Wants
from azure_cni.ipam.grants import first_request, is_overtaken, left_in_flight, next_request, renewed_request
from azure_cni.node.ports import Grant

UNASKED = Request(count=0, number=0)


@dataclass(frozen=True, slots=True)
class _InFlight:
    """A write that may still come to pass: `count` is the most it leaves, `etag` what Azure must still have for it."""

    count: int
    etag: str


class Asking:
    """The newest request of one node. `begin` comes first, once its pool and its NIC have been read."""

    def __init__(self) -> None:
        self.request = UNASKED
        self.wants = Wants.NOTHING
        self._spent = True
        self._in_flight: _InFlight | None = None

    @property
    def begun(self) -> bool:
        """A request of this agent exists: before that, what the pool shows is another's."""
        return self.request is not UNASKED

    @property
    def in_flight(self) -> int:
        """The most that an unfinished write could leave on the NIC, in addresses; 0 when there is none."""
        return self._in_flight.count if self._in_flight else 0

    def begin(self, pool: Mapping[str, Any], *, vm_id: str, nic: NicView) -> None:
        """Go on where the agent before this one stopped, or start afresh on another VM of that name."""
        last = pool_api.last_request(pool, vm_id=vm_id)
        self.request, self.wants, self._spent = first_request(last), Wants.NOTHING, True
        left = left_in_flight(pool_api.view(pool)) if last.count else 0
        if left > max(len(nic.secondaries), self.in_flight):  # else what we know of writes of our own stays
            self._in_flight = _InFlight(left, nic.etag)

    def forget(self) -> None:
        """This agent has no request any more, until it begins again."""
        self.request, self.wants, self._spent = UNASKED, Wants.NOTHING, True

    def overtaken(self, pool: Mapping[str, Any]) -> bool:
        """The pool shows the request of somebody else, who came later than `begin`: begin again."""
        return self.begun and is_overtaken(self.request, shown=pool_api.view(pool).request)

    def want(self, count: int, *, on_nic: int, wants: Wants) -> bool:
        """Ask for `count` addresses and one write for that purpose; True when the pool must be told.

        A number that has been used, or that was asked for something else, allows nothing more: it is renewed.
        """
        asked = next_request(self.request, wanted=count, on_nic=on_nic, in_flight=self.in_flight)
        worn = wants is not Wants.NOTHING and (self._spent or wants is not self.wants)
        if worn and asked.number == self.request.number:
            asked = renewed_request(asked)
        told = (self.request, self.wants)
        if asked.number != self.request.number:
            self._spent = False
        self.request, self.wants = asked, wants
        return told != (asked, wants)

    def allows(self, grant: Grant) -> bool:
        """The newest request is answered, and its one write not yet used."""
        return self.wants is not Wants.NOTHING and not self._spent and grant.request_id == self.request.number

    def write_begins(self, seen: NicView, *, add: int) -> None:
        """A permit is used, whatever comes of the write."""
        self._spent = True
        self._in_flight = _InFlight(len(seen.secondaries) + add, seen.etag)

    def write_ended(self) -> None:
        """Azure said how the write ended: nothing more will come of it than the NIC shows."""
        self._in_flight = None

    def observed(self, nic: NicView) -> None:
        """A settled NIC with another etag: a write that was decided from the one before would be refused by now."""
        if self._in_flight is not None and nic.settled and nic.etag != self._in_flight.etag:
            self._in_flight = None
