"""The life of sandboxes on this node: ADD, DEL, CHECK, GC, STATUS.

The order of things is what makes them safe. ADD: the address is written to the ledger, then the kernel is touched;
when that fails the address is given back at once. DEL: the kernel is made unable to use the address, then the
ledger lets it cool. So after a crash at any point the ledger holds at least what the kernel holds, never less.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from time import perf_counter
from typing import Final

from azure_cni.api.plurals import counted
from azure_cni.datapath import names
from azure_cni.datapath.sandbox import SandboxLinks, SandboxSpec, node_end
from azure_cni.errors import AzureCniError, DatapathError, NoAddress, NodeNotReady, SandboxUnknown
from azure_cni.ipam.life import Holder, LinkParameters, Sandbox, Slot
from azure_cni.node.board import ADDRESSES_FREE, Board, Book
from azure_cni.node.demand import Demand, Pod
from azure_cni.node.ports import Clock, Datapath, Events, ObservedSandbox, Observer
from azure_cni.node.turns import Turn, Turns
from azure_cni.node.wording import few

log = logging.getLogger(__name__)

ADD_WAITS_S = 5.0
"""How long an ADD waits for a pool that grows. The kubelet retries a failed sandbox within seconds anyway, and holding
its worker longer delays the pods behind it."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """What an ADD brought about."""

    address: IPv4Address
    links: SandboxLinks


class Sandboxes:
    """Answers the container runtime. One instance per node; safe for concurrent calls on one event loop."""

    def __init__(
        self,
        *,
        book: Book,
        board: Board,
        demand: Demand,
        datapath: Datapath,
        events: Events,
        clock: Clock,
        observer: Observer,
        wake: Callable[[], None],
        wait_s: float = ADD_WAITS_S,
    ) -> None:
        self._book = book
        self._board = board
        self._demand = demand
        self._datapath = datapath
        self._events = events
        self._clock = clock
        self._observer = observer
        self._wake = wake
        self._wait_s = wait_s
        self._turns = Turns()

    async def add(self, holder: Holder, *, netns: str = "") -> Attachment:
        """Give the sandbox an address and wire it; a repeat gives the same.

        `netns` is where its namespace can be opened now, if that is not the path by which the runtime knows it.

        NoAddress (11) after waiting in vain, with the cause; DatapathError (5) when the kernel refuses.

        A refusal leaves nothing in the kernel, so the address is free again at once. Anything else that ends an ADD
        early (the agent stops, the caller goes away, a fault of ours) says nothing about the kernel, which may be wired
        a moment later: the assignment stays, for a repeat of the ADD, the DEL that follows it, or the repair to settle.
        """
        queued = perf_counter()
        async with self._turns.of(holder.sandbox) as turn:
            known = self._book.ledger.holding(holder.sandbox)
            slot = known or await self._new_slot(holder, turn)
            self._observer.stage("queue", perf_counter() - queued)
            started = perf_counter()
            try:
                links = await self._datapath.attach(self._spec(slot, holder, netns=netns))
            except AzureCniError:
                if known is None:
                    self._give_back(holder)
                raise
            self._observer.stage("netlink", perf_counter() - started)
            if turn.overtaken:  # the DEL that waits for this turn takes it all down
                raise NoAddress(f"cannot attach {_words(holder)}: it was deleted meanwhile", cause="Deleted")
        self._wake()
        log.info("address assigned", extra=_facts(holder) | {"address": str(slot.address)})
        return Attachment(address=slot.address, links=links)

    async def delete(self, sandbox: Sandbox) -> None:
        """Take the sandbox down and let its address cool; an unknown sandbox is a success."""
        self._turns.overtake(sandbox)
        self._board.bell.ring()
        async with self._turns.of(sandbox):
            slot = self._book.ledger.holding(sandbox)
            addresses = [str(slot.address)] if slot else []
            started = perf_counter()
            await self._datapath.detach(names.host_ifname(sandbox.container_id, sandbox.ifname), addresses)
            self._observer.stage("netlink", perf_counter() - started)
            if slot is None or slot.holder is None:
                return
            self._book.commit(self._book.ledger.unassign(sandbox, now_s=self._clock.boottime_s()))
        self._wake()
        log.info("address returned", extra=_facts(slot.holder) | {"address": str(slot.address)})

    async def check(self, holder: Holder, *, expected: IPv4Address, netns: str = "") -> None:
        """Compare ledger, NIC and kernel with the sandbox; DatapathError names each difference.

        It is judged by what it was wired with, not by what the NIC has now: a pod is not broken because a later one
        would be wired otherwise, and some runtimes (CRI-O) ask for each pod again and again.
        """
        async with self._turns.of(holder.sandbox):
            slot = self._book.ledger.holding(holder.sandbox)
            if slot is None:
                raise SandboxUnknown(f"cannot check {_words(holder)}: the ledger holds no address for it")
            findings = [] if slot.on_nic else [f"address {slot.address} is no longer on the NIC"]
            if expected != slot.address:
                findings.append(f"the previous result says {expected}, the ledger {slot.address}")
            findings += await self._datapath.check(self._spec(slot, holder, netns=netns))
        if findings:
            raise DatapathError(f"sandbox of {_words(holder)} is not as it should be: {'; '.join(findings)}")

    async def mend(self, sandbox: Sandbox, seen: ObservedSandbox) -> tuple[str, ...]:
        """Put back what leads to a sandbox, if some of it was not `seen`; says what. DatapathError when that fails.

        A new primary address of the node becomes the source of the route to a sandbox that runs: only what the node
        itself sends depends on it. Its MTU stays as it was given: see `Kernel`.
        """
        slot = self._book.ledger.holding(sandbox)
        if slot is None or slot.holder is None or self._board.link is None:
            return ()
        link = LinkParameters(slot.link.mtu if slot.link else seen.mtu, self._board.link.primary)
        spec = self._spec(replace(slot, link=link), slot.holder)
        wanted = node_end(spec)
        whole = seen.routes.issuperset(wanted.routes) and seen.neighbours.issuperset(wanted.neighbours)
        if slot.link == link and whole:
            return ()
        async with self._turns.of(sandbox):
            if self._book.ledger.holding(sandbox) != slot:  # it ended meanwhile, and its address may be another's
                return ()
            mended = await self._datapath.mend(spec)
            self._book.commit(self._book.ledger.adapt(sandbox, link))
            return mended

    async def collect(self, valid: Collection[Sandbox]) -> tuple[Sandbox, ...]:
        """Free what the runtime does not list; sandboxes that are being worked on are left alone.

        As much as possible (CNI specification 1.1.0, GC); one DatapathError at the end tells what could not be freed.
        """
        keep = frozenset(valid)
        holders = [slot.holder for slot in self._book.ledger.slots if slot.holder is not None]
        stale = [one for one in holders if one.sandbox not in keep and not self._turns.busy(one.sandbox)]
        failures: list[str] = []
        for holder in stale:
            try:
                await self.delete(holder.sandbox)
            except AzureCniError as error:
                failures.append(f"{_words(holder)}: {error}")
        if failures:
            told = few(failures, between="; ", last="; and ")
            raise DatapathError(f"cannot free {len(failures)} of {counted(len(stale), 'sandbox')}: {told}")
        return tuple(holder.sandbox for holder in stale)

    def status(self) -> None:
        """NodeNotReady (50) until there has been an address for a pod since the node booted; never because it is full.

        The CNI specification 1.1.0 has STATUS fail while ADDs cannot be served. But runtimes that ask (CRI-O by its
        ocicni, containerd by its go-cni) make the whole node NotReady of it: the kubelet then starts no pod on the pod
        network, and the pods that run there are evicted after five minutes. (Their endpoints they keep: 48 of 48 stayed
        ready through 20 s of NotReady on the box.) A node whose addresses are all taken is a node at work, and each ADD
        is answered, with "try again later" and the cause. That it is full is told where nothing suffers that runs: by a
        taint, and an event on each pod that waits. So STATUS asks what decides when the conflist is written: is there
        anything here for a pod yet?
        """
        if not self._board.ready or not self._book.ledger.slots:
            raise NodeNotReady(f"this node cannot take a pod yet: {self._board.outlook.message}")

    async def _new_slot(self, holder: Holder, turn: Turn) -> Slot:
        slot = self._assign(holder) if self._board.ready else None
        return slot or await self._wait_for_slot(holder, turn)

    def _give_back(self, holder: Holder) -> None:
        self._book.commit(self._book.ledger.abandon(holder.sandbox, now_s=self._clock.boottime_s()))

    def _assign(self, holder: Holder) -> Slot | None:
        started, now_s = perf_counter(), self._clock.boottime_s()
        self._book.commit(self._book.ledger.cooled(now_s=now_s))  # the reconciler may be busy with something slow
        try:
            change = self._book.ledger.assign(holder, now_s=now_s, at_limit=self._board.at_limit, link=self._board.link)
        except NoAddress:
            return None
        self._book.commit(change)
        self._observer.stage("ledger", perf_counter() - started)
        return self._book.ledger.holding(holder.sandbox)

    async def _wait_for_slot(self, holder: Holder, turn: Turn) -> Slot:
        asked_s = self._clock.boottime_s()
        with self._demand.asking(holder):
            self._wake()
            while True:
                remaining_s = asked_s + self._wait_s - self._clock.boottime_s()
                if remaining_s <= 0 or not await self._board.bell.wait(remaining_s):
                    raise await self._no_address(holder)
                if turn.overtaken:
                    raise NoAddress(f"cannot attach {_words(holder)}: it was deleted meanwhile", cause="Deleted")
                if self._board.ready and (slot := self._assign(holder)):
                    return slot
                if not self._board.outlook.hope and self._board.outlook.decided_s >= asked_s:
                    raise await self._no_address(holder)

    async def _no_address(self, holder: Holder) -> NoAddress:
        """The error for the runtime, with the cause; and the event on the pod. A failure is told by both."""
        outlook = self._board.outlook
        cause, message, why = outlook.cause, outlook.for_pods, outlook.message
        if cause == ADDRESSES_FREE:  # so it was a moment ago
            cause, message = "AddressesTaken", "what became free went to other pods that wait; it is tried again"
            why = message
        log.warning("no address", extra=_facts(holder) | {"cause": cause, "why": why})
        pod = self._demand.pod(holder.pod_namespace, holder.pod_name)
        if pod is None and holder.pod_uid:  # not seen yet, or a watch is broken
            pod = Pod(holder.pod_namespace, holder.pod_name, holder.pod_uid, needs_address=True)
        if pod is not None:
            await self._events.publish(
                pod.reference, kind="Warning", reason=NoAddress.reason, message=f"{cause}: {message}", cause=cause
            )
        return NoAddress(f"cannot give {_words(holder)} an address: {message}", cause=cause)

    def _spec(self, slot: Slot, holder: Holder, *, netns: str = "") -> SandboxSpec:
        link = slot.link or self._board.link
        if link is None:
            raise NodeNotReady(f"this node cannot wire a pod yet: {self._board.outlook.for_pods}")
        container_id, ifname = holder.sandbox
        return SandboxSpec(
            netns=netns or holder.netns,
            ifname=ifname,
            address=slot.address,
            host_ifname=names.host_ifname(container_id, ifname),
            host_mac=names.host_mac(container_id, ifname),
            pod_mac=names.pod_mac(container_id, ifname),
            mtu=link.mtu,
            node_address=link.primary,
        )


SHORT_ID: Final = 13  # as much of a container's ID as crictl shows


def _words(holder: Holder) -> str:
    if holder.pod_name:
        return f"pod {holder.pod_namespace}/{holder.pod_name}"
    return f"container {holder.sandbox.container_id[:12]} ({holder.sandbox.ifname})"


def _facts(holder: Holder) -> dict[str, str]:
    return {
        "container": holder.sandbox.container_id[:SHORT_ID],
        "ifname": holder.sandbox.ifname,
        "pod": f"{holder.pod_namespace}/{holder.pod_name}" if holder.pod_name else "",
    }
