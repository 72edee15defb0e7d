"""One NIC in three worlds: in memory, as the node's own tests use it; in the fake Azure behind the real adapter; and
there too, but ordered of a controller, with the API server in memory between the two.

A world has the port (`nic`) and the levers of whoever else works on a NIC: other tools, the subnet, Azure itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import replace
from random import Random
from typing import Any

from azure_cni.api.nic import ConfigName, NicID, NicView
from azure_cni.azure.arm import Arm, Patience
from azure_cni.azure.claims import ImdsClaims
from azure_cni.azure.clouds import cloud_named
from azure_cni.azure.gate import Gate
from azure_cni.azure.imds import Imds
from azure_cni.azure.machines import ArmMachines
from azure_cni.azure.nic import ArmNic
from azure_cni.errors import AccessDenied, CloudError, ResourceBusy, Throttled
from azure_cni.node.ordered import OrderedCloud, OrderedNic, OrderPost
from azure_cni.node.ports import Nic
from contract.azure_world import Token
from fakes import azure as faults
from fakes.azure import Endpoints, FakeAzure, ManualClock
from fakes.cluster import FakeCluster
from fakes.nic import FakeNic, operation_failed
from fakes.ordering import carrying_out, post_of

OPERATION_S = 20.0


class Calls:
    """A meter that remembers what it was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.throttled_s: list[float] = []

    def azure(self, operation: str, code: str, seconds: float) -> None:
        assert seconds >= 0
        self.calls.append((operation, code))

    def throttled(self, seconds: float) -> None:
        self.throttled_s.append(seconds)

    def of(self, operation: str) -> list[str]:
        """The codes of one operation, in order."""
        return [code for name, code in self.calls if name == operation]


class MemoryWorld:
    """The NIC of the node's unit tests."""

    def __init__(self, *, adopted: int, subnet: str) -> None:
        base = subnet.rpartition(".")[0]
        self.fake = FakeNic(
            primary=f"{base}.4", adopted=[f"{base}.{5 + index}" for index in range(adopted)], subnet=subnet
        )
        self.nic: Nic = self.fake

    @property
    def writes(self) -> int:
        return self.fake.writes

    def hold(self) -> None:
        self.fake.hold()

    def finish(self) -> None:
        self.fake.finish()

    def touch(self) -> None:
        self.fake.elsewhere_touch()

    def attach(self, name: str) -> None:
        self.fake.elsewhere_attach(name)

    def leave_room(self, count: int) -> None:
        self.fake.room = count

    def refuse(self, kind: type[CloudError]) -> None:
        self.fake.fail_next = kind("told to refuse")

    def fail_operation(self) -> None:
        self.fake.fail_operation = operation_failed()


class AzureWorld:
    """The same NIC in the fake Azure. Its clock goes on only when the adapter sleeps, unless operations are held."""

    def __init__(
        self, azure: FakeAzure, clock: ManualClock, *, endpoints: Endpoints, patience: Patience | None
    ) -> None:
        self.azure, self.clock, self.endpoints = azure, clock, endpoints
        self.held = False
        self.slept_s: list[float] = []
        self.on_sleep: Callable[[], None] = lambda: None
        self.token = Token(azure, "vm1")
        self.meter = Calls()
        self.arm = Arm(
            cloud_named("AzurePublicCloud", endpoint=endpoints.arm),
            self.token,
            meter=self.meter,
            gate=Gate(monotonic=clock.now),
            ca_file=endpoints.ca_file,
            patience=patience or Patience(call_s=10, operation_s=10),  # a test that waits for nothing fails
            sleep=self.sleep,
        )
        self.nic_id = NicID(azure.nic_record("vm1-nic").id)
        self.nic: Nic = self.restarted()

    def restarted(self) -> Nic:
        """The adapter as a new agent has it: it has seen nothing yet."""
        return ArmNic(self.arm, self.nic_id, chance=Random(7))

    @property
    def writes(self) -> int:
        accepted = [change for change in self.azure.changes if change.cause == "write accepted"]
        return len(accepted)

    async def sleep(self, seconds: float) -> None:
        """What the adapter waits with."""
        self.slept_s.append(seconds)
        self.on_sleep()
        if self.held:
            await asyncio.sleep(0.005)
        else:
            self.clock.advance(seconds)
            await asyncio.sleep(0)

    def hold(self) -> None:
        self.held = True

    def finish(self) -> None:
        self.held = False
        self.clock.advance(OPERATION_S)

    def touch(self) -> None:
        self.azure.outside.touch("vm1-nic")

    def attach(self, name: str) -> None:
        """Somebody gives a configuration a public address."""
        nic = self.azure.nic_record("vm1-nic")
        public = {"publicIPAddress": {"id": self.azure.add_public_ip("frontend", "198.51.100.77")}}
        configs = tuple(
            replace(config, rest={**config.rest, **public}) if config.name == name else config for config in nic.configs
        )
        changed = replace(nic, configs=configs, settled=configs)
        self.azure.network.put_nic(changed, at=self.clock.now(), cause="attached by another tool")
        self.touch()

    def leave_room(self, count: int) -> None:
        self.azure.outside.leave(count)

    def refuse(self, kind: type[CloudError]) -> None:
        effect: Any = {Throttled: faults.Throttled(), AccessDenied: faults.Forbidden(), ResourceBusy: faults.Busy()}[
            kind
        ]
        self.azure.faults.add(effect, operation="nic.put")

    def fail_operation(self) -> None:
        self.azure.faults.add(faults.FailOperation(leaves="goal"))


World = MemoryWorld | AzureWorld
WORLDS = ["memory", "azure", "ordered"]


@contextlib.asynccontextmanager
async def azure_world(
    *, adopted: int = 0, subnet: str = "10.240.0.0/22", patience: Patience | None = None
) -> AsyncIterator[AzureWorld]:
    """A VM `vm1` with its NIC in a subnet of that prefix, and the adapter over https."""
    clock = ManualClock()
    azure = FakeAzure(clock, operation_duration_s=OPERATION_S, seed=1)
    azure.add_vnet(subnets={"nodes": subnet})
    azure.add_vm("vm1", secondaries=adopted)
    azure.pin_caller("vm1")
    async with azure.serve() as endpoints:
        world = AzureWorld(azure, clock, endpoints=endpoints, patience=patience)
        try:
            yield world
        finally:
            await world.arm.close()


@contextlib.asynccontextmanager
async def open_world(kind: str, *, adopted: int = 0, subnet: str = "10.240.0.0/22") -> AsyncIterator[World]:
    """One of `WORLDS`."""
    if kind == "memory":
        yield MemoryWorld(adopted=adopted, subnet=subnet)
        return
    async with azure_world(adopted=adopted, subnet=subnet) as world:
        if kind == "azure":
            yield world
            return
        async with ordering(world.arm) as (cluster, post):
            imds = Imds(meter=world.meter, url=world.endpoints.imds)
            world.nic = _Permitted(OrderedNic(await OrderedCloud(ImdsClaims(imds), post).identify(), post), cluster)
            yield world


@contextlib.asynccontextmanager
async def ordering(arm: Arm) -> AsyncIterator[tuple[FakeCluster, OrderPost]]:
    """A node `vm1`, and a controller that asks the resource manager for it."""
    cluster = FakeCluster()
    cluster.node("vm1", requested=300, granted=300, grantedFor=1)
    async with carrying_out(cluster, ArmMachines(arm, chance=Random(7))):
        yield cluster, post_of(cluster, "vm1")


class _Permitted:
    """The ordered NIC of a node whose every request is answered at once."""

    def __init__(self, nic: Nic, cluster: FakeCluster) -> None:
        self._nic, self._cluster = nic, cluster
        self._numbers = itertools.count(2)
        self.conclusive = nic.conclusive

    async def read(self) -> NicView:
        return await self._nic.read()

    async def write(self, seen: NicView, *, add: int = 0, remove: Collection[ConfigName] = ()) -> NicView:
        number = next(self._numbers)
        self._cluster.pools.patch("vm1", {"status": {"requestID": number, "grantedFor": number}})
        return await self._nic.write(seen, add=add, remove=remove)


async def until_unsettled(world: World) -> NicView:
    """The NIC as soon as an operation works on it."""
    for _ in range(200):
        view = await world.nic.read()
        if not view.settled:
            return view
        await asyncio.sleep(0.005)
    raise AssertionError("no operation began")
