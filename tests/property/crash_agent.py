"""The agent of one process, which dies at a step that a test chooses (`crash_machine`).

It is put together as the process does it (`entrypoints/agent.py`): DELs that were recorded, the ledger compared with
the kernel, then the reconciler, the comparisons, the list of pods and the installation, all at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from azure_cni.entrypoints.cni_service import installation_on
from azure_cni.entrypoints.host_settings import HostSettings
from azure_cni.host.install import HostPlugin
from azure_cni.host.run_directory import Released, ServedMark
from azure_cni.node.installation import Installation
from azure_cni.node.node_settings import NodePorts
from azure_cni.node.ports import Grants
from fakes.mortal import Fuse, Mortal, mortal_ports
from fakes.pod_conditions import FakePodConditions
from fakes.simulated_node import SimulatedNode
from unit.node.attaching import ALLOWED


class ApiPods:
    """Implements `azure_cni.node.ports.PodList`: the pods of this node that the API server has."""

    def __init__(self) -> None:
        self.bodies: dict[str, dict[str, Any]] = {}
        self.conditions = FakePodConditions()

    async def list(self) -> Sequence[dict[str, Any]]:
        return list(self.bodies.values())


class Nowhere:
    """Implements `azure_cni.node.installation.Directories`: nothing is mounted, so nothing can be replaced."""

    def replaced(self) -> str:
        return ""


class CrashingAgent(SimulatedNode):
    """The agent of one process: all its ports end with the fuse."""

    def __init__(self, fuse: Fuse, *, pods: ApiPods, directory: Path, **options: Any) -> None:
        self.fuse, self._pods, self._directory = fuse, pods, directory
        super().__init__(cooling_s=5.0, shrink_delay_s=10.0, egress=["default"], attachable=ALLOWED, **options)

    def _ports(self, grants: Grants) -> NodePorts:
        self.nic.accepted = lambda: self.fuse.pass_point("while Azure writes the NIC")
        return mortal_ports(self._lasting_ports(grants), self.fuse)

    def _lasting_ports(self, grants: Grants) -> NodePorts:
        """What is behind them outlives the process."""
        released = Released(self._directory / "released")
        ports = super()._ports(grants)
        return replace(ports, pods=self._pods, pod_conditions=self._pods.conditions, released=released)

    def installation(self, host: HostSettings) -> Installation:
        """What it does to the runtime's directories, each file a step."""
        plugin = HostPlugin(host.plugin, host.bin_dir, host.conf_dir, host.conf_name)
        made = installation_on(
            host,
            state=self.state,
            stored=self.stored,
            wake=self.reconciler.wake,
            node=self.node_port,
            clock=self.clock,
            files=Mortal(plugin, self.fuse, name="files"),
            directories=Nowhere(),
        )
        made._mark = Mortal(ServedMark(host.run_dir), self.fuse, name="mark")
        return made

    async def live(self, host: HostSettings) -> None:
        """All that the process does, until it is ended or dies."""
        installed = self.installation(host)
        await self.node.deferred_deletes.carry_out_some()
        await self.node.repair.verify_ledger()
        installed.begin()
        works = (
            self.reconciler.run(),
            self.node.egress.run(),
            self.node.host_watch.run(),
            self.node.pod_resync.run(),
            self._carry_out_deletes(),
            installed.run(),
        )
        tasks = [asyncio.create_task(work) for work in works]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        raise next(end for end in ends if not isinstance(end, asyncio.CancelledError | None))

    async def _carry_out_deletes(self) -> None:
        while True:
            await self.node.deferred_deletes.carry_out_all()
            await asyncio.sleep(5.0)
