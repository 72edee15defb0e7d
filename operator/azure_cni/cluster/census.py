"""All pools of the cluster as the watch shows them, cut down to what the grants are decided from.

Thousands of pools with hundreds of addresses each would not fit a small process, so of each only a few numbers stay.
What is kept may be old: every write that is decided from it is a compare-and-swap on the version it was read at.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from azure_cni.api import pool as pool_api
from azure_cni.api import reading, times
from azure_cni.api.nic import VNetID
from azure_cni.api.pool import PoolView, Wants
from azure_cni.api.quota import nic_label
from azure_cni.api.versions import Version, is_newer, version

MOST_WAITING: Final = 10_000
"""Pods of one node, by the definition's schema. Shares are calculated with it."""


@dataclass(frozen=True, slots=True)
class Member:
    """One node's pool as it was last seen. Counts are addresses."""

    name: str
    version: Version
    vnet_id: VNetID
    """"" while its agent has not found out."""
    nic: str
    """RESOURCE-GROUP/NAME."""
    view: PoolView
    wants: Wants
    waiting: int
    """Pods without an address, beyond those that the free ones serve."""
    free: int
    assigned: int
    throttled_until_s: float
    """Since 1970; 0 when Azure did not ask its agent to wait."""
    reason: str
    message: str
    """What the pool shows of its grant now."""
    asking_since_s: float
    """Monotonic time at which its newest request was first seen."""

    @property
    def answered(self) -> bool:
        """Its newest request has its answer, or there never was one."""
        return self.view.granted_for == self.view.request.number


class Census:
    """The pools by name."""

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def get(self, name: str) -> Member | None:
        """The pool of that node."""
        return self._members.get(name)

    def see(self, body: Mapping[str, Any], *, now_s: float) -> bool:
        """A pool was listed, added, changed, or came back from a write. False when that is no news."""
        member = _member(body, now_s=now_s)
        known = self._members.get(member.name)
        if known is not None:
            if not is_newer(member.version, than=known.version):
                return False
            if known.version.uid == member.version.uid and known.view.request == member.view.request:
                member = replace(member, asking_since_s=known.asking_since_s)
        self._members[member.name] = member
        return True

    def forget(self, name: str, *, uid: str = "") -> None:
        """A pool was deleted. With `uid` only that one: another of its name may have been seen since."""
        known = self._members.get(name)
        if known is not None and uid in {"", known.version.uid}:
            del self._members[name]

    def vnets(self) -> dict[str, VNetID]:
        """The VNets that nodes are in, by lower-case ID."""
        return {member.vnet_id.lower(): member.vnet_id for member in self if member.vnet_id}

    def of(self, vnet_id: str) -> list[Member]:
        """The pools of one VNet whose agents have spoken."""
        wanted = vnet_id.lower()
        return [member for member in self if member.vnet_id.lower() == wanted]


def _member(body: Mapping[str, Any], *, now_s: float) -> Member:
    status = reading.status_of(body)
    return Member(
        name=pool_api.pool_name(body),
        version=version(body),
        vnet_id=VNetID(sys.intern(reading.text(status.get("vnetID")))),
        nic=nic_label(reading.text(status.get("nicID"))),
        view=pool_api.view(body),
        wants=_wants(status.get("wants")),
        waiting=reading.whole(status.get("waiting"), most=MOST_WAITING),
        free=reading.addresses(status.get("free")),
        assigned=reading.addresses(status.get("assigned")),
        throttled_until_s=times.seconds(status.get("throttledUntil")) or 0.0,
        reason=reading.text(status.get("grantReason")),
        message=reading.text(status.get("grantMessage")),
        asking_since_s=now_s,
    )


def _wants(text: object) -> Wants:
    """A word that this build does not know is taken for a write: it costs a token, and is answered all the same."""
    try:
        return Wants(str(text or Wants.NOTHING))
    except ValueError:
        return Wants.MEND
