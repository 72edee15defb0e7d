"""Carrying out one step on the NIC, and telling what came of it.

A write takes Azure seconds to minutes; cooling, the status and the outlook of waiting pods go on meanwhile (`breathe`).
Whatever ends the wait, the request of this node goes on covering what the write could still leave on the NIC.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from azure_cni.api.nic import ConfigName, NicView
from azure_cni.api.plurals import addresses, counted
from azure_cni.api.pool import Wants
from azure_cni.errors import CloudError, InternalFault, NodeNotReady, SubnetFull
from azure_cni.ipam.plan import Grow, Mend, Shrink
from azure_cni.ipam.subnet_room import SubnetRoom
from azure_cni.node.board import Book
from azure_cni.node.meanwhile import meanwhile
from azure_cni.node.narrator import Narrator
from azure_cni.node.world import LastWrite, Standing, World

log = logging.getLogger(__name__)


class NicWriter:
    """Writes the NIC of one node. `breathe` is called each second that a write takes."""

    def __init__(
        self,
        *,
        world: World,
        standing: Standing,
        book: Book,
        narrator: Narrator,
        breathe: Callable[[], Awaitable[None]],
    ) -> None:
        self._world = world
        self._standing = standing
        self._book = book
        self._narrator = narrator
        self._breathe = breathe
        self._room = SubnetRoom()
        self._refusal = ""
        """Azure's words when the subnet last had too few."""

    def forget_room(self) -> None:
        """What the subnet refused may be allowed now: it is another one, or a person has done something about it."""
        self._room = SubnetRoom()

    async def grow(self, step: Grow) -> tuple[NicView, SubnetFull | None]:
        """Add as many of the step's addresses as may fit; with the NIC as it is then, why it was not all of them.

        SubnetFull when none were added. The next growth then asks for fewer, if pods wait, under a permit of its own.
        """
        waiting, free = self._standing.waiting, self._book.ledger.counts().free
        add = self._room.next_add(step.add, needed=waiting - free)
        try:
            reason = counted(waiting, "pod waits", "pods wait") if waiting else "keep addresses ready"
            view = await self._write(Wants.GROW, reason, add=add)
        except SubnetFull as error:
            self._room, self._refusal = self._room.after_refusal(add), str(error)
            raise
        self._room = self._room.after_growth(add, wanted=step.add)
        return view, None if add >= step.add else SubnetFull(
            f"the subnet had {addresses(add)} where {step.add} are wanted, and may have no more: free some of its "
            f"addresses, or enlarge it; last refused: {self._refusal}",
            added=add,
        )

    async def shrink(self, step: Shrink) -> NicView:
        """Release addresses in the ledger, then take them off the NIC."""
        self._book.commit(self._book.ledger.release(step.addresses, now_s=self._world.clock.boottime_s()))
        return await self._write(Wants.RELEASE, step.reason, remove=step.names)

    async def mend(self, step: Mend) -> NicView:
        """Write the NIC as it is."""
        return await self._write(Wants.MEND, step.reason)

    async def _write(self, what: Wants, reason: str, *, add: int = 0, remove: tuple[ConfigName, ...] = ()) -> NicView:
        standing, before = self._standing, self._standing.view
        if standing.nic is None or before is None:
            raise NodeNotReady("cannot change the NIC: it has not been read yet")
        result, etag = "Abandoned", before.etag
        standing.asking.write_begins(before, add=add)
        standing.writing = what
        self._narrator.announce()
        try:
            view = await meanwhile(standing.nic.write(before, add=add, remove=remove), self._breathe)
            result, etag = "Succeeded", view.etag
            standing.asking.write_answered()
        except CloudError as error:
            result = error.reason
            # A refusal ends the write; an error after Azure accepted it does not, whatever it says.
            if isinstance(error, standing.nic.conclusive) and not error.accepted:
                standing.asking.write_answered()
            raise
        except Exception:
            result = InternalFault.reason
            raise
        finally:
            standing.writing = Wants.NOTHING
            standing.last_write = LastWrite(self._world.clock.utc(), reason, add, len(remove), result, etag)
        await self._tell(reason, before, view, add=add, remove=remove)
        return view

    async def _tell(
        self, reason: str, before: NicView, view: NicView, *, add: int, remove: tuple[ConfigName, ...]
    ) -> None:
        """What is on the NIC counts, not what was asked for: somebody else may have written it right after."""
        known, there = ({config.name for config in nic.secondaries if config.ours} for nic in (before, view))
        if add:
            result, event, done = "grew", "PoolGrew", f"added {_told(len(there - known), asked=add)}"
        elif remove:
            left = len(set(remove) - there)
            result, event, done = "shrank", "PoolShrank", f"removed {_told(left, asked=len(remove))}"
        else:
            result, event, done = "mended", "NicMended", "wrote the NIC once more as it was"
        self._world.observer.reconciled(result)
        await self._narrator.tell("Normal", event, f"{done} ({reason}); {len(view.secondaries)} on the NIC")


def _told(count: int, *, asked: int) -> str:
    return addresses(count) if count == asked else f"{count} of {addresses(asked)}"
