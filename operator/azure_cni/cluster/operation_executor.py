"""Executes the NIC operations of nodes that have no access to Azure.

The node decides, the controller checks: a node reaches no NIC but its own, and a write goes only as far as its grant.
Nothing is kept that a successor would need. The next controller repeats an operation that was half done: the etag in it
makes a second write a failed precondition, upon which the node reads its NIC and decides again. For the same reason two
controllers at work do no harm.

An operation whose result cannot be written delays no other node: it is retried with growing pauses until the node
writes another operation. What Azure did for it is not repeated meanwhile.

An agent's claim about its VM is never trusted: `vm_claims` says what it takes, and `pod_subnet_claims` which of the
VM's NICs it may name.
"""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass
from functools import partial
from typing import Final, assert_never

from azure_cni.api import nic_operation
from azure_cni.api.nic_operation import (
    Challenge,
    Identify,
    NicOperation,
    OperationFailure,
    OperationResult,
    ReadNic,
    ReadVNet,
    SetSecurityGroups,
    WriteNic,
)
from azure_cni.api.nic_operation_codec import read_operation
from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.api.operation_result_codec import read_used_grant, result_document
from azure_cni.cluster.node_allowance import OPERATION_PACE, Pace, Spent, SpentByNode
from azure_cni.cluster.operation_calls import entry_of, insist, write_result
from azure_cni.cluster.pod_subnet_claims import PodSubnetClaims
from azure_cni.cluster.ports import Machines, MemberPools, Reservations
from azure_cni.cluster.vm_claims import VMClaims
from azure_cni.errors import (
    AzureCniError,
    CloudError,
    CloudUnreachable,
    DecodeFailed,
    InternalFault,
    KubeDenied,
    KubeError,
    KubeInvalid,
    KubeNotFound,
    RequestRefused,
)
from azure_cni.faults import Faults
from azure_cni.ipam.attachment_plan import admitted
from azure_cni.ipam.limits import BACKOFF_MAX_S, BACKOFF_REFUSED_S, delay_s
from azure_cni.model.attachments import AttachedResource
from azure_cni.model.identity import NodeIdentity
from azure_cni.quota.operation_checks import (
    refuse_beyond,
    refuse_changed,
    refuse_foreign,
    refuse_ungranted,
    refuse_unlisted,
    refuse_unpaid,
    refuse_used,
)  # fmt: skip

log = logging.getLogger(__name__)

CONCURRENT_READS: Final = 16
CONCURRENT_WRITES: Final = 64
"""More than reads: a write mostly waits for Azure, grants pace the writes, and reads must not wait behind them."""
FULL_RESULT_ATTEMPTS: Final = 6
"""How often the result is written as it is. After that, or once it is refused, a short error takes its place."""


@dataclass(slots=True, eq=False)
class _Node:
    """What is known of one node; forgotten as a whole, with the node's pool."""

    name: str
    uid: str
    spent: Spent
    due: int = 0
    """The newest operation that has not been started; 0 when there is none."""
    serving: int = 0
    """The operation that `task` executes."""
    task: asyncio.Task[None] | None = None
    stuck: bool = False
    """The result of its operation could not be written at the last attempt."""


class OperationExecutor:
    """Implements `azure_cni.cluster.ports.Operations`: one task for each node with an operation, the oldest first."""

    def __init__(
        self,
        *,
        pools: MemberPools,
        reservations: Reservations,
        machines: Machines,
        claims: VMClaims,
        pod_subnets: PodSubnetClaims,
        faults: Faults,
        attachable: frozenset[AttachedResource] = frozenset(),
        pace: Pace = OPERATION_PACE,
    ) -> None:
        """`attachable`: the pools and public IP addresses that the chart's values allow to pods of any namespace."""
        self._pools = pools
        self._reservations = reservations
        self._machines = machines
        self._claims = claims
        self._pod_subnets = pod_subnets
        self._faults = faults
        self._attachable = attachable
        self._pace = pace
        self._nodes: dict[str, _Node] = {}
        self._spent = SpentByNode()
        self._turns: asyncio.Queue[_Node] = asyncio.Queue()
        """Nodes whose operation may have to be started or cancelled."""
        self._reads = asyncio.Semaphore(CONCURRENT_READS)
        self._writes = asyncio.Semaphore(CONCURRENT_WRITES)

    @property
    def stuck(self) -> int:
        """How many nodes have an operation whose result could not be written at the last attempt."""
        return sum(node.stuck for node in self._nodes.values())

    def see(self, pool: NodeIPPool) -> None:
        """A pool was listed, added or changed. It may be an old version, so the pool is read again first."""
        name, uid = pool.name, pool.version.uid
        node = self._nodes.get(name)
        if node is None or node.uid != uid:
            self.forget(name)
            node = self._nodes[name] = _Node(name, uid, self._spent.for_new_pool(name))
        self._claims.see(pool)
        number = nic_operation.pending(pool)
        if number is not None and number > node.due:
            node.due = number
            self._turns.put_nowait(node)

    def forget(self, name: str, uid: str = "") -> None:
        """A pool was deleted: nobody waits for its operation any more. With `uid` only that one."""
        node = self._nodes.get(name)
        if node is None or uid not in {"", node.uid}:
            return
        del self._nodes[name]
        self._claims.forget(name)
        node.due = 0
        if node.task is not None:
            node.task.cancel()

    async def run(self) -> None:
        """Until cancelled, and with it all that is under way. What Azure has started continues there."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._turn(await self._turns.get(), tasks)

    def _turn(self, node: _Node, tasks: asyncio.TaskGroup) -> None:
        if node.task is None:
            if node.due:
                node.serving, node.due = node.due, 0
                node.task = tasks.create_task(self._serve(node), name=f"NIC operation of {node.name}")
                node.task.add_done_callback(partial(self._ended, node))
        elif node.due > node.serving:
            node.task.cancel()  # a newer operation voids it
        else:
            node.due = 0  # an old version of the pool

    def _ended(self, node: _Node, _: asyncio.Task[None]) -> None:
        node.task, node.stuck = None, False
        self._turns.put_nowait(node)

    # One operation.

    async def _serve(self, node: _Node) -> None:
        """One operation, until its result is written or it is void. Unforeseen failures are retried."""
        attempts = 0
        while True:
            try:
                with self._faults.guard("NIC operation", about=node.name):
                    return await self._execute_next(node)
            except AzureCniError as error:
                attempts += 1
                await self._pause(node, error, attempts, longest_s=BACKOFF_REFUSED_S)

    async def _pause(self, node: _Node, error: AzureCniError, attempts: int, *, longest_s: float) -> None:
        """Log that the result could not be written, and wait."""
        node.stuck = True
        pause_s = delay_s(attempts, retry_after_s=None, jitter=random.random(), longest_s=longest_s)  # noqa: S311
        facts = {"pool": node.name, "operation": node.serving, "attempts": attempts, "again_in_s": round(pause_s)}
        log.warning("NIC operation left unanswered", extra={**facts, "reason": error.reason, "error": str(error)})
        await asyncio.sleep(pause_s)

    async def _execute_next(self, node: _Node) -> None:
        """Execute the operation that the pool holds now, and write its result."""
        loop, name = asyncio.get_running_loop(), node.name
        await asyncio.sleep(node.spent.started.next_s(self._pace) - loop.time())
        node.spent.started = node.spent.started.again(self._pace, now_s=loop.time())
        pool = await insist(lambda: self._pools.read(name), pool=name, failed=partial(setattr, node, "stuck", True))
        number = nic_operation.pending(pool) if pool is not None else None
        if pool is None or number is None:
            return
        node.serving = number
        kind, result = await self._result(node, pool)
        facts = {
            "pool": name,
            "operation": number,
            "kind": kind,
            "seconds": round(loop.time() - node.spent.started.last_s, 3),
        }
        if isinstance(result, AzureCniError):
            error = result.__cause__ if isinstance(result.__cause__, CloudError) else result
            log.info("NIC operation refused", extra={**facts, "reason": result.reason, "error": str(error)})
        elif isinstance(result, Challenge):
            log.info("the node must attest which VM it is", extra={**facts, "why": result.why})
        else:
            log.info("NIC operation executed", extra=facts)
        await self._deliver(node, number, result)

    async def _deliver(self, node: _Node, number: int, result: OperationResult | OperationFailure) -> None:
        """Write the result. If that is impossible, the node gets an error that says why."""
        (used, by), attested = node.spent.grant, self._claims.attested(node.name, result)
        attempts = 0
        while True:
            document = result_document(number, result, attested=attested, used_grant=used if by == number else 0)
            try:
                return await write_result(self._pools, node.name, number, document)
            except KubeNotFound:
                return None
            except KubeError as error:
                attempts += 1
                refused = isinstance(error, KubeInvalid | KubeDenied)
                if refused or attempts >= FULL_RESULT_ATTEMPTS:
                    result = CloudUnreachable(
                        f"cannot report the result of NIC operation {number} of node {node.name}: it cannot be "
                        f"written: {error}"
                    )
                await self._pause(node, error, attempts, longest_s=BACKOFF_REFUSED_S if refused else BACKOFF_MAX_S)

    async def _result(self, node: _Node, pool: NodeIPPool) -> tuple[str, OperationResult | OperationFailure]:
        """The operation's kind, and its result."""
        try:
            operation = read_operation(pool.status.get("nicOperation"))
        except DecodeFailed as error:
            return "unknown", RequestRefused(str(error))
        await self._claims.look(node.name, again=isinstance(operation, Identify))
        places = self._writes if isinstance(operation, WriteNic | SetSecurityGroups) else self._reads
        async with places:
            try:
                with self._faults.guard("NIC operation", about=node.name):
                    return nic_operation.kind(operation), await self._execute(node, pool, operation)
            except (CloudError, InternalFault) as error:
                return nic_operation.kind(operation), error

    async def _execute(self, node: _Node, pool: NodeIPPool, operation: NicOperation) -> OperationResult:
        name = node.name
        await self._pod_subnets.check(operation.claim, pool, node.spent)
        identity = await self._claims.judge(name, pool, operation)
        if isinstance(identity, Challenge):
            return identity
        match operation:
            case Identify():
                return identity
            case ReadVNet():
                refuse_foreign(operation.vnet_id, own=identity.vnet_id, node=name)
                return await self._machines.vnet(identity)
            case ReadNic():
                refuse_foreign(operation.nic_id, own=identity.nic_id, node=name)
                return await self._machines.read(identity.nic_id, beside=identity.beside)
            case WriteNic() | SetSecurityGroups():
                refuse_foreign(operation.nic_id, own=identity.nic_id, node=name)
                return await self._write(node, pool, operation, identity)
            case _:
                assert_never(operation)

    async def _write(
        self, node: _Node, pool: NodeIPPool, operation: WriteNic | SetSecurityGroups, identity: NodeIdentity
    ) -> OperationResult:
        """Check the operation by its cheapest facts first, and use up its grant only for a write that is sent."""
        name, view = node.name, pool.view
        refuse_ungranted(operation, view, node=name)
        refuse_unlisted(operation, pool, self._attachable, node=name)
        used = (node.spent.grant, (read_used_grant(pool), 0))
        refuse_used(operation, *used, serving=node.serving, node=name)
        reserved = await entry_of(self._reservations, name, identity.vnet_id, operation.grant_number)
        refuse_unpaid(operation, reserved, own=identity.nic_id, node=name)
        seen = await self._machines.read(operation.nic_id, beside=identity.beside)
        refuse_changed(operation, seen, node=name)
        if isinstance(operation, SetSecurityGroups):
            node.spent.grant = (operation.grant_number, node.serving)
            return await self._machines.set_security_groups(seen, operation.groups)
        refuse_beyond(operation, admitted(seen, self._attachable), view, reserved, node=name)
        node.spent.grant, it = (operation.grant_number, node.serving), operation
        return await self._machines.write(
            seen, add=it.add, size=it.size, remove=it.remove, attach=it.attach, ipv6=it.ipv6
        )
