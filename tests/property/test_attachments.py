"""Random lives of a node whose pods ask for load balancer pools and public addresses: no pod finds another's there.

Pods come and go, agents are killed in the midst of anything and begin again (at times after a reboot, without their
ledger), writes are refused, lost, or carried out long after the agent has given up on them. Whatever happens: an
address that a pod gets has nothing attached, and while it has it, nothing that this pod never asked for. In the end,
once nothing disturbs the node any more, each pod has what it asks for and nothing else is attached.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack
from ipaddress import IPv4Address
from random import Random

import pytest

from azure_cni.errors import CloudError, CloudUnreachable, NoAddress, RequestRefused, Throttled
from azure_cni.ipam.sizing import Policy
from azure_cni.model.attachments import Allowance, AttachedResource
from azure_cni.model.ipv6 import NO_IPV6, IPv6Growth
from azure_cni.model.nic import AttachmentChange, ConfigName, NicView
from fakes.nic import FakeNic, operation_failed
from fakes.simulated_node import SimulatedNode, pod_body

pytestmark = pytest.mark.looptime

GROUP = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network"
IDS = (
    *(f"{GROUP}/loadBalancers/lb/backendAddressPools/{name}" for name in ("a", "b")),
    *(f"{GROUP}/publicIPAddresses/{name}" for name in ("x", "y")),
)
RESOURCES = tuple(found for one in IDS if (found := AttachedResource.parse(one)) is not None)
ALLOWED = (Allowance(frozenset({"*"}), frozenset(RESOURCES)),)


class LossyNic(FakeNic):
    """A NIC whose writes may be refused, or have an outcome that nobody learns: never carried out, or much later."""

    def __init__(self, chance: Random) -> None:
        super().__init__(subnet="10.240.0.0/26")
        self.chance = chance
        self.disturbed = True
        self.late: list[asyncio.Task[None]] = []
        self.changed = (0, 0)
        """How many configurations writes gave something, and from how many they took something."""

    async def write(
        self,
        seen: NicView,
        *,
        add: int = 0,
        size: int = 1,
        remove: Collection[ConfigName] = (),
        attach: Sequence[AttachmentChange] = (),
        ipv6: IPv6Growth = NO_IPV6,
    ) -> NicView:
        added, removed = self.changed
        self.changed = (added + sum(bool(it.add) for it in attach), removed + sum(bool(it.remove) for it in attach))
        if self.disturbed:
            await asyncio.sleep(self.chance.uniform(0.0, 3.0))
            fate = self.chance.random()
            if fate < 0.4:
                delay_s = self.chance.choice((0.5, 2.0, 8.0, 40.0, 1e9))
                self.late.append(asyncio.create_task(self._carry_out(seen, delay_s, add, remove, attach)))
                if self.chance.random() < 0.3:
                    await asyncio.sleep(60.0)
                raise CloudUnreachable("cannot write the NIC: no answer")
            if fate < 0.45:
                raise self.chance.choice((Throttled("cannot: by chance"), RequestRefused("cannot: by chance")))
            if fate < 0.5:
                self.fail_operation = operation_failed()
        return await super().write(seen, add=add, size=size, remove=remove, attach=attach, ipv6=ipv6)

    async def _carry_out(
        self,
        seen: NicView,
        delay_s: float,
        add: int,
        remove: Collection[ConfigName],
        attach: Sequence[AttachmentChange],
    ) -> None:
        await asyncio.sleep(delay_s)
        try:
            await super().write(seen, add=add, remove=remove, attach=attach)
        except CloudError:
            return


class Life:
    """One node, through several agents."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.nic = LossyNic(self.chance)
        self.asked: dict[str, set[AttachedResource]] = {}
        """All that a pod has ever asked for."""
        self.asks: dict[str, frozenset[AttachedResource]] = {}
        self.addresses: dict[str, IPv4Address] = {}
        self.made = 0
        self.node = self._agent(None)

    def _agent(self, before: SimulatedNode | None, *, rebooted: bool = False) -> SimulatedNode:
        policy = Policy(min_free=2, max_free=4, batch=2, maximum=5)
        return SimulatedNode(
            nic=self.nic,
            before=before,
            rebooted=rebooted,
            policy=policy,
            attachable=ALLOWED,
            shrink_delay_s=60.0,
            cooling_s=0.5,  # or it would hide what this is about
        )

    def show(self, name: str, *, ending: bool = False) -> None:
        pools = ",".join(one.id for one in self.asks[name] if "backendAddressPools" in one.id)
        public = ",".join(one.id for one in self.asks[name] if "publicIPAddresses" in one.id)
        annotations = {"azure-cni.io/load-balancer-pools": pools, "azure-cni.io/public-ip": public}
        gone = {"deletionTimestamp": "2026-11-28T12:00:00Z"} if ending else {}
        ip = str(self.addresses.get(name, ""))
        self.node.demand.observe_pod(pod_body(name, phase="Running", ip=ip, annotations=annotations, **gone))
        self.node.reconciler.wake()

    def wish(self, name: str) -> None:
        wanted = set(self.chance.sample(RESOURCES[:2], self.chance.randrange(3)))
        wanted |= set(self.chance.sample(RESOURCES[2:], self.chance.randrange(2)))
        self.asks[name] = frozenset(wanted) if self.chance.random() < 0.6 else frozenset()
        self.asked.setdefault(name, set()).update(self.asks[name])
        self.show(name)

    async def come(self) -> None:
        name = f"p{self.made}"
        self.made += 1
        self.wish(name)
        try:
            address = (await self.node.add(name)).addresses[0]
        except NoAddress:
            await self.leave(name)
            return
        assert self.nic.attached_to(address) <= self.asked[name], f"{name} finds another's on {address}"
        self.addresses[name] = address
        self.show(name)

    async def leave(self, name: str) -> None:
        if self.chance.random() < 0.7:
            self.show(name, ending=True)
            await asyncio.sleep(self.chance.choice((0.0, 0.2, 4.0)))
        await self.node.delete(name)
        self.addresses.pop(name, None)
        del self.asks[name]
        self.node.demand.forget_pod(f"uid-{name}")
        self.node.reconciler.wake()

    async def go(self) -> None:
        if self.addresses:
            await self.leave(self.chance.choice(sorted(self.addresses)))

    async def change_its_mind(self) -> None:
        if self.addresses:
            self.wish(self.chance.choice(sorted(self.addresses)))

    async def rest(self) -> None:
        for _ in range(self.chance.choice((1, 1, 3, 20))):
            await asyncio.sleep(self.chance.uniform(0.1, 4.0))
            self.check()

    def check(self) -> None:
        for name, address in self.addresses.items():
            assert self.nic.attached_to(address) <= self.asked[name], f"{name} has another's on {address}"

    async def live(self) -> None:
        for _ in range(5):
            async with AsyncExitStack() as running:
                await running.enter_async_context(self.node.running())
                await asyncio.sleep(self.chance.uniform(0.0, 3.0))
                self.list_pods()
                for _ in range(20):
                    steps = (self.come, self.come, self.go, self.change_its_mind, self.rest)
                    await self.chance.choice(steps)()
                    self.check()
                assert not [it for it in self.node.observer.recorded if it[0] == "internal_error"]
            await self.begin_again()
        self.nic.disturbed = False
        async with self.node.running():
            self.list_pods()
            await self.node.until(self.is_right, within_s=4000.0)

    def list_pods(self) -> None:
        self.node.demand.begin_list()
        self.node.demand.replace([])
        for name in self.addresses:
            self.show(name)

    async def begin_again(self) -> None:
        rebooted = self.chance.random() < 0.2
        if rebooted:
            await asyncio.sleep(60.0)  # no request is on its way for so long
            self.addresses.clear()
            self.asks.clear()
        self.node = self._agent(self.node, rebooted=rebooted)

    def is_right(self) -> bool:
        """Each pod has what it asks for; of a public address that several ask for, one of them."""
        for name, address in self.addresses.items():
            held, wanted = self.nic.attached_to(address), self.asks[name]
            if not held <= wanted or any("backendAddressPools" in one.id for one in wanted - held):
                return False
        shared = {one for wanted in self.asks.values() for one in wanted if "publicIPAddresses" in one.id}
        there = [one for held in self.nic.resources.values() for one in held if "publicIPAddresses" in one.id]
        of_pods = {address for address in self.addresses.values() if self.nic.attached_to(address)}
        elsewhere = [name for name, held in self.nic.resources.items() if held]
        return sorted(there) == sorted(shared) and len(elsewhere) == len(of_pods)


@pytest.mark.parametrize("seed", range(24))
async def test_no_pod_finds_what_another_had_attached(seed: int) -> None:
    life = Life(seed)
    try:
        await life.live()
    finally:
        for task in life.nic.late:
            task.cancel()
        await asyncio.gather(*life.nic.late, return_exceptions=True)


async def test_the_lives_do_attach_and_detach() -> None:
    """They would find nothing if nothing happened in them."""
    lives = [Life(seed) for seed in (1, 2, 3)]
    for life in lives:
        await life.live()
        for task in life.nic.late:
            task.cancel()
    assert sum(life.nic.changed[0] for life in lives) > 8
    assert sum(life.nic.changed[1] for life in lives) > 4
