"""What pods of this node have attached, and should have: `ipam.attachment_plan` on the state of the node.

What Azure refuses (it does not exist, the identity may not use it, another VM has it) is left out of the writes that
follow, for growing pauses, so that neither other pods nor the pool's growth wait for it (`attachment_refusals`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import IPv4Address

from azure_cni.api.pool_entries import attached_resources
from azure_cni.errors import CloudError, OperationFailed, RequestRefused
from azure_cni.ipam import attachment_blame, attachment_plan
from azure_cni.ipam.address_state import Holder
from azure_cni.ipam.attachment_outcome import Asked, Outcome, outcome
from azure_cni.ipam.attachment_plan import NONE, AttachmentPace, Resources, Suspect
from azure_cni.model.attachments import all_allowed, allowed_in
from azure_cni.model.nic import AttachmentChange, ConfigName, NicView
from azure_cni.node.pods.demand import Pod
from azure_cni.node.pool.attachment_refusals import AttachmentRefusals
from azure_cni.node.pool.pool_object import PoolObject
from azure_cni.node.pool.pool_state import NodeCore, PoolState


class PodAttachments:
    """The wishes of this node's pods, and what became of them."""

    def __init__(
        self,
        core: NodeCore,
        *,
        pool_state: PoolState,
        pool_object: PoolObject,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._core = core
        self._pool_state = pool_state
        self._pool_object = pool_object
        self._refusals = AttachmentRefusals(self._now_s, self._holder_by_config, jitter=jitter)
        self._failed: dict[ConfigName, Resources] = {}
        """What the last write that Azure did not carry out was to add, and may have left on a failed NIC."""
        self._pace = AttachmentPace()
        self._paused_until_s: float | None = None
        """When the changes that wait for the pace may be written; None when none do."""
        self._barring: Resources = NONE
        """What the NIC has and its writer may no longer join: Azure refuses every write until that ends."""

    @property
    def managed(self) -> Resources:
        """What azure-cni adds and removes here: all that the values allow, and what it added by values of before."""
        return all_allowed(self._core.settings.attachable) | attached_resources(self._pool_object.pool_or_unread)

    def admitted(self, view: NicView) -> NicView:
        """The NIC without what others have attached."""
        return attachment_plan.admitted(view, self.managed)

    def wanted(self, view: NicView) -> Mapping[IPv4Address, Resources | None]:
        """What each address that a pod holds should have attached; None where that is not known yet."""
        holder_pod = self._holders_pods()
        return attachment_plan.wishes(
            self._core.stored.ledger.slots, lambda holder: self._asked_by(holder, holder_pod(holder)), view
        )

    def changes(self, view: NicView) -> tuple[AttachmentChange, ...]:
        """What to change on the NIC now."""
        slots, now_s = self._core.stored.ledger.slots, self._now_s()
        held_back = self._refusals.held_back()
        wanted, failed = self.wanted(view), self._failed_on(view)
        found = attachment_plan.in_one_write(
            attachment_plan.changes(view, slots, wanted, held_back=held_back, failed=failed)
        )
        self._note(attachment_plan.without(view, failed), found, wanted)
        may_write_at_s = self._pace.next_at_s(now_s)
        # What Azure failed on stands in the way of every write of the NIC: that goes without waiting.
        self._paused_until_s = may_write_at_s if found and not failed and may_write_at_s > now_s else None
        if self._paused_until_s is not None:
            return ()
        return self._refusals.next_write(found, view)

    def write_begins(self, attach: tuple[AttachmentChange, ...]) -> None:
        """A write of the NIC with these changes is about to be sent."""
        if attach:
            self._pace = self._pace.after_write(self._now_s())

    def write_succeeded(self) -> None:
        """Azure took a write of the NIC, and so all that the NIC refers to."""
        self._barring = NONE

    def unbarred(self, view: NicView) -> bool:
        """True, once, when the changes that are due remove all that bars writes: then they need not wait."""
        if not self._barring:
            return False
        slots, failed = self._core.stored.ledger.slots, self._failed_on(view)
        found = attachment_plan.changes(view, slots, self.wanted(view), held_back=self._refusals.known(), failed=failed)
        if self._barring & attachment_plan.after(view, found):
            return False
        self._barring = NONE
        return True

    def refused(self, step_changes: tuple[AttachmentChange, ...], error: CloudError) -> bool:
        """Azure refused a write with these changes. True when it was because of what they add, or of what an earlier
        write has left on a failed NIC: that is held back, and removed where the NIC shows it.

        What pods have and the identity may no longer join is neither: it stays, because their traffic comes by it.
        """
        view = self._pool_state.view
        if view is not None and (barring := attachment_blame.barring(error, view)):
            self._barring = barring
            return False
        added = attachment_plan.added_by(step_changes)
        blamed = attachment_blame.blamed(error, added)
        if blamed is not None:
            self._failed = {change.config: change.add & (blamed or added) for change in step_changes}
            self._refusals.conclude(error, blamed, step_changes, view)
            return True
        left = self._left_behind(error)
        for resource in left:
            self._refusals.hold_back(Suspect(resource), error)
        return bool(left) or self._suspect_what_was_tried(error)

    def _left_behind(self, error: CloudError) -> Resources:
        """What the error names of what a failed NIC shows, and is not being removed yet: an agent before this one may
        have added it.
        """
        view = self._pool_state.view
        shown = {config.name: config.attached for config in view.configs} if view is not None and view.failed else {}
        known = NONE.union(*self._failed.values())
        found = attachment_blame.named(error, NONE.union(*shown.values()) - known)
        self._failed |= {name: attached & found for name, attached in shown.items() if attached & found}
        return found

    def _suspect_what_was_tried(self, error: CloudError) -> bool:
        """Whether a failed NIC shows what an agent before this one was attaching when it ended, and nothing else is
        suspected: where Azure names nothing, that goes first. It is attached again once the NIC works.
        """
        view = self._pool_state.view
        if view is None or not view.failed or self._failed or not isinstance(error, OperationFailed | RequestRefused):
            return False
        tried = {slot.config for slot in self._core.stored.ledger.slots if slot.attaching}
        self._failed = {it.name: it.attached for it in view.configs if it.name in tried and it.attached}
        return bool(self._failed)

    @property
    def writes_left(self) -> int:
        """How many writes for attachments could be made now, one after the other."""
        return int(self._pace.left_at(self._now_s()))

    @property
    def paused_until_s(self) -> float | None:
        """Boot time at which the changes that wait for the pace are written; None when none do."""
        return self._paused_until_s

    def retry_at_s(self, pod: Pod) -> float | None:
        """Boot time at which what Azure refused of what the pod asks for is tried again; None where nothing was."""
        return self._refusals.retry_at_s(pod.annotations.resources)

    def hurry(self) -> None:
        """A person did something about it, perhaps: all may be tried again at once."""
        self._refusals.hurry()

    def next_due_s(self, *, after_s: float) -> float | None:
        """Boot time, later than `after_s`, at which something may be tried again or written."""
        due = [*self._refusals.due_s()]
        due += [] if self._paused_until_s is None else [self._paused_until_s]
        return min((at_s for at_s in due if at_s > after_s), default=None)

    def outcomes(self, pods: Iterable[Pod]) -> Iterator[tuple[Pod, Outcome]]:
        """What became of what each pod asks for; nothing while the NIC has not been read.

        Nor that something is attached while Azure works on the NIC, or has failed: then it shows what it shall have.
        """
        view = self._pool_state.view
        if view is None:
            return
        view = attachment_plan.without(view, self._failed_on(view))
        wanted, by_pod = self.wanted(view), self._addresses()
        for pod in pods:
            address = by_pod.get(pod.uid)
            found = self._outcome(pod, address, view, wanted)
            if not found.done or (view.settled and not view.failed):
                yield pod, found

    def _outcome(
        self, pod: Pod, address: IPv4Address | None, view: NicView, wanted: Mapping[IPv4Address, Resources | None]
    ) -> Outcome:
        allowed = allowed_in(pod.namespace, self._core.settings.attachable)
        asked = pod.annotations.resources
        given = (wanted.get(address) if address is not None else None) or NONE
        config = view.with_address(address) if address is not None else None
        return outcome(
            Asked(pod.namespace, asked, allowed, pod.annotations.faults),
            address,
            view,
            refusal_of=lambda it: self._refusals.refusal_of(it, None if config is None else ConfigName(config.name)),
            taken=(asked & allowed) - given if address is not None else NONE,
            barred=bool(self._barring),
            written=not self._core.settings.nic_read_only,
            paused=self._pool_object.pool_or_unread.name if self._pool_state.policy.paused else "",
        )

    def _addresses(self) -> dict[str, IPv4Address]:
        """By pods' UIDs: the address that each is known by."""
        holder_pod = self._holders_pods()
        slots = attachment_plan.serving(self._core.stored.ledger.slots)
        held = ((holder_pod(slot.holder), slot.address) for slot in slots if slot.holder is not None)
        return {pod.uid: address for pod, address in held if pod is not None}

    def _holder_by_config(self) -> dict[ConfigName, Holder | None]:
        return {slot.config: slot.holder for slot in self._core.stored.ledger.slots}

    def _holders_pods(self) -> Callable[[Holder], Pod | None]:
        """Finds a holder's own pod: None where it is not known, or another of its name is there."""
        pods = {(pod.namespace, pod.name): pod for pod in self._core.demand.pods}

        def find(holder: Holder) -> Pod | None:
            pod = pods.get((holder.pod_namespace, holder.pod_name))
            return pod if pod is not None and holder.pod_uid in {"", pod.uid, pod.static_uid} else None

        return find

    def _note(
        self, view: NicView, found: tuple[AttachmentChange, ...], wanted: Mapping[IPv4Address, Resources | None]
    ) -> None:
        """What is attached or about to be, for the status; what is attached is refused no longer."""
        there = NONE.union(*(config.attached for config in view.all_secondaries))
        adding = attachment_plan.added_by(found)
        self._pool_state.attached = there | adding
        if not view.failed:
            works = {config.name: config.attached for config in view.configs}
            self._failed = {name: tried - works.get(name, NONE) for name, tried in self._failed.items()}
        lacking = attachment_plan.lacking(view, wanted)
        self._refusals.note(found, there=there, lacking=lacking)
        self._pool_state.denied = self._refusals.denied(lacking)

    def _failed_on(self, view: NicView) -> Mapping[ConfigName, Resources]:
        """What a failed NIC shows as attached, although Azure could not attach it."""
        shown = {config.name: config.attached for config in view.configs} if view.failed else {}
        found = {name: tried & shown.get(name, NONE) for name, tried in self._failed.items()}
        return {name: bad for name, bad in found.items() if bad}

    def _now_s(self) -> float:
        return self._core.ports.clock.boottime_s()

    def _asked_by(self, holder: Holder, pod: Pod | None) -> Resources | None:
        if not holder.pod_name:
            return NONE
        if pod is None:
            return NONE if self._core.demand.lists_applied else None  # an agent that begins has not seen all pods
        if pod.ending:
            return NONE
        allowed = allowed_in(pod.namespace, self._core.settings.attachable)
        # In the spelling of the values, whatever that of the annotation is.
        return frozenset(resource for resource in allowed if resource in pod.annotations.resources)
