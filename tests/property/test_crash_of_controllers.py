"""Where the controller writes the NICs: agent or controller die at any step, and quota, pool, ledger and NIC agree."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import pytest

from azure_cni.model.identity import ModeName
from property.crash_cluster import NODE, CrashCluster
from property.crash_machine import AgentGone
from property.crash_verbs import VERBS, Verb, sample

pytestmark = [pytest.mark.looptime, pytest.mark.usefixtures("no_waiting_for_the_disk")]

AFTERWARDS_S: Final = 3.0
SAMPLE: Final = 5
"""Without `--every-crash` (`make crash`) one of so many steps is the last."""
OF_BOTH: Final = (
    "boot",
    "start of the next agent",
    "ADD that waits for growth",
    "growth",
    "shrinking",
    "rewriting",
    "attaching",
    "detaching",
    "security groups",
)
"""What controllers have a part in."""
DELEGATED: Final = [verb for verb in VERBS if verb.name in OF_BOTH]


async def crash(verb: Verb, directory: Path, victim: str, *, point: int | None = None) -> list[str]:
    """Run the verb, `victim` (`agent` or `controller`) ended at that step; returns the steps of the first run."""
    machine = CrashCluster(directory, ModeName.TRANSPARENT, policy=verb.policy)
    machine.lead()
    if not verb.fresh:
        await machine.start()
        await machine.ready()
        await verb.before(machine)
        await (machine.rest() if machine.alive else asyncio.sleep(0))
    of_agent = point if victim == "agent" else None
    if machine.alive:
        machine.fuse.burns_at = None if of_agent is None else machine.fuse.points + of_agent
    first = machine.fuse.points if machine.alive and victim == "agent" else 0
    if victim == "controller":
        first = machine.controller.points
        machine.controller.burns_at = None if point is None else first + point
    if not machine.alive:
        await machine.start(burns_at=of_agent)
    fuse = machine.fuse if victim == "agent" else machine.controller
    try:
        await verb.act(machine)
        await machine.until(lambda: verb.done(machine))
        await machine.waited(asyncio.sleep(AFTERWARDS_S))
    except AgentGone:
        await machine.kill()
        await machine.start()
        await machine.ready()
        await (verb.again or verb.act)(machine)
    last = fuse.points
    assert fuse.dead or point is None or point >= last - first, f"{verb} lives on at step {point}"
    await machine.until(lambda: verb.done(machine))
    await agree(machine)
    await machine.end_all()
    await machine.stop_leading()
    await machine.kill()
    return fuse.passed[first:last]


async def agree(machine: CrashCluster) -> None:
    """The quota follows what the node gives back once it has said so."""
    await machine.until(lambda: machine.world.cluster.counts() == {NODE: len(machine.agent.nic.addresses) - 1})
    await machine.rest()
    machine.require_whole()


@pytest.mark.parametrize("victim", ["agent", "controller"])
@pytest.mark.parametrize("verb", DELEGATED, ids=str)
async def test_either_dies_before_and_after_each_step(
    verb: Verb, victim: str, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    steps = await crash(verb, tmp_path / "whole", victim)
    every = pytestconfig.getoption("--every-crash")
    points = sample(steps, of=1 if every else SAMPLE, salt=f"{verb}, {victim}")
    killed = 0
    for point in points:
        try:
            killed += len(await crash(verb, tmp_path / f"{point}", victim, point=point)) == point
        except Exception as error:
            raise AssertionError(
                f"{verb}, {victim} killed {steps[point]} ({point} of {len(steps)}): {error!r}"
            ) from error
    assert killed >= len(points) * 3 // 4
    print(f"{verb}, the {victim}: {len(steps)} places to die, {killed} kills; {', '.join(steps)}")
