"""Which pods of this node leave the VNet with their own address: what annotations ask for, in ledger and kernel.

The ledger holds what each pod has, so a restarted agent keeps it while the API server is away, and an address that a
pod gave back has lost it. The kernel follows the ledger (`NodeNetwork.settle_egress`): before a pod is wired, and soon
after an annotation changed. So the first packet of a pod leaves as it should, and no pod gets an address that is still
in the kernel's set for the annotation of another.

A connection keeps the address with which it began, for its translation is decided with its first packet: a changed
annotation decides about connections that begin later.

A pod that the agent has not seen yet leaves with the node's address until it has; a pod whose annotation, or whose
namespace's, cannot be read any more or yet (the API server is away, an agent begins) keeps what it has.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any, Final

from azure_cni.api.egress import EGRESS, LONGEST, Egress, EgressChoice, EgressNamespaces, choose, on_node_network
from azure_cni.api.reading import mapping, metadata_of, text
from azure_cni.errors import AzureCniError
from azure_cni.ipam.address_state import Holder, Slot
from azure_cni.ipam.ledger import Change
from azure_cni.node.pods.demand import Demand, Pod
from azure_cni.node.ports import Events
from azure_cni.node.stored_ledger import StoredLedger

log = logging.getLogger(__name__)

RETRY_S: Final = 10.0
"""After a look that failed."""
REST_S: Final = 0.5
"""After any other: a pod's owner may change its annotation as fast as the API server takes it, and each look that finds
a change writes the ledger and the kernel."""


class PodEgress:
    """`settle` makes the kernel follow the ledger, for these addresses or, of none, for all."""

    def __init__(
        self,
        *,
        stored: StoredLedger,
        demand: Demand,
        events: Events,
        allowed: EgressNamespaces,
        settle: Callable[[Collection[IPv4Address]], Awaitable[None]],
    ) -> None:
        self._stored = stored
        self._demand = demand
        self._events = events
        self._allowed = allowed
        self._settle = settle
        self._namespaces: dict[str, str] = {}
        """The annotation of each namespace that has one; "" for others that may have it, once they were seen."""
        self._refused: dict[str, str] = {}
        """The pods, by UID, whose annotation has no effect, and what was published about it."""
        self._changed = asyncio.Event()

    # What the watches show.

    def namespace_seen(self, body: Mapping[str, Any]) -> None:
        """A namespace was listed, added or changed."""
        metadata = metadata_of(body)
        name = text(metadata.get("name"))
        value = text(mapping(metadata.get("annotations")).get(EGRESS))[:LONGEST]
        if value or self._allowed.include(name):
            changed, self._namespaces[name] = self._namespaces.get(name) != value, value
        else:
            changed = self._namespaces.pop(name, None) is not None
        if changed:
            self._changed.set()

    def namespace_gone(self, name: str) -> None:
        """A namespace was deleted, and with it all pods in it."""
        self._namespaces.pop(name, None)

    def pods_changed(self) -> None:
        """A pod was seen, or has gone."""
        self._changed.set()

    # What ADD and DEL need.

    def is_own(self, holder: Holder) -> bool:
        """Whether the pod that is about to be wired leaves the VNet with its own address."""
        if not self._allowed.include(holder.pod_namespace):
            return False
        pod = self._demand.pod_of(holder)
        choice = None if pod is None else self._choice(pod)
        return choice is not None and choice.egress is Egress.POD

    async def prepare(self, slots: Collection[Slot]) -> None:
        """Before these are wired: the kernel knows which of them leave the VNet as they are. DatapathError."""
        await self._settle([slot.address for slot in slots])

    # What goes on meanwhile.

    async def run(self) -> None:
        """Follow the annotations, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self.review()
            except AzureCniError as error:
                log.warning("egress of pods not changed", extra={"reason": error.reason, "error": str(error)})
                await asyncio.sleep(RETRY_S)
                self._changed.set()
            else:
                await asyncio.sleep(REST_S)

    async def review(self) -> None:
        """Compare what annotations say with what pods have, and change that; DatapathError, LedgerError."""
        choices = [(pod, choice) for pod in self._demand.pods if (choice := self._choice(pod)) is not None]
        named = {(pod.namespace, pod.name): (pod, choice) for pod, choice in choices}
        held = {slot.holder: slot.own_egress for slot in self._stored.ledger.slots if slot.holder is not None}
        for holder, own in held.items():
            pod, choice = named.get((holder.pod_namespace, holder.pod_name), (None, None))
            if pod is None or choice is None or not pod.holds_as(holder) or own is (choice.egress is Egress.POD):
                continue
            slots = self._stored.ledger.holding(holder.sandbox)
            self._stored.commit(Change(put=tuple(replace(slot, own_egress=not own) for slot in slots)))
            log.info("egress of a pod changed", extra={"pod": str(holder), "own_address": not own})
        await self._settle(())
        in_vain = [(pod, on_node_network(pod=pod.egress)) for pod in self._demand.asking_in_vain]
        await self._report([*choices, *in_vain])

    def _choice(self, pod: Pod) -> EgressChoice | None:
        """What the pod gets; None while that is its namespace's to say, which has not been seen yet."""
        if not pod.egress and self._allowed.include(pod.namespace) and pod.namespace not in self._namespaces:
            return None
        return choose(
            pod=pod.egress,
            namespace=self._namespaces.get(pod.namespace, ""),
            name=pod.namespace,
            allowed=self._allowed,
        )

    async def _report(self, choices: Iterable[tuple[Pod, EgressChoice]]) -> None:
        """One event on each pod whose annotation has no effect; its message changes with the annotation."""
        refused = [(pod, choice) for pod, choice in choices if choice.refusal]
        known, self._refused = self._refused, {pod.uid: choice.message for pod, choice in refused}
        for pod, choice in refused:
            if known.get(pod.uid) != choice.message:
                await self._events.publish(pod.reference, kind="Warning", reason=choice.refusal, message=choice.message)
