"""Whatever dies between two steps of a container's life: no address leaks, none is given twice, none is taken from who
lives; and when all have ended, the counts are those of the start.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Final

import pytest

from azure_cni.docker.container_endpoints import UNUSED_S
from azure_cni.docker.engine_roll import PERIOD_S
from azure_cni.node.pods.liveness import GRACE_S
from fakes.simulated_node import SimulatedNode, holder, pod_body
from property.docker_machine import DockerMachine

pytestmark = pytest.mark.looptime(noop_cycles=4)  # nothing here waits for a thread

NAMES: Final = ("web", "db", "worker", "cache", "cron")
ACTS: Final = 60
SETTLED_S: Final = 2 * GRACE_S + 4 * PERIOD_S
"""A suspicion, its list, a look, and the comparisons in between."""


async def settle(machine: DockerMachine) -> None:
    """All is repaired, all containers end, and nothing is left of them."""
    machine.reachable = True
    machine.between = machine._nothing
    await machine.start_plugin()
    machine.fuse.burns_at = None
    await machine.start_daemon()
    if machine.lost:
        await asyncio.sleep(SETTLED_S)
        machine.require_whole()
        machine.end_lost()
    for name in list(machine.disk.containers):
        await machine.remove_container(name)
    await asyncio.sleep(SETTLED_S)
    assert machine.host is not None
    assert machine.host.states() == {}, "addresses have leaked"
    assert machine.node.datapath.wired == {}, "links have leaked"
    node = machine.node
    await node.until(lambda: node.counts.free == node.counts.allocated == len(node.nic.addresses) - 1, within_s=1800)
    assert [one for one in node.observer.recorded if one[0] == "internal_error"] == []
    await machine.kill_plugin()


async def life(machine: DockerMachine) -> None:
    """One container's, all steps of it."""
    await machine.run_container("web")
    machine.require_whole()
    await machine.remove_container("web")


async def points_of_a_life() -> int:
    """At how many places the plugin can die in it."""
    machine = DockerMachine()
    await machine.start_plugin()
    before = machine.fuse.points
    await life(machine)
    passed = machine.fuse.points - before
    await settle(machine)
    return passed


@pytest.mark.parametrize("away", [False, True], ids=["comes back at once", "comes back when all is over"])
async def test_the_plugin_dies_before_and_after_each_of_its_effects(*, away: bool) -> None:
    points = await points_of_a_life()
    assert points >= 12  # an assignment, a take-over, a link, its ends
    for point in range(points):
        machine = DockerMachine()
        await machine.start_plugin()
        machine.fuse.burns_at = machine.fuse.points + point

        async def between(machine: DockerMachine = machine) -> None:
            if machine.host is None and not away:
                await machine.start_plugin()

        machine.between = between
        await life(machine)
        await machine.run_container("db")
        machine.require_whole()
        await settle(machine)


@pytest.mark.parametrize("what", ["plugin", "daemon", "both"])
async def test_whatever_died_in_its_start_or_its_end_a_container_that_names_its_address_gets_it_again(
    what: str,
) -> None:
    """Between any two calls of Docker. An end that was not seen through is found out within minutes."""
    for call in range(7):
        machine, left = DockerMachine(), [call]
        await machine.start_plugin()
        await machine.run_container("first")
        fixed = machine.disk.containers["first"].address
        await machine.remove_container("first")

        async def between(machine: DockerMachine = machine, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == -1:
                await happen(machine, what)

        machine.between = between
        await machine.run_container("web", fixed=fixed)
        await machine.remove_container("web")
        machine.between = machine._nothing
        await machine.start_plugin()
        await machine.start_daemon()
        await machine.remove_container("web")
        await asyncio.sleep(UNUSED_S if call == 0 else SETTLED_S)
        await machine.run_container("web", fixed=fixed)
        assert machine.disk.containers["web"].address == fixed, (call, machine.host and machine.host.states())
        machine.require_whole()
        await settle(machine)


@pytest.mark.parametrize("live_restore", [False, True])
@pytest.mark.parametrize("what", ["daemon", "state", "both", "socket", "plugin"])
async def test_something_else_dies_between_any_two_calls(what: str, *, live_restore: bool) -> None:
    for call in range(8):
        machine, left = DockerMachine(live_restore=live_restore), [call]
        await machine.start_plugin()
        await machine.run_container("other", restarts=True)

        async def between(machine: DockerMachine = machine, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == -1:
                await happen(machine, what)

        machine.between = between
        await life(machine)
        await settle(machine)


async def happen(machine: DockerMachine, what: str) -> None:
    """One disaster, in the middle of whatever Docker does. `state`: the daemon dies, and its state is removed."""
    if what in {"plugin", "both"}:
        await machine.kill_plugin()
    if what in {"daemon", "state", "both"}:
        await machine.kill_daemon()
    if what == "state":
        machine.lose_state()
    if what == "socket":
        machine.reachable = False


class Walk:
    """What comes and goes, and what dies, by chance."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.machine = DockerMachine(live_restore=self.chance.random() < 0.5)
        self.machine.between = self.between

    async def between(self) -> None:
        """Between two calls of Docker."""
        await asyncio.sleep(self.chance.choice((0.0, 0.0, 0.1, 3.0)))
        if self.chance.random() < 0.06:
            await happen(self.machine, self.chance.choice(("plugin", "daemon", "socket")))

    async def run(self) -> None:
        await self.machine.start_plugin()
        for _ in range(ACTS):
            await self.act()
            self.machine.require_whole()
        await self.finish()
        await settle(self.machine)

    async def finish(self) -> None:
        """Before all that is Docker's ends."""

    async def act(self) -> None:
        machine, name = self.machine, self.chance.choice(NAMES)
        acts = {
            "run": lambda: machine.run_container(name, restarts=self.chance.random() < 0.3, fixed=self.fixed()),
            "remove": lambda: machine.remove_container(name),
            "dies": lambda: machine.container_dies(name),
            "fuse": self.light,
            "plugin": self.restart_plugin,
            "daemon": self.restart_daemon,
            "state": self.lose_state,
            "reboot": self.reboot,
            "wait": lambda: asyncio.sleep(self.chance.choice((1.0, 20.0, 90.0, 600.0))),
            "clock": self.set_clock,
        }
        weights = {"run": 8, "remove": 4, "dies": 3, "plugin": 4, "daemon": 4, "wait": 4}
        chosen = self.chance.choices(list(acts), [weights.get(act, 1) for act in acts])[0]
        await acts[chosen]()

    def fixed(self) -> str:
        """Now and then an address that the NIC has, whoever has it there."""
        slots = self.machine.node.store.load()
        return str(self.chance.choice(slots).address) if slots and self.chance.random() < 0.3 else ""

    async def light(self) -> None:
        """The plugin dies at one of its next effects."""
        if self.machine.host is not None:
            self.machine.fuse.burns_at = self.machine.fuse.points + self.chance.randrange(12)

    async def restart_plugin(self) -> None:
        if self.machine.host is not None and self.chance.random() < 0.5:
            await self.machine.kill_plugin()
        else:
            await self.machine.kill_plugin()
            self.machine.reachable = True
            await self.machine.start_plugin()

    async def restart_daemon(self) -> None:
        if self.machine.daemon_runs:
            await self.machine.kill_daemon()
        await self.machine.start_daemon()

    async def lose_state(self) -> None:
        await self.machine.kill_daemon()
        self.machine.lose_state()
        await self.machine.start_daemon()

    async def reboot(self) -> None:
        self.machine.reachable = True
        await self.machine.reboot()

    async def set_clock(self) -> None:
        """The wall clock jumps, by up to a day; the time since boot does not."""
        self.machine.node.clock.utc_ahead_s += self.chance.uniform(-86_400, 86_400)


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_dies_the_counts_are_those_of_the_start(seed: int) -> None:
    await Walk(seed).run()


class BesideAPod(Walk):
    """The node is one of a cluster, too: its agent serves Docker, and a pod runs there all the time."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.machine.started = self.wire

    async def wire(self, node: SimulatedNode, booted: bool) -> None:  # noqa: FBT001
        node.demand.begin_list()
        node.demand.replace([pod_body("web")])
        if booted:
            await node.add("web")
        self.require_pod()

    def require_pod(self) -> None:
        """No process is in its namespace, and Docker has never heard of it: only the API server's list says that it
        lives.
        """
        node, wanted = self.machine.node, holder("web")
        assert [slot.holder for slot in node.store.load() if slot.holder is not None and slot.holder.pod_name] == [
            wanted
        ]
        assert node.datapath.key(wanted.sandbox) in node.datapath.wired

    async def act(self) -> None:
        await super().act()
        self.require_pod()

    async def finish(self) -> None:
        self.machine.reachable = True
        await self.machine.start_plugin()
        self.machine.fuse.burns_at = None
        await asyncio.sleep(SETTLED_S)
        self.require_pod()
        self.machine.started = None
        self.machine.node.demand.forget_pod("uid-web")
        await self.machine.node.delete("web")


@pytest.mark.parametrize("seed", range(20, 26))
async def test_whatever_dies_of_docker_a_pod_beside_it_keeps_its_address_and_its_link(seed: int) -> None:
    await BesideAPod(seed).run()
