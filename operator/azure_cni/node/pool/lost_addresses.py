"""Addresses of pods that another tool took off the NIC: which are asked for again now, and what people are told.

The rules are in `ipam.recovery`. Nothing is kept from one agent to the next: what another has by now Azure says again.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from ipaddress import IPv4Address

from azure_cni.errors import CloudError
from azure_cni.ipam import recovery
from azure_cni.ipam.address_state import Holder
from azure_cni.ipam.plan import Recover, Step
from azure_cni.ipam.recovery import UNAVAILABLE, Recoveries, lost_addresses
from azure_cni.model.nic import NicView, StaticConfiguration, total_size
from azure_cni.model.text import counted
from azure_cni.node.pods.demand import Pod
from azure_cni.node.pods.liveness import Presence
from azure_cni.node.pool.pool_object import PoolEvents
from azure_cni.node.pool.pool_state import LostAddress, NodeCore, PoolState

log = logging.getLogger(__name__)

ADDRESS_LOST = "AddressLost"
"""The reason of a pod's event."""
REMOVED_AGAIN = "AddressesRemovedAgain"
"""The reason of the pool's event."""


class LostAddresses:
    """What Azure said of them, and who has been told. The pool task's."""

    def __init__(
        self,
        core: NodeCore,
        *,
        pool_state: PoolState,
        events: PoolEvents,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._core = core
        self._pool_state = pool_state
        self._events = events
        self._jitter = jitter
        self._known = Recoveries()
        self._resting = 0

    def due(self, view: NicView) -> tuple[StaticConfiguration, ...]:
        """What may be asked for again, with the NIC like that; `PoolState.lost` says what else is known.

        Also while Azure works on the NIC: the node's request has to cover it all the while.
        """
        nic, now_s = self._pool_state.nic, self._now_s()
        able = nic is not None and nic.recovers
        found = lost_addresses(self._core.stored.ledger, view, broken=self._known.broken) if able else ()
        lost = tuple(one for one in found if any(map(self._lives, one.addresses)))
        if view.settled:
            self._known = self._known.forget_but([one.address for one in lost])
        self._pool_state.lost = tuple(
            LostAddress(address, refused.words if (refused := self._known.unavailable.get(one.address)) else "")
            for one in lost
            for address in one.addresses
            if self._holder_of(address) is not None
        )
        if not self._known.rests_after_removals(now_s=now_s):
            self._pool_state.removed_again = ""
        due = self._known.due(lost, now_s=now_s)
        self._resting = total_size(lost) - total_size(due)
        return due

    @property
    def resting(self) -> int:
        """How many more addresses Azure has just refused, when `due` was last asked."""
        return self._resting

    def _lives(self, address: IPv4Address) -> bool:
        """Unless its pod is known not to be on this node: a ledger may come with the disk of another VM."""
        holder = self._holder_of(address)
        return holder is not None and self._core.demand.presence(holder) is not Presence.ABSENT

    def next_write(self, due: tuple[StaticConfiguration, ...]) -> tuple[StaticConfiguration, ...]:
        """Of these those that go in one write now; none before the pods of the node are known."""
        if not self._core.demand.knows_pods:
            return ()
        return self._known.next_write(due, now_s=self._now_s())

    @property
    def rests_after_removals(self) -> bool:
        """Another tool removes again and again what is added: nothing is added now that no pod waits for."""
        return self._known.rests_after_removals(now_s=self._now_s())

    def added(self) -> None:
        """Azure took a write that added addresses, lost or new ones."""
        self._known = self._known.after_adding(now_s=self._now_s())

    def removed(self) -> None:
        """Another tool removed addresses: report it where it does so again and again."""
        now_s = self._now_s()
        self._known = self._known.after_removal(now_s=now_s, jitter=self._jitter())
        if not self.rests_after_removals:
            return
        at = self._core.ports.clock.utc(ahead_s=self._known.rests_until_s - now_s)
        words = (
            f"another tool removed addresses {counted(self._known.removals, 'time')} in a row, each time within "
            f"{recovery.SOON_S:.0f} s after azure-cni had added some: the next try is at {at}; find what writes this "
            "NIC, and keep it from that"
        )
        self._pool_state.removed_again = words
        log.warning("addresses are removed again and again", extra={"times": self._known.removals, "again_at": at})
        self._events.publish("Warning", REMOVED_AGAIN, words)

    def refused(self, step: Step, error: CloudError) -> bool:
        """Azure refused the write because of an address that another has: True when all but that is tried at once."""
        if not isinstance(step, Recover) or error.azure_code not in UNAVAILABLE:
            return False
        before, now_s = self._known, self._now_s()
        self._known = before.after_refusal(step.configs, str(error), now_s=now_s, jitter=self._jitter())
        for address in self._known.unavailable.keys() - before.unavailable.keys():
            self._tell(address, str(error))
        return True

    def recovered(self, step: Recover) -> None:
        """Azure took the write."""
        self._known = self._known.after_success()
        self.added()
        self._core.ports.observer.repaired("lost_address")
        log.info("addresses taken back", extra={"addresses": [str(one) for one in step.configs]})

    def hurry(self) -> None:
        """A person has changed something, or wants the NIC read."""
        self._known = self._known.hurried(now_s=self._now_s())

    def next_due_s(self, *, after_s: float) -> float | None:
        """Boot time, later than `after_s`, at which something may be asked for again."""
        return self._known.next_due_s(after_s=after_s)

    def _tell(self, address: IPv4Address, words: str) -> None:
        """Log it, and in a cluster tell whoever looks at the pod that has the address."""
        log.warning("an address of a pod cannot be taken back", extra={"address": str(address), "error": words})
        holder = self._holder_of(address)
        if holder is None or not holder.pod_name or not self._core.settings.in_cluster:
            return
        pod = self._core.demand.pod_of(holder) or Pod(
            holder.pod_namespace, holder.pod_name, holder.pod_uid, needs_address=False
        )
        message = (
            f"another tool removed {address} from the NIC of the node, and it cannot be had again now: delete the pod "
            "to give it an address that works; the NodeIPPool of the node says why"
        )
        self._events.publish_on_pod(pod, ADDRESS_LOST, message)

    def _holder_of(self, address: IPv4Address) -> Holder | None:
        slot = self._core.stored.ledger.find(address)
        return slot.holder if slot is not None else None

    def _now_s(self) -> float:
        return self._core.ports.clock.boottime_s()
