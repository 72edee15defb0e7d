"""Whatever becomes of writes of the NIC, and whenever: no pod holds an address that one of them took off.

The plan, the ledger and the request are the product's. Around them a NIC whose writes are answered or not, and carried
out at once, late, or never; another tool; agents that end at any time and begin again. Nobody but the node takes
addresses off the NIC here, so a pod without its address is the node's own fault.

The same walks by chance that find nothing with the product's rules find a way past each rule that is broken on purpose:
a pod loses its address, or the NIC could come to hold more than was asked for.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Final

import pytest

from azure_cni.api.node_ip_pool import UNREAD, WriteIntent, parse
from azure_cni.errors import NoAddress
from azure_cni.ipam.ledger import Ledger, Observation
from azure_cni.ipam.limits import COOLING_S
from azure_cni.ipam.plan import AwaitGrant, Grow, NoOp, Plan, Rewrite, Shrink, Step, WaitForAzure, next_step
from azure_cni.ipam.sizing import Policy
from azure_cni.model.nic import ConfigName, IPConfiguration, NicView
from azure_cni.node.pool.reservation_request import ReservationRequest
from azure_cni.node.ports import Grant
from unit.ipam.views import address, config, holder, view

VM = "vm-1"
WANTS = {Grow: WriteIntent.GROW, AwaitGrant: WriteIntent.GROW, Shrink: WriteIntent.SHRINK, Rewrite: WriteIntent.REWRITE}


@dataclass(frozen=True)
class Write:
    """A write on its way to Azure: the NIC's etag that it needs, and what it makes of the NIC."""

    etag: int
    add: int
    remove: tuple[ConfigName, ...]


class Node:
    """One node, its NIC, and all that may still reach it."""

    make_reservation: type[ReservationRequest] = ReservationRequest
    poll_failures_conclude = False

    def __init__(self) -> None:
        self.now_s = 0.0
        self.configs: list[IPConfiguration] = []
        self.earlier: tuple[int, list[IPConfiguration]] = (1, [])
        self.etag, self.made, self.updating = 1, 0, False
        self.flying: list[Write] = []
        self.pool = UNREAD
        self.size, self.pods = 4, 0
        self.ledger = Ledger()
        self.begin()

    # Azure, and another tool.

    def accept(self, write: Write) -> bool:
        if self.updating or write.etag != self.etag:
            return False
        self.earlier = (self.etag, self.configs)
        self.etag += 1
        kept = [one for one in self.configs if one.name not in write.remove]
        for number in range(write.add):
            self.made += 1
            unused = next(n for n in range(99) if all(one.address != address(n) for one in kept))
            kept.append(config(unused, name=f"azure-cni-{self.made:06d}{number:02d}"))
        self.configs = kept
        return True

    def land(self, which: int, *, slowly: bool = False) -> None:
        if self.flying and self.accept(self.flying.pop(which)):
            self.updating = slowly

    def end_operation(self) -> None:
        self.updating = False

    def tag(self) -> None:
        self.etag += not self.updating

    # The agent.

    def begin(self) -> None:
        """An agent begins, with the ledger that the one before it left, and a NIC to read before anything else."""
        self.ledger = Ledger(self.ledger.slots)
        self.reservation, self.seen, self.since_s = self.make_reservation(), None, None
        self.read()

    def read(self, *, lagging: bool = False) -> None:
        etag, configs = self.earlier if lagging else (self.etag, self.configs)
        shown = view(configs, settled=lagging or not self.updating)
        self.seen = NicView(shown.nic_id, str(etag), shown.settled, shown.configs)
        self.ledger.apply(self.observe(self.seen).change)
        if not self.reservation.has_request:
            self.reservation.begin(self.pool, vm_id=VM, nic=self.seen)

    def observe(self, shown: NicView) -> Observation:
        return self.reservation.observe(shown, self.ledger, now_s=self.now_s)

    def begin_again(self) -> None:
        self.reservation.forget()
        self.reservation.begin(self.pool, vm_id=VM, nic=self.seen)

    def step(self, outcome: str) -> None:
        """Decide, ask, be granted all of it, and carry it out as far as `outcome` says."""
        plan = self.decide(granted=0)
        write_intent = WANTS.get(type(plan.step), WriteIntent.NONE)
        self.reservation.want(plan.requested, on_nic=len(self.seen.secondaries), write_intent=write_intent)
        request = self.reservation.request
        fields = {"requested": request.count, "requestID": request.number}
        status = {"vmID": VM, **fields, "granted": request.count, "grantedFor": request.number}
        self.pool = parse({"status": status})
        if self.reservation.allows(Grant(count=request.count, request_id=request.number)):
            self.write(self.decide(granted=request.count).step, outcome)

    def decide(self, *, granted: int) -> Plan:
        plan = next_step(
            self.ledger,
            self.seen,
            Policy(size=self.size),
            waiting=0,
            now_s=self.now_s,
            surplus_since_s=self.since_s,
            granted=granted,
            pending_write=self.reservation.pending_write,
            shrink_delay_s=0.0,
        )
        self.since_s = plan.surplus_since_s
        return plan

    def write(self, step: Step, outcome: str) -> None:
        etag = int(self.seen.etag)
        match step:
            case NoOp() | AwaitGrant() | WaitForAzure():
                return
            case Grow(add=add):
                write = Write(etag, add, ())
            case Shrink(names=names, addresses=addresses):
                self.ledger.apply(self.ledger.release(addresses, now_s=self.now_s))
                write = Write(etag, 0, names)
            case Rewrite():
                write = Write(etag, 0, ())
        self.reservation.write_begins(self.seen, add=write.add)
        self.carry_out(write, outcome)

    def carry_out(self, write: Write, outcome: str) -> None:
        if outcome == "silence":
            self.flying.append(write)
            return
        accepted = outcome != "refusal" and self.accept(write)
        if outcome == "failed poll":
            # Azure accepted the write, its operation cannot be polled, and the next read is older than the write.
            self.updating = self.updating or accepted
            if self.poll_failures_conclude:
                self.reservation.write_answered()
            self.read(lagging=accepted)
            return
        if outcome != "lost answer":
            self.reservation.write_answered()
            self.read()  # as after every write that was answered

    # Pods.

    def come(self) -> None:
        self.pods += 1
        with suppress(NoAddress):
            self.ledger.apply(self.ledger.assign(holder(self.pods), now_s=self.now_s, at_limit=False))

    def go(self) -> None:
        for slot in self.ledger.slots:
            if slot.holder:
                self.ledger.apply(self.ledger.unassign(slot.holder.sandbox, now_s=self.now_s))
        self.now_s += COOLING_S
        self.ledger.apply(self.ledger.cooled(now_s=self.now_s))

    # What must hold.

    def check(self) -> None:
        held = {slot.address for slot in self.ledger.slots if slot.holder}
        assert held <= {one.address for one in self.configs}, "a pod lost its address"
        most = [len(self.configs) + write.add for write in self.flying if write.etag == self.etag]
        assert max(most, default=0) <= self.pool.view.request.count, "more could be held than was asked for"

    def check_end(self) -> None:
        """Once Azure answers again, nothing is withheld for long, and nothing reserved that is not needed."""
        self.updating = False
        for _ in range(5):
            self.read()
            self.step("answer")
        self.check()
        assert not self.ledger.counts().releasing
        assert self.reservation.request.count == len(self.configs)


def resize(node: Node, size: int) -> None:
    node.size = size


MOVES: Final = {
    "the NIC is read": (4, Node.read),
    "a step": (6, lambda node: node.step("answer")),
    "a step that Azure refuses": (2, lambda node: node.step("refusal")),
    "a step without an answer": (4, lambda node: node.step("silence")),
    "a step whose answer is lost": (1, lambda node: node.step("lost answer")),
    "a step whose operation cannot be polled, and a read that lags": (2, lambda node: node.step("failed poll")),
    "the oldest write lands": (1, lambda node: node.land(0)),
    "the newest write lands": (1, lambda node: node.land(-1)),
    "a write is accepted": (1, lambda node: node.land(0, slowly=True)),
    "an operation ends": (2, Node.end_operation),
    "another tool sets a tag": (1, Node.tag),
    "another agent begins": (2, Node.begin),
    "the agent begins again": (2, Node.begin_again),
    "one address is wanted": (2, lambda node: resize(node, 1)),
    "four addresses are wanted": (2, lambda node: resize(node, 4)),
    "a pod comes": (6, Node.come),
    "all pods go": (2, Node.go),
}


def walk(kind: type[Node]) -> None:
    """Lives of many nodes, each by chance; AssertionError with the moves of the first where something does not hold."""
    for seed in range(2000):
        live(kind(), seed=seed)


def live(node: Node, *, seed: int) -> None:
    names = list(MOVES)
    chosen = Random(seed).choices(names, [MOVES[name][0] for name in names], k=40)
    for number, name in enumerate(chosen):
        try:
            MOVES[name][1](node)
            node.check()
        except AssertionError as error:
            raise AssertionError(f"{error}, after: {', '.join(chosen[: number + 1])}") from error
    node.check_end()


def test_no_pod_loses_its_address_and_no_request_covers_too_little():
    walk(Node)


class _Unwarned(Node):
    """The ledger does not know that a write may still remove what it withholds."""

    def observe(self, shown: NicView) -> Observation:
        super().observe(shown)
        return self.ledger.observe(shown, now_s=self.now_s)


class _Careless(ReservationRequest):
    def observe(self, nic, ledger, *, now_s):
        self._observed = True
        return super().observe(nic, ledger, now_s=now_s)


class _CarelessAfterARestart(Node):
    """What the agent before withheld does not count as a write under way."""

    make_reservation = _Careless


class _Newest(ReservationRequest):
    def write_begins(self, seen, *, add):
        self.pending_write = None
        super().write_begins(seen, add=add)


class _OnlyTheNewestWriteCounts(Node):
    """A write that may still come to pass is forgotten when another is sent."""

    make_reservation = _Newest


class _Fresh(ReservationRequest):
    def begin(self, pool, *, vm_id, nic):
        self.pending_write = None
        super().begin(pool, vm_id=vm_id, nic=nic)


class _ForgetfulWhenItBeginsAgain(Node):
    """Who begins again forgets its own writes."""

    make_reservation = _Fresh


class _Trusting(ReservationRequest):
    def observe(self, nic, ledger, *, now_s):
        if nic.settled:
            self.write_answered()
        return super().observe(nic, ledger, now_s=now_s)


class _AnyReadWillDo(Node):
    """A read of the NIC as it was before is mistaken for the end of the write."""

    make_reservation = _Trusting


class _PollFailuresConclude(Node):
    """An error of the poll of an accepted write is mistaken for a refusal of the write."""

    poll_failures_conclude = True


@pytest.mark.parametrize(
    "broken",
    [
        _Unwarned,
        _CarelessAfterARestart,
        _OnlyTheNewestWriteCounts,
        _ForgetfulWhenItBeginsAgain,
        _AnyReadWillDo,
        _PollFailuresConclude,
    ],
)
def test_each_rule_is_needed(broken: type[Node]):
    with pytest.raises(AssertionError, match=r"a pod lost|more could be held"):
        walk(broken)
