"""The life of sandboxes on this node: ADD, DEL, CHECK, GC, STATUS.

The order of things is what makes them safe. ADD: the address is written to the ledger, then the kernel is touched;
when that fails the address is given back at once. DEL: the kernel is made unable to use the address, then the
ledger lets it cool. So after a crash at any point the ledger holds at least what the kernel holds, never less.

A sandbox belongs to a network, and a verb of one network leaves those of the others alone. The kernel knows it by
container and interface only, and no two networks can have the same one. So an ADD of an interface that another network
holds is refused, and a DEL of it does nothing: runtimes send one after the refused ADD, while the first network's pod
runs. The same holds after somebody renamed a network; what its pods held is freed once they are gone (`leaks`).
Agents of earlier releases did not record networks. Sandboxes without one are found by the ADD, DEL and CHECK of any
network, and freed by no GC, because one that a GC does not list may be another network's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import replace
from ipaddress import IPv4Address
from time import perf_counter

from azure_cni.datapath.interface import NO_OPTIONS, PodOptions, Wiring
from azure_cni.errors import (
    AzureCniError,
    DatapathError,
    DatapathOutcomeUnknown,
    NoAddress,
    NodeNotReady,
    SandboxUnknown,
)
from azure_cni.ipam.address_state import Holder, LinkParameters, Sandbox
from azure_cni.model.nic import Address
from azure_cni.model.text import counted, few
from azure_cni.node.pods.assignment import Assignment, Slots, listed, log_facts, named
from azure_cni.node.pods.demand import Demand
from azure_cni.node.pods.pod_egress import PodEgress
from azure_cni.node.pods.sandbox_locks import SandboxLocks
from azure_cni.node.ports import Clock, Datapath, Events, ObservedSandbox, Observer, SandboxSpec
from azure_cni.node.state import NodeState
from azure_cni.node.stored_ledger import StoredLedger

log = logging.getLogger(__name__)


class Sandboxes:
    """Answers the container runtime. One instance per node; safe for concurrent calls on one event loop."""

    def __init__(
        self,
        *,
        stored: StoredLedger,
        state: NodeState,
        demand: Demand,
        datapath: Datapath,
        egress: PodEgress,
        events: Events,
        clock: Clock,
        observer: Observer,
        wake: Callable[[], None],
        named_addresses: bool = False,
    ) -> None:
        self._stored = stored
        self._state = state
        self._datapath = datapath
        self._clock = clock
        self._egress = egress
        self._observer = observer
        self._wake = wake
        self.locks = SandboxLocks()
        """Whoever else works on a sandbox holds its lock, too."""
        self.assignment = Assignment(
            stored=stored,
            state=state,
            demand=demand,
            egress=egress,
            events=events,
            clock=clock,
            observer=observer,
            wake=wake,
            named_addresses=named_addresses,
        )

    async def add(
        self, holder: Holder, *, netns: str = "", wanted: IPv4Address | None = None, asked: PodOptions = NO_OPTIONS
    ) -> Wiring:
        """Give the sandbox an address and wire it; a repeat gives the same. `wanted` is the one that the runtime names.

        `netns` is where its namespace can be opened now, if that is not the path by which the runtime knows it.

        NoAddress (11) after waiting in vain, with the cause; DatapathError (5) when the kernel refuses; ConfigInvalid
        (7) for an address that it may not name.

        A refusal leaves nothing in the kernel, so an address that was free is so again at once. Anything else that ends
        an ADD early (the agent stops, the caller goes away, a fault in our code, a data plane without an answer) says
        nothing about the kernel, which may be wired a moment later: the assignment stays, for a repeat of the ADD, the
        DEL that follows it, or the repair to settle.
        """
        queued = perf_counter()
        async with self.locks.hold(holder.sandbox) as hold:
            known = self._stored.ledger.holding(holder.sandbox)
            self.assignment.require_nameable(holder, known, wanted)
            slots = (
                self._repeated(known, holder) if known else await self.assignment.slots_for(holder, hold, wanted=wanted)
            )
            cools = wanted is not None or self.assignment.may_have_cooled
            self._observer.stage("queue", perf_counter() - queued)
            started = perf_counter()
            try:
                await self._egress.prepare(slots)
                wiring = await self._datapath.attach(replace(self._spec(slots, holder, netns=netns), asked=asked))
            except AzureCniError as error:
                if not known and not isinstance(error, DatapathOutcomeUnknown):
                    self.assignment.give_back(holder, cools=cools)
                raise
            self._observer.stage("netlink", perf_counter() - started)
            if hold.superseded:  # the DEL that waits for this hold takes it all down
                raise NoAddress(f"cannot attach {named(holder)}: it was deleted meanwhile", cause="Deleted")
        self._wake()
        log.info("address assigned", extra=log_facts(holder.sandbox, holder) | {"address": listed(slots)})
        return wiring

    async def delete(self, sandbox: Sandbox) -> None:
        """Take the sandbox down and let its address cool; an unknown one, or another network's, is a success."""
        self.locks.cancel_add(sandbox)
        self._state.broadcast.notify_all()
        async with self.locks.hold(sandbox):
            slots = self._stored.ledger.holding(sandbox)
            if not slots and (other := self._stored.ledger.other_network(sandbox)):
                facts = {"network": sandbox.network, "held_in": other}
                log.warning("DEL ignored: another network holds the interface", extra=log_facts(sandbox, None) | facts)
                return
            started = perf_counter()
            await self._datapath.detach(sandbox)
            self._observer.stage("netlink", perf_counter() - started)
            if not slots:
                return
            self._stored.commit(self._stored.ledger.unassign(sandbox, now_s=self._clock.boottime_s()))
        if any(slot.own_egress for slot in slots):
            self._egress.pods_changed()
        self._wake()
        log.info("address returned", extra=log_facts(sandbox, slots[0].holder) | {"address": listed(slots)})

    async def check(self, holder: Holder, *, expected: Collection[Address], netns: str = "") -> None:
        """Compare ledger, NIC and kernel with the sandbox; DatapathError names each difference.

        `expected` are its addresses in the result of its ADD. More than it holds is no difference: plugins chained
        after this one may add addresses of their own.

        It is judged by what it was wired with, not by what the NIC has now: a pod is not broken because a later one
        would be wired otherwise, and some runtimes (CRI-O) ask for each pod again and again.
        """
        async with self.locks.hold(holder.sandbox):
            slots = self._stored.ledger.holding(holder.sandbox)
            if not slots:
                raise SandboxUnknown(f"cannot check {named(holder)}: the ledger holds no address for it")
            findings = [f"address {slot.address} is no longer on the NIC" for slot in slots if not slot.on_nic]
            spec = self._spec(slots, holder, netns=netns)
            if any(address not in expected for address in spec.addresses):
                findings.append(f"the previous result says {few(tuple(expected))}, the ledger {few(spec.addresses)}")
            findings += await self._datapath.check(spec)
        if findings:
            raise DatapathError(f"sandbox of {named(holder)} is not as it should be: {'; '.join(findings)}")

    async def restore_routes(self, sandbox: Sandbox, observed: ObservedSandbox) -> tuple[str, ...]:
        """Put back what leads to a sandbox, if some of it was not `observed`; says what. DatapathError when that fails.

        A new primary address of the node becomes the source of the route to a sandbox that runs: only what the node
        itself sends depends on it. Its MTU stays as it was given: see `NodeNetwork`.
        """
        slots = self._stored.ledger.holding(sandbox)
        if not slots or slots[0].holder is None or self._state.link is None:
            return ()
        given = slots[0].link
        wired_with = given or replace(self._state.link, mtu=observed.mtu)
        link = replace(wired_with, primary=self._state.link.primary)
        spec = self._spec(slots, slots[0].holder, link=link)
        if given == link and self._datapath.is_complete(observed, spec):
            return ()
        async with self.locks.hold(sandbox):
            if self._stored.ledger.holding(sandbox) != slots:  # it ended meanwhile, and what it held may be another's
                return ()
            restored = await self._datapath.restore_routes(spec)
            self._stored.commit(self._stored.ledger.adapt(sandbox, link))
            return restored

    async def collect(self, network: str, valid: Collection[Sandbox]) -> tuple[Sandbox, ...]:
        """Free what the runtime does not list of this network; sandboxes that are being worked on are left alone.

        As much as possible (CNI specification 1.1.0, GC); one DatapathError at the end lists what could not be freed.
        """
        keep = frozenset(valid)
        holders = dict.fromkeys(slot.holder for slot in self._stored.ledger.slots if slot.holder is not None)
        own = [holder for holder in holders if holder.sandbox.network == network]
        stale = [one for one in own if one.sandbox not in keep and not self.locks.busy(one.sandbox)]
        failures: list[str] = []
        for holder in stale:
            try:
                await self.delete(holder.sandbox)
            except AzureCniError as error:
                failures.append(f"{named(holder)}: {error}")
        if failures:
            first = few(failures, between="; ", last="; and ")
            raise DatapathError(f"cannot free {len(failures)} of {counted(len(stale), 'sandbox')}: {first}")
        return tuple(holder.sandbox for holder in stale)

    def status(self) -> None:
        """NodeNotReady (50) until there has been an address for a pod since the node booted; never because it is full.

        The CNI specification 1.1.0 has STATUS fail while ADDs cannot be served. But runtimes that ask (CRI-O by its
        ocicni, containerd by its go-cni) make the whole node NotReady of it: the kubelet then starts no pod on the pod
        network, and the pods that run there are evicted after five minutes. (Their endpoints they keep: 48 of 48 stayed
        ready through 20 s of NotReady on the box.) A node whose addresses are all taken is a node at work, and each ADD
        is answered, with "try again later" and the cause. That it is full is shown where it harms nothing that runs: by
        a taint, and an event on each pod that waits. So STATUS asks what decides when the conflist is written: is there
        anything here for a pod yet?
        """
        if not self._state.ready or not self._stored.ledger.slots:
            raise NodeNotReady(f"this node cannot take a pod yet: {self._state.forecast.message}")

    def _repeated(self, slots: Slots, holder: Holder) -> Slots:
        """A repeated ADD updates the holder: the path of its namespace, and a network that was not known before."""
        self._stored.commit(self._stored.ledger.hand_over(holder))
        return tuple(replace(slot, holder=holder) for slot in slots)

    def _spec(
        self, slots: Slots, holder: Holder, *, netns: str = "", link: LinkParameters | None = None
    ) -> SandboxSpec:
        """`link` if it is to be wired otherwise than it was."""
        link = link or slots[0].link or self._state.link
        if link is None:
            raise NodeNotReady(f"this node cannot wire a pod yet: {self._state.forecast.for_pods}")
        addresses: tuple[Address, ...] = tuple(slot.address for slot in slots)
        addresses += tuple(slot.ipv6 for slot in slots if slot.ipv6 is not None)
        pod = holder.pod_namespace, holder.pod_name
        return SandboxSpec(holder.sandbox, netns or holder.netns, addresses, link, pod)
