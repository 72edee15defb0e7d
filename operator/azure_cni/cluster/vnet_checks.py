"""Asks Azure about VNets that nodes name and that have no quota (`quota.admission` decides which get one).

A few VNets a minute are checked, for all nodes together. People may always make a VNetQuota themselves, and a VNet
whose quota exists is not asked about here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from azure_cni.cluster.node_index import NodeIndex
from azure_cni.cluster.ports import ControllerClock, VNets
from azure_cni.cluster.usage_reader import USAGE_READ_TIMEOUT_S
from azure_cni.errors import AzureCniError, CloudUnreachable
from azure_cni.faults import Faults
from azure_cni.model.identity import short_id
from azure_cni.model.nic import VNetID
from azure_cni.quota import messages
from azure_cni.quota.admission import UsageAnswer, is_admitted, next_looks
from azure_cni.quota.messages import NOTHING, Explanation

LOOKS_PERIOD_S: Final = 60.0


class VNetChecks:
    """Checks VNets that have no quota."""

    def __init__(self, *, vnets: VNets, clock: ControllerClock, node_index: NodeIndex, faults: Faults) -> None:
        self._vnets = vnets
        self._clock = clock
        self._node_index = node_index
        self._faults = faults
        self._answers: dict[str, UsageAnswer] = {}
        """By the VNet's ID in lower case, of VNets that nodes are in."""
        self._looked_s: dict[str, float] = {}
        """When a VNet was last checked, for `LOOKS_PERIOD_S`; also VNets that no node names any more."""

    def answer(self, key: str) -> UsageAnswer | None:
        """What Azure last said of it; None when it was not asked."""
        return self._answers.get(key)

    def admits(self, key: str) -> bool:
        """Whether that VNet gets a quota."""
        all_nodes = sum(1 for node in self._node_index if node.vnet_id)
        return is_admitted(self._answers.get(key), nodes=self._nodes(key), all_nodes=all_nodes)

    def explanation(self, key: str, vnet_id: VNetID) -> Explanation:
        """Why that VNet's nodes are granted nothing; empty if it gets a quota, or was not checked yet."""
        answer = self._answers.get(key)
        if answer is None or self.admits(key):
            return NOTHING
        return messages.on_vnet_unconfirmed(vnet_id, why=str(answer.error))

    async def look(self, unconfirmed: Mapping[str, VNetID]) -> bool:
        """Ask Azure about those that are due, most nodes first; returns whether any was asked."""
        now_s = self._clock.monotonic_s()
        self._looked_s = {key: at_s for key, at_s in self._looked_s.items() if now_s < at_s + LOOKS_PERIOD_S}
        present = self._node_index.vnets()
        self._answers = {key: answer for key, answer in self._answers.items() if key in present}
        keys = next_looks({key: self._nodes(key) for key in unconfirmed}, looked_at=self._looked_s)
        self._looked_s |= dict.fromkeys(keys, now_s)
        answers = await asyncio.gather(*(self._ask(unconfirmed[key]) for key in keys))
        self._answers |= dict(zip(keys, answers, strict=True))
        return bool(keys)

    def _nodes(self, key: str) -> int:
        return len(self._node_index.of(key))

    async def _ask(self, vnet_id: VNetID) -> UsageAnswer:
        try:
            async with asyncio.timeout(USAGE_READ_TIMEOUT_S):
                with self._faults.guard("usage", about=short_id(vnet_id)):  # inside: to it, a timeout would be a fault
                    return UsageAnswer(await self._vnets.usages(vnet_id))
        except TimeoutError:
            silent = CloudUnreachable(f"cannot read how full the VNet is: no answer within {USAGE_READ_TIMEOUT_S:g} s")
            return UsageAnswer(error=silent)
        except AzureCniError as error:
            return UsageAnswer(error=error)
