"""The Datapath port on a real kernel: two threads, each with its own sockets, both in the node's namespace.

`wiring` does what a runtime waits for. The kernel serialises such changes by one lock, so a second thread would only
stand in line there. `housekeeping` does what takes long and can wait: removing links, the node's table, listings.
Within a thread everything happens in the order in which it was asked for: a DEL that follows a cancelled ADD finds
that ADD done, or never begun, and in neither case is anything left. A third thread, for a moment only, makes the
sockets that hear of changes by others (`host_changes`); they are read on the event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

from azure_cni.datapath.conflicts import HostReport
from azure_cni.datapath.sandbox import SandboxLinks, SandboxSpec
from azure_cni.datapath.snat import NodeTable
from azure_cni.datapath.uplink import Uplink
from azure_cni.errors import DatapathError
from azure_cni.linux.host import Host
from azure_cni.linux.host_changes import HostChanges, Listeners
from azure_cni.linux.occupancy import Occupants
from azure_cni.linux.sandboxes import Sandboxes
from azure_cni.linux.worker import Worker
from azure_cni.node.liveness import Occupancy
from azure_cni.node.ports import HostChange, ObservedSandbox, PodEnd

log = logging.getLogger(__name__)


class LinuxDatapath:
    """The kernel's part of the node that this process runs on.

    `node_netns` is the path of the network namespace that is the node; None means the process's own, as on a real
    node. `sysctls` is where the agent may write /proc/sys; in a container that is a mount of the node's. `processes` is
    a mount of the node's /proc, None where there is none.
    """

    def __init__(
        self, *, node_netns: str | None = None, sysctls: Path = Path("/proc/sys"), processes: Path | None = None
    ) -> None:
        self._wiring = Worker(Sandboxes, name="datapath-wiring", node_netns=node_netns)
        self._housekeeping = Worker(
            partial(_Housekeeping, sysctls, processes), name="datapath-housekeeping", node_netns=node_netns
        )
        self._removal: Future[None] | None = None
        self._node_netns = node_netns
        self._changes: HostChanges | None = None

    @property
    def busy_s(self) -> float:
        """For how long the slower of the two threads has been at one thing."""
        return max(self._wiring.busy_s, self._housekeeping.busy_s)

    async def attach(self, spec: SandboxSpec) -> SandboxLinks:
        """Wire one sandbox; a repeat for a sandbox wired alike is the same result. On error nothing is left."""
        return await self._wiring.run(lambda sandboxes: sandboxes.attach(spec))

    async def detach(self, host_ifname: str, addresses: Collection[str]) -> None:
        """Cut one sandbox off; its link goes a moment later. One that is not there is no error."""
        if await self._wiring.run(lambda sandboxes: sandboxes.cut_off(host_ifname, addresses)):
            self._remove_soon()

    async def check(self, spec: SandboxSpec) -> tuple[str, ...]:
        """Each difference between the kernel and what the sandbox should be, as words; empty when it is right."""
        return await self._wiring.run(lambda sandboxes: sandboxes.check(spec))

    async def mend(self, spec: SandboxSpec) -> tuple[str, ...]:
        """Put back what leads to a sandbox and was lost, and say what; empty when nothing was, or its link is off."""
        return await self._wiring.run(lambda sandboxes: sandboxes.mend(spec))

    async def sandboxes(self) -> tuple[ObservedSandbox, ...]:
        """Every host end of ours. Those that are leaving are removed first, also an earlier agent's."""
        return await self._housekeeping.run(_Housekeeping.observe)

    async def occupancy(self, ends: Sequence[PodEnd]) -> tuple[Occupancy, ...]:
        """Of each sandbox, whether processes are in its network namespace: a walk over all processes of the node."""
        return await self._housekeeping.run(lambda keeping: keeping.occupants.look(ends))

    async def settle(self) -> None:
        """Wait until removals under way are done."""
        if self._removal is not None:
            await asyncio.wrap_future(self._removal)

    async def apply_node(self, table: NodeTable) -> HostReport:
        """Make the node's table, sysctls and uplink right; returns what had drifted and what others do against it."""
        return await self._housekeeping.run(lambda keeping: keeping.host.apply(table))

    async def changed(self) -> HostChange:
        """The next change by others that may concern node or sandboxes."""
        if self._changes is None:
            ports = (
                await self._wiring.run(lambda sandboxes: sandboxes.port),
                *await self._housekeeping.run(_Housekeeping.ports),
            )
            listening = Worker(partial(Listeners, ports), name="datapath-listening", node_netns=self._node_netns)
            self._changes = HostChanges(listening.release())
        return await self._changes.changed()

    async def uplink(self, mac: str, primary: IPv4Address) -> Uplink:
        """The NIC's interface, by MAC (lower case, colons) and primary address: its name, index and MTU."""
        return await self._housekeeping.run(lambda keeping: keeping.host.uplink(mac, primary))

    async def close(self) -> None:
        """Finish what was begun and end the threads. Sandboxes and the node's table stay as they are."""
        await self.settle()
        if self._changes is not None:
            self._changes.close()
        for worker in (self._wiring, self._housekeeping):
            await asyncio.to_thread(worker.close)

    def _remove_soon(self) -> None:
        waiting = self._removal is not None and not self._removal.running() and not self._removal.done()
        if not waiting:  # one that has not begun yet will take this link too
            self._removal = self._housekeeping.submit(_Housekeeping.remove)


class _Housekeeping:
    """What the housekeeping thread holds."""

    def __init__(self, sysctls: Path, processes: Path | None) -> None:
        self.host = Host(sysctls)
        self.occupants = Occupants(processes)
        self._sandboxes = Sandboxes()

    def close(self) -> None:
        self.host.close()
        self.occupants.close()
        self._sandboxes.close()

    def remove(self) -> None:
        """Nobody waits for a removal, so a failure is told here; the next removal takes what this one left."""
        try:
            self._sandboxes.remove_leaving()
        except DatapathError as error:
            log.warning("links of former sandboxes remain, down and without routes", extra={"error": str(error)})

    def ports(self) -> tuple[int, ...]:
        """By which the kernel names this thread's sockets as the authors of changes."""
        return self.host.port, self._sandboxes.port

    def observe(self) -> tuple[ObservedSandbox, ...]:
        self._sandboxes.remove_leaving()
        found = self._sandboxes.list()
        return tuple(ObservedSandbox(link.name, routes, neighbours, link.mtu) for link, routes, neighbours in found)
