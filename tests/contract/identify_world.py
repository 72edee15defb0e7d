"""A VM of the fake Azure that asks who it is: the adapters, and who they ask."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from azure_cni.azure.arm import Arm
from azure_cni.azure.endpoints import AzureCloud, cloud_named
from azure_cni.azure.imds import Imds, ImdsClaims
from azure_cni.azure.observed import ObservedCloud
from azure_cni.azure.vm_identity import ArmVmIdentity
from azure_cni.kube.delegated_nic import DelegatedCloud, OperationClient
from azure_cni.node import azure_ports as ports
from contract.azure_world import Token
from contract.delegated_nic_world import delegating
from contract.nic_world import Calls
from fakeazure import Endpoints, FakeAzure
from fakes.cloud import FakeCloud


class AzureWorld:
    """A VM with two NICs in a VNet with one peer, and the adapters for it."""

    def __init__(self, azure: FakeAzure, endpoints: Endpoints) -> None:
        self.azure, self.endpoints = azure, endpoints
        self.meter = Calls()
        self.imds = Imds(meter=self.meter, url=endpoints.imds, sleep=_no_sleep)

    @contextlib.asynccontextmanager
    async def arm(self, credential: Any = None, cloud: AzureCloud | None = None) -> AsyncIterator[Arm]:
        arm = Arm(
            cloud or cloud_named("AzurePublicCloud", endpoint=self.endpoints.arm),
            credential or Token(self.azure, "vm1"),
            meter=self.meter,
            ca_file=self.endpoints.ca_file,
        )
        try:
            yield arm
        finally:
            await arm.close()

    @contextlib.asynccontextmanager
    async def delegating(self) -> AsyncIterator[OperationClient]:
        """A node that delegates to the controller, and the controller."""
        async with self.arm() as arm, delegating(arm, self.azure, ImdsClaims(self.imds)) as (_, post):
            yield post


@contextlib.asynccontextmanager
async def open_world() -> AsyncIterator[AzureWorld]:
    """Its caller at 127.0.0.1 is the VM."""
    azure = FakeAzure(seed=3)
    azure.add_vnet("vnet", ["10.240.0.0/16", "10.250.0.0/16"], subnets={"nodes": "10.240.0.0/22"})
    azure.add_vnet("peer", "10.241.0.0/16", subnets={"other": "10.241.0.0/24"})
    azure.peer("vnet", "peer")
    azure.add_vm("vm1", secondaries=2, nics=2)
    azure.pin_caller("vm1")
    async with azure.serve() as endpoints:
        yield AzureWorld(azure, endpoints)


@contextlib.asynccontextmanager
async def cloud_at(place: str, world: AzureWorld, *, memory: FakeCloud) -> AsyncIterator[ports.Cloud]:
    """The port of the cloud there: in `memory`; `azure`, by the resource manager; `delegated` to a controller; or as
    the metadata service alone shows it, `observed`.
    """
    match place:
        case "memory":
            yield memory
        case "observed":
            yield ObservedCloud(world.imds, mac=world.azure.nic_record("vm1-nic").mac.replace("-", ":"))
        case "delegated":
            async with world.delegating() as post:
                yield DelegatedCloud(ImdsClaims(world.imds), post)
        case _:
            async with world.arm() as arm:
                yield ArmVmIdentity(world.imds, arm)


async def _no_sleep(_: float) -> None:
    return None
