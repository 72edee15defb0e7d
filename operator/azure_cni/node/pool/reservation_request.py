"""The node's side of the grant protocol: what it asks for, who answers, and which one write of its NIC that allows.

A request is a count with a number. The count covers what the NIC holds and what a write that is not known to have
ended could still leave there; the number rises with each change. An answered number is a grant for one write, for the
intent that the request named. So whoever grants can count and pace the writes of all nodes. The rules themselves are in
`ipam.grants`; this keeps the little state that they need between two decisions. The same state shows which addresses no
pod may get yet, because a write may still remove them from the NIC.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

from azure_cni.api.conditions import NODE_AT_LIMIT
from azure_cni.api.node_ip_pool import NodeIPPool, Request, WriteIntent
from azure_cni.ipam.grants import (
    first_request,
    is_superseded,
    left_in_flight,
    next_request,
    renewed_request,
    self_grant,
    usable,
)
from azure_cni.ipam.ledger import Ledger, Observation
from azure_cni.ipam.limits import MAX_ADDRESSES_PER_NODE
from azure_cni.ipam.plan import PendingWrite
from azure_cni.model.nic import NicView
from azure_cni.node.ports import Grant

UNASKED = Request(count=0, number=0)


ANSWERED = ""
"""No NIC has this etag. What Azure itself has answered, the next read of a settled NIC accounts for."""


class ReservationRequest:
    """The newest request of one node, and what its writes may still do. `begin` once NIC and pool have been read."""

    def __init__(self) -> None:
        self.request = UNASKED
        self.write_intent = WriteIntent.NONE
        self._spent = True
        self.pending_write: PendingWrite | None = None
        """Writes that may still come to pass, or None."""
        self._alone = True
        """The last write is the only one that is not accounted for."""
        self._observed = False

    @property
    def has_request(self) -> bool:
        """This agent has made a request. Before that, the pool shows another agent's."""
        return self.request is not UNASKED

    @property
    def in_flight(self) -> int:
        """The most that an unfinished write could leave on the NIC, in addresses; 0 when there is none."""
        return self.pending_write.most if self.pending_write else 0

    def begin(self, pool: NodeIPPool, *, vm_id: str, nic: NicView) -> None:
        """Go on where the agent before this one stopped, or start afresh on another VM of that name."""
        last = pool.last_request(vm_id=vm_id)
        self.request, self.write_intent, self._spent = first_request(last), WriteIntent.NONE, True
        left = left_in_flight(pool.view) if last.count else 0
        if left > max(nic.held, self.in_flight):  # else what we know of writes of our own stays
            self.pending_write = PendingWrite(left, nic.etag)

    def forget(self) -> None:
        """This agent has no request any more, until it begins again."""
        self.request, self.write_intent, self._spent = UNASKED, WriteIntent.NONE, True

    def change_nic(self) -> None:
        """The pool is on another NIC of this VM from now on: what was granted before was for the former one, and so was
        what a write may still do there. The ledger keeps an entry for that NIC.
        """
        if self.has_request:
            self.request = renewed_request(self.request)
        self.write_intent, self._spent, self.pending_write = WriteIntent.NONE, True, None

    def is_superseded_by(self, pool: NodeIPPool) -> bool:
        """The pool shows the request of somebody else, who came later than `begin`: begin again."""
        return self.has_request and is_superseded(self.request, shown=pool.view.request)

    def want(self, count: int, *, on_nic: int, write_intent: WriteIntent) -> bool:
        """Ask for `count` addresses and one write for that purpose; True when it must be written to the pool.

        A number that has been used, or that was asked for something else, allows nothing more: it is renewed.
        """
        # Another count is another number. It never covers less than the NIC holds, or may hold after a pending write.
        asked = next_request(self.request, wanted=count, on_nic=on_nic, in_flight=self.in_flight)
        # A number allows one write, for the intent that stood beside it: a second write, or one for another purpose,
        # asks again for the same count. Without a write to make, a used number may stay.
        used_up = write_intent is not WriteIntent.NONE and (self._spent or write_intent is not self.write_intent)
        if used_up and asked.number == self.request.number:
            asked = renewed_request(asked)
        before = (self.request, self.write_intent)
        if asked.number != self.request.number:  # nobody has used this one
            self._spent = False
        self.request, self.write_intent = asked, write_intent
        return before != (asked, write_intent)

    def allows(self, grant: Grant) -> bool:
        """The newest request is answered, and its one write not yet used."""
        return self.write_intent is not WriteIntent.NONE and not self._spent and grant.request_id == self.request.number

    def write_begins(self, seen: NicView, *, add: int) -> None:
        """The grant is used up, whatever the outcome. An earlier write that may still take effect stays counted."""
        self._spent, self._alone = True, self.pending_write is None
        self.pending_write = PendingWrite(max(seen.held + add, self.in_flight), seen.etag)

    def write_answered(self) -> None:
        """Azure said how the write ended: what came of it the next read shows. Of one before it, that says nothing."""
        if self.pending_write is not None and self._alone:
            self.pending_write = replace(self.pending_write, etag=ANSWERED)

    def observe(
        self, nic: NicView, ledger: Ledger, *, now_s: float, unprepared: Collection[IPv4Address] = frozenset()
    ) -> Observation:
        """What a read of the NIC means for the ledger, which goes on withholding what a write could still take off.

        A settled NIC with another etag ends the doubt: a write that was decided from the one before would be refused by
        now. What the ledger withholds at an agent's first read, a write of the agent before it may be about to take.
        """
        if not self._observed and (ledger.counts().releasing or ledger.may_gain(nic)):
            # The agent before this one was about to take these off, or to attach something: its write may still come.
            self.pending_write = PendingWrite(nic.held, nic.etag)
        elif self.pending_write is not None and nic.settled and nic.etag != self.pending_write.etag:
            # Azure would refuse it by its etag now. A NIC that is being updated may be so by that very write.
            self.pending_write = None
        self._observed = True
        return ledger.observe(nic, now_s=now_s, write_pending=self.pending_write is not None, unprepared=unprepared)


class ControllerGrants:
    """Implements `azure_cni.node.ports.Grants`. The node only reads what the controller writes in its pool.

    A request counts only once it stands there.
    """

    recorded = True

    def read(self, pool: NodeIPPool, request: Request) -> Grant:
        """What the pool shows: nothing to use until it answers the newest request; a refusal also before that."""
        seen, refusal = pool.view, pool.grant_reason
        answered = seen.request == request and seen.granted_for == request.number
        return Grant(
            count=usable(request, seen),
            request_id=request.number if answered else 0,
            refusal=refusal,
            message=pool.grant_message,
            ceiling=seen.granted if refusal == NODE_AT_LIMIT else None,
            recall=pool.recall,
        )

    def status(self, grant: Grant) -> dict[str, Any]:  # noqa: ARG002  # the port's
        """Nothing: the API server would refuse it."""
        return {}


class SelfGrants:
    """Every request is answered at once. `maximum` is a hard ceiling per node, whatever a pool's spec says."""

    recorded = False

    def __init__(self, maximum: int = MAX_ADDRESSES_PER_NODE) -> None:
        self._maximum = maximum

    def read(self, pool: NodeIPPool, request: Request) -> Grant:  # noqa: ARG002  # the port's
        """The request itself, within the ceiling."""
        return Grant(count=self_grant(request.count, self._maximum), request_id=request.number)

    def status(self, grant: Grant) -> dict[str, Any]:
        """This node is its own grantor, so it writes both fields; a controller's words, from before, go."""
        words = ("grantReason", "grantMessage", "grantNotBefore", "recall", "recalling")
        explanation = dict.fromkeys(words)
        return {"granted": grant.count, "grantedFor": grant.request_id, **explanation}
