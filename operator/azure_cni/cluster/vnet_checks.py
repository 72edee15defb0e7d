"""Which VNets get a quota: those that Azure confirms to the controller.

A node says itself which VNet it is in. Each VNet has a VNetQuota and tasks of its own, so a name that somebody made up
must not have them: before a quota is made, Azure is asked how full the VNet is, a few times a minute for all. A VNet
that Azure does not have gets none. Where Azure says nothing (no permission, no answer), the VNet that half of the nodes
or more are in is good all the same: an installation works without that permission. People may always make a VNetQuota
themselves, and one that exists is worked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from azure_cni.api.identity import short_id
from azure_cni.api.nic import VNetID
from azure_cni.cluster import words
from azure_cni.cluster.census import Census
from azure_cni.cluster.ports import Clock, VNets
from azure_cni.cluster.words import NOTHING, Remark
from azure_cni.errors import AzureCniError, CloudNotFound, CloudUnreachable, RequestError
from azure_cni.faults import Faults

LOOKS: Final = 4
"""VNets that are looked at in `AGAIN_S`. A cluster has one, or a few."""
AGAIN_S: Final = 60.0
PATIENCE_S: Final = 15.0
"""How long the first grants of a VNet wait for an answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What Azure said of a VNet: how many addresses are in use, or why it does not say."""

    used: int = 0
    error: AzureCniError | None = None

    @property
    def outcome(self) -> int | AzureCniError:
        """Either."""
        return self.used if self.error is None else self.error


class VNetChecks:
    """Looks at VNets that have no quota."""

    def __init__(self, *, vnets: VNets, clock: Clock, census: Census, faults: Faults) -> None:
        self._vnets = vnets
        self._clock = clock
        self._census = census
        self._faults = faults
        self._answers: dict[str, Answer] = {}
        """By the VNet's ID in lower case, of VNets that nodes are in."""
        self._looked_s: dict[str, float] = {}
        """When a VNet was last looked at, for `AGAIN_S`: also one that its node names no longer."""

    def answer(self, key: str) -> Answer | None:
        """What Azure last said of it; None when it was not asked."""
        return self._answers.get(key)

    def admits(self, key: str) -> bool:
        """Whether that VNet gets a quota."""
        answer = self._answers.get(key)
        if answer is None or isinstance(answer.error, CloudNotFound | RequestError):
            return False
        return answer.error is None or 2 * self._nodes(key) >= sum(1 for member in self._census if member.vnet_id)

    def remark(self, key: str, vnet_id: VNetID) -> Remark:
        """Why that VNet's nodes are granted nothing; nothing when it gets a quota, or was not looked at yet."""
        answer = self._answers.get(key)
        if answer is None or self.admits(key):
            return NOTHING
        return words.on_vnet_unconfirmed(vnet_id, why=str(answer.error))

    async def look(self, unconfirmed: Mapping[str, VNetID]) -> bool:
        """Ask Azure about those, most nodes first, as far as that is due; whether any was asked."""
        now_s = self._clock.monotonic_s()
        self._looked_s = {key: at_s for key, at_s in self._looked_s.items() if now_s < at_s + AGAIN_S}
        present = self._census.vnets()
        self._answers = {key: answer for key, answer in self._answers.items() if key in present}
        due = sorted(unconfirmed.keys() - self._looked_s.keys(), key=lambda key: (-self._nodes(key), key))
        keys = due[: max(0, LOOKS - len(self._looked_s))]
        self._looked_s |= dict.fromkeys(keys, now_s)
        answers = await asyncio.gather(*(self._ask(unconfirmed[key]) for key in keys))
        self._answers |= dict(zip(keys, answers, strict=True))
        return bool(keys)

    def _nodes(self, key: str) -> int:
        return len(self._census.of(key))

    async def _ask(self, vnet_id: VNetID) -> Answer:
        try:
            with self._faults.guard("usage", about=short_id(vnet_id)):
                async with asyncio.timeout(PATIENCE_S):
                    return Answer(await self._vnets.used(vnet_id))
        except TimeoutError:
            silent = CloudUnreachable(f"cannot read how full the VNet is: no answer within {PATIENCE_S:g} s")
            return Answer(error=silent)
        except AzureCniError as error:
            return Answer(error=error)
