"""What an agent and its node live through: killed, asked to end, a reboot. Pods and counts stay right."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from azure_cni.cni.systems import WINDOWS
from azurebox.steps import wait_for
from windows.world import SERVES_S, World

SHARED_DATA: Final = 0x7FFE0000
"""At this address Windows has what the kernel shares with each program."""
START_OF_HEAP: Final = 44
"""proc_pid_stat(5): of the fields after the program's name."""


def assigned(world: World) -> int:
    """What the ledger's file says, which no agent has open."""
    file = world.node.file(WINDOWS.run_dir) / "ledger.sqlite"
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as ledger:
        (count,) = ledger.execute("SELECT count(*) FROM slots WHERE state = 'assigned'").fetchone()
    return int(count)


def test_no_program_has_its_heap_where_windows_has_an_address(world: World) -> None:
    """Wine could not start it there. Without the first words of windows.wine.RUN one program in 20 would pass this."""
    agent = world.node.agent
    assert agent is not None
    fields = Path(f"/proc/{agent.pid}/stat").read_text().rpartition(")")[2].split()
    assert int(fields[START_OF_HEAP]) < SHARED_DATA


def test_an_agent_that_is_killed_leaves_pods_and_the_next_one_knows_them(world: World, figures: list[str]) -> None:
    stays, goes = world.add("stays"), world.add("goes")
    assert (stays.status, goes.status) == (0, 0)
    world.kill_agent()
    assert world.wired == {stays.address, goes.address}
    assert assigned(world) == 2
    away = world.add("p1")
    assert (away.status, away.said["code"]) == (1, 11), "try again later"
    assert "kubectl get pods" in away.said["details"]
    assert "systemctl" not in str(away.said), "no words of Linux"
    assert world.node.plugin("STATUS", cniVersion="1.1.0").status == 0, "an agent that restarts makes no node NotReady"
    assert world.delete("goes").status == 0
    assert len(world.records) == 1

    began = time.monotonic()
    world.start_agent()
    figures.append(f"an agent starts, and serves after {time.monotonic() - began:.1f} s")
    wait_for(lambda: not world.records, timeout_s=SERVES_S, what="the record to be carried out")
    assert world.wired == {stays.address}
    assert world.add("stays").said == stays.said, "a repeat"
    world.await_counts(assigned=1)
    assert world.add("p1").status == 0
    assert [world.delete(name).status for name in ("p1", "stays")] == [0, 0]
    assert world.hns.endpoints() == []
    world.await_counts(assigned=0)


def test_a_runtime_that_stops_the_agent_lets_it_end_in_order(world: World) -> None:
    held = world.add("held")
    assert held.status == 0
    agent = world.node.agent
    assert agent is not None
    assert world.node.run(world.node.ground.stop, "python.exe").strip() == "1"
    assert agent.wait(30) == 0, world.said(20)
    assert world.wired == {held.address}
    world.start_agent()
    assert world.add("held").said == held.said, "a repeat"
    assert world.delete("held").status == 0
    world.await_counts(assigned=0)


def test_a_reboot_empties_the_ledger_and_pods_come_again(world: World) -> None:
    before = [world.add(name) for name in ("a", "b")]
    assert {one.status for one in before} == {0}
    world.kill_agent()
    assert world.delete("b").status == 0
    assert (assigned(world), len(world.records)) == (2, 1)
    world.reboot()
    assert world.hns.endpoints() == []
    assert assigned(world) == 2, "drive C: outlives a reboot"
    assert world.node.plugin("STATUS", cniVersion="1.1.0").status != 0, "no agent has served since the boot"

    world.start_agent()
    assert world.records == []
    world.await_counts(assigned=0)
    again = world.add("a")
    assert (again.status, world.wired) == (0, {again.address})
    assert world.node.plugin("DEL", "b").status == 0, "of a pod from before"
    assert world.delete("a").status == 0
    world.await_counts(assigned=0)


def test_the_plugin_of_an_older_release_is_replaced(world: World) -> None:
    installed = world.node.file(WINDOWS.bin_dir) / "azure-cni.exe"
    shipped = installed.read_bytes()
    world.kill_agent()
    installed.write_bytes(b"MZ of an older release")
    world.start_agent()
    assert installed.read_bytes() == shipped
    assert world.add("p1").status == 0
    assert world.delete("p1").status == 0
