"""Two VMs in the fake Azure whose NICs refer to all that a NIC can refer to, and the roles of docs/azure-role*.json."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from azure_cni.azure.arm import Arm
from azure_cni.azure.endpoints import cloud_named
from azure_cni.azure.imds import Imds
from azure_cni.azure.vm_identity import ArmVmIdentity
from azure_cni.model.nic import NicID
from contract.azure_world import Token
from contract.nic_world import Calls
from fakeazure import FakeAzure

DOCS = Path(__file__).parents[2] / "docs"
NETWORK = "Microsoft.Network"


def role(name: str) -> tuple[str, ...]:
    """The actions of one of our roles."""
    return tuple(json.loads((DOCS / f"{name}.json").read_text())["Actions"])


SHARED, AGENT, CONTROLLER, NETWORK_READER, SCALE_SETS = map(
    role,
    ("azure-role", "azure-role-agent", "azure-role-controller", "azure-role-network-reader", "azure-role-scale-sets"),
)


class TwoVms:
    """Two VMs, whose NICs refer to all that a NIC can refer to."""

    def __init__(self) -> None:
        self.azure = azure = FakeAzure(seed=3, operation_duration_s=0.05, throttling=False)
        self.vnet_id = azure.add_vnet(subnets={"nodes": "10.240.0.0/24"}).id
        self.group = self.vnet_id.partition("/providers/")[0]
        self._group, self._security, self._balancer, self._gateway = (
            azure.add_other(kind, "shared")
            for kind in ("applicationSecurityGroups", "networkSecurityGroups", "loadBalancers", "applicationGateways")
        )
        self.principals = {name: azure.add_vm(name).principal_id for name in ("vm1", "vm2")}
        for name in self.principals:
            self._refer(name)

    def _refer(self, vm: str) -> None:
        nic = self.azure.nic_record(f"{vm}-nic")
        body: dict[str, Any] = nic.document()
        body["properties"]["networkSecurityGroup"] = {"id": self._security}
        body["properties"]["ipConfigurations"][0]["properties"] |= {
            "applicationSecurityGroups": [{"id": self._group}],
            "loadBalancerBackendAddressPools": [{"id": f"{self._balancer}/backendAddressPools/pool"}],
            "loadBalancerInboundNatRules": [{"id": f"{self._balancer}/inboundNatRules/{vm}"}],
            "applicationGatewayBackendAddressPools": [{"id": f"{self._gateway}/backendAddressPools/pool"}],
            "publicIPAddress": {"id": self.azure.add_public_ip(vm, f"203.0.113.{vm[2:]}")},
        }
        self.azure.nics.write(self.azure.nics.read(nic.id, body), now=self.azure.settle(), duration_s=0.0)
        self.azure.settle()

    def nic_id(self, vm: str) -> NicID:
        return NicID(self.azure.nic_record(f"{vm}-nic").id)

    def referred(self, vm: str) -> list[str]:
        """The resources that its NIC refers to, as the commands of the documentation find them."""
        properties = self.azure.nic(f"{vm}-nic")["properties"]
        first = properties["ipConfigurations"][0]["properties"]
        single = [properties["networkSecurityGroup"], first["subnet"], first["publicIPAddress"]]
        lists = [value for key, value in first.items() if key.endswith(("Groups", "Pools", "Rules"))]
        return [one["id"] for one in single] + [one["id"] for items in lists for one in items]

    def assign(self, vm: str, *roles: tuple[tuple[str, ...], str]) -> None:
        for actions, scope in roles:
            self.azure.identity.assign(actions, scope=scope, principal=self.principals[vm])

    @asynccontextmanager
    async def adapters(self, vm: str) -> AsyncIterator[tuple[Arm, ArmVmIdentity]]:
        """With that VM's identity."""
        self.azure.pin_caller(vm)
        async with self.azure.serve() as endpoints:
            arm = Arm(
                cloud_named("AzurePublicCloud", endpoint=endpoints.arm),
                Token(self.azure, vm),
                meter=Calls(),
                ca_file=endpoints.ca_file,
                sleep=lambda _: asyncio.sleep(0.06),
            )
            try:
                yield arm, ArmVmIdentity(Imds(meter=Calls(), url=endpoints.imds), arm)
            finally:
                await arm.close()
