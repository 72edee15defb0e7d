"""Carrying out orders: the controller asks Azure for nodes that may not, and writes their NICs as they tell it to.

The node decides, the controller judges: a node reaches no NIC but its own, and a write only as far as it was granted.
Nothing is kept that a successor would need. An order that was half carried out is carried out again: the etag that it
names makes the second write a failed precondition, upon which the node reads its NIC and decides anew. For the same
reason two controllers at work do no harm.

No agent is believed whose VM is whose: a node whose Node object names its VM is served for that one alone, and a VM
stays with the first node for which Azure confirmed it, until that node's pool goes.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar, assert_never

from azure_cni.api import orders
from azure_cni.api import pool as pool_api
from azure_cni.api.identity import MachineClaim, NodeIdentity
from azure_cni.api.order_documents import answer_document, read_identified, read_order
from azure_cni.api.orders import Failure, Identify, Order, ReadNic, ReadVNet, Result, WriteNic
from azure_cni.api.versions import version
from azure_cni.cluster.permits import names_another, not_its_vm, refuse_foreign, refuse_unlike, refuse_unpermitted
from azure_cni.cluster.ports import Machines, Nodes, Pools
from azure_cni.errors import (
    AccessDenied,
    AzureCniError,
    CloudError,
    DecodeFailed,
    InternalFault,
    KubeConflict,
    KubeError,
    KubeNotFound,
    PreconditionFailed,
    RequestRefused,
)
from azure_cni.faults import Faults
from azure_cni.ipam.backoff import delay_s

log = logging.getLogger(__name__)

T = TypeVar("T")

AT_ONCE: Final = 16
"""Questions to Azure at one time."""
WRITES_AT_ONCE: Final = 64
"""NICs written at one time. A write mostly waits for Azure, and permits pace them: questions need not wait behind."""
SPACING_S: Final = 1.0
"""Between two orders of one node: Azure allows so many questions to all together, and one node must not use them up."""


@dataclass(slots=True, eq=False)
class _Node:
    """What is known of one node; it goes as a whole, with the node's pool."""

    name: str
    uid: str
    due: int = 0
    """The newest order that nothing is done about yet; 0 when there is none."""
    serving: int = 0
    """The order that `task` is about."""
    task: asyncio.Task[None] | None = None
    begun_s: float = float("-inf")
    """When its last order was begun."""
    permit: tuple[int, int] = (0, 0)
    """The newest permit that it has used, and the order that used it."""
    vm_id: str = ""
    """The VM that Azure last confirmed for it. Never what its agent shows: that could be another node's."""
    provider_id: str = ""
    """What its Node object says of its machine; it does not change as long as there is that Node."""


class OrderDesk:
    """Implements `azure_cni.cluster.ports.Orders`: one task for each node with an order, the oldest first."""

    def __init__(
        self, *, pools: Pools, nodes: Nodes, machines: Machines, faults: Faults, spacing_s: float = SPACING_S
    ) -> None:
        self._pools = pools
        self._node_objects = nodes
        self._machines = machines
        self._faults = faults
        self._spacing_s = spacing_s
        self._nodes: dict[str, _Node] = {}
        self._turns: asyncio.Queue[_Node] = asyncio.Queue()
        """Nodes that something may be begun or broken off for."""
        self._questions = asyncio.Semaphore(AT_ONCE)
        self._writes = asyncio.Semaphore(WRITES_AT_ONCE)

    def see(self, body: Mapping[str, Any]) -> None:
        """A pool was listed, added or changed. What is old is found out when the pool is read."""
        name, uid = pool_api.pool_name(body), version(body).uid
        node = self._nodes.get(name)
        if node is None or node.uid != uid:
            self.forget(name)
            node = self._nodes[name] = _Node(name, uid)
        node.vm_id = node.vm_id or read_identified(body)
        number = orders.pending(body)
        if number is not None and number > node.due:
            node.due = number
            self._turns.put_nowait(node)

    def forget(self, name: str, uid: str = "") -> None:
        """A pool was deleted: what is still done for it nobody waits for. With `uid` only that one."""
        node = self._nodes.get(name)
        if node is None or uid not in {"", node.uid}:
            return
        del self._nodes[name]
        node.due = 0
        if node.task is not None:
            node.task.cancel()

    async def run(self) -> None:
        """Until cancelled, and with it all that is under way; what Azure has begun goes on there."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._turn(await self._turns.get(), tasks)

    def _turn(self, node: _Node, tasks: asyncio.TaskGroup) -> None:
        if node.task is None:
            if node.due:
                node.serving, node.due = node.due, 0
                node.task = tasks.create_task(self._serve(node), name=f"order of {node.name}")
                node.task.add_done_callback(partial(self._ended, node))
        elif node.due > node.serving:
            node.task.cancel()  # a newer order makes it void
        else:
            node.due = 0  # an old version of the pool

    def _ended(self, node: _Node, _: asyncio.Task[None]) -> None:
        node.task = None
        self._turns.put_nowait(node)

    # One order.

    async def _serve(self, node: _Node) -> None:
        """One order. What fails unforeseen fails this node's order alone, which it gives again by a new number."""
        try:
            with self._faults.guard("order", about=node.name):
                await self._carry_out_next(node)
        except AzureCniError as error:
            log.warning("order left unanswered", extra={"pool": node.name, "reason": error.reason, "error": str(error)})

    async def _carry_out_next(self, node: _Node) -> None:
        """Carry out the order that the pool holds now, and answer it."""
        loop, name = asyncio.get_running_loop(), node.name
        await asyncio.sleep(node.begun_s + self._spacing_s - loop.time())
        node.begun_s = loop.time()
        body = await self._insist(name, lambda: self._pools.read(name))
        number = orders.pending(body) if body is not None else None
        if body is None or number is None:
            return
        node.serving = number
        word, result = await self._result(node, body)
        facts = {"pool": name, "order": number, "verb": word, "seconds": round(loop.time() - node.begun_s, 3)}
        if isinstance(result, AzureCniError):
            error = result.__cause__ if isinstance(result.__cause__, CloudError) else result
            log.info("order refused", extra={**facts, "reason": result.reason, "error": str(error)})
        else:
            log.info("order carried out", extra=facts)
        document = answer_document(number, result)
        await self._insist(name, lambda: self._answer(name, number, document))

    async def _result(self, node: _Node, body: Mapping[str, Any]) -> tuple[str, Result | Failure]:
        """What the order is, and what comes of it."""
        try:
            order = read_order(body["status"]["order"])
        except DecodeFailed as error:
            return "unknown", RequestRefused(str(error))
        await self._provider_id(node, anew=isinstance(order, Identify))
        places = self._writes if isinstance(order, WriteNic) else self._questions
        async with places:
            try:
                with self._faults.guard("order", about=node.name):
                    return orders.verb(order), await self._carry_out(node, body, order)
            except (CloudError, InternalFault) as error:
                return orders.verb(order), error

    async def _provider_id(self, node: _Node, *, anew: bool = False) -> str:
        """What the Node says of its machine. Once it says something, only a new Node can say something else."""
        if anew or not node.provider_id:
            read = partial(self._node_objects.provider_id, node.name)
            node.provider_id = await self._insist(node.name, read) or ""
        return node.provider_id

    async def _carry_out(self, node: _Node, body: Mapping[str, Any], order: Order) -> Result:
        name = node.name
        try:
            identity = await self._own_machine(node, order.claim)
        except CloudError as error:
            told = not_its_vm(error, node=name)
            if told is error:
                raise
            raise told from error
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
                self._use(node, order.permit)
                return await self._write(name, body, order)
            case _:
                assert_never(order)

    async def _own_machine(self, node: _Node, claim: MachineClaim) -> NodeIdentity:
        """The VM that the node claims to be, if nothing says that it is another's."""
        refuse_unlike(claim, node.provider_id, node=node.name)
        identity = await self._machines.identify(claim)
        await self._refuse_taken(node, claim)
        node.vm_id = identity.vm_id
        return identity

    async def _write(self, name: str, body: Mapping[str, Any], order: WriteNic) -> Result:
        seen = await self._machines.read(order.nic_id)
        if seen.etag != order.etag:
            raise PreconditionFailed(f"cannot change the NIC of {name}: it changed since {order.etag} ({seen.etag})")
        refuse_unpermitted(order, seen, pool_api.view(body), node=name)
        return await self._machines.write(seen, add=order.add, remove=order.remove)

    def _use(self, node: _Node, permit: int) -> None:
        """A permit is good for one order: the budget of writes counts permits."""
        used, by = node.permit
        if used == permit and by != node.serving:
            raise AccessDenied(
                f"cannot change the NIC of node {node.name}: order {by} has used the permit {permit} already"
            )
        node.permit = (permit, node.serving)

    async def _refuse_taken(self, node: _Node, claim: MachineClaim) -> None:
        """A VM belongs to one node: to the first for which Azure confirmed it, unless its Node names another VM.

        That the Node of one who comes later names it is no proof: its kubelet could have written that.
        """
        while holder := self._holder(claim.vm_id, but=node):
            if not names_another(await self._provider_id(holder), vm=claim.vm_resource_id):
                raise AccessDenied(
                    f"cannot carry out an order of node {node.name} for VM {claim.vm_id}: it was found to be the VM of "
                    f"node {holder.name}; was the node renamed? then delete the old one: kubectl delete node "
                    f"{holder.name}"
                )
            holder.vm_id = ""

    def _holder(self, vm_id: str, *, but: _Node) -> _Node | None:
        return next((node for node in self._nodes.values() if node.vm_id == vm_id and node is not but), None)

    async def _answer(self, name: str, number: int, document: Mapping[str, Any]) -> None:
        """Write the answer, unless the node has ordered something else or another controller was faster."""
        while True:
            body = await self._pools.read(name)
            if body is None or orders.pending(body) != number:
                return
            try:
                await self._pools.write(name, version=version(body).number, status={"answer": document})
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
