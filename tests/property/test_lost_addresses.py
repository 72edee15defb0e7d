"""Nodes of one subnet, and a tool that takes addresses off their NICs again and again, by chance, over hours.

Azure gives an address to whoever asks first. So for the seconds until a node has noticed the loss, another may get the
address of its pod. But later than that, none does: the address of a pod that lives is on the NIC of its node again, or
on that of the node which got it in those seconds.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from ipaddress import IPv4Address
from random import Random
from typing import Any

import pytest

from azure_cni.errors import CloudUnreachable, NoAddress, PreconditionFailed, Throttled
from azure_cni.ipam.nic_hints import LAG_S
from azure_cni.ipam.sizing import Policy
from fakes.metadata import FakeMetadata
from fakes.nic import FakeNic, operation_failed
from fakes.simulated_node import SimulatedNode, pod_body

pytestmark = pytest.mark.looptime

NOTICED_S = 2 * 15.0 * 1.1 + LAG_S + 2.0
"""An address that had just come is missed at the second look: two periods with their spread, and the passes."""
REPAIRED_S = 60.0
"""And the pauses after a write that failed."""


class Neighbour(FakeNic):
    """A NIC whose subnet others have addresses of, too."""

    def __init__(self, neighbours: list[Neighbour], **options: Any) -> None:
        self.neighbours = neighbours
        super().__init__(**options)
        neighbours.append(self)

    @property
    def taken(self) -> dict[IPv4Address, str]:  # type: ignore[override]
        return {
            address: f"NIC {number}"
            for number, nic in enumerate(self.neighbours)
            if nic is not self
            for address in nic.addresses
        }

    @taken.setter
    def taken(self, _: dict[IPv4Address, str]) -> None:
        """Nobody else has any."""


class Subnet:
    """Three nodes, their pods, and what is known of addresses that were lost."""

    def __init__(self, seed: int, *, trouble: bool) -> None:
        self.chance = Random(seed)
        self.trouble = trouble
        self.nics: list[Neighbour] = []
        policy = Policy(min_free=2, max_free=8, batch=4)
        self.nodes = [self._node(number, policy) for number in range(3)]
        self.pods: list[tuple[SimulatedNode, str]] = []
        self.lost_s: dict[tuple[int, IPv4Address], float] = {}
        self.stolen: set[tuple[int, IPv4Address]] = set()
        self.returned = 0

    def _node(self, number: int, policy: Policy) -> SimulatedNode:
        nic = Neighbour(self.nics, primary=f"10.240.0.{4 + number}", subnet="10.240.0.0/26")
        return SimulatedNode(nic=nic, policy=policy, shrink_delay_s=60.0, shown_addresses=FakeMetadata(nic))

    async def live(self, steps: int) -> None:
        async with AsyncExitStack() as stack:
            for node in self.nodes:
                await stack.enter_async_context(node.running())
            for node in self.nodes:
                node.demand.begin_list()
                node.demand.replace([])
                await node.until(lambda node=node: node.state.ready and node.counts.free > 0)
            watcher = asyncio.create_task(self.watch())
            for number in range(steps):
                await self.step(number)
                await asyncio.sleep(self.chance.choice((0.3, 3.0, 60.0, 120.0)))
                if watcher.done():
                    break
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
            if watcher.done() and not watcher.cancelled() and (error := watcher.exception()):
                raise error

    async def step(self, number: int) -> None:
        steps = (self.start, self.end, self.forget, self.remove, self.fail)
        (step,) = self.chance.choices(steps, (5, 3, 2, 2, self.trouble))
        await step(self.chance.choice(self.nodes), f"p{number}")

    async def start(self, node: SimulatedNode, name: str) -> None:
        node.demand.observe_pod(pod_body(name))
        try:
            await node.add(name)
            self.pods.append((node, name))
        except NoAddress:
            node.demand.forget_pod(f"uid-{name}")

    async def end(self, _: SimulatedNode, __: str) -> None:
        if self.pods:
            node, name = self.pods.pop(self.chance.randrange(len(self.pods)))
            await node.delete(name)
            node.demand.forget_pod(f"uid-{name}")

    async def forget(self, node: SimulatedNode, _: str) -> None:
        node.nic.elsewhere_forget()

    async def remove(self, node: SimulatedNode, _: str) -> None:
        there = [config.name for config in (await node.nic.read()).secondaries]
        if there:
            node.nic.elsewhere_remove(self.chance.choice(there))

    async def fail(self, node: SimulatedNode, _: str) -> None:
        if self.chance.random() < 0.5:
            node.nic.fail_operation = operation_failed()
        else:
            failure = self.chance.choice((Throttled, PreconditionFailed, CloudUnreachable))
            node.nic.fail_next = failure("cannot write the NIC: by chance")

    async def watch(self) -> None:
        """Each second: no address of a living pod is off its node's NIC for long, nor got by another after that."""
        while True:
            self.judge(asyncio.get_running_loop().time())
            await asyncio.sleep(1)

    def judge(self, now_s: float) -> None:
        living = {
            (number, slot.address)
            for number, node in enumerate(self.nodes)
            for slot in node.stored.ledger.slots
            if slot.holder is not None
        }
        self.stolen &= living
        self.lost_s = {key: at_s for key, at_s in self.lost_s.items() if key in living}
        within_s = NOTICED_S + (REPAIRED_S if self.trouble else 0.0)
        for number, address in living:
            key = (number, address)
            if address in self.nics[number].addresses:
                self.returned += self.lost_s.pop(key, None) is not None
                self.stolen.discard(key)
                continue
            since_s = self.lost_s.setdefault(key, now_s)
            if address in self.nics[number].taken:
                assert key in self.stolen or now_s - since_s <= within_s, f"{address} went to another after {now_s}"
                self.stolen.add(key)
            elif key in self.stolen:  # who had it gave it back: it is asked for after a pause
                continue
            else:
                assert now_s - since_s <= within_s, f"{address} of node {number} is lost since {since_s}, now {now_s}"


@pytest.mark.parametrize("trouble", [False, True], ids=["azure_answers", "azure_fails_at_times"])
@pytest.mark.parametrize("seed", range(4))
async def test_a_lost_address_of_a_living_pod_comes_back_or_went_to_another_at_once(seed: int, trouble: bool) -> None:  # noqa: FBT001
    random.seed(seed)  # the jitter of the nodes
    subnet = Subnet(seed, trouble=trouble)
    await subnet.live(60)
    assert subnet.returned > 2
