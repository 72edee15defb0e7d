"""One NIC in four worlds: in memory, as the node's own tests use it; in the fake Azure behind the real adapter; there
too, but written by a controller, with the API server in memory between the two; and in the fake Azure as that of an
instance of a Uniform scale set, behind the adapter for those.

A world has the port (`nic`) and the levers of whoever else works on a NIC: other tools, the subnet, Azure itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from ipaddress import IPv6Network
from random import Random
from typing import Any

import fakeazure as faults
from azure_cni.azure.arm import Arm, Patience
from azure_cni.azure.arm_nic import ArmNic
from azure_cni.azure.endpoints import cloud_named
from azure_cni.azure.imds import Imds, ImdsClaims
from azure_cni.azure.instance_gate import InstanceGate
from azure_cni.azure.scale_set_nic import ScaleSetNic
from azure_cni.azure.throttle_gate import ThrottleGate
from azure_cni.errors import AccessDenied, CloudError, ResourceBusy, Throttled
from azure_cni.kube.delegated_nic import DelegatedCloud, DelegatedNic
from azure_cni.model.attachments import AttachedResource
from azure_cni.model.nic import NicID, NicView
from azure_cni.node.azure_ports import Nic
from contract.azure_world import Token
from contract.delegated_nic_world import Granted, delegating
from fakeazure import Endpoints, FakeAzure, ManualClock
from fakes.nic import FakeNic, operation_failed
from fakes.waiting import PATIENCE_S

OPERATION_S = 20.0
GROUPS = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/applicationSecurityGroups"


class Calls:
    """A meter that records its calls."""

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

    def resources(self) -> tuple[AttachedResource, AttachedResource, AttachedResource]:
        """Two pools of a load balancer, and a public IP address."""
        group = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network"
        return _resources(f"{group}/loadBalancers/lb", f"{group}/publicIPAddresses/shop")

    def security_groups(self, *names: str) -> list[str]:
        ids = [f"{GROUPS}/{name}" for name in names]
        self.fake.no_such_groups = {f"{one}-gone" for one in ids}
        return ids

    def leave_room(self, count: int) -> None:
        self.fake.room = count

    def fragment(self) -> None:
        """Others have one address of each block of the subnet."""
        self.fake.taken |= dict.fromkeys(list(self.fake.subnet)[8::16], "another")

    def give_ipv6(self, *, blocks: bool = True) -> None:
        """The subnet gets an IPv6 prefix, from which Azure gives `blocks` or single addresses alone."""
        self.fake.ipv6_space, self.fake.ipv6_blocks = IPv6Network("fd00:240::/64"), blocks

    def refuse(self, kind: type[CloudError]) -> None:
        self.fake.fail_next = kind("made to refuse")

    def fail_operation(self) -> None:
        self.fake.fail_operation = operation_failed()


class AzureWorld:
    """The same NIC in the fake Azure. Its clock goes on only when the adapter sleeps, unless operations are held."""

    vm_name, nic_name, put = "vm1", "vm1-nic", "nic.put"

    def __init__(
        self, azure: FakeAzure, clock: ManualClock, *, endpoints: Endpoints, patience: Patience | None
    ) -> None:
        self.azure, self.clock, self.endpoints = azure, clock, endpoints
        self.held = False
        self.slept_s: list[float] = []
        self.on_sleep: Callable[[], None] = lambda: None
        self.token = Token(azure, self.vm_name)
        self.meter = Calls()
        self.arm = Arm(
            cloud_named("AzurePublicCloud", endpoint=endpoints.arm),
            self.token,
            meter=self.meter,
            gate=ThrottleGate(monotonic=clock.now),
            instance_gate=InstanceGate(monotonic=clock.now),
            ca_file=endpoints.ca_file,
            patience=patience
            or Patience(call_s=PATIENCE_S, operation_s=PATIENCE_S),  # a test that waits for nothing fails
            sleep=self.sleep,
        )
        self.nic_id = NicID(azure.nic_record(self.nic_name).id)
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

    def resources(self) -> tuple[AttachedResource, AttachedResource, AttachedResource]:
        """Two pools of a load balancer, and a public IP address."""
        return _resources(
            self.azure.add_other("loadBalancers", "lb"), self.azure.add_public_ip("shop", "198.51.100.78")
        )

    def security_groups(self, *names: str) -> list[str]:
        return [self.azure.add_other("applicationSecurityGroups", name) for name in names]

    def leave_room(self, count: int) -> None:
        self.azure.outside.leave(count)

    def fragment(self) -> None:
        """Others have one address of each block of the subnet."""
        self.azure.outside.fragment()

    def give_ipv6(self, *, blocks: bool = True) -> None:
        """The subnet gets an IPv6 prefix, from which Azure gives `blocks` or single addresses alone."""
        self.azure.add_ipv6()
        if not blocks:
            self.azure.faults.add(faults.NoIPv6Block(), times=None)

    def refuse(self, kind: type[CloudError]) -> None:
        effect: Any = {Throttled: faults.Throttled(), AccessDenied: faults.Forbidden(), ResourceBusy: faults.Busy()}[
            kind
        ]
        self.azure.faults.add(effect, operation=self.put)

    def fail_operation(self) -> None:
        self.azure.faults.add(faults.FailOperation(leaves="goal"), operation=self.put)


class InstanceWorld(AzureWorld):
    """The NIC of an instance of a Uniform scale set. Nothing can be attached to one of its configurations."""

    vm_name, nic_name, put = "pool_0", "pool_0/pool-nic", "instance.put"

    def restarted(self, *, shrink: bool = True) -> ScaleSetNic:
        return ScaleSetNic(self.arm, self.nic_id, chance=Random(7), shrink=shrink)

    def touch(self) -> None:
        self.azure.uniform.touch(self.vm_name)


def _resources(balancer: str, address: str) -> tuple[AttachedResource, AttachedResource, AttachedResource]:
    ids = (f"{balancer}/backendAddressPools/web", f"{balancer}/backendAddressPools/other", address)
    first, second, third = (AttachedResource.parse(one) for one in ids)
    assert first is not None
    assert second is not None
    assert third is not None
    return first, second, third


NicUnderTest = MemoryWorld | AzureWorld
ATTACHING = ["memory", "azure", "delegated"]
"""Where a pod's configuration can have something attached."""
WORLDS = [*ATTACHING, "instance", "delegated instance"]


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
async def instance_world(*, adopted: int = 0, subnet: str = "10.240.0.0/22") -> AsyncIterator[InstanceWorld]:
    """The first instance of a scale set `pool`, with its NIC in such a subnet, and its adapter over https."""
    clock = ManualClock()
    azure = FakeAzure(clock, operation_duration_s=OPERATION_S, seed=1)
    azure.add_vnet(subnets={"nodes": subnet})
    azure.uniform.add("pool", secondaries=adopted)
    azure.pin_caller("pool_0")
    async with azure.serve() as endpoints:
        world = InstanceWorld(azure, clock, endpoints=endpoints, patience=None)
        try:
            yield world
        finally:
            await world.arm.close()


@contextlib.asynccontextmanager
async def open_world(kind: str, *, adopted: int = 0, subnet: str = "10.240.0.0/22") -> AsyncIterator[NicUnderTest]:
    """One of `WORLDS`."""
    if kind == "memory":
        yield MemoryWorld(adopted=adopted, subnet=subnet)
        return
    opening = instance_world if kind.endswith("instance") else azure_world
    async with opening(adopted=adopted, subnet=subnet) as world:
        if not kind.startswith("delegated"):
            yield world
            return
        claims = ImdsClaims(Imds(meter=world.meter, url=world.endpoints.imds))
        attachable = frozenset(world.resources())
        async with delegating(world.arm, world.azure, claims, attachable=attachable) as (cluster, post):
            identity = await DelegatedCloud(claims, post).identify()
            world.nic = Granted(DelegatedNic(identity, post), cluster)
            yield world


async def until_unsettled(world: NicUnderTest) -> NicView:
    """The NIC as soon as an operation works on it."""
    for _ in range(200):
        view = await world.nic.read()
        if not view.settled:
            return await world.nic.read()  # of an instance the first may be from before, and its NIC from after
        await asyncio.sleep(0.005)
    raise AssertionError("no operation began")
