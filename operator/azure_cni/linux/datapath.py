"""The Datapath port on a real kernel: two threads, each with its own sockets, both in the node's namespace.

`wiring` does what a runtime waits for. The kernel serialises such changes by one lock, so a second thread would only
stand in line there. `housekeeping` does what takes long and can wait: removing links, the node's table, listings.
Within a thread everything happens in the order in which it was asked for: a DEL that follows a cancelled ADD finds
that ADD done, or never started, and in neither case is anything left. A third thread, for a moment only, makes the
sockets that hear of changes by others (`host_changes`); they are read on the event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

from azure_cni.datapath import names
from azure_cni.datapath.interface import Interface, Wiring, missing
from azure_cni.datapath.modes import node_ends
from azure_cni.datapath.node_table import HostReport, NodeTable
from azure_cni.datapath.transparent import VethSpec
from azure_cni.datapath.uplink import RouteDecision, Uplink
from azure_cni.errors import DatapathError
from azure_cni.ipam.address_state import Holder, Sandbox
from azure_cni.linux import kernel_table
from azure_cni.linux.host_changes import HostChanges, Listeners
from azure_cni.linux.node_kernel import Host
from azure_cni.linux.occupancy import Occupants
from azure_cni.linux.veth import VethNetwork
from azure_cni.linux.worker import Worker
from azure_cni.model.identity import LinkNames, ModeName
from azure_cni.model.nic import Address
from azure_cni.node.pods.liveness import Occupancy
from azure_cni.node.ports import HostChange, LinkKey, ObservedSandbox, SandboxSpec

log = logging.getLogger(__name__)


class LinuxDatapath:
    """The kernel's part of the node that this process runs on.

    `node_netns` is the path of the network namespace that is the node; None means the process's own, as on a real
    node. `sysctls` is where the agent may write /proc/sys; in a container that is a mount of the node's. `processes` is
    a mount of the node's /proc, None where there is none. `link_names` says after what the links of new sandboxes are
    named.
    """

    def __init__(
        self,
        *,
        node_netns: str | None = None,
        sysctls: Path = Path("/proc/sys"),
        processes: Path | None = None,
        link_names: LinkNames = LinkNames.HASH,
    ) -> None:
        self._link_names = link_names
        self._wiring = Worker(partial(VethNetwork, sysctls), name="datapath-wiring", node_netns=node_netns)
        self._housekeeping = Worker(
            partial(_Housekeeping, sysctls, processes), name="datapath-housekeeping", node_netns=node_netns
        )
        self._removal: Future[None] | None = None
        self._node_netns = node_netns
        self._changes: HostChanges | None = None
        self._dual = False
        """Pods have had addresses of both families since this process began."""

    @property
    def busy_s(self) -> float:
        """For how long the slower of the two threads has been at one thing."""
        return max(self._wiring.busy_s, self._housekeeping.busy_s)

    async def attach(self, spec: SandboxSpec) -> Wiring:
        """Wire one sandbox; a repeat for a sandbox wired alike is the same result. On error nothing is left."""
        veth = replace(_veth(spec), name=self._name(spec))
        return await self._wiring.run(lambda network: network.attach(veth))

    def _name(self, spec: SandboxSpec) -> str:
        """What a new link is called beside the name that is derived from its sandbox; "" for that alone."""
        of_pod = self._link_names is LinkNames.CALICO and all(spec.pod) and spec.sandbox.ifname == names.POD_IFNAME
        return names.calico_ifname(*spec.pod) if of_pod else ""

    async def offer(self, spec: SandboxSpec) -> Wiring:
        """Wire the node's end, and leave the other in the node's namespace for a runtime that moves it itself."""
        veth = _veth(spec)
        return await self._wiring.run(lambda network: network.offer(veth))

    @staticmethod
    def mac(sandbox: Sandbox) -> str:
        """The MAC of both ends of an offered link."""
        return names.pod_mac(*sandbox.interface)

    async def detach(self, sandbox: Sandbox) -> None:
        """Disable one sandbox; its link goes a moment later. One that is not there is no error."""
        await self._disable(self.key(sandbox), pod_mac=names.pod_mac(*sandbox.interface))

    async def remove(self, key: LinkKey) -> None:
        """The same for a link whose sandbox nobody knows."""
        await self._disable(key, pod_mac="")

    async def _disable(self, key: LinkKey, *, pod_mac: str) -> None:
        if await self._wiring.run(lambda network: network.disable(key, pod_mac=pod_mac)):
            self._remove_soon()

    async def check(self, spec: SandboxSpec) -> tuple[str, ...]:
        """Each difference between the kernel and what the sandbox should be, as words; empty when it is right."""
        veth = _veth(spec)
        return await self._wiring.run(lambda network: network.check(veth))

    async def restore_routes(self, spec: SandboxSpec) -> tuple[str, ...]:
        """Put back the missing routes to a sandbox, and say which; none when none is missing, or its link is off."""
        veth = _veth(spec)
        return await self._wiring.run(lambda network: network.restore_routes(veth))

    @staticmethod
    def key(sandbox: Sandbox) -> LinkKey:
        """The name of the node's end, or an alternative one."""
        return LinkKey(names.host_ifname(*sandbox.interface))

    @staticmethod
    def is_complete(observed: ObservedSandbox, spec: SandboxSpec) -> bool:
        """Whether the node had all routes and neighbours that lead there, and a port its place."""
        (own, *beside), (found, *others) = node_ends(_veth(spec)), observed.node
        ends = {end.name: end for end in others}
        return not missing(own, found) and all(it.name in ends and not missing(it, ends[it.name]) for it in beside)

    async def sandboxes(self) -> tuple[ObservedSandbox, ...]:
        """Every host end that is azure-cni's. Those that are leaving are removed first, also an earlier agent's."""
        return await self._housekeeping.run(_Housekeeping.observe)

    async def occupancy(self, holders: Sequence[Holder]) -> tuple[Occupancy, ...]:
        """Of each sandbox, whether processes are in its network namespace: a walk over all processes of the node."""
        return await self._housekeeping.run(lambda keeping: keeping.occupants.look(holders))

    async def settle(self) -> None:
        """Wait until removals under way are done."""
        if self._removal is not None:
            await asyncio.wrap_future(self._removal)

    async def apply_node(self, table: NodeTable) -> HostReport:
        """Make the node's table, sysctls and uplink right; returns what had drifted and what others do against it."""
        self._dual = self._dual or table.dual
        if self._dual and self._changes is not None:
            self._changes.hear_ipv6()
        return await self._housekeeping.run(lambda keeping: keeping.host.apply(table))

    async def guarded_mode(self) -> ModeName | None:
        """The mode whose guards the node's table has; None where it has none."""
        return await self._housekeeping.run(lambda _: kernel_table.guarded_mode())

    async def set_egress(self, addresses: frozenset[IPv4Address]) -> None:
        """Make these the addresses that what their pods send out of the VNet keeps; nothing else is changed."""
        await self._housekeeping.run(lambda keeping: keeping.host.set_egress(addresses))

    async def forget_connections(self, addresses: frozenset[Address]) -> None:
        """End the connections of these addresses, which no sandbox has now."""
        await self._housekeeping.run(lambda keeping: keeping.host.forget_connections(sorted(addresses, key=int)))

    async def changed(self) -> HostChange:
        """The next change by others that may concern node or sandboxes."""
        if self._changes is None:
            ports = (
                await self._wiring.run(lambda network: network.port),
                *await self._housekeeping.run(_Housekeeping.ports),
            )
            listening = Worker(partial(Listeners, ports), name="datapath-listening", node_netns=self._node_netns)
            self._changes = HostChanges(listening.release())
            if self._dual:
                self._changes.hear_ipv6()
        return await self._changes.changed()

    async def uplink(self, mac: str, primary: IPv4Address) -> Uplink:
        """The NIC's interface, by MAC (lower case, colons) and primary address: its name, index and MTU."""
        return await self._housekeeping.run(lambda keeping: keeping.host.uplink(mac, primary))

    async def forwarding(
        self, destinations: Sequence[IPv4Address], *, source: IPv4Address, interface: str
    ) -> tuple[RouteDecision, ...]:
        """What the kernel's routing does with packets from a pod, that come in by `interface`. Nothing is sent."""
        return await self._housekeeping.run(
            lambda keeping: keeping.host.forwarding(destinations, source=source, interface=interface)
        )

    async def close(self) -> None:
        """Finish the current work and end the threads. Sandboxes and the node's table stay as they are."""
        await self.settle()
        if self._changes is not None:
            self._changes.close()
        for worker in (self._wiring, self._housekeeping):
            await asyncio.to_thread(worker.close)

    def _remove_soon(self) -> None:
        waiting = self._removal is not None and not self._removal.running() and not self._removal.done()
        if not waiting:  # one that has not started yet takes this link too
            self._removal = self._housekeeping.submit(_Housekeeping.remove)


class _Housekeeping:
    """What the housekeeping thread holds."""

    def __init__(self, sysctls: Path, processes: Path | None) -> None:
        self.host = Host(sysctls)
        self.occupants = Occupants(processes)
        self._network = VethNetwork(sysctls)

    def close(self) -> None:
        self.host.close()
        self.occupants.close()
        self._network.close()

    def remove(self) -> None:
        """Nobody waits for a removal, so a failure is logged here; the next removal takes what this one left."""
        try:
            self._network.remove_leaving()
        except DatapathError as error:
            log.warning("links of former sandboxes remain, down and without routes", extra={"error": str(error)})

    def ports(self) -> tuple[int, ...]:
        """By which the kernel names this thread's sockets as the authors of changes."""
        return self.host.port, self._network.port

    def observe(self) -> tuple[ObservedSandbox, ...]:
        self._network.remove_leaving()
        return tuple(_observed(key, ends) for key, ends in self._network.list())


def _veth(spec: SandboxSpec) -> VethSpec:
    container_id, ifname = spec.sandbox.interface
    return VethSpec(container_id, ifname, spec.netns, spec.addresses, spec.link.mtu, spec.link.primary, spec.link.mode)


def _observed(key: str, ends: tuple[Interface, ...]) -> ObservedSandbox:
    reached = (route.destination for end in ends for route in end.routes)
    addresses = frozenset(it.network_address for it in reached if it.prefixlen == it.max_prefixlen)
    return ObservedSandbox(LinkKey(key), addresses, ends[0].mtu, ends)
