"""The pool task and the status task of one node, with every port as slow as it likes: neither undoes the other's work.

The API server, the kernel, the metadata service and Azure each take a time of their own for each call, before and after
it takes effect, so the tasks change places at every wait in many orders. Whatever the order: each write of the NIC has
an answered request of its own, which stands in the pool and covers what the NIC holds afterwards; and once all is quiet
the pool's status is what is so.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from azure_cni.errors import CloudUnreachable, NoAddress, PreconditionFailed, Throttled
from azure_cni.ipam.sizing import Policy
from azure_cni.model.ipv6 import NO_IPV6
from azure_cni.node.pool.reservation_request import ControllerGrants
from fakes.nic import FakeNic, operation_failed
from fakes.simulated_node import SimulatedNode, holder, pod_body

pytestmark = pytest.mark.looptime

PACES_S = (0.0, 0.01, 0.7, 3.0)
"""How long a call may take on either side of its effect."""


class Life:
    """One node whose requests a controller answers, its pods, and the delays of its ports, all by chance."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.node = SimulatedNode(
            nic=FakeNic(ipv6_space="fd00::/64", ipv6_blocks=seed % 4 == 1),
            grants=ControllerGrants(),
            policy=Policy(min_free=2, max_free=8, batch=4, ipv6=bool(seed % 2)),
            shrink_delay_s=20.0,
        )
        self.dual = bool(seed % 2)
        self.pods: list[str] = []
        self.used: set[int] = set()
        """Numbers of requests that were used for a write."""
        self.patch_as_controller = self.node.pools.patch_status
        for port, names in (
            (self.node.pools, ("read", "create", "patch_status", "read_node", "write_taints")),
            (self.node.datapath, ("apply_node", "uplink")),
            (self.node.cloud, ("identify", "vnet")),
            (self.node.nic, ("read",)),
        ):
            for name in names:
                setattr(port, name, self.slow(getattr(port, name)))
        self.write_nic, self.node.nic.write = self.node.nic.write, self.write  # type: ignore[method-assign]

    def slow(self, call: Any) -> Any:
        longest_s = self.chance.choice(PACES_S)

        async def slowly(*args: Any, **options: Any) -> Any:
            await asyncio.sleep(self.chance.uniform(0.0, longest_s))
            result = await call(*args, **options)
            await asyncio.sleep(self.chance.uniform(0.0, longest_s))
            return result

        return slowly

    async def write(
        self, seen: Any, *, add: int = 0, size: int = 1, remove: Any = (), attach: Any = (), ipv6: Any = NO_IPV6
    ) -> Any:
        """The NIC is written under a grant of its own, and never beyond it; it may fail, and may take long."""
        status, held = dict(self.node.status), len(seen.secondaries)
        assert status["grantedFor"] == status["requestID"]
        assert status["requestID"] not in self.used
        self.used.add(status["requestID"])
        assert held + add <= min(status["granted"], status["requested"]) or not add
        await asyncio.sleep(self.chance.uniform(0.0, self.chance.choice((0.5, 30.0))))
        if self.chance.random() < 0.3:
            failure = self.chance.choice((Throttled, PreconditionFailed, CloudUnreachable))
            raise failure("cannot write the NIC: by chance")
        if self.chance.random() < 0.1:
            self.node.nic.fail_operation = operation_failed()
        view = await self.write_nic(seen, add=add, size=size, remove=remove, attach=attach, ipv6=ipv6)
        assert len(view.secondaries) <= self.node.status["requested"]
        return view

    async def control(self) -> None:
        """Answer what is asked, at times with less, and the rest later; the node may see an answer late."""
        while True:
            await asyncio.sleep(self.chance.uniform(0.0, 4.0))
            pool = self.node.pools.shown()
            view = pool.view
            if not view.request.number:
                continue
            short = view.granted < view.request.count and self.chance.random() < 0.1
            if short or view.granted_for != view.request.number:
                count = max(view.request.count - self.chance.choice((0, 0, 0, 2)), view.allocated)
                fields = {"granted": count, "grantedFor": view.request.number}
                pool = await self.patch_as_controller(pool, fields)
            if self.chance.random() < 0.8:
                self.node.reconciler.pool_seen(pool)

    async def live(self) -> None:
        async with self.node.running(), asyncio.TaskGroup() as tasks:
            controlling = tasks.create_task(self.control())
            for number in range(60):
                await self.chance.choice((self.come, self.come, self.go, self.rest))(number)
                assert not [reported for reported in self.node.observer.recorded if reported[0] == "internal_error"]
            await self.settled()
            controlling.cancel()

    async def come(self, number: int) -> None:
        name = f"p{number}"
        self.node.demand.observe_pod(pod_body(name))
        try:
            address = (await self.node.add(name)).addresses[0]
        except NoAddress:
            self.node.demand.forget_pod(f"uid-{name}")
            return
        self.node.demand.observe_pod(pod_body(name, phase="Running", ip=str(address)))
        slots = self.node.stored.ledger.holding(holder(name).sandbox)
        assert all(bool(slot.ipv6) == self.dual for slot in slots)
        self.pods.append(name)

    async def go(self, _: int) -> None:
        if self.pods:
            name = self.pods.pop(self.chance.randrange(len(self.pods)))
            await self.node.delete(name)
            self.node.demand.forget_pod(f"uid-{name}")

    async def rest(self, _: int) -> None:
        await asyncio.sleep(self.chance.choice((0.1, 5.0, 60.0, 200.0)))

    async def settled(self) -> None:
        await self.node.until(self.is_shown, within_s=1800)

    def is_shown(self) -> bool:
        """What the pool's status says is so, and the request covers the NIC and no more."""
        status, counts = self.node.status, self.node.counts
        said = tuple(status.get(key) for key in ("allocated", "assigned", "free", "cooling", "requested"))
        on_nic = len(self.node.nic.addresses) - 1
        return said == (on_nic, len(self.pods), counts.free, counts.cooling, on_nic)


@pytest.mark.parametrize("seed", range(16))
async def test_neither_task_undoes_what_the_other_does_however_slow_the_ports_are(seed: int) -> None:
    await Life(seed).live()
