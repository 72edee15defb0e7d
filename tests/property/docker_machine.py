"""A VM with Docker, in memory, whose parts die at any time: the plugin between any two of its effects, the daemon
between any two of its calls, containers, the VM itself.

The plugin is the real one, over the assembly of the product and fakes of its ports. The daemon calls it as libnetwork
does (libnetwork/network.go, endpoint.go, sandbox.go): it writes an endpoint down once the driver has made it, takes
back what failed, goes on with an end that is refused, and clears up at its start what it had written down.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from azure_cni.docker.container_endpoints import IFNAME
from azure_cni.docker.plugin_codec import CONTAINER_NAME, decode
from azure_cni.errors import AzureCniError
from azure_cni.ipam.address_state import Sandbox
from azure_cni.ipam.sizing import Policy
from azure_cni.node.node_settings import NodePorts
from azure_cni.node.ports import Grants
from fakes.docker import PluginHost
from fakes.docker_engine import NET1, EngineContainer, FakeEngine, docker_id
from fakes.mortal import Fuse, Killed, Mortal, mortal_ports
from fakes.simulated_node import SimulatedNode

POOL: Final = "azure-cni/0.0.0.0/0"
NETWORK: Final = NET1


class CallFailed(Exception):
    """What Docker sees of a call that was refused, or that found no plugin."""


class MortalNode(SimulatedNode):
    """Its ledger and its kernel outlive it."""

    def __init__(self, fuse: Fuse, **options: Any) -> None:
        self.fuse = fuse
        super().__init__(policy=Policy(min_free=4, max_free=12, batch=8), cooling_s=5.0, **options)

    def _ports(self, grants: Grants) -> NodePorts:
        return mortal_ports(super()._ports(grants), self.fuse)


@dataclass(eq=False)
class Container:
    """`endpoint` and `address` are "" while it has none. `lives`: its processes run. `fixed`: its --ip, or ""."""

    name: str
    restarts: bool = False
    fixed: str = ""
    endpoint: str = ""
    address: str = ""
    lives: bool = False
    wired: bool = False

    @property
    def netns(self) -> str:
        return f"/var/run/docker/netns/{self.endpoint}"


@dataclass
class Written:
    """What dockerd has on its disk."""

    containers: dict[str, Container] = field(default_factory=dict)
    endpoints: dict[str, Container] = field(default_factory=dict)


class DockerMachine:
    """`between` is awaited between any two calls of the daemon: whatever may happen then."""

    def __init__(self, *, live_restore: bool = False) -> None:
        self.live_restore = live_restore
        self.engine = FakeEngine()
        self.disk = Written()
        self.lost: list[Container] = []
        """They run, and Docker does not know them any more."""
        self.daemon_runs = True
        self.reachable = True
        """The plugin's socket is there."""
        self.host: PluginHost | None = None
        self._last: PluginHost | None = None
        self._process = AsyncExitStack()
        self._numbers = itertools.count(1)
        self.between: Callable[[], Awaitable[None]] = self._nothing
        self.started: Callable[[SimulatedNode, bool], Awaitable[None]] | None = None
        """Awaited with each plugin that has started: its node, and whether that is as after a boot."""

    # The plugin.

    async def start_plugin(self, *, rebooted: bool = False) -> None:
        if self.host is not None:
            return
        before = self._last
        self.fuse = Fuse()
        host = PluginHost(before=before, engine=self.engine, node_of=lambda roll: self._node(roll, before, rebooted))
        host.endpoints._datapath = host.endpoints._handover = Mortal(host.node.datapath, self.fuse)  # type: ignore[assignment]
        host.endpoints._forwarding = Mortal(host.forwarding, self.fuse)  # type: ignore[assignment]
        self.host = self._last = host
        await self._process.enter_async_context(host.running())
        await host.node.until(lambda: host.node.state.ready)
        if before is None:
            data = {"AddressSpace": "azure-cni", "Pool": "0.0.0.0/0", "Gateway": "169.254.1.1/32"}
            network = {"NetworkID": NETWORK, "IPv4Data": [data], "Options": {}}
            await host.plugin.answer(decode("NetworkDriver.CreateNetwork", json.dumps(network).encode()))
        if self.started is not None:
            await self.started(host.node, rebooted or before is None)

    def _node(self, roll: Any, before: PluginHost | None, rebooted: bool) -> MortalNode:  # noqa: FBT001
        return MortalNode(self.fuse, before=before.node if before else None, rebooted=rebooted, engine=roll)

    async def kill_plugin(self) -> None:
        """With no word: what it was about to do is not done."""
        if self.host is not None:
            self.fuse.dead = True
            self.host = None
            await self._process.aclose()

    @property
    def node(self) -> SimulatedNode:
        assert self._last is not None
        return self._last.node

    async def call(self, method: str, **content: Any) -> dict[str, Any]:
        """What Docker gets; CallFailed for a refusal, and where nobody answers (any more)."""
        await self.between()
        if self.host is not None and self.fuse.dead:  # at an effect of its own
            await self.kill_plugin()
        if self.host is None or not self.reachable:
            raise CallFailed("no plugin")
        try:
            reply = await self.host.plugin.answer(decode(method, json.dumps(content).encode()))
        except AzureCniError as error:
            raise CallFailed(str(error)) from error
        except Killed:
            await self.kill_plugin()
            raise CallFailed("EOF") from None
        if self._daemon_died():
            raise CallFailed("nobody is there to hear the answer")
        return reply

    # The daemon.

    async def run_container(self, name: str, *, restarts: bool = False, fixed: str = "") -> None:
        """`docker run`; a failure is `docker run`'s."""
        if not self.daemon_runs or name in self.disk.containers:
            return
        self.disk.containers[name] = Container(name, restarts, fixed)
        await self._start(self.disk.containers[name])

    async def remove_container(self, name: str) -> None:
        """`docker rm -f`."""
        if self.daemon_runs and name in self.disk.containers:
            await self._stop(self.disk.containers[name])
            self.disk.containers.pop(name, None)
            self._show()

    async def container_dies(self, name: str) -> None:
        """By its own end, a kill or the kernel's (OOM): the daemon clears up when it sees that."""
        container = self.disk.containers.get(name)
        if container is None or not container.lives:
            return
        self._end_processes(container)
        if self.daemon_runs:
            await self._stop(container)
            if container.restarts:
                await self._start(container)

    async def kill_daemon(self) -> None:
        """Containers run on under their shims."""
        self.daemon_runs = False
        self._show()

    async def start_daemon(self) -> None:
        """It clears up what it had written down, but for containers that it finds alive again."""
        if self.daemon_runs:
            return
        self.daemon_runs = True
        for container in [one for one in self.disk.containers.values() if one.lives and not self.live_restore]:
            self._end_processes(container)
        for endpoint, container in list(self.disk.endpoints.items()):
            if not (container.lives and container.endpoint == endpoint):
                await self._end(endpoint, container)
        for container in [one for one in self.disk.containers.values() if not one.lives]:
            container.endpoint = ""
            if container.restarts:
                await self._start(container)
        self._show()

    def lose_state(self) -> None:
        """Somebody removes /var/lib/docker while the daemon is down. What runs goes on."""
        if self.daemon_runs:
            return
        self.lost += [one for one in self.disk.containers.values() if one.lives]
        self.disk = Written()
        self._show()

    async def reboot(self) -> None:
        """All ends; what is in /run is gone."""
        await self.kill_plugin()
        self.daemon_runs = False
        for container in (*self.disk.containers.values(), *self.lost):
            container.lives = container.wired = False
        self.lost.clear()
        await self.start_plugin(rebooted=True)
        await self.start_daemon()

    async def _start(self, container: Container) -> None:
        """Ask for an address, make the endpoint, join; what fails is taken back, and the container does not start."""
        container.endpoint = docker_id(f"ep{next(self._numbers)}")
        of_one = {"NetworkID": NETWORK, "EndpointID": container.endpoint}
        try:
            options = {CONTAINER_NAME: container.name}
            reply = await self.call("IpamDriver.RequestAddress", PoolID=POOL, Address=container.fixed, Options=options)
        except CallFailed:
            self._forget_endpoint(container)
            return
        container.address = reply["Address"].partition("/")[0]
        try:
            await self.call("NetworkDriver.CreateEndpoint", **of_one, Interface={"Address": reply["Address"]})
        except CallFailed:
            await self._try("IpamDriver.ReleaseAddress", PoolID=POOL, Address=container.address)
            self._forget_endpoint(container)
            return
        if not self._daemon_died():
            self.disk.endpoints[container.endpoint] = container
        self._show()
        try:
            await self.call("NetworkDriver.Join", **of_one, SandboxKey=container.netns)
        except CallFailed:
            await self._end(container.endpoint, container)
            return
        key = self.node.datapath.key(Sandbox(NETWORK, container.endpoint, IFNAME))
        if self._daemon_died() or key not in self.node.datapath.wired:
            return
        self.node.datapath.move(key, container.netns)
        self.node.datapath.processes[container.netns] = 1
        container.lives = container.wired = True
        self._show()

    def _daemon_died(self) -> bool:
        return not self.daemon_runs

    async def _stop(self, container: Container) -> None:
        self._end_processes(container)
        if container.endpoint:
            await self._end(container.endpoint, container)

    async def _end(self, endpoint: str, container: Container) -> None:
        """Whatever is refused, it goes on; the namespace goes last."""
        of_one = {"NetworkID": NETWORK, "EndpointID": endpoint}
        await self._try("NetworkDriver.Leave", **of_one)
        await self._try("NetworkDriver.DeleteEndpoint", **of_one)
        if self._daemon_died():
            return
        self.disk.endpoints.pop(endpoint, None)
        await self._try("IpamDriver.ReleaseAddress", PoolID=POOL, Address=container.address)
        self.node.datapath.remove_netns(container.netns)
        self._forget_endpoint(container)

    async def _try(self, method: str, **content: Any) -> None:
        """A daemon that is dead calls nobody."""
        if self._daemon_died():
            return
        try:
            await self.call(method, **content)
        except CallFailed:
            return

    def _forget_endpoint(self, container: Container) -> None:
        container.endpoint = container.address = ""
        self._show()

    def _end_processes(self, container: Container) -> None:
        container.lives = container.wired = False
        self.node.datapath.processes.pop(container.netns, None)
        self._show()

    def end_lost(self) -> None:
        """Somebody ends what Docker does not know; its namespaces stay."""
        for container in self.lost:
            self.node.datapath.processes.pop(container.netns, None)
            container.lives = container.wired = False
        self.lost.clear()

    def _show(self) -> None:
        """What Docker's own API says now."""
        self.engine.silent = not self.daemon_runs
        written = self.disk.endpoints
        self.engine.containers = {
            f"id-{name}": EngineContainer(
                name,
                NETWORK,
                one.endpoint if one.endpoint in written else "",
                joined=one.wired,
                running=one.lives,
            )
            for name, one in self.disk.containers.items()
        }

    # What is true.

    def require_whole(self) -> None:
        """Who lives has its address and its link, and nobody else has them."""
        living = [one for one in (*self.disk.containers.values(), *self.lost) if one.lives]
        assert len({one.address for one in living}) == len(living), "an address was given twice"
        slots = {str(slot.address): slot for slot in self.node.store.load()}
        wired = self.node.datapath.wired
        for one in living:
            sandbox = Sandbox(NETWORK, one.endpoint, IFNAME)
            slot = slots.get(one.address)
            owner = slot.holder.sandbox if slot is not None and slot.holder is not None else None
            assert owner == sandbox, f"{one} lives and its address is not its own: {slot}"
            link = wired.get(self.node.datapath.key(sandbox))
            assert (link.netns if link else "") == one.netns, f"{one} lives and its link is gone"

    @staticmethod
    async def _nothing() -> None:
        await asyncio.sleep(0)
