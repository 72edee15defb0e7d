"""Nodes that lie: what they may write, the status of their own pools, they fill with anything at any time.

Each draws from the run's seed: numbers as large as the definition lets them be, NICs and VNets of others or of nobody,
that pods wait, that Azure asked to wait. They write no NIC: only the token of their agent is in wrong hands.
"""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

import aiohttp

from simulation.cluster import GROUP, Cluster
from simulation.plan import AzureFacts, Run

POOLS = f"{GROUP}/nodeippools"
LONGEST_S = 4.0
"""Between two lies of one node."""
LARGEST = 2**53 - 1
MERGE_PATCH = "application/merge-patch+json"


@dataclass(slots=True)
class Liars:
    """The scenario's last nodes."""

    run: Run
    cluster: Cluster
    azure: AzureFacts
    taken: int = 0
    """Lies that the API server took."""
    refused: int = 0
    _numbers: dict[str, int] = field(default_factory=dict)

    async def carry_out(self) -> None:
        """Lie until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for name in self.run.scenario.liar_names:
                tasks.create_task(self._lie(name, Random(f"{self.run.seed} {name}")))

    async def _lie(self, name: str, chance: Random) -> None:
        await self._ask("POST", POOLS, {
            "apiVersion": "azure-cni.io/v1alpha1", "kind": "NodeIPPool", "metadata": {"name": name}, "spec": {},
        })  # fmt: skip
        vnet = await self._vnet_of_others()
        await self._write(name, self._truth(name, vnet))
        while True:
            await self.run.pace.sleep(chance.uniform(0.2, LONGEST_S))
            lies = self._lies(name, vnet, chance)
            fields = chance.sample(sorted(lies), k=chance.randint(1, len(lies)))
            await self._write(name, {key: lies[key] for key in fields})

    async def _vnet_of_others(self) -> str:
        """The VNet that the honest nodes are in, once one of them says so."""
        while True:
            for pool in (await self.cluster.call("GET", POOLS))["items"]:
                if vnet := pool.get("status", {}).get("vnetID"):
                    return str(vnet)
            await self.run.pace.sleep(1.0)

    def _nic(self, name: str) -> str:
        """The NIC of a node that the scenario has."""
        group = self.azure.machines[name].resource_id.partition("/providers/")[0]
        return f"{group}/providers/Microsoft.Network/networkInterfaces/{name}-nic"

    def _truth(self, name: str, vnet: str) -> dict[str, Any]:
        return {"vnetID": vnet, "nicID": self._nic(name), "requested": 1, "requestID": 1, "writeIntent": "Grow"}

    def _lies(self, name: str, vnet: str, chance: Random) -> dict[str, Any]:
        """One of each field; some of them true."""
        number = self._numbers[name] = self._numbers.get(name, 1) + chance.randint(1, 5)
        other = chance.choice(self.run.scenario.node_names)
        later_s = self.run.pace.utc_s() + chance.choice((60, 1200, 10**7))
        return {
            "requested": chance.choice((0, 1, 250, 256)),
            "requestID": chance.choice((number, number, number, number, 0, LARGEST, 2**63 - 1)),
            "writeIntent": chance.choice(("None", "Grow", "Grow", "Shrink", "Rewrite", "All")),
            "waiting": chance.choice((0, 1, 100, 10_000, 10**9)),
            "allocated": chance.choice((0, 1, 250, 256, 2_000_000_000)),
            "free": chance.choice((0, 8, 512, -1)),
            "assigned": chance.choice((0, 250, 512, 10**6)),
            "target": chance.choice((0, 1, 250, 256)),
            "releasable": chance.choice((0, 1, 250, 256)),
            "recallMet": chance.choice((0, 1, LARGEST)),
            "subnetID": chance.choice((f"{vnet}/subnets/nodes", f"{vnet}/subnets/nodes", f"{vnet}/subnets/other")),
            "subnetRefusedTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(later_s)),
            "throttledUntil": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(later_s)),
            "nicID": chance.choice((self._nic(name), self._nic(other), f"{self._nic(name)}-{chance.randint(0, 99)}")),
            "vnetID": chance.choice((vnet, vnet, vnet, f"{vnet}-{chance.randint(0, 10**6)}")),
            "vmID": f"{chance.getrandbits(64):x}",
        }

    async def _write(self, name: str, status: dict[str, Any]) -> None:
        taken = await self._ask("PATCH", f"{POOLS}/{name}/status", {"status": status}, kind=MERGE_PATCH)
        self.taken += taken
        self.refused += not taken

    async def _ask(self, method: str, path: str, body: Any, **how: Any) -> bool:
        """Whether the API server did it."""
        with suppress(aiohttp.ClientError, TimeoutError, OSError):
            await self.cluster.call(method, path, body, **how)
            return True
        return False
