"""The reconciler of one node: observe, plan, one step, tell.

One task owns the NIC, the pool's growth and the node's kernel table. Each pass runs a few activities in order; each
of them stands still by itself when it fails (`troubles`), so that a silent Azure does not keep the kernel or the
status from being right. What to do is decided by `ipam.plan`; this module only carries it out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, assert_never

from azure_cni.api import pool as pool_api
from azure_cni.api.nic import NicView
from azure_cni.datapath.snat import NodeTable
from azure_cni.errors import AzureCniError, CloudError, NodeNotReady, SubnetFull, Throttled
from azure_cni.ipam import limits
from azure_cni.ipam.plan import Await, Grow, Mend, Plan, Rest, Settle, Shrink, next_step
from azure_cni.ipam.sizing import override
from azure_cni.node.board import Board, Book, LinkParameters
from azure_cni.node.demand import Demand
from azure_cni.node.narrator import Narrator
from azure_cni.node.reporter import Reporter
from azure_cni.node.troubles import Activity, Troubles
from azure_cni.node.world import LastWrite, NodeSettings, Standing, World

log = logging.getLogger(__name__)

LONGEST_REST_S = 30.0
DEBOUNCE_S = 0.05
"""A burst of pods is one pass of the reconciler, not one each."""
BREATH_S = 1.0


class Reconciler:
    """Keeps one node's pool. `run` never ends by itself; `wake` may be called from anywhere on the loop."""

    def __init__(self, *, world: World, settings: NodeSettings, book: Book, board: Board, demand: Demand) -> None:
        self._world = world
        self._settings = settings
        self._book = book
        self._board = board
        self._demand = demand
        self._standing = Standing(policy=settings.defaults)
        self._troubles = Troubles()
        self._reporter = Reporter(world.pools)
        self._narrator = Narrator(
            world=world,
            standing=self._standing,
            book=book,
            board=board,
            troubles=self._troubles,
            reporter=self._reporter,
        )
        self.pool_known = asyncio.Event()
        """Set once the pool object exists, and with it its kind: only then can it be watched."""
        self.breathed_s = world.clock.boottime_s()
        """Boot time of the last sign of life."""
        self._woken = asyncio.Event()
        self._due: dict[Activity, float] = {}

    def wake(self) -> None:
        """Something changed: look soon."""
        self._woken.set()

    def pool_seen(self, body: Mapping[str, Any]) -> None:
        """The pool object changed (its spec, or a grant in its status)."""
        self._standing.pool = dict(body)
        self.wake()

    def pool_gone(self) -> None:
        """Somebody deleted the pool object: it is made again."""
        self._standing.pool = None
        self._reporter.saw({})
        self.wake()

    async def run(self) -> None:
        """Pass after pass, until cancelled."""
        while True:
            rest_s = await self.turn()
            try:
                async with asyncio.timeout(rest_s):
                    await self._woken.wait()
                await asyncio.sleep(DEBOUNCE_S)
            except TimeoutError:
                pass
            self._woken.clear()

    async def turn(self) -> float:
        """One pass; returns the seconds until the next look if nothing wakes it before."""
        await self._attempt(Activity.POOL, self._ensure_pool)
        await self._attempt(Activity.SPEC, self._read_spec)
        await self._attempt(Activity.IDENTITY, self._identify)
        if self._board.identity is not None:
            await self._attempt(Activity.VNET, self._read_vnet)
        if self._standing.vnet is not None:
            await self._attempt(Activity.READ, self._read_nic)
            await self._attempt(Activity.KERNEL, self._keep_kernel)
        if not self._board.ready and self._troubles.worst() is not None:
            await self._attempt(Activity.KERNEL, self._resume)
        await self._act()
        await self._breathe()
        return self._rest_s()

    async def _breathe(self) -> None:
        """What goes on even while Azure takes its time over a write."""
        self.breathed_s = self._now_s()
        self._book.commit(self._book.ledger.cooled(now_s=self._now_s()))
        self._narrator.announce()
        await self._attempt(Activity.STATUS, self._narrator.report)

    async def _attempt(self, activity: Activity, action: Callable[[], Awaitable[None]]) -> bool:
        """Run an activity unless it failed too recently. False when it did not run to its end."""
        if self._troubles.blocks(activity, now_s=self._now_s()):
            return False
        try:
            await action()
        except AzureCniError as error:
            await self._fail(activity, error)
            return False
        ended = self._troubles.clear(activity)
        if ended is not None:
            log.info("works again", extra={"activity": activity.value, "attempts": ended.attempts})
        return True

    async def _fail(self, activity: Activity, error: AzureCniError) -> None:
        now_s = self._now_s()
        news = self._troubles.record(activity, error, now_s=now_s)
        if not self._troubles.blocks(activity, now_s=now_s):
            self.wake()
        self._world.observer.reconciled(error.reason)
        if isinstance(error, Throttled) and error.retry_after_s:
            self._world.observer.throttled(error.retry_after_s)
        log.log(
            logging.WARNING if news else logging.INFO,
            "activity failed",
            extra={"activity": activity.value, "reason": error.reason, "error": str(error)},
        )
        if news:
            await self._narrator.tell("Warning", error.reason, str(error))

    async def _ensure_pool(self) -> None:
        if self._standing.pool is not None:
            return
        pool = await self._world.pools.read()
        if pool is None:
            pool = await self._world.pools.create(await self._world.node.read_node())
            log.info("pool object made", extra={"pool": pool_api.pool_name(pool)})
        self._standing.pool = pool
        self._recall_request()
        self._reporter.saw(pool)
        self.pool_known.set()

    async def _read_spec(self) -> None:
        overrides = pool_api.spec_overrides(self._standing.pool or {})
        self._standing.policy = override(self._settings.defaults, overrides)

    async def _identify(self) -> None:
        if self._board.identity is not None:
            return
        identity = await self._world.cloud.identify()
        self._standing.nic = self._world.nic_of(identity)
        self._board.identity = identity
        self._recall_request()
        log.info("node identified", extra=pool_api.identity_status(identity))

    def _recall_request(self) -> None:
        """Go on counting where the agent before stopped, as soon as both the pool and this VM are known."""
        identity, pool = self._board.identity, self._standing.pool
        if identity is not None and pool is not None and not self._standing.request.number:
            self._standing.request = pool_api.last_request(pool, vm_id=identity.vm_id)

    async def _read_vnet(self) -> None:
        identity = self._board.identity
        if identity is None or self._now_s() < self._due.get(Activity.VNET, 0.0):
            return
        self._standing.vnet = await self._world.cloud.vnet(identity)
        self._due[Activity.VNET] = self._now_s() + self._settings.timing.vnet_s

    async def _read_nic(self) -> None:
        if self._standing.nic is not None and self._now_s() >= self._due.get(Activity.READ, 0.0):
            await self._adopt(await self._standing.nic.read())

    async def _adopt(self, view: NicView) -> None:
        """Take over a NIC as it is now. The kernel learns the addresses before any pod can get one of them."""
        await self._apply_table(view)
        observation = self._book.ledger.observe(view, now_s=self._now_s())
        self._book.commit(observation.change)
        if observation.appeared:
            log.info("addresses ready", extra={"addresses": [str(address) for address in observation.appeared]})
        if observation.vanished:
            log.warning("addresses vanished", extra={"addresses": [str(address) for address in observation.vanished]})
            self._world.observer.repaired("address_vanished")
        self._standing.view = view
        again_s = self._settings.timing.nic_s if view.settled else limits.SETTLE_POLL_S
        self._due[Activity.READ] = self._now_s() + again_s

    async def _resume(self) -> None:
        """Serve pods while Azure is silent: ledger and kernel are as the last agent of this boot left them."""
        known = pool_api.last_uplink(self._standing.pool or {})
        if known is not None and self._book.ledger.slots:
            mac, primary = known
            self._board.link = LinkParameters((await self._world.datapath.uplink(mac)).mtu, primary)
            log.warning("serving pods from the ledger alone until Azure answers", extra={"mac": mac})

    async def _keep_kernel(self) -> None:
        if self._standing.view is not None and self._now_s() >= self._due.get(Activity.KERNEL, 0.0):
            await self._apply_table(self._standing.view)

    async def _apply_table(self, view: NicView) -> None:
        identity, vnet = self._board.identity, self._standing.vnet
        if identity is None or vnet is None:
            raise NodeNotReady("cannot prepare the node's kernel: its NIC and VNet are not known yet")
        addresses = {config.address: config for config in view.secondaries if config.address is not None}
        table = NodeTable(
            uplink_mac=identity.mac,
            primary=identity.primary_ip,
            pool=frozenset(addresses),
            public=frozenset(address for address, config in addresses.items() if config.public),
            routable=frozenset({*vnet.prefixes, *vnet.peered, *self._settings.routable}),
            imds_allowed=self._settings.allow_imds,
        )
        repairs = await self._world.datapath.apply_node(table)
        if self._board.ready:
            for repair in repairs:
                log.warning("kernel put right", extra={"what": repair})
                self._world.observer.repaired("kernel")
        else:
            log.info("kernel prepared", extra={"changes": list(repairs)})
        self._board.link = LinkParameters((await self._world.datapath.uplink(identity.mac)).mtu, identity.primary_ip)
        self._due[Activity.KERNEL] = self._now_s() + self._settings.timing.kernel_s

    async def _act(self) -> None:
        """Take a step once all that decides it is known; the pool too, for it may say `paused` or another size."""
        view = self._standing.view
        if self._standing.pool is None or view is None or not self._board.ready:
            return
        if self._troubles.of(Activity.READ) is None:
            await self._step(view)

    async def _step(self, view: NicView) -> None:
        plan = self._decide(view)
        if plan.requested != self._standing.request.count:
            await self._ask(plan.requested)
            plan = self._decide(view)
        match plan.step:
            case Rest():
                self._troubles.clear(Activity.WRITE)
                self._world.observer.reconciled("unchanged")
            case Await() | Settle():
                self._world.observer.reconciled("waiting")
            case Grow() as grow:
                await self._attempt(Activity.WRITE, lambda: self._grow(grow.add))
            case Shrink() as shrink:
                await self._attempt(Activity.WRITE, lambda: self._shrink(shrink))
            case Mend():
                await self._attempt(Activity.WRITE, lambda: self._write(reason="the last operation failed"))
            case _:
                assert_never(plan.step)

    async def _ask(self, count: int) -> None:
        """Request another number of addresses. The request is in the pool's status before any of them is used."""
        self._standing.request = pool_api.Request(count=count, number=self._standing.request.number + 1)
        await self._attempt(Activity.STATUS, self._narrator.report)

    def _decide(self, view: NicView) -> Plan:
        standing = self._standing
        standing.grant = self._world.grants.read(
            standing.pool or {}, requested=standing.request.count, request_id=standing.request.number
        )
        answered = standing.grant.request_id == standing.request.number
        standing.plan = next_step(
            self._book.ledger,
            view,
            standing.policy,
            waiting=self._demand.waiting(self._book.ledger),
            now_s=self._now_s(),
            surplus_since_s=standing.plan.surplus_since_s if standing.plan else None,
            granted=standing.grant.count if answered else 0,
            shrink_delay_s=self._settings.timing.shrink_delay_s,
        )
        return standing.plan

    async def _grow(self, add: int) -> None:
        waiting = self._demand.waiting(self._book.ledger)
        shortage = waiting - self._book.ledger.counts().free
        reason = f"{waiting} pods wait" if waiting else "keep addresses ready"
        while True:
            try:
                return await self._write(reason=reason, add=add)
            except SubnetFull:
                add //= 2  # a full subnet may still have room for the pods that wait
                if shortage <= 0 or not add:
                    raise

    async def _shrink(self, step: Shrink) -> None:
        self._book.commit(self._book.ledger.release(step.addresses, now_s=self._now_s()))
        await self._write(reason=step.reason, remove=step)

    async def _write(self, *, reason: str, add: int = 0, remove: Shrink | None = None) -> None:
        nic, view = self._standing.nic, self._standing.view
        if nic is None or view is None:
            raise NodeNotReady("cannot change the NIC: it has not been read yet")
        names = remove.names if remove else ()
        result, etag = "Succeeded", view.etag
        self._standing.writing = True
        self._narrator.announce()
        try:
            view = await self._meanwhile(nic.write(view, add=add, remove=names))
            etag = view.etag
        except CloudError as error:
            result = error.reason
            self._due[Activity.READ] = 0.0  # what is on the NIC now, only a read can tell
            raise
        finally:
            self._standing.writing = False
            self._standing.last_write = LastWrite(self._world.clock.utc(), reason, add, len(names), result, etag)
        await self._adopt(view)
        await self._wrote(reason, add=add, removed=len(names))

    async def _wrote(self, reason: str, *, add: int, removed: int) -> None:
        if add:
            result, event, done = "grew", "PoolGrew", f"added {add} addresses"
        elif removed:
            result, event, done = "shrank", "PoolShrank", f"removed {removed} addresses"
        else:
            result, event, done = "mended", "NicMended", "wrote the NIC once more as it was"
        self._world.observer.reconciled(result)
        message = f"{done} ({reason}); {self._book.ledger.counts().allocated} on the NIC"
        await self._narrator.tell("Normal", event, message)

    async def _meanwhile(self, write: Coroutine[Any, Any, NicView]) -> NicView:
        """Carry out a write, which takes seconds to minutes, and keep cooling and the status going."""
        task = asyncio.create_task(write)
        try:
            while not (await asyncio.wait({task}, timeout=BREATH_S))[0]:
                await self._breathe()
            return task.result()
        finally:
            task.cancel()

    def _rest_s(self) -> float:
        """Seconds until something is due. What is overdue and was not done now waits for something else."""
        now_s = self._now_s()
        due = [self._reporter.due_s(), self._troubles.next_due_s(after_s=now_s)]
        due += [self._due.get(activity) for activity in (Activity.READ, Activity.KERNEL)]
        due_in = [at_s - now_s for at_s in due if at_s is not None and at_s > now_s]
        wake_in_s = self._standing.plan.wake_in_s if self._standing.plan else None
        due_in += [s for s in (wake_in_s, self._book.ledger.next_cooled_s(now_s)) if s is not None]
        return min(max(DEBOUNCE_S, min(due_in, default=LONGEST_REST_S)), LONGEST_REST_S)

    def _now_s(self) -> float:
        return self._world.clock.boottime_s()
