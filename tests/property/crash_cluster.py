"""A node whose NIC the controller writes, where either of the two dies at a step that the test chooses.

The agent is the one of `crash_machine`, over the API server in memory; the controller is the leader with its executor,
as `unit.cluster.worlds` has it. A step of the controller is a change that it asks of the API server or of Azure.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from azure_cni.api.node_ip_pool import NodeIPPool, parse
from azure_cni.cluster.node_allowance import OPERATION_PACE
from azure_cni.cluster.operation_executor import OperationExecutor
from azure_cni.cluster.ports import Machines
from azure_cni.cluster.quota_cache import KnownReservations
from azure_cni.faults import Faults
from azure_cni.kube.delegated_nic import DelegatedCloud, DelegatedNic, OperationClient
from azure_cni.model.identity import ModeName
from azure_cni.node.node_settings import NodePorts
from azure_cni.node.pool.reservation_request import ControllerGrants
from azure_cni.node.ports import Grants
from fakes.cluster import FakeQuotas
from fakes.delegation import OwnPool, executor_of
from fakes.machines import FakeMachines
from fakes.mortal import READS, Fuse, Mortal, mortal_ports
from fakes.pools import FakePools
from property.crash_agent import CrashingAgent
from property.crash_machine import AgentGone, CrashMachine
from unit.cluster.test_delegating_nodes import Claims
from unit.cluster.worlds import SimulatedCluster
from unit.node.attaching import ADDRESS, WEB

NODE: Final = "vm1"
TAKES_OVER_S: Final = 15.0
"""How long after a controller's death another leads."""


class AttachingCluster(SimulatedCluster):
    """Its controllers attach what the values allow."""

    def _executor(self, machines: Machines) -> OperationExecutor:
        return executor_of(
            self.cluster,
            machines,
            reservations=KnownReservations(FakeQuotas(self.cluster), known=self._quota_of),
            attachable=frozenset({WEB, ADDRESS}),
            faults=Faults(self.observer.internal_error),
            pace=OPERATION_PACE,
        )


class ClusterPools(FakePools):
    """What a person sees and edits of the node's pool, which is among all pools."""

    def __init__(self, world: SimulatedCluster) -> None:
        super().__init__(NODE)
        self._world = world

    def shown(self) -> NodeIPPool:
        return parse(self._world.cluster.pools.get(NODE) or {})

    def edit_spec(self, **fields: Any) -> None:
        self._world.cluster.pools.patch(NODE, {"spec": fields})


class DelegatingAgent(CrashingAgent):
    """Its ports to Azure are operations, and the controller grants."""

    def __init__(self, fuse: Fuse, *, world: SimulatedCluster, **options: Any) -> None:
        self.world = world
        super().__init__(fuse, **options)

    def _ports(self, grants: Grants) -> NodePorts:
        own: Any = Mortal(OwnPool(self.world.cluster, NODE), self.fuse, name="pools")
        claims = Claims(NODE)
        self.post = OperationClient(own, attest=claims.document)
        ports = mortal_ports(self._lasting_ports(ControllerGrants()), self.fuse)
        cloud: Any = DelegatedCloud(claims, self.post)  # type: ignore[arg-type]
        return replace(ports, pools=own, cloud=cloud, nic_of=lambda identity: DelegatedNic(identity, self.post))

    def see(self, _: Any, after: Mapping[str, Any] | None) -> None:
        """The watch."""
        if after is not None and after["metadata"]["name"] == NODE and not self.fuse.dead:
            self.post.see(parse(after))
            self.node.pool_seen(parse(after))

    @property
    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.world.cluster.pools.objects.get(NODE, {}).get("status", {})
        return status


class CrashCluster(CrashMachine):
    """`controller` is the fuse of the controller that leads; when it has died, another takes over."""

    def __init__(self, directory: Path, mode: ModeName, **options: Any) -> None:
        super().__init__(directory, mode, **options)
        self.world = AttachingCluster()
        self.machines = FakeMachines(NODE)
        self.pools = ClusterPools(self.world)
        self.controller = Fuse()
        self._leading: asyncio.Task[None] | None = None
        self.world.cluster.before_call = lambda what: self._pass("before", what)
        self.world.cluster.after_call = lambda what: self._pass("after", what)

    def _pass(self, when: str, what: str) -> None:
        """A call of the API server: the agent's go through ports of its own."""
        if not what.startswith("own.") and what.rpartition(".")[2] not in READS:
            self.controller.pass_point(f"{when} {what}")

    def lead(self) -> None:
        """Controllers, one after another."""
        self._leading = asyncio.create_task(self._lead())

    async def _lead(self) -> None:
        nic = self.machines.nics[NODE]
        while True:
            fuse = self.controller
            nic.accepted = lambda fuse=fuse: fuse.pass_point("while Azure writes the NIC")  # type: ignore[misc]
            machines: Any = Mortal(self.machines, fuse, name="machines")
            with contextlib.suppress(AgentGone):
                async with self.world.controller(machines=machines):
                    await fuse.died.wait()
                    raise AgentGone
            self._go_on(nic)
            await asyncio.sleep(TAKES_OVER_S)
            self.controller = Fuse()

    def _new_agent(self, **options: Any) -> DelegatingAgent:
        agent = DelegatingAgent(
            self.fuse,
            world=self.world,
            pods=self.api_pods,
            directory=self.directory,
            **options | {"nic": self.machines.nics[NODE], "pools": self.pools},
        )
        self.world.cluster.pools.watchers.append(agent.see)
        return agent

    async def kill(self) -> None:
        """The agent; what the controller was asked to do goes on."""
        agent = self.agent
        await super().kill()
        if agent.see in self.world.cluster.pools.watchers:  # type: ignore[attr-defined]
            self.world.cluster.pools.watchers.remove(agent.see)  # type: ignore[attr-defined]

    async def stop_leading(self) -> None:
        """No controller leads any more."""
        if self._leading is not None:
            self._leading.cancel()
            await asyncio.gather(self._leading, return_exceptions=True)

    def require_whole(self) -> None:
        super().require_whole()
        count = len(self.agent.nic.addresses) - 1
        assert self.world.cluster.counts() == {NODE: count}, f"{count} on the NIC, and the quota counts otherwise"
        assert not [one for one in self.world.observer.recorded if one[0] == "internal_error"]
