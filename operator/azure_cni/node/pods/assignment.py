"""Giving a sandbox its addresses from the ledger, or waiting for a pool that grows.

The ledger first, in one step with the decision: whoever wires the sandbox afterwards finds it written down. Every
runtime that is served here draws from this one place, so no two of them can be given the same address.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from ipaddress import IPv4Address
from time import perf_counter
from typing import Final, TypeAlias

from azure_cni.errors import ConfigInvalid, NoAddress, NodeNotReady
from azure_cni.ipam.address_state import Holder, Sandbox, Slot
from azure_cni.ipam.claims import claimed
from azure_cni.node.pods.demand import Demand, Pod
from azure_cni.node.pods.pod_egress import PodEgress
from azure_cni.node.pods.sandbox_locks import Hold
from azure_cni.node.ports import Clock, Events, Observer
from azure_cni.node.state import ADDRESSES_FREE, NodeState
from azure_cni.node.stored_ledger import StoredLedger

log = logging.getLogger(__name__)

Slots: TypeAlias = tuple[Slot, ...]
"""What one sandbox holds, in address order."""

ADD_WAITS_S: Final = 5.0
"""How long an ADD waits for a pool that grows. The kubelet retries a failed sandbox within seconds anyway, and holding
its worker longer delays the pods behind it."""


class Assignment:
    """Assigns addresses of one node. Safe for concurrent calls on one event loop, each with its sandbox's lock."""

    def __init__(
        self,
        *,
        stored: StoredLedger,
        state: NodeState,
        demand: Demand,
        egress: PodEgress,
        events: Events,
        clock: Clock,
        observer: Observer,
        wake: Callable[[], None],
        named_addresses: bool = False,
    ) -> None:
        self._stored = stored
        self._state = state
        self._demand = demand
        self._egress = egress
        self._events = events
        self._clock = clock
        self._observer = observer
        self._wake = wake
        self._named_addresses = named_addresses

    def require_nameable(self, holder: Holder, known: Slots, wanted: IPv4Address | None) -> None:
        """ConfigInvalid for an address that a runtime may not name: none in a cluster, nor another than it has."""
        if wanted is not None and not self._named_addresses:
            raise ConfigInvalid(
                f"cannot give {named(holder)} the address {wanted}: on a node of a cluster azure-cni chooses each "
                "address; leave it out (podman: --ip; Multus: ips in the annotation of the pod; otherwise "
                "runtimeConfig.ips, args.cni.ips, or IP= in CNI_ARGS)"
            )
        if wanted is not None and known and all(slot.address != wanted for slot in known):
            raise ConfigInvalid(f"cannot give {named(holder)} the address {wanted}: it has {listed(known)} already")

    async def slots_for(
        self, holder: Holder, hold: Hold, *, wait_s: float = ADD_WAITS_S, wanted: IPv4Address | None = None
    ) -> Slots:
        """What the sandbox of `holder` holds from now on. NoAddress with the cause, after `wait_s` seconds at most; at
        once for an address that is `wanted` and cannot be had.
        """
        if wanted is not None:
            return self._claim(wanted, holder)
        slots = self._assign(holder) if self._state.ready else ()
        return slots or await self._wait_for_slots(holder, hold, wait_s=wait_s)

    @property
    def may_have_cooled(self) -> bool:
        """Whether what was assigned just now may have cooled until then: at the node's limit, once nothing is free."""
        return self._state.at_limit and not self._stored.ledger.counts().free

    def give_back(self, holder: Holder, *, cools: bool = False) -> None:
        """What it was given is free again at once: it was never wired. `cools`: not at once, for it may have cooled
        when it was claimed, after another sandbox.
        """
        ledger, now_s = self._stored.ledger, self._clock.boottime_s()
        take_back = ledger.unassign if cools else ledger.abandon
        self._stored.commit(take_back(holder.sandbox, now_s=now_s))

    def _claim(self, wanted: IPv4Address, holder: Holder) -> Slots:
        if not self._state.ready or self._state.pending_mode is not None:
            raise NodeNotReady(
                f"cannot assign {wanted}: this VM cannot wire a container yet: {self._state.forecast.message}"
            )
        ledger, now_s = self._stored.ledger, self._clock.boottime_s()
        self._stored.commit(claimed(ledger, wanted, holder, now_s=now_s, link=self._state.link))
        return self._stored.ledger.holding(holder.sandbox)

    def _assign(self, holder: Holder) -> Slots:
        """What the sandbox now holds; nothing when there is no address for it."""
        if self._state.pending_mode is not None and not self._stored.ledger.counts().assigned:
            return ()  # the last pod of the former mode has gone: the node changes over first
        started, now_s = perf_counter(), self._clock.boottime_s()
        self._stored.commit(self._stored.ledger.cooled(now_s=now_s))  # the reconciler may be busy with something slow
        try:
            change = self._stored.ledger.assign(
                holder,
                now_s=now_s,
                at_limit=self._state.at_limit,
                link=self._state.link,
                own_egress=self._egress.is_own(holder),
            )
        except NoAddress:
            return ()
        self._stored.commit(change)
        self._observer.stage("ledger", perf_counter() - started)
        return self._stored.ledger.holding(holder.sandbox)

    async def _wait_for_slots(self, holder: Holder, hold: Hold, *, wait_s: float) -> Slots:
        asked_s = self._clock.boottime_s()
        with self._demand.count_waiting(holder, asked_s=asked_s):
            self._wake()
            while True:
                remaining_s = asked_s + wait_s - self._clock.boottime_s()
                if remaining_s <= 0 or not await self._state.broadcast.wait(remaining_s):
                    raise await self._no_address(holder)
                if hold.superseded:
                    raise NoAddress(f"cannot attach {named(holder)}: it was deleted meanwhile", cause="Deleted")
                if self._state.ready and (slots := self._assign(holder)):
                    return slots
                if not self._state.forecast.available_soon and self._state.forecast.decided_s >= asked_s:
                    raise await self._no_address(holder)

    async def _no_address(self, holder: Holder) -> NoAddress:
        """The error for the runtime, with the cause; and the event on the pod. Both report it."""
        forecast = self._state.forecast
        cause, message, why = forecast.reason, forecast.for_pods, forecast.message
        if cause == ADDRESSES_FREE:  # so it was a moment ago
            cause, message = "AddressesTaken", "what became free went to other pods that wait; it is tried again"
            why = message
        log.warning("no address", extra=log_facts(holder.sandbox, holder) | {"cause": cause, "why": why})
        pod = self._demand.pod(holder.pod_namespace, holder.pod_name)
        if pod is None and holder.pod_uid:  # not seen yet, or a watch is broken
            pod = Pod(holder.pod_namespace, holder.pod_name, holder.pod_uid, needs_address=True)
        if pod is not None:
            await self._events.publish(
                pod.reference, kind="Warning", reason=NoAddress.reason, message=f"{cause}: {message}", cause=cause
            )
        return NoAddress(f"cannot give {named(holder)} an address: {message}", cause=cause)


SHORT_ID: Final = 13  # as much of a container's ID as crictl shows


def named(holder: Holder) -> str:
    """Its pod, for people; its container where it has no pod."""
    if holder.pod_name:
        return str(holder)
    return f"container {holder.sandbox.container_id[:12]} ({holder.sandbox.ifname})"


def listed(slots: Slots) -> str:
    """Their addresses, for people."""
    return ", ".join(str(slot.address) for slot in slots)


def log_facts(sandbox: Sandbox, holder: Holder | None) -> dict[str, str]:
    """Who it is, as fields of a log line."""
    return {
        "container": sandbox.container_id[:SHORT_ID],
        "ifname": sandbox.ifname,
        "pod": f"{holder.pod_namespace}/{holder.pod_name}" if holder and holder.pod_name else "",
    }
