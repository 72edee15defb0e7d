"""Which port is behind a NIC: the agent's own wiring, and the controller's, choose by its ID."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from random import Random

import pytest

from azure_cni.azure.arm_nic import ArmNic
from azure_cni.azure.nics import nic_at
from azure_cni.azure.scale_set_nic import ScaleSetNic
from azure_cni.entrypoints import settings
from azure_cni.entrypoints.azure_wiring import azure_ports
from azure_cni.entrypoints.metrics import Metrics
from azure_cni.errors import RequestRefused
from azure_cni.model.nic import Adopt, NicID, NicWriter
from contract.nic_world import instance_world
from fakes.cloud import IDENTITY
from fakes.pools import FakePools

NODE = {"AZURE_CNI_NODE_NAME": "vm1", "AZURE_CNI_METRICS_BIND": "loopback"}
GROUP = "/subscriptions/s/resourceGroups/g/providers"
PLAIN = NicID(f"{GROUP}/Microsoft.Network/networkInterfaces/nic")
OF_SET = f"{GROUP}/Microsoft.Compute/virtualMachineScaleSets/pool"
UNIFORM = NicID(f"{OF_SET}/virtualMachines/0/networkInterfaces/nic")


@pytest.mark.parametrize(
    ("nic_id", "kind"),
    [
        (PLAIN, ArmNic),
        (UNIFORM, ScaleSetNic),
        (NicID(UNIFORM.upper().replace("/SUBSCRIPTIONS", "/subscriptions")), ScaleSetNic),
    ],
)
async def test_an_agent_writes_each_nic_by_its_own_port(nic_id: NicID, kind: type[object]) -> None:
    chosen = settings.read(NODE)
    async with AsyncExitStack() as closing:
        ports = azure_ports(chosen.azure, NicWriter.AGENT, pools=FakePools(), observer=Metrics(), closing=closing)
        assert type(ports.nic_of(replace(IDENTITY, nic_id=nic_id))) is kind


@pytest.mark.parametrize("nic_id", [OF_SET, f"{GROUP}/Microsoft.Web/sites/nic", f"{UNIFORM}/more", "nic"])
async def test_what_is_of_no_known_kind_is_refused(nic_id: str) -> None:
    async with instance_world() as world:
        with pytest.raises(RequestRefused, match="is not the id of a NIC"):
            nic_at(world.arm, NicID(nic_id), chance=Random(1), adopt=Adopt.PLAIN, shrink_scale_sets=False)
