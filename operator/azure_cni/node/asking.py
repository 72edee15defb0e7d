"""The node's side of the grant protocol: what it asks for, and which one write of its NIC an answer allows.

A request is a count with a number. The count covers what the NIC holds and what a write that is not known to have
ended could still leave there; the number rises with each change. An answered number is a permit for one write, for
the purpose that the request named: whoever grants can so count, and pace, the writes of all nodes. The rules
themselves are in `ipam.grants`; this keeps the little state that they need between two decisions. The same state tells
which addresses no pod may get yet, because a write may still take them off the NIC.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

from azure_cni.api import pool as pool_api
from azure_cni.api.nic import NicView
from azure_cni.api.pool import Request, Wants
from azure_cni.ipam.grants import first_request, is_overtaken, left_in_flight, next_request, renewed_request
from azure_cni.ipam.ledger import Ledger, Observation
from azure_cni.ipam.plan import Unaccounted
from azure_cni.node.ports import Grant

UNASKED = Request(count=0, number=0)


ANSWERED = ""
"""No NIC has this etag. What Azure itself has answered, the next read of a settled NIC accounts for."""


class Asking:
    """The newest request of one node, and what its writes may still do. `begin` once NIC and pool have been read."""

    def __init__(self) -> None:
        self.request = UNASKED
        self.wants = Wants.NOTHING
        self._spent = True
        self.unaccounted: Unaccounted | None = None
        """Writes that may still come to pass, or None."""
        self._alone = True
        """The last write is the only one that is not accounted for."""
        self._observed = False

    @property
    def begun(self) -> bool:
        """A request of this agent exists: before that, what the pool shows is another's."""
        return self.request is not UNASKED

    @property
    def in_flight(self) -> int:
        """The most that an unfinished write could leave on the NIC, in addresses; 0 when there is none."""
        return self.unaccounted.most if self.unaccounted else 0

    def begin(self, pool: Mapping[str, Any], *, vm_id: str, nic: NicView) -> None:
        """Go on where the agent before this one stopped, or start afresh on another VM of that name."""
        last = pool_api.last_request(pool, vm_id=vm_id)
        self.request, self.wants, self._spent = first_request(last), Wants.NOTHING, True
        left = left_in_flight(pool_api.view(pool)) if last.count else 0
        if left > max(len(nic.secondaries), self.in_flight):  # else what we know of writes of our own stays
            self.unaccounted = Unaccounted(left, nic.etag)

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
        """A permit is used, whatever comes of the write. One before it that may yet come to pass remains."""
        self._spent, self._alone = True, self.unaccounted is None
        self.unaccounted = Unaccounted(max(len(seen.secondaries) + add, self.in_flight), seen.etag)

    def write_answered(self) -> None:
        """Azure said how the write ended: what came of it the next read shows. Of one before it, that says nothing."""
        if self.unaccounted is not None and self._alone:
            self.unaccounted = replace(self.unaccounted, etag=ANSWERED)

    def observe(
        self, nic: NicView, ledger: Ledger, *, now_s: float, unprepared: Collection[IPv4Address] = frozenset()
    ) -> Observation:
        """What a read of the NIC means for the ledger, which goes on withholding what a write could still take off.

        A settled NIC with another etag ends the doubt: a write that was decided from the one before would be refused by
        now. What the ledger withholds at an agent's first read, a write of the agent before it may be about to take.
        """
        if not self._observed and ledger.counts().releasing:
            self.unaccounted = Unaccounted(len(nic.secondaries), nic.etag)
        elif self.unaccounted is not None and nic.settled and nic.etag != self.unaccounted.etag:
            self.unaccounted = None
        self._observed = True
        return ledger.observe(nic, now_s=now_s, in_doubt=self.unaccounted is not None, unprepared=unprepared)
