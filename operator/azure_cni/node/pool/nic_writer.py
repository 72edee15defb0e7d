"""Carries out one step on the NIC, and reports what came of it.

A write takes Azure seconds to minutes; the status task shows meanwhile that it is under way. Whatever ends
the wait, the request of this node goes on covering what the write could still leave on the NIC.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final

from azure_cni.api.node_ip_pool import WriteIntent
from azure_cni.errors import CloudError, InternalFault, NodeNotReady, RequestRefused, SubnetFull
from azure_cni.ipam.nic_writes import NicWrite, difference
from azure_cni.ipam.plan import Attach, Grow, Recover, Regroup, Rewrite, Shrink, Step
from azure_cni.ipam.sizing import SubnetRoom
from azure_cni.model.ipv6 import NO_IPV6, IPv6Growth
from azure_cni.model.nic import BLOCK_LENGTH, BLOCK_SIZE, AttachmentChange, ConfigName, NicView
from azure_cni.model.text import addresses, counted, few
from azure_cni.node.azure_ports import Nic
from azure_cni.node.pool.pod_attachments import PodAttachments
from azure_cni.node.pool.pool_object import PoolEvents
from azure_cni.node.pool.pool_state import LastWrite, NodeCore, PoolState
from azure_cni.node.pool.schedule import Schedule
from azure_cni.node.pool.status_builder import StatusBuilder

log = logging.getLogger(__name__)

_NOTHING_SEEN: Final[tuple[tuple[str, ...], tuple[str, ...]]] = ((), ())


class PoolNicWriter:
    """Writes the NIC of one node."""

    def __init__(
        self,
        core: NodeCore,
        *,
        pool_state: PoolState,
        status_builder: StatusBuilder,
        events: PoolEvents,
        schedule: Schedule,
        pod_attachments: PodAttachments,
    ) -> None:
        self._core = core
        self._pod_attachments = pod_attachments
        self._pool_state = pool_state
        self._status_builder = status_builder
        self._events = events
        self._schedule = schedule
        self._room = SubnetRoom()
        self._refusal = ""
        """Azure's words when the subnet last had too few."""
        self._news: tuple[str, str] | None = None
        """What the last write brought, until `publish_news` has published it: the event's reason and message."""

    def forget_room(self) -> None:
        """What the subnet refused may be allowed now: it is another one, or a person has done something about it."""
        self._room = SubnetRoom()

    def expect_room(self, count: int) -> None:
        """Others gave `count` addresses back for pods of this node."""
        self._room = self._room.after_news(count)

    async def grow(self, step: Grow) -> tuple[NicView, SubnetFull | None]:
        """Add as many of the step's addresses as may fit; with the NIC as it is then, why it was not all of them.

        SubnetFull when none were added. The next growth then asks for fewer, if pods wait, under a grant of its own.
        """
        waiting, free = self._pool_state.waiting, self._core.stored.ledger.counts().free
        add = self._room.next_add(step.add, needed=waiting - free, size=step.size)
        try:
            ipv6 = _ipv6_beside(step, add)
            reason = counted(waiting, "pod waits", "pods wait") if waiting else "keep addresses ready"
            view = await self._write(WriteIntent.GROW, reason, add=add, size=step.size, attach=step.attach, ipv6=ipv6)
        except SubnetFull as error:
            self._room, self._refusal = self._room.after_refusal(add), str(error)
            raise (error if step.size == 1 else no_block(error)) from error
        self._room = self._room.after_growth(add, wanted=step.add)
        return view, None if add >= step.add else SubnetFull(
            f"the subnet had {addresses(add)} where {step.add} are wanted, and may have no more: free some of its "
            f"addresses, or enlarge it; last refused: {self._refusal}",
            added=add,
        )

    async def attach(self, step: Attach) -> NicView:
        """Change what pods have attached."""
        return await self._write(WriteIntent.ATTACH, step.reason, attach=step.changes)

    async def shrink(self, step: Shrink) -> NicView:
        """Release addresses in the ledger, then take them off the NIC."""
        self._core.stored.commit(
            self._core.stored.ledger.release(step.addresses, now_s=self._core.ports.clock.boottime_s())
        )
        return await self._write(WriteIntent.SHRINK, step.reason, remove=step.names)

    async def rewrite(self, step: Rewrite) -> NicView:
        """Write the NIC as it is."""
        return await self._write(WriteIntent.REWRITE, step.reason, ipv6=step.ipv6)

    async def regroup(self, step: Regroup) -> NicView:
        """Put all of the NIC into other application security groups."""
        return await self._write(
            WriteIntent.REWRITE,
            groups_wanted(step.groups),
            send=lambda nic, before: nic.set_security_groups(before, step.groups),
        )

    async def recover(self, step: Recover) -> NicView:
        """Add the configurations that pods have lost to another tool."""
        return await self._write(
            WriteIntent.GROW,
            step.reason,
            add=step.add,
            send=lambda nic, before: nic.recover(before, step.configs),
        )

    async def _write(
        self,
        what: WriteIntent,
        reason: str,
        *,
        add: int = 0,
        size: int = 1,
        remove: tuple[ConfigName, ...] = (),
        attach: tuple[AttachmentChange, ...] = (),
        ipv6: IPv6Growth = NO_IPV6,
        send: Callable[[Nic, NicView], Awaitable[NicView]] | None = None,
    ) -> NicView:
        """Write and account for it. `send` makes it, where it is none of `Nic.write`."""
        pool_state, before = self._pool_state, self._pool_state.view
        if pool_state.nic is None or before is None:
            raise NodeNotReady("cannot change the NIC: it has not been read yet")
        removed = sum(config.size for config in before.secondaries if config.name in remove)
        result, etag, changed = "Abandoned", before.etag, _NOTHING_SEEN
        # What a pod gets attached the next pod on its address may not find there, even if this agent ends now.
        gaining = {change.config for change in attach if change.add}
        self._core.stored.commit(self._core.stored.ledger.attaching(gaining))
        self._pod_attachments.write_begins(attach)
        pool_state.reservation.write_begins(before, add=add)
        pool_state.writing = what
        self._status_builder.publish_forecast()
        try:
            with self._schedule.azure_wait(self._core.ports.clock):
                if send is None:
                    view = await pool_state.nic.write(
                        before, add=add, size=size, remove=remove, attach=attach, ipv6=ipv6
                    )
                else:
                    view = await send(pool_state.nic, before)
            view = self._pod_attachments.admitted(view)
            result, etag, changed = "Succeeded", view.etag, difference(before, view)
            pool_state.reservation.write_answered()
            self._pod_attachments.write_succeeded()
        except CloudError as error:
            result = error.reason
            # A refusal ends the write; an error after Azure accepted it does not, whatever it says.
            if isinstance(error, pool_state.nic.conclusive) and not error.accepted:
                pool_state.reservation.write_answered()
            raise (no_ipv6(error, ipv6) if ipv6 and isinstance(error, RequestRefused) else error) from error
        except Exception:
            result = InternalFault.reason
            raise
        finally:
            if result != "Succeeded":  # else what it brought is still to be taken over
                pool_state.writing = WriteIntent.NONE
            pool_state.last_write = LastWrite(self._core.ports.clock.utc(), reason, add, removed, result, etag)
            if (audit := self._core.ports.audit) is not None:
                audit.nic_written(NicWrite(reason, add, removed, len(attach), result, etag, *changed))
        self._news = self._describe(reason, before, view, add=add, remove=remove, attach=attach)
        return view

    def is_ipv6_refused(self, step: Step, error: CloudError) -> bool:
        """Azure refused a write with IPv6, and there is another way to ask for it, to be tried at once. It does not say
        what of a write it refuses: after single addresses the block is tried again, in the next attempt.
        """
        ipv6 = step.ipv6 if isinstance(step, Grow | Rewrite) else NO_IPV6
        if not ipv6 or not isinstance(error, RequestRefused) or error.accepted:
            return False
        self._pool_state.ipv6_singles = ipv6.block
        return ipv6.block

    def publish_news(self) -> None:
        """Publish what the last write brought, once kernel and ledger have it: no pod waits for an event."""
        news, self._news = self._news, None
        if news is not None:
            self._events.publish("Normal", *news)

    def _describe(
        self,
        reason: str,
        before: NicView,
        view: NicView,
        *,
        add: int,
        remove: tuple[ConfigName, ...],
        attach: tuple[AttachmentChange, ...],
    ) -> tuple[str, str]:
        """What is on the NIC counts, not what was asked for: somebody else may have written it right after."""
        known, there = _ours(before), _ours(view)
        if add:
            result, event, done = "grew", "PoolGrew", f"added {_counted(_added(known, there), asked=add)}"
        elif remove:
            asked = {name: size for name, size in known.items() if name in remove}
            left = _added(there, asked)
            result, event, done = "shrank", "PoolShrank", f"removed {_counted(left, asked=sum(asked.values()))}"
        elif attach:
            result, event, done = "attached", "NicAttached", _attached_words(attach)
        else:
            changes = view.security_groups != before.security_groups or bool(_new_ipv6(before, view))
            result, event, done = "rewrote", "NicRewritten", f"wrote the NIC once more{'' if changes else ' as it was'}"
        if ipv6 := _new_ipv6(before, view):
            done += f", with {ipv6}"
        self._core.ports.observer.reconciled(result)
        return event, f"{done} ({reason}); {view.held} on the NIC"


def _new_ipv6(before: NicView, after: NicView) -> IPv6Growth:
    """What of IPv6 the NIC has now and had not."""
    known = {config.name for config in before.ipv6}
    new = [config for config in after.ipv6 if config.name not in known]
    return IPv6Growth(block=any(config.block for config in new), singles=sum(not config.block for config in new))


def _ipv6_beside(step: Grow, add: int) -> IPv6Growth:
    """What goes with `add` addresses of the step; a block goes with any."""
    return step.ipv6 if step.ipv6.block else replace(step.ipv6, singles=max(0, step.ipv6.singles - step.add + add))


def no_ipv6(refusal: RequestRefused, ipv6: IPv6Growth) -> RequestRefused:
    """What the refusal of a write with IPv6 can mean."""
    words = RequestRefused(
        f"a write that adds {ipv6} to the NIC is refused; with ipFamilies [IPv4, IPv6] pods get an address of each "
        "family or none, so none can start: give the NIC's subnet an IPv6 prefix (/64), or set ipFamilies to [IPv4]; "
        f"Azure said: {refusal}",
        azure_code=refusal.azure_code,
    )
    words.accepted = refusal.accepted
    return words


def no_block(refusal: SubnetFull) -> SubnetFull:
    """What a refusal of blocks means. Azure does not say which of the two it is."""
    return SubnetFull(
        f"the subnet has too few blocks of {BLOCK_SIZE} free addresses (/{BLOCK_LENGTH}, aligned): it is full, or what "
        "is free is scattered between addresses that others use (fragmented), and then the VNetQuota says so; free "
        f"a whole block, use a subnet for blocks alone, or set spec.blocks to 0; Azure said: {refusal}",
        azure_code=refusal.azure_code,
        retry_after_s=refusal.retry_after_s,
    )


def _attached_words(changes: tuple[AttachmentChange, ...]) -> str:
    added = sum(len(change.add) for change in changes)
    removed = sum(len(change.remove) for change in changes)
    done = [f"{what} {count}" for what, count in (("attached", added), ("detached", removed)) if count]
    return " and ".join(done)


def groups_wanted(groups: tuple[str, ...]) -> str:
    """Why the NIC is put into these application security groups."""
    names = few(tuple(group.rpartition("/")[2] for group in groups)) if groups else "none"
    return f"the application security groups that the pool's spec wants: {names}"


def _ours(nic: NicView) -> dict[ConfigName, int]:
    """The configurations that azure-cni made, and how many addresses each holds."""
    return {config.name: config.size for config in nic.secondaries if config.ours}


def _added(before: Mapping[ConfigName, int], after: Mapping[ConfigName, int]) -> int:
    """Addresses of the configurations that are only in `after`."""
    return sum(size for name, size in after.items() if name not in before)


def _counted(count: int, *, asked: int) -> str:
    return addresses(count) if count == asked else f"{count} of {addresses(asked)}"
