"""One run from its beginning to its end: what is started, what is waited for, what is judged."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from simulation.azure_door import AzureDoor
from simulation.byzantine import Liars
from simulation.children import Child, Usage, python, wait_for_file
from simulation.cluster import Cluster
from simulation.fault_injector import LEASE, FaultInjector
from simulation.faults import schedule
from simulation.history import GRACE_REAL_S, History, Pool
from simulation.observer import Judge
from simulation.pace import Pace
from simulation.plan import AZURE_FILE, RUN_FILE, AzureFacts, Run, Scenario

UP_S = 60.0
LOOK_S = 0.1
PROGRESS_S = 30.0
"""Real seconds between two lines about a run that takes its time."""


@dataclass(slots=True)
class Outcome:
    """How a run goes and went. `failure` is "" when all was as it must be."""

    run: Run
    history: History
    failure: str = ""
    late: bool = False
    """Whether nothing was wrong but that it was not done in time."""
    settled_s: float | None = None
    liars: Liars | None = None
    injected: list[str] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    usage: dict[str, Usage] = field(default_factory=dict)
    rest_s: float = 0.0
    at_rest: dict[str, float] = field(default_factory=dict)
    """Requests per node and hour at rest, by whom they are answered and what they are about."""


class Simulation:
    """One run on a control plane that is up and empty."""

    def __init__(
        self,
        cluster: Cluster,
        scenario: Scenario,
        *,
        seed: int,
        directory: Path,
        say: Callable[[str], None],
        lying: bool = True,
    ) -> None:
        """`lying`: whether the scenario's liars do."""
        self._lying = lying
        pace = Pace.starting_now(scenario.speed)
        self._cluster = cluster
        self._say = say
        self._run = Run(scenario, pace, seed, directory, cluster.url, cluster.ca_file, cluster.token)
        judge = Judge(
            limit=scenario.limit,
            grace_s=GRACE_REAL_S * scenario.speed,
            writes_per_minute=scenario.writes_per_minute,
        )
        self.history = History(pace, judge, ledger_log=(directory / "ledger.log").open("w"))
        self.outcome = Outcome(self._run, self.history)
        file = str(self._run.save())
        self._azure = Child("azure", python("azure_process", file), directory / "azure.log")
        self._controllers = [
            Child(name, python("controller_process", file, name, LEASE), directory / f"{name}.log")
            for name in ("controller-1", "controller-2")
        ]
        self._nodes = [
            Child(f"nodes-{share}", python("node_process", file, str(share)), directory / f"nodes-{share}.log", True)
            for share in range(scenario.node_processes)
        ]

    async def carry_out(self) -> None:
        """Start everything, wait for what must come, end everything; `outcome` says how it went."""
        outcome = self.outcome
        async with AsyncExitStack() as closing:
            for child in (self._azure, *self._controllers, *self._nodes):
                closing.callback(child.kill)
            following = await self._start(closing)
            door = AzureDoor(str(self._run.directory / "azure.sock"))
            injector = FaultInjector(self._run, self._cluster, door, self._controllers, self._nodes)
            outcome.injected, outcome.gone = injector.done, injector.gone
            closing.callback(injector.end)
            faults = schedule(self._run.scenario, self._run.seed) if self._run.scenario.faults_s else []
            injecting = asyncio.create_task(injector.carry_out(faults))
            closing.callback(injecting.cancel)
            closing.callback(asyncio.create_task(self._report_progress()).cancel)
            if self._run.scenario.liars and self._lying:
                outcome.liars = Liars(self._run, self._cluster, AzureFacts.load(self._run.directory))
                closing.push_async_callback(_ended, asyncio.create_task(outcome.liars.carry_out()))
            outcome.failure = await self._wait(injector, injecting, following)
            if not outcome.failure:
                outcome.settled_s = self._run.pace.elapsed_s()
                await self._rest(outcome, injector)
            for child in (self._azure, *self._controllers, *self._nodes, self._cluster.apiserver, self._cluster.etcd):
                outcome.usage[child.name] = child.usage()

    async def _start(self, closing: AsyncExitStack) -> "asyncio.Task[None]":
        directory, names = self._run.directory, self._run.scenario.node_names
        self._azure.start()
        await self._cluster.add_nodes(names)
        await asyncio.to_thread(wait_for_file, directory / AZURE_FILE, child=self._azure, within_s=UP_S)
        azure = AzureFacts.load(directory)
        following = asyncio.create_task(
            self.history.follow(etcd_url=self._cluster.etcd_url, azure_socket=str(azure.admin_socket))
        )
        closing.push_async_callback(_ended, following)
        for child in (*self._controllers, *self._nodes):
            child.start()
        return following

    async def _wait(
        self, injector: FaultInjector, injecting: "asyncio.Task[None]", following: "asyncio.Task[None]"
    ) -> str:
        """Until all is granted that can be, or something is wrong; returns what."""
        judge, pace = self.history.judge, self._run.pace
        while pace.elapsed_s() < self._run.scenario.within_s:
            if judge.violations:
                return str(judge.violations[0])
            for task in (injecting, following):
                if task.done() and (error := task.exception()):
                    raise error
            if injecting.done() and not self._missing(injector):
                await pace.sleep(2 * GRACE_REAL_S * pace.speed)
                if judge.violations or not self._missing(injector):  # else a node has begun to grow again meanwhile
                    return str(judge.violations[0]) if judge.violations else ""
            await asyncio.sleep(LOOK_S)
        self.outcome.late = True
        return f"not done within {self._run.scenario.within_s:.0f} s: {self._missing(injector)}"

    def _missing(self, injector: FaultInjector) -> str:
        """What is not yet as it must become; "" when all is."""
        scenario, judge, idle = self._run.scenario, self.history.judge, 0
        short: list[int] = []
        for index, name in enumerate(scenario.honest_names):
            if name in injector.gone:
                continue
            pool, demand = self.history.pools.get(name), scenario.demand_of(index)
            if pool is None or not pool.settled:
                return f"{name} is not settled: {pool}"
            if said := beside_azure(scenario, judge, name, pool):
                return said
            step = scenario.step_of(index)
            idle += (pool.allocated - pool.assigned) // step * step  # what is left of a block cannot be given back
            if pool.allocated < demand:
                short.append(step)
                if not pool.reason:
                    return f"{name} has no reason in its pool why it has {pool.allocated} of {demand}"
            if pool.assigned != min(pool.allocated, demand):
                return f"{name} has not started all pods that it has addresses for: {pool}"
        return unused(scenario, judge, taken=injector.taken, short=short, idle=idle)

    async def _report_progress(self) -> None:
        """Again and again how far it is: who looks on must not wonder whether it still works."""
        while True:
            await asyncio.sleep(PROGRESS_S)
            judge, pools = self.history.judge, self.history.pools.values()
            served = sum(pool.settled for pool in pools)
            self._say(
                f"  {self._run.pace.elapsed_s():6.0f} s: {judge.on_nics} addresses on NICs, {judge.granted} granted; "
                f"{served} of {self._run.scenario.nodes} nodes have an answer to all that they asked"
            )

    async def _rest(self, outcome: Outcome, injector: FaultInjector) -> None:
        """Look at what it costs when nothing happens, while liars go on; in the end all is as it was."""
        scenario, calls = self._run.scenario, self.history.calls
        if not scenario.rest_s:
            return
        before, began_s = await self._cluster.requests(), self._run.pace.elapsed_s()
        await self._run.pace.sleep(scenario.rest_s)
        after, ended_s = await self._cluster.requests(), self._run.pace.elapsed_s()
        per = scenario.nodes * (ended_s - began_s) / 3600
        kube = {f"kube {kind}": count - before.get(kind, 0) for kind, count in after.items()}
        arm = {f"azure {name}": count - calls[name] for name, count in self.history.calls.items()}
        outcome.rest_s = ended_s - began_s
        outcome.at_rest = {name: count / per for name, count in (kube | arm).items() if count}
        violations = self.history.judge.violations
        missing = self._missing(injector)
        outcome.failure = str(violations[0]) if violations else missing and f"after {outcome.rest_s:.0f} s: {missing}"


def beside_azure(scenario: Scenario, judge: Judge, name: str, pool: Pool) -> str:
    """What a pool says that is not what its NIC has, of either family; "" when nothing is."""
    nic = scenario.nic_of(name)
    if pool.allocated != judge.held_by(nic):
        return f"{name} says it has {pool.allocated}, Azure says otherwise"
    if scenario.shape_of(name)[0].dual and judge.ipv6_of(nic) <= pool.assigned:  # one is the VM's own
        return f"{name} has started {pool.assigned} pods, and its NIC has {judge.ipv6_of(nic)} IPv6 addresses"
    return ""


def unused(scenario: Scenario, judge: Judge, *, taken: int, short: Sequence[int], idle: int) -> str:
    """What is left while nodes wait that could use it; "" when nothing is.

    `short` has, of each node that waits, how many addresses it needs at once; `idle` are those that nodes could give
    back, `taken` those that others have.
    """
    if not short:
        return ""
    waiting, least, coming = len(short), min(short), judge.granted - judge.on_nics
    if idle >= least:
        return f"{waiting} nodes wait while others hold {idle} idle addresses"
    if scenario.hungry and coming > 0:
        return f"{waiting} nodes wait while {coming} addresses are granted and not on a NIC yet"
    left = min(scenario.limit - taken - judge.granted, scenario.room - judge.on_nics)
    return f"{waiting} nodes wait while {left} addresses are left" if left >= least else ""


async def _ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await task


__all__ = ["RUN_FILE", "Outcome", "Simulation", "unused"]
