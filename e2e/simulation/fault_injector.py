"""Carries out what a seed has drawn: kills, stops and doubles processes, and does to Azure what others would."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp

from simulation.azure_door import AzureDoor
from simulation.children import Child, python
from simulation.cluster import GROUP, LEASES, Cluster
from simulation.faults import PAUSE_S, Fault
from simulation.plan import RUN_FILE, AzureFacts, Run, gone_file, replace_machine

AGAIN_S = 0.2
WRITES = "*.put"
"""Of NICs, and of instances of scale sets."""
LEASE = "azure-cni-controller"
QUIET_S = 0.3
"""Real seconds in which a node that goes away lets go of its pool."""
FOR_GOOD_S = 1000.0
"""A NIC that is kept longer than this is kept permanently."""


@dataclass(slots=True)
class FaultInjector:
    """What faults can befall: Azure, the controllers, and the processes of nodes."""

    run: Run
    cluster: Cluster
    azure: AzureDoor
    controllers: list[Child]
    node_processes: list[Child]
    gone: set[str] = field(default_factory=set)
    """Nodes that were deleted permanently."""
    taken: int = 0
    """Addresses that others have: another tool, and NICs that are kept permanently."""
    done: list[str] = field(default_factory=list)
    rivals: list[Child] = field(default_factory=list)

    async def carry_out(self, faults: list[Fault]) -> None:
        """All of them in their time, until each is over."""
        works: dict[str, Callable[..., Awaitable[None]]] = {
            "azure": self._azure_fault,
            "throttle": self._throttle,
            "kill-controller": self._kill_controller,
            "pause-controller": self._pause_controller,
            "second-leader": self._second_leader,
            "lose-lease": self._lose_lease,
            "restart-apiserver": self.cluster.restart_apiserver,
            "kill-nodes": self._kill_nodes,
            "delete-nodes": self._delete_nodes,
            "replace-nodes": self._replace_nodes,
            "take": self._take,
            "fill-subnet": self._fill_subnet,
        }
        async with asyncio.TaskGroup() as tasks:
            for fault in faults:
                await self.run.pace.sleep(fault.at_s - self.run.pace.elapsed_s())
                self.done.append(str(fault))
                tasks.create_task(_awaited(works[fault.kind](**fault.facts)))

    def end(self) -> None:
        """Whatever was started here ends."""
        for rival in self.rivals:
            rival.kill()

    async def _azure_fault(self, *, effect: str, times: int) -> None:
        await self.azure.call("POST", "/faults", kind=effect, operation=WRITES, times=times)

    async def _throttle(self, *, seconds: int) -> None:
        await self.azure.call("POST", "/faults", kind="throttle", operation=WRITES, seconds=seconds)

    async def _fill_subnet(self, *, seconds: int, late: bool) -> None:
        """No address is left for that long: each growth is refused, at once or at its end."""
        kind = "subnet-full-late" if late else "subnet-full"
        await self.azure.call("POST", "/faults", kind=kind, operation=WRITES, seconds=seconds)

    async def _kill_controller(self, *, which: int, seconds: float) -> None:
        await self._kill(self.controllers[which], seconds)

    async def _pause_controller(self, *, which: int, seconds: float) -> None:
        child = self.controllers[which]
        child.signal(signal.SIGSTOP)
        await self.run.pace.sleep(PAUSE_S + seconds)
        child.signal(signal.SIGCONT)

    async def _second_leader(self, *, seconds: float) -> None:
        """One that competes for another lease: two lead at once."""
        argv = python("controller_process", str(self.run.directory / RUN_FILE), "rival", "rival")
        rival = Child("rival", argv, self.run.directory / "rival.log")
        self.rivals.append(rival.start())
        await self.run.pace.sleep(seconds)
        rival.kill()

    async def _lose_lease(self) -> None:
        """Somebody deletes it: whoever is first recreates it, while the leader still works."""
        await self._insist("DELETE", f"{LEASES}/{LEASE}")

    async def _kill_nodes(self, *, share: int, seconds: float) -> None:
        await self._kill(self.node_processes[share], seconds)

    async def _kill(self, child: Child, seconds: float) -> None:
        child.kill()
        await self.run.pace.sleep(seconds)
        if not child.alive:
            child.start()

    async def _delete_nodes(self, *, names: list[str], keep_nic_s: float) -> None:
        self.gone.update(names)
        await self._delete(names, keep_nic=keep_nic_s > 0)
        if keep_nic_s >= FOR_GOOD_S:
            self.taken += len(names)  # nobody's any more: their primary addresses
        elif keep_nic_s:
            await self.run.pace.sleep(keep_nic_s)
            for name in names:
                await self.azure.call("DELETE", f"/nics/{name}-nic")

    async def _replace_nodes(self, *, names: list[str], away_s: float) -> None:
        """Nodes go with their NICs, and come back under their names: machine, NIC, Node and pool are others."""
        await self._delete(names, keep_nic=False)
        await self.run.pace.sleep(away_s)
        azure = AzureFacts.load(self.run.directory)
        for name in names:
            made = await self.azure.call("POST", "/vms", name=name)
            machine = replace(
                azure.machines[name],
                vm_id=made["vm_id"],
                mac=made["mac"].replace("-", ":").lower(),
                primary_ip=made["primary"],
                token=azure.later_token,
            )
            replace_machine(self.run.directory, name, machine)
            await self._insist("POST", "/api/v1/nodes", {"metadata": {"name": name}})
            gone_file(self.run.directory, name).unlink()
            for child in self.node_processes:
                child.send(name)

    async def _delete(self, names: list[str], *, keep_nic: bool) -> None:
        for name in names:
            gone_file(self.run.directory, name).touch()
            for child in self.node_processes:
                child.send(name)
        await asyncio.sleep(QUIET_S)
        for name in names:
            await self._insist("DELETE", f"/api/v1/nodes/{name}")
            await self._insist("DELETE", f"{GROUP}/nodeippools/{name}")
            await self.azure.call("DELETE", f"/vms/{self.run.scenario.vm_of(name)}", keep_nic=keep_nic)

    async def _take(self, *, count: int) -> None:
        answer = await self.azure.call("POST", "/take", count=count)
        self.taken += len(answer["addresses"])

    async def _insist(self, method: str, path: str, body: Any = None) -> Any:
        """Until the API server answers; that there is none of it, or one already, is an answer too."""
        while True:
            try:
                return await self.cluster.call(method, path, body)
            except aiohttp.ClientResponseError as error:
                if error.status in {404, 409}:
                    return None
            except (aiohttp.ClientError, OSError, TimeoutError):
                pass
            await asyncio.sleep(AGAIN_S)


async def _awaited(work: Awaitable[None]) -> None:
    with suppress(RuntimeError):  # the fake refuses what the run has overtaken, such as a NIC that is gone already
        await work
