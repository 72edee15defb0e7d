"""One node without a machine: the product's reconciler with its real adapters, and no kernel, binary or disk.

What is left out: the kernel or HNS (`simulation.data_planes`), the CNI binary and its socket (pods are given to
`Sandboxes` directly), the file of the ledger, and the metadata service: a node is given its identity.
"""

import asyncio
import random
from collections import deque
from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Any, Self

from azure.core.credentials import AccessToken

from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.azure.arm import Arm
from azure_cni.azure.endpoints import cloud_named
from azure_cni.azure.imds import Imds
from azure_cni.azure.instance_document import ImdsAddress, ImdsInterface, Instance
from azure_cni.azure.instance_gate import InstanceGate
from azure_cni.azure.nics import nic_at
from azure_cni.azure.throttle_gate import ThrottleGate
from azure_cni.azure.vm_identity import ArmVmIdentity
from azure_cni.errors import AzureCniError
from azure_cni.ipam.address_state import Holder, Sandbox, Slot, State
from azure_cni.ipam.ledger import Change
from azure_cni.ipam.sizing import Policy
from azure_cni.kube.client import KubeClient, KubeEndpoint
from azure_cni.kube.events import KubeEvents
from azure_cni.kube.nodes import KubeNode
from azure_cni.kube.pools import KubePools
from azure_cni.model.nic import BLOCK_LENGTH, Adopt
from azure_cni.node.assembly import Node
from azure_cni.node.node_settings import NodePorts, NodeSettings
from azure_cni.node.pool.reservation_request import ControllerGrants
from simulation.absent import NoPodConditions, NoPods, NoRecords
from simulation.data_planes import DataPlane, data_plane, require_wired
from simulation.pace import NodeClock
from simulation.plan import AzureFacts, Machine, Run, machine_of

MAX_FREE = 24
CLOUD = "AzurePublicCloud"
KUBELET_S = 60.0
"""How often what waits is tried again, if nothing happens before."""


def pool_policy(*, spare: int, step: int, dual: bool = False) -> Policy:
    """A pool as large as its pods need, or larger by spare addresses, so that one write of the NIC is enough for a
    node; of blocks, when `step` is one's size. `dual`: with an IPv6 address for each.
    """
    blocks = BLOCK_LENGTH if step > 1 else 0
    return Policy(min_free=spare, max_free=max(MAX_FREE, spare + step), batch=step, blocks=blocks, ipv6=dual)


class Unmeasured:
    """The Observer port, for nobody."""

    def cni(self, verb: str, code: int, seconds: float, *, container_id: str = "") -> None: ...

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


class SimulationNode:
    """A node that wants `demand` pods to run, `early` of them from the beginning. `run` never returns."""

    def __init__(self, run: Run, azure: AzureFacts, *, name: str, demand: int, early: int) -> None:
        machine = machine_of(run.directory, azure, name)
        self._run, self._early = run, early
        self._pods = [f"{name}-pod-{number}" for number in range(demand)]
        self._waiting: deque[str] = deque()
        clock = NodeClock(run.pace)
        self._kube = KubeClient(KubeEndpoint(run.api_url, token=run.token, ca_file=run.api_ca))
        self._arm = arm = Arm(
            cloud_named(CLOUD, endpoint=azure.arm),
            Issued(machine.token),
            meter=Unmeasured(),
            gate=ThrottleGate(monotonic=clock.boottime_s),
            instance_gate=InstanceGate(monotonic=clock.boottime_s),
            ca_file=azure.ca_file,
        )
        self._memory = Memory()
        shape, _ = run.scenario.shape_of(name)
        self._plane = plane = data_plane(machine, windows=shape.windows, subnet_prefix=run.scenario.subnet_prefix)
        ports = _ports(self._kube, arm, clock, self._memory, plane, name=name, machine=machine)
        policy = pool_policy(spare=run.scenario.spare, step=shape.step, dual=shape.dual)
        self._node = Node(ports, NodeSettings(defaults=policy))
        self._families = [4, 6] if shape.dual else [4]

    async def run(self, *, after_s: float) -> None:
        """Come up after that time, and go on until cancelled."""
        try:
            self._pods_come(self._pods[: self._early])
            await asyncio.sleep(after_s)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._node.reconciler.run())
                tasks.create_task(self._start_pods())
                if self._early < len(self._pods):
                    await asyncio.sleep(max(0.0, self._run.scenario.late_s - self._run.pace.elapsed_s()))
                    self._pods_come(self._pods[self._early :])
                    self._memory.freed.set()
        finally:
            await self._plane.close()
            await self._kube.close()
            await self._arm.close()

    def pool_seen(self, pool: NodeIPPool) -> None:
        self._node.reconciler.pool_seen(pool)

    def pool_gone(self) -> None:
        self._node.reconciler.pool_gone()

    def _pods_come(self, names: Iterable[str]) -> None:
        for name in names:
            self._node.demand.observe_pod(_pod(name))
            self._waiting.append(name)

    async def _start_pods(self) -> None:
        """The kubelet's part: a pod for each address that is free. Pods for which there is none stay pending."""
        waiting = self._waiting
        while True:
            self._memory.freed.clear()
            while waiting and self._node.stored.ledger.counts().free:
                holder = _holder(waiting[0], self._plane.netns(waiting[0]))
                try:
                    wiring = await self._node.sandboxes.add(holder)
                except AzureCniError:
                    break
                require_wired(self._plane, holder.netns, wiring.addresses, families=self._families)
                self._node.demand.observe_pod(_pod(waiting.popleft(), ip=str(wiring.addresses[0])))
            try:
                async with asyncio.timeout(KUBELET_S):
                    await self._memory.freed.wait()
            except TimeoutError:
                continue


def _ports(
    kube: KubeClient, arm: Arm, clock: NodeClock, memory: Memory, plane: DataPlane, *, name: str, machine: Machine
) -> NodePorts:
    return NodePorts(
        cloud=ArmVmIdentity(Told(name, machine), arm),
        nic_of=lambda who: nic_at(
            arm, who.nic_id, chance=random.SystemRandom(), adopt=Adopt.PLAIN, shrink_scale_sets=True
        ),
        grants=ControllerGrants(),
        pools=KubePools(kube, node_name=name),
        node=KubeNode(kube, node_name=name),
        pods=NoPods(),
        pod_conditions=NoPodConditions(),
        events=KubeEvents(kube, node_name=name, utc=clock.utc, monotonic=clock.boottime_s),
        datapath=plane.datapath,
        store=memory,
        released=NoRecords(),
        clock=clock,
        observer=Unmeasured(),
    )


def _pod(name: str, *, ip: str = "") -> dict[str, Any]:
    status = {"phase": "Running", "podIP": ip} if ip else {"phase": "Pending"}
    return {"metadata": {"namespace": "default", "name": name, "uid": f"uid-{name}"}, "spec": {}, "status": status}


def _holder(name: str, netns: str) -> Holder:
    return Holder(Sandbox("azure-cni", f"container-{name}", "eth0"), netns, "default", name, f"uid-{name}")
