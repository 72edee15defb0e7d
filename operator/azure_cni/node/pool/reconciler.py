"""The reconciler of one node: two tasks over one NIC, one pool object and one ledger.

How it works
------------
The *pool task* (`pool_task`) makes passes. A pass observes (the pool object, its spec, who the node is in Azure, its
VNet, its NIC), adopts what was read of the NIC (the kernel first, then the ledger, so that no pod gets an address that
the node's table does not have), decides (`ipam.plan`, from what was just read), and takes one step: at most one write
of the NIC. An interrupted pass leaves nothing to resume, for the next one decides again. Between two passes the task
rests until something falls due (`schedule`) or wakes it: a pod, an ADD, a change of the pool object.

The *status task* (`status_task`) shows what is so: it cools addresses, publishes the forecast for ADDs that wait,
writes the pool's status, keeps the taint. It runs after each pass, when something of its own falls due, and each second
while a pass is under way, for Azure may take minutes over an answer, or say nothing at all.

Events are published by a third task (`event_line`), for neither may wait for an API server that is slow to take one;
what becomes of pods' load balancer pools and public IP addresses is shown on the pods by a fourth (`pod_reports`). A
fifth asks the metadata service whether the NIC is worth a reading now (`reading_hints`).

Each activity of either task fails, rests and is reported separately (`attempts`, `failures`), so that a silent Azure
keeps neither the kernel nor the status from being right.

Who writes what
---------------
`PoolState` and the request (`ReservationRequest`) are the pool task's, with its reader and its writer: the status task
only reads them. The forecast and its figures in `NodeState` are the status builder's. The pool object (`PoolObject`)
takes versions from the watch, from the pool task and from the status task, each in one step and only newer ones. The
ledger (`StoredLedger`) takes changes from both tasks and from pods' ADDs and DELs; a change is decided and committed in
one step, with no wait in between.

Why two tasks open no race
--------------------------
Tasks of one event loop change places only where one of them waits. A single task already had to let the status go on
during each wait for Azure, so every state in which the pool task waits was shown before; and the watch, ADDs and DELs
came in at every wait. What is left:

- A request is allowed one write, and nothing waits between the look at its answer (`allows`) and the moment from which
  the request covers what the write may leave on the NIC (`write_begins`).
- The status task alone writes a request into the pool, one write after another, by compare-and-swap. A number is
  answered only once it stands there, so when a write is allowed no older request is on its way any more.
- A status that was built before the pool task went on is late, never wrong: it is a state that was so, and the next one
  follows. What it says of `allocated` allows nothing, and nothing is taken back below `requested`.
- The request is dropped (`forget`) where the pool shows another agent's, or was recreated: by the watch or after a
  conflict, as before, at any wait. The next pass begins it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from functools import partial
from ipaddress import IPv4Address

from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.node.pool.attempts import Attempts
from azure_cni.node.pool.azure_reader import AzureReader
from azure_cni.node.pool.failures import Activity, Failures
from azure_cni.node.pool.inspector import Inspector
from azure_cni.node.pool.lost_addresses import LostAddresses
from azure_cni.node.pool.nic_writer import PoolNicWriter
from azure_cni.node.pool.node_network import NodeNetwork
from azure_cni.node.pool.path_inspector import PathInspector
from azure_cni.node.pool.pod_attachments import PodAttachments
from azure_cni.node.pool.pod_reports import PodReports
from azure_cni.node.pool.pods_nic import PodsNic
from azure_cni.node.pool.pool_nic import PoolNic
from azure_cni.node.pool.pool_object import PoolEvents, PoolObject
from azure_cni.node.pool.pool_state import NodeCore, PoolState
from azure_cni.node.pool.pool_task import PoolTask
from azure_cni.node.pool.reading_hints import ReadingHints
from azure_cni.node.pool.schedule import Schedule
from azure_cni.node.pool.status_builder import StatusBuilder
from azure_cni.node.pool.status_task import StatusTask
from azure_cni.node.pool.taint import NodeTaint


class Reconciler:
    """Keeps one node's pool. `run` never returns; `wake` may be called from anywhere on the loop."""

    def __init__(self, core: NodeCore) -> None:
        clock, settings = core.ports.clock, core.settings
        self._core = core
        self._built_s = clock.boottime_s()
        self._pool_state = PoolState(policy=settings.defaults, mode=settings.mode, nic_read_only=settings.nic_read_only)
        self._schedule = Schedule()
        self._failures = Failures(utc=lambda ahead_s: clock.utc(ahead_s=ahead_s))
        self._pool_object = PoolObject(core, reservation=self._pool_state.reservation, schedule=self._schedule)
        self._pod_attachments = PodAttachments(core, pool_state=self._pool_state, pool_object=self._pool_object)
        self._events = PoolEvents(core, pool_object=self._pool_object)
        self._status_builder = StatusBuilder(
            core, pool_state=self._pool_state, pool_object=self._pool_object, failures=self._failures
        )
        self._attempts = Attempts(
            core,
            failures=self._failures,
            schedule=self._schedule,
            status_builder=self._status_builder,
            events=self._events,
        )
        self._network = NodeNetwork(
            core,
            pool_state=self._pool_state,
            pool_object=self._pool_object,
            schedule=self._schedule,
            events=self._events,
        )
        self.inspector = Inspector(
            core, pool_state=self._pool_state, failures=self._failures, pod_attachments=self._pod_attachments
        )
        self.path_inspector = PathInspector(core, pool_state=self._pool_state)
        self._pod_reports = PodReports(core, pod_attachments=self._pod_attachments)
        self._hints = ReadingHints(core, pool_state=self._pool_state, wake=self._schedule.wake)
        self._status_task = self._new_status_task(core)
        self._pool_task = self._new_pool_task(core)

    def _new_status_task(self, core: NodeCore) -> StatusTask:
        ports = core.ports
        taint = NodeTaint(ports.node, state=core.state, stored=core.stored, events=ports.events, clock=ports.clock)
        return StatusTask(
            core,
            pool_state=self._pool_state,
            pool_object=self._pool_object,
            status_builder=self._status_builder,
            taint=taint,
            failures=self._failures,
            attempts=self._attempts,
            schedule=self._schedule,
            events=self._events,
        )

    def _new_pool_task(self, core: NodeCore) -> PoolTask:
        pool_state, pool_object = self._pool_state, self._pool_object
        reader = AzureReader(
            core,
            pool_state=pool_state,
            pool_object=pool_object,
            schedule=self._schedule,
            pod_attachments=self._pod_attachments,
            hints=self._hints,
            pool_nic=PoolNic(core, pool_state=pool_state, pool_object=pool_object, events=self._events),
            pods_nic=PodsNic(core, pool_state=pool_state, pool_object=pool_object, schedule=self._schedule),
            suspend=self._network.suspend,
        )
        writer = PoolNicWriter(
            core,
            pool_state=self._pool_state,
            status_builder=self._status_builder,
            events=self._events,
            schedule=self._schedule,
            pod_attachments=self._pod_attachments,
        )
        lost_addresses = LostAddresses(core, pool_state=self._pool_state, events=self._events)
        return PoolTask(
            core,
            pool_state=self._pool_state,
            pool_object=self._pool_object,
            failures=self._failures,
            attempts=self._attempts,
            schedule=self._schedule,
            network=self._network,
            reader=reader,
            writer=writer,
            pod_attachments=self._pod_attachments,
            lost_addresses=lost_addresses,
            wake_status=self._show,
        )

    def _show(self) -> None:
        """A pass has ended: whoever shows what is so looks again."""
        self._status_task.wake()
        self._pod_reports.wake()

    async def run(self) -> None:
        """Both tasks, and beside them events, what is shown on pods, and hints to read the NIC, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pool_task.run(self._core.faults), name="pool")
            tasks.create_task(self._status_task.run(self._core.faults), name="status")
            tasks.create_task(self._events.run(), name="events")
            tasks.create_task(self._pod_reports.run(self._core.faults), name="pod reports")
            tasks.create_task(self._hints.run(self._core.faults), name="reading hints")

    @property
    def pool_known(self) -> asyncio.Event:
        """Set once the pool object exists, and with it its kind: only then can it be watched."""
        return self._pool_object.known

    @property
    def last_progress_s(self) -> float:
        """Boot time of the last sign of life of the task that has given none for longest."""
        progress_s = self._schedule.last_progress_s(now_s=self._core.ports.clock.boottime_s())
        return max(self._built_s, min(progress_s, self._status_task.last_progress_s))

    def wake(self) -> None:
        """Something changed: look soon."""
        self._schedule.wake()

    def pool_seen(self, pool: NodeIPPool) -> None:
        """The pool object changed (its spec, or a grant in its status)."""
        self._pool_object.observe(pool)
        self.wake()

    def pool_gone(self) -> None:
        """Somebody deleted the pool object: it is made again."""
        self._pool_object.forget()
        self.wake()

    async def settle_egress(self, addresses: Collection[IPv4Address] = ()) -> None:
        """See `NodeNetwork`."""
        await self._network.settle_egress(addresses)

    async def restore_network(self, cause: str) -> bool:
        """Somebody else changed something on the host (`cause`): put the node's own part of the kernel right at once,
        whatever a pass waits for. True when there was something to put right.
        """
        repairs, conflicts = self._network.repairs, self._core.state.conflicts
        await self._attempts.attempt(Activity.KERNEL, partial(self._network.restore, cause))
        if (repairs, conflicts) != (self._network.repairs, self._core.state.conflicts):
            self.wake()
        return self._network.repairs != repairs
