"""The taint that keeps pods away from a node without addresses: `azure-cni.io/no-free-addresses:NoSchedule`.

The scheduler knows nothing of addresses: it would send pods to a node where they can only wait, while others have
room. The taint comes when the node could take no pod for a while, and goes when it has had some room for a while, so
it does not flap when pods come and go at the limit. Deciding is pure; keeping it costs the API server a read an hour,
and a read and a write at each change. It says nothing of an agent that is not ready: the conflist does that.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from azure_cni.api.reading import mappings, metadata_of, spec_of, text
from azure_cni.errors import KubeConflict
from azure_cni.node.pool.failures import RACES
from azure_cni.node.ports import Clock, Events, NodeObject
from azure_cni.node.state import NodeState
from azure_cni.node.stored_ledger import StoredLedger

log = logging.getLogger(__name__)

KEY: Final = "azure-cni.io/no-free-addresses"
EFFECT: Final = "NoSchedule"
STEADY_S: Final = 15.0
"""How long it must have been so, without a break. Longer than pods take to follow one another at the limit, shorter
than the scheduler needs to fill a node with pods that wait."""
RESYNC_S: Final = 3600.0
"""A person may have changed the taint: their change stands until the node's own next one, or for this long."""


class Room(Enum):
    """How the node stands to a pod that came now."""

    NONE = auto()
    """It would not start."""
    SPOKEN_FOR = auto()
    """Addresses are free, but pods that are here already wait for all of them."""
    SOME = auto()
    """It would start; for many it would not do."""
    ENOUGH = auto()


@dataclass(frozen=True, slots=True)
class Stance:
    """Whether the node should have the taint, and when (boot time) that changes if the facts stay as they are."""

    tainted: bool
    turns_at_s: float | None = None


def room_of(*, can_take_a_pod: bool, free: int, waiting: int, margin: int) -> Room:
    """`free` addresses, `waiting` pods beyond those, and `margin` as that function gives it."""
    if not can_take_a_pod:
        return Room.NONE
    if waiting:
        return Room.SPOKEN_FOR if free else Room.SOME
    return Room.ENOUGH if free >= margin else Room.SOME


def margin(*, min_free: int, ceiling: int) -> int:
    """How many addresses are some room: a quarter of what the pool strives to have free, or all that it can have."""
    return min(-(-min_free // 4), ceiling)


def turned(stance: Stance, room: Room, *, now_s: float) -> Stance:
    """The stance after one look at the room."""
    turns_at_s = stance.turns_at_s
    if stance.tainted:
        against = room is Room.ENOUGH
    else:
        # What is spoken for will be gone in a moment: it does not show that the node is full, nor that it is not.
        against = room is Room.NONE or (room is Room.SPOKEN_FOR and turns_at_s is not None)
    if not against:
        return Stance(stance.tainted)
    if turns_at_s is None:
        return Stance(stance.tainted, now_s + STEADY_S)
    return stance if now_s < turns_at_s else Stance(not stance.tainted)


def has_taint(node: Mapping[str, Any]) -> bool:
    """Whether the Node object carries the taint."""
    return any(_is_ours(taint) for taint in _taints(node))


def with_taint(node: Mapping[str, Any], *, tainted: bool) -> list[dict[str, Any]]:
    """The object's taints with ours or without it; all others as they are, in their order."""
    others = [dict(taint) for taint in _taints(node) if not _is_ours(taint)]
    return [*others, {"key": KEY, "effect": EFFECT}] if tainted else others


class NodeTaint:
    """Keeps the taint of one node. `update` is called at each pass of the reconciler, and again at `due_s`."""

    def __init__(
        self, node: NodeObject, *, state: NodeState, stored: StoredLedger, events: Events, clock: Clock
    ) -> None:
        self._node = node
        self._state = state
        self._stored = stored
        self._events = events
        self._clock = clock
        self._stance = Stance(tainted=False)
        self._read = False
        self._resync_s = float("-inf")

    def due_s(self) -> float | None:
        """Boot time at which the taint comes or goes if nothing changes; None when it does not."""
        return self._stance.turns_at_s

    async def update(self, *, min_free: int, ceiling: int) -> bool:
        """One look; `ceiling` is what the pool may grow to. KubeError when the Node cannot be read or changed.

        An agent takes over the taint as it finds it. Before the node is wired there is nothing to say: False.
        """
        if not self._state.ready:
            return False
        now_s = self._clock.boottime_s()
        if not self._read:
            self._stance = Stance(has_taint(await self._node.read_node()))
            self._state.tainted, self._read, self._resync_s = self._stance.tainted, True, now_s + RESYNC_S
        room = room_of(
            can_take_a_pod=self._state.can_take_a_pod,
            free=self._stored.ledger.counts().free,
            waiting=self._state.waiting,
            margin=margin(min_free=min_free, ceiling=ceiling),
        )
        self._stance = turned(self._stance, room, now_s=now_s)
        if self._stance.tainted != self._state.tainted or now_s >= self._resync_s:
            await self._settle()
            self._resync_s = now_s + RESYNC_S
        return True

    async def _settle(self) -> None:
        """Make the object say what the stance is."""
        for races_left in reversed(range(RACES)):
            try:
                await self._write(tainted=self._stance.tainted)
                break
            except KubeConflict:
                if not races_left:
                    raise
        self._state.tainted = self._stance.tainted

    async def _write(self, *, tainted: bool) -> None:
        node = await self._node.read_node()
        if has_taint(node) != tainted:
            await self._node.write_taints(node, with_taint(node, tainted=tainted))
            await self._publish(node, tainted=tainted)

    async def _publish(self, node: Mapping[str, Any], *, tainted: bool) -> None:
        why = self._state.obstacle or self._state.forecast.message
        log.warning("taint added" if tainted else "taint removed", extra={"taint": KEY, "why": why})
        message = f"{'no pod can start here, so none is sent' if tainted else 'pods can start here again'}: {why}"
        metadata = metadata_of(node)
        reference = {"apiVersion": "v1", "kind": "Node", "name": text(metadata.get("name"))}
        await self._events.publish(
            reference | {"uid": text(metadata.get("uid"))},
            kind="Warning" if tainted else "Normal",
            reason="NoFreeAddresses" if tainted else "AddressesFree",
            message=message,
            cause=message,  # each time the taint comes or goes is an event with its own reason
        )


def _taints(node: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return mappings(spec_of(node).get("taints"))


def _is_ours(taint: Mapping[str, Any]) -> bool:
    return (taint.get("key"), taint.get("effect")) == (KEY, EFFECT)
