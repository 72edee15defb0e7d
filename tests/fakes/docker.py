"""Docker at the plugin's socket, and what the plugin has of the host, in memory."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from azure_cni.docker.container_endpoints import IFNAME, ContainerEndpoints
from azure_cni.docker.docker_networks import DockerNetworks
from azure_cni.docker.engine_roll import EngineRoll
from azure_cni.docker.plugin_methods import DockerPlugin
from azure_cni.entrypoints.cni_listener import RequestBounds
from azure_cni.entrypoints.docker_socket import DockerSocket
from azure_cni.entrypoints.runtime_sockets import serve_socket
from azure_cni.errors import CloudError, DatapathError
from azure_cni.ipam.address_state import Holder, Sandbox
from azure_cni.model.nic import VNetID
from fakes.clocks import LoopClock
from fakes.docker_engine import FakeEngine
from fakes.simulated_node import SimulatedNode


class FakeStateFile:
    """Implements `azure_cni.docker.ports.StateFile`."""

    name = "/var/lib/azure-cni/docker-networks.json"

    def __init__(self, content: bytes | None = None) -> None:
        self.content = content

    def read(self) -> bytes | None:
        return self.content

    def write(self, content: bytes) -> None:
        self.content = content


class FakeForwarding:
    """Implements `azure_cni.docker.ports.Forwarding`; `fail_next` is raised by the next call.

    `flush` is what others do to a firewall.
    """

    def __init__(self) -> None:
        self.admitted: list[str] = []
        self.forwards = False
        self.fail_next: DatapathError | None = None

    async def admit(self, uplink: str) -> bool:
        error, self.fail_next = self.fail_next, None
        if error is not None:
            raise error
        missing, self.forwards = not self.forwards, True
        self.admitted.append(uplink)
        return missing

    def flush(self) -> None:
        self.forwards = False


class FakeUsage:
    """Implements `azure_cni.docker.ports.VNetUsage`: others use `others` addresses, or it is raised; we use `ours`."""

    def __init__(self, others: int | CloudError, *, ours: Callable[[], int] = lambda: 0) -> None:
        self.others = others
        self.ours = ours
        self.reads = 0

    async def used(self, vnet_id: VNetID) -> int:
        self.reads += 1
        if isinstance(self.others, CloudError):
            raise self.others
        return self.others + self.ours()


class PluginHost:
    """The plugin of one VM, on a node that is simulated. `before` is the same VM before the plugin was restarted.

    `engine`: Docker's own API, where it is asked; `running` compares with it. `node_of` makes the node otherwise.
    """

    def __init__(
        self,
        node: SimulatedNode | None = None,
        *,
        before: PluginHost | None = None,
        forwarding: FakeForwarding | None = None,
        engine: FakeEngine | None = None,
        node_of: Callable[[EngineRoll | None], SimulatedNode] | None = None,
    ) -> None:
        self.roll = EngineRoll(engine, clock=LoopClock()) if engine else None
        self.node: SimulatedNode = node or (
            node_of(self.roll) if node_of else SimulatedNode(before=before.node if before else None, engine=self.roll)
        )
        self.file: FakeStateFile = before.file if before else FakeStateFile()
        self.forwarding = forwarding or FakeForwarding()
        numbers = itertools.count(1)
        self.endpoints = ContainerEndpoints(
            self.node.node,
            datapath=self.node.datapath,
            handover=self.node.datapath,
            forwarding=self.forwarding,
            clock=self.node.clock,
            new_id=lambda: f"request-{next(numbers)}",
            joined=self.roll.request if self.roll else lambda: None,
        )
        self.networks = DockerNetworks(self.file)
        self.plugin = DockerPlugin(networks=self.networks, endpoints=self.endpoints, state=self.node.state)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[SimulatedNode]:
        """The node at work, its ledger compared with kernel and engine."""
        works = [self.node.node.host_watch.run()]
        if self.roll is not None:
            works.append(self.roll.run(self.holders, self.node.node.faults))
        async with self.node.running() as node:
            tasks = [asyncio.create_task(work) for work in works]
            try:
                yield node
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def holders(self) -> list[Holder]:
        """All of them."""
        return [slot.holder for slot in self.node.stored.ledger.slots if slot.holder is not None]

    def states(self) -> dict[str, str]:
        """Who has which address, by the network of its sandbox."""
        slots = self.node.stored.ledger.slots
        return {str(slot.address): slot.holder.sandbox.network for slot in slots if slot.holder is not None}

    def move(self, network: str, endpoint: str, netns: str) -> None:
        """What Docker does after a Join."""
        self.node.datapath.move(self.node.datapath.key(Sandbox(network, endpoint, IFNAME)), netns)


class FakeDocker:
    """Makes calls as libnetwork does, over a socket."""

    def __init__(self, session: aiohttp.ClientSession, host: PluginHost, socket: Path) -> None:
        self._session, self.host, self.socket = session, host, socket

    async def post(self, method: str, content: Any = None) -> tuple[int, dict[str, Any]]:
        """The status and the document of any answer; `content` may be bytes, and None is no body."""
        data = content if isinstance(content, bytes) else b"" if content is None else json.dumps(content).encode()
        async with self._session.post(f"http://plugin/{method}", data=data) as response:
            return response.status, json.loads(await response.read())

    async def call(self, method: str, **content: Any) -> dict[str, Any]:
        """The reply of a call that succeeds."""
        status, reply = await self.post(method, content)
        assert (status, reply.get("Err", "")) == (200, ""), reply
        return reply

    async def refusal(self, method: str, **content: Any) -> str:
        """The words of one that does not."""
        status, reply = await self.post(method, content)
        assert status == 200
        assert reply["Err"] == reply["Error"]  # Docker looks for the first of network drivers, the second of IPAM's
        return str(reply["Err"])

    async def create_network(self, network: str = "net1", **options: Any) -> str:
        """`docker network create -d azure-cni --ipam-driver azure-cni`, all calls of it; returns the pool's ID."""
        space = (await self.call("IpamDriver.GetDefaultAddressSpaces"))["LocalDefaultAddressSpace"]
        pool = await self.call(
            "IpamDriver.RequestPool", AddressSpace=space, Pool="", SubPool="", Options=None, V6=False
        )
        gateway = await self.call(
            "IpamDriver.RequestAddress",
            PoolID=pool["PoolID"],
            Address="",
            Options={"RequestAddressType": "com.docker.network.gateway"},
        )
        data = {"AddressSpace": space, "Pool": pool["Pool"], "Gateway": gateway["Address"]}
        shown = {"com.docker.network.enable_ipv6": False, "com.docker.network.generic": {}} | options
        await self.call("NetworkDriver.CreateNetwork", NetworkID=network, Options=shown, IPv4Data=[data], IPv6Data=[])
        return str(pool["PoolID"])

    async def start(
        self, pool: str, endpoint: str, *, network: str = "net1", address: str = "", sandbox: str = "", name: str = ""
    ) -> dict[str, Any]:
        """A container starts: the reply of its Join, with its `Address` and `MacAddress`. `name`: as Docker 29 does."""
        options = {"com.docker.network.endpoint.name": name} if name else None
        given = (await self.call("IpamDriver.RequestAddress", PoolID=pool, Address=address, Options=options))["Address"]
        of_one = {"NetworkID": network, "EndpointID": endpoint}
        interface = {"Address": given, "AddressIPv6": "", "MacAddress": ""}
        made = await self.call("NetworkDriver.CreateEndpoint", **of_one, Interface=interface, Options={})
        sandbox = sandbox or f"/var/run/docker/netns/{endpoint}"
        joined = await self.call("NetworkDriver.Join", **of_one, SandboxKey=sandbox, Options={})
        self.host.move(network, endpoint, sandbox)
        return joined | {"Address": given, "MacAddress": made["Interface"]["MacAddress"]}

    async def stop(self, pool: str, endpoint: str, address: str, *, network: str = "net1") -> None:
        """It ends."""
        of_one = {"NetworkID": network, "EndpointID": endpoint}
        await self.call("NetworkDriver.Leave", **of_one)
        await self.call("NetworkDriver.DeleteEndpoint", **of_one)
        await self.call("IpamDriver.ReleaseAddress", PoolID=pool, Address=address.partition("/")[0])


@asynccontextmanager
async def serving(
    directory: Path, host: PluginHost, *, bounds: RequestBounds | None = None
) -> AsyncIterator[FakeDocker]:
    """The plugin on a socket in this directory, its node at work."""
    socket = directory / "azure-cni.sock"
    server = DockerSocket(
        host.plugin,
        status=lambda: {"ready": True},
        faults=host.node.node.faults,
        observer=host.node.observer,
        bounds=bounds,
    )
    runner = web.AppRunner(server.application(), shutdown_timeout=0.1)
    await runner.setup()
    await serve_socket(runner, socket, requests=server.requests, faults=host.node.node.faults)
    async with host.node.running(), aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as session:
        await host.node.until(lambda: host.node.counts.free > 0)
        yield FakeDocker(session, host, socket)
    await runner.cleanup()
