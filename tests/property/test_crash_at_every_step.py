"""Nothing is lost, leaks or is given twice, at whichever step of whichever verb the agent is killed."""

from __future__ import annotations

import asyncio
import contextlib
import typing
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from azure_cni.model.identity import ModeName
from azure_cni.node.azure_ports import Nic
from azure_cni.node.installation import Mark, PluginFiles
from azure_cni.node.node_settings import NodePorts
from fakes.mortal import INSIDE, effects_of
from property.crash_machine import AgentGone, CrashMachine
from property.crash_verbs import VERBS, Verb, sample

pytestmark = [pytest.mark.looptime, pytest.mark.usefixtures("no_waiting_for_the_disk")]

AFTERWARDS_S: Final = 3.0
"""What a verb brings about comes a moment later: the pool's status, the conflist."""

PAIRS: Final = 20
MOST_OF_A_START: Final = 32
SAMPLE: Final = {ModeName.TRANSPARENT: 3, ModeName.BRIDGE: 12}
"""Without `--every-crash` (`make crash`) the agent dies at every third step, and in the mode bridge, where its steps
are the same, at every twelfth. Which ones differs from verb to verb."""


async def crash(
    verb: Verb,
    directory: Path,
    mode: ModeName,
    *,
    point: int | None = None,
    again: int | None = None,
    ipv6: bool = False,
) -> list[str]:
    """Run the verb, ended at that step of it, and then repeat it; returns the steps of the first run.

    Two things that happen in the same moment may come in either order, so a run may have a step or two less than the
    one before: where there is none of that number, nothing is killed.
    `again`: the step of the next agent's start at which that one is ended, too. `ipv6`: pods have both families.
    """
    machine = CrashMachine(directory, mode, policy=replace(verb.policy, ipv6=ipv6))
    if not verb.fresh:
        await machine.start()
        await machine.ready()
        await verb.before(machine)
        if machine.alive:
            await machine.rest()
    first = machine.fuse.points if machine.alive else 0
    if machine.alive:
        machine.fuse.burns_at = None if point is None else first + point
    else:
        await machine.start(burns_at=point)
    fuse = machine.fuse
    try:
        await verb.act(machine)
        await machine.until(lambda: verb.done(machine))
        await machine.waited(asyncio.sleep(AFTERWARDS_S))
        last = fuse.points
    except AgentGone:
        await machine.kill()
        if again is not None:
            await die_in_the_start(machine, again)
        await machine.start()
        await machine.ready()
        await (verb.again or verb.act)(machine)
        last = fuse.points
    assert fuse.dead or point is None or point >= last - first, f"{verb} lives on at step {point}"
    await machine.until(lambda: verb.done(machine))
    await machine.rest()
    machine.require_whole()
    await machine.end_all()
    await machine.kill()
    return fuse.passed[first:last]


async def die_in_the_start(machine: CrashMachine, point: int) -> None:
    """At that step, or a moment after its last."""
    await machine.start(burns_at=point)
    with contextlib.suppress(AgentGone):
        await machine.ready()
        await machine.waited(asyncio.sleep(AFTERWARDS_S))
    await machine.kill()


@pytest.mark.parametrize("verb", VERBS, ids=str)
async def test_it_dies_again_while_it_recovers(verb: Verb, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """Two kills in a row, at steps that are drawn from a seed."""
    chance, mode = Random(str(verb)), ModeName.TRANSPARENT
    steps = await crash(verb, tmp_path / "whole", mode)
    for number in range((PAIRS if pytestconfig.getoption("--every-crash") else 1) * bool(steps)):
        point, again = chance.randrange(len(steps)), chance.randrange(MOST_OF_A_START)
        try:
            await crash(verb, tmp_path / f"{number}", mode, point=point, again=again)
        except Exception as error:
            where = f"{steps[point]} (step {point}), and then at step {again} of its start"
            raise AssertionError(f"{verb}, killed {where}: {error!r}") from error


@pytest.mark.parametrize("mode", list(ModeName))
@pytest.mark.parametrize("verb", VERBS, ids=str)
async def test_the_agent_dies_before_and_after_each_step(
    verb: Verb, mode: ModeName, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    steps = await crash(verb, tmp_path / "whole", mode)
    every = pytestconfig.getoption("--every-crash")
    points = sample(steps, of=1 if every else SAMPLE[mode], salt=f"{verb}, {mode}")
    killed = 0
    for point in points:
        try:
            killed += len(await crash(verb, tmp_path / f"{point}", mode, point=point)) == point
        except Exception as error:
            raise AssertionError(f"{verb}, killed {steps[point]} (step {point} of {len(steps)}): {error!r}") from error
    assert killed >= len(points) * 3 // 4
    print(f"{verb}, {mode}: {len(steps)} places to die, {killed} kills; {', '.join(steps)}")


@pytest.mark.parametrize("verb", VERBS, ids=str)
async def test_it_dies_where_pods_have_both_families(verb: Verb, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    mode = ModeName.TRANSPARENT
    steps = await crash(verb, tmp_path / "whole", mode, ipv6=True)
    of = 2 if pytestconfig.getoption("--every-crash") else SAMPLE[ModeName.BRIDGE]
    for point in sample(steps, of=of, salt=f"{verb}, IPv6"):
        try:
            await crash(verb, tmp_path / f"{point}", mode, point=point, ipv6=True)
        except Exception as error:
            raise AssertionError(f"{verb}, killed {steps[point]} (step {point} of {len(steps)}): {error!r}") from error


def protocol(hint: Any) -> type:
    """That of a port, also of one that some nodes do not have."""
    given = [one for one in typing.get_args(hint) or (hint,) if one is not type(None)]
    assert len(given) == 1, hint
    found: type = given[0]
    return found


async def test_the_verbs_make_every_step_that_an_agent_can_make(tmp_path: Path) -> None:
    """A method that is added to a port, and changes something, is met by a verb, or this fails."""
    taken: set[str] = set()
    for number, verb in enumerate(VERBS):
        taken |= {step.rpartition(" ")[2] for step in await crash(verb, tmp_path / f"{number}", ModeName.TRANSPARENT)}
    hints = typing.get_type_hints(NodePorts)
    ports = {name: protocol(port) for name, port in hints.items() if name not in {*INSIDE, "nic_of"}}
    possible = effects_of(**ports, nic=Nic, files=PluginFiles, mark=Mark)
    assert not possible - taken
    assert len(possible) >= 18
