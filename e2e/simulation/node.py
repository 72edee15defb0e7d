"""One node without a machine: the product's reconciler with its real adapters, and no kernel, binary or disk.

What is left out: the kernel (a fake that keeps what it is told), the CNI binary and its socket (pods are given to
`Sandboxes` directly), the file of the ledger, and the metadata service: a node is told who it is.
"""

import asyncio
import random
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address
from typing import Any, Self

from azure.core.credentials import AccessToken

from azure_cni.azure.arm import Arm
from azure_cni.azure.cloud import ArmCloud
from azure_cni.azure.clouds import cloud_named
from azure_cni.azure.gate import Gate
from azure_cni.azure.imds import Imds, ImdsAddress, ImdsInterface, Instance
from azure_cni.azure.nic import ArmNic
from azure_cni.errors import AzureCniError
from azure_cni.ipam.ledger import Change
from azure_cni.ipam.life import Holder, Sandbox, Slot, State
from azure_cni.ipam.sizing import Policy
from azure_cni.kube.client import KubeClient, KubeEndpoint
from azure_cni.kube.events import KubeEvents
from azure_cni.kube.node import KubeNode
from azure_cni.kube.pools import KubePools
from azure_cni.node.board import Board, Book
from azure_cni.node.controller_grants import ControllerGrants
from azure_cni.node.demand import Demand
from azure_cni.node.reconciler import Reconciler
from azure_cni.node.sandboxes import Sandboxes
from azure_cni.node.world import NodeSettings, World
from fakes.datapath import FakeDatapath
from simulation.pace import NodeClock
from simulation.plan import AzureFacts, Machine, Run, machine_of

EXACT = Policy(min_free=0, max_free=24, batch=1)
"""A pool as large as its pods need, so that one write of the NIC is enough for a node."""
CLOUD = "AzurePublicCloud"
KUBELET_S = 60.0
"""How often what waits is tried again, if nothing happens before."""


class Unmeasured:
    """The Observer port, for nobody."""

    def cni(self, verb: str, code: int, seconds: float) -> None: ...

    def stage(self, stage: str, seconds: float) -> None: ...

    def azure(self, operation: str, code: str, seconds: float) -> None: ...

    def throttled(self, seconds: float) -> None: ...

    def reconciled(self, result: str) -> None: ...

    def repaired(self, kind: str) -> None: ...

    def internal_error(self, activity: str) -> None: ...


class Memory:
    """The LedgerStore port without a disk: it is gone with the process, as after a reboot."""

    def __init__(self) -> None:
        self._slots: dict[IPv4Address, Slot] = {}
        self.freed = asyncio.Event()
        """Addresses became free."""

    def load(self) -> Iterable[Slot]:
        return tuple(self._slots.values())

    def save(self, change: Change) -> None:
        for address in change.drop:
            self._slots.pop(address, None)
        self._slots |= {slot.address: slot for slot in change.put}
        if any(slot.state is State.FREE for slot in change.put):
            self.freed.set()


class Issued:
    """The SDK's credential: a token that was issued beforehand."""

    def __init__(self, token: str) -> None:
        self._token = AccessToken(token, 4_000_000_000)

    async def get_token(self, *_: str, **__: Any) -> AccessToken:
        return self._token

    async def close(self) -> None: ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...


class Told(Imds):
    """The metadata service's answer, known beforehand."""

    def __init__(self, name: str, machine: Machine) -> None:
        super().__init__(meter=Unmeasured())
        interface = ImdsInterface(machine.mac, (ImdsAddress(IPv4Address(machine.primary_ip), public=False),), ())
        self._instance = Instance(machine.vm_id.lower(), name, machine.resource_id, CLOUD, "", (interface,))

    async def instance(self) -> Instance:
        return self._instance


class Node:
    """A node that wants `demand` pods to run. `run` never ends by itself."""

    def __init__(self, run: Run, azure: AzureFacts, *, name: str, demand: int) -> None:
        machine = machine_of(run.directory, azure, name)
        self._pods = [f"{name}-pod-{number}" for number in range(demand)]
        clock = NodeClock(run.pace)
        self._kube = KubeClient(KubeEndpoint(run.api_url, token=run.token, ca_file=run.api_ca))
        self._arm = arm = Arm(
            cloud_named(CLOUD, endpoint=azure.arm),
            Issued(machine.token),
            meter=Unmeasured(),
            gate=Gate(monotonic=clock.boottime_s),
            ca_file=azure.ca_file,
        )
        self._memory = Memory()
        self._demand = Demand()
        board = Board()
        self._book = Book(store=self._memory, bell=board.bell)
        world = _world(self._kube, arm, clock, name=name, machine=machine)
        settings = NodeSettings(defaults=EXACT)
        self._reconciler = Reconciler(world=world, settings=settings, book=self._book, board=board, demand=self._demand)
        self._sandboxes = Sandboxes(
            book=self._book,
            board=board,
            demand=self._demand,
            datapath=world.datapath,
            events=world.events,
            clock=clock,
            observer=world.observer,
            wake=self._reconciler.wake,
        )

    async def run(self, *, after_s: float) -> None:
        """Come up after so long, and go on until cancelled."""
        try:
            for pod in self._pods:
                self._demand.see(_pod(pod))
            await asyncio.sleep(after_s)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._reconciler.run())
                tasks.create_task(self._start_pods())
        finally:
            await self._kube.close()
            await self._arm.close()

    def pool_seen(self, body: Mapping[str, Any]) -> None:
        self._reconciler.pool_seen(body)

    def pool_gone(self) -> None:
        self._reconciler.pool_gone()

    async def _start_pods(self) -> None:
        """The kubelet's part: a pod for each address that is free. Pods for which there is none stay pending."""
        waiting = self._pods[::-1]
        while waiting:
            self._memory.freed.clear()
            while waiting and self._book.ledger.counts().free:
                holder = _holder(waiting[-1])
                try:
                    attached = await self._sandboxes.add(holder)
                except AzureCniError:
                    break
                self._demand.see(_pod(waiting.pop(), ip=str(attached.address)))
            try:
                async with asyncio.timeout(KUBELET_S):
                    await self._memory.freed.wait()
            except TimeoutError:
                continue


def _world(kube: KubeClient, arm: Arm, clock: NodeClock, *, name: str, machine: Machine) -> World:
    return World(
        cloud=ArmCloud(Told(name, machine), arm),
        nic_of=lambda who: ArmNic(arm, who.nic_id, chance=random.SystemRandom()),
        grants=ControllerGrants(),
        pools=KubePools(kube, node_name=name),
        node=KubeNode(kube, node_name=name),
        events=KubeEvents(kube, node_name=name, utc=clock.utc, monotonic=clock.boottime_s),
        datapath=FakeDatapath(),
        clock=clock,
        observer=Unmeasured(),
    )


def _pod(name: str, *, ip: str = "") -> dict[str, Any]:
    status = {"phase": "Running", "podIP": ip} if ip else {"phase": "Pending"}
    return {"metadata": {"namespace": "default", "name": name, "uid": f"uid-{name}"}, "spec": {}, "status": status}


def _holder(name: str) -> Holder:
    return Holder(Sandbox(f"container-{name}", "eth0"), f"/run/netns/{name}", "default", name, f"uid-{name}")
