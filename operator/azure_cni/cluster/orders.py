"""Carrying out orders: the controller asks Azure for nodes that may not, and writes their NICs as they tell it to.

The node decides, the controller judges: a node reaches no NIC but its own, and a write only as far as it was granted.
Nothing is kept that a successor would need. An order that was half carried out is carried out again: the etag that it
names makes the second write a failed precondition, upon which the node reads its NIC and decides anew. For the same
reason two controllers at work do no harm.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, TypeVar, assert_never

from azure_cni.api import orders
from azure_cni.api import pool as pool_api
from azure_cni.api.order_documents import answer_document, read_order
from azure_cni.api.orders import Identify, Order, ReadNic, ReadVNet, Result, WriteNic
from azure_cni.cluster.permits import refuse_foreign, refuse_unpermitted
from azure_cni.cluster.ports import Machines, Pools
from azure_cni.errors import (
    AccessDenied,
    CloudError,
    DecodeFailed,
    KubeConflict,
    KubeError,
    KubeNotFound,
    PreconditionFailed,
    RequestRefused,
)
from azure_cni.ipam.backoff import delay_s

log = logging.getLogger(__name__)

T = TypeVar("T")

AT_ONCE: Final = 16
"""Questions to Azure at one time."""
WRITES_AT_ONCE: Final = 64
"""NICs written at one time. A write mostly waits for Azure, and permits pace them: questions need not wait behind."""
SPACING_S: Final = 1.0
"""Between two orders of one node: Azure allows so many questions to all together, and one node must not use them up."""


class OrderDesk:
    """Implements `azure_cni.cluster.ports.Orders`: one task for each pool with an order, the oldest first."""

    def __init__(self, *, pools: Pools, machines: Machines, spacing_s: float = SPACING_S) -> None:
        self._pools = pools
        self._spacing_s = spacing_s
        self._begun_s: dict[str, float] = {}
        self._machines = machines
        self._due: dict[str, int] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._serving: dict[str, int] = {}
        """The order that each of these tasks is about."""
        self._used: dict[str, tuple[int, int]] = {}
        """The newest permit that each node has used, and the order that used it."""
        self._machine_of: dict[str, str] = {}
        """The VM that each pool shows as its own."""
        self._woken = asyncio.Event()
        self._questions = asyncio.Semaphore(AT_ONCE)
        self._writes = asyncio.Semaphore(WRITES_AT_ONCE)

    def see(self, body: Mapping[str, Any]) -> None:
        """A pool was listed, added or changed. What is old is found out when the pool is read."""
        name = pool_api.pool_name(body)
        self._machine_of[name] = str((body.get("status") or {}).get("vmID") or "").lower()
        number = orders.pending(body)
        if number is not None and number > self._due.get(name, 0):
            self._due[name] = number
            self._woken.set()

    def forget(self, name: str) -> None:
        """A pool was deleted: what is still done for it nobody waits for."""
        for known in (self._due, self._machine_of, self._used, self._begun_s):
            known.pop(name, None)
        if name in self._running:
            self._running[name].cancel()

    async def run(self) -> None:
        """Until cancelled, and with it all that is under way; what Azure has begun goes on there."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._begin(tasks)
                await self._woken.wait()
                self._woken.clear()

    def _begin(self, tasks: asyncio.TaskGroup) -> None:
        for name, number in list(self._due.items()):
            if name not in self._running:
                del self._due[name]
                self._serving[name] = number
                self._running[name] = task = tasks.create_task(self._serve(name), name=f"order of {name}")
                task.add_done_callback(partial(self._ended, name))
            elif number > self._serving[name]:
                self._running[name].cancel()  # a newer order makes it void
            else:
                del self._due[name]  # an old version of the pool

    def _ended(self, name: str, _: asyncio.Task[None]) -> None:
        del self._running[name]
        self._woken.set()

    # One order.

    async def _serve(self, name: str) -> None:
        """Carry out the order that the pool holds now, and answer it."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._begun_s.get(name, float("-inf")) + self._spacing_s - loop.time())
        began_s = self._begun_s[name] = loop.time()
        body = await self._insist(name, lambda: self._pools.read(name))
        number = orders.pending(body) if body is not None else None
        if body is None or number is None:
            return
        self._serving[name] = number
        word, result = await self._result(name, number, body)
        facts = {"pool": name, "order": number, "verb": word, "seconds": round(loop.time() - began_s, 3)}
        if isinstance(result, CloudError):
            log.info("order refused", extra={**facts, "reason": result.reason, "error": str(result)})
        else:
            log.info("order carried out", extra=facts)
        document = answer_document(number, result)
        await self._insist(name, lambda: self._answer(name, number, document))

    async def _result(self, name: str, number: int, body: Mapping[str, Any]) -> tuple[str, Result | CloudError]:
        """What the order is, and what comes of it."""
        try:
            order = read_order(body["status"]["order"])
        except DecodeFailed as error:
            return "unknown", RequestRefused(str(error))
        places = self._writes if isinstance(order, WriteNic) else self._questions
        async with places:
            try:
                return orders.verb(order), await self._carry_out(name, number, body, order)
            except CloudError as error:
                return orders.verb(order), error

    async def _carry_out(self, name: str, number: int, body: Mapping[str, Any], order: Order) -> Result:
        self._refuse_taken(name, order)
        identity = await self._machines.identify(order.claim)
        match order:
            case Identify():
                return identity
            case ReadVNet():
                refuse_foreign(order.vnet_id, own=identity.vnet_id, node=name)
                return await self._machines.vnet(identity)
            case ReadNic():
                refuse_foreign(order.nic_id, own=identity.nic_id, node=name)
                return await self._machines.read(identity.nic_id)
            case WriteNic():
                refuse_foreign(order.nic_id, own=identity.nic_id, node=name)
                self._use(name, number, order.permit)
                return await self._write(name, body, order)
            case _:
                assert_never(order)

    async def _write(self, name: str, body: Mapping[str, Any], order: WriteNic) -> Result:
        seen = await self._machines.read(order.nic_id)
        if seen.etag != order.etag:
            raise PreconditionFailed(f"cannot change the NIC of {name}: it changed since {order.etag} ({seen.etag})")
        refuse_unpermitted(order, seen, pool_api.view(body), node=name)
        return await self._machines.write(seen, add=order.add, remove=order.remove)

    def _use(self, name: str, number: int, permit: int) -> None:
        """A permit is good for one order: the budget of writes counts permits."""
        used, by = self._used.get(name, (0, 0))
        if used == permit and by != number:
            raise AccessDenied(f"cannot change the NIC of node {name}: order {by} has used the permit {permit} already")
        self._used[name] = (permit, number)

    def _refuse_taken(self, name: str, order: Order) -> None:
        """A machine belongs to one node: to the one whose pool shows it."""
        vm_id = order.claim.vm_id
        others = [other for other, shown in self._machine_of.items() if shown == vm_id and other != name]
        if others:
            raise AccessDenied(
                f"cannot carry out an order of node {name} for VM {vm_id}: it is the VM of node {others[0]}, by the "
                "NodeIPPool of that name; was the node renamed? then delete the old one"
            )

    async def _answer(self, name: str, number: int, document: Mapping[str, Any]) -> None:
        """Write the answer, unless the node has ordered something else or another controller was faster."""
        while True:
            body = await self._pools.read(name)
            if body is None or orders.pending(body) != number:
                return
            try:
                version = str(body["metadata"]["resourceVersion"])
                await self._pools.write(name, version=version, status={"answer": document})
            except KubeConflict:
                await asyncio.sleep(0)
            else:
                return

    async def _insist(self, name: str, call: Callable[[], Awaitable[T]]) -> T | None:
        """Try until it is done. None when the pool has gone."""
        attempts = 0
        while True:
            try:
                return await call()
            except KubeNotFound:
                return None
            except KubeError as error:
                attempts += 1
                if attempts == 1:
                    log.warning("cannot serve a node's order yet", extra={"pool": name, "error": str(error)})
                await asyncio.sleep(delay_s(attempts, retry_after_s=None, jitter=random.random()))  # noqa: S311
