"""A run that was killed leaves nothing for good, and a run that goes on loses nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from datapath.left_behind import NAMESPACES, own_prefix, take_away
from datapath.namespaces import NEEDS_ROOT, Namespaces

pytestmark = NEEDS_ROOT

RUN = """
import subprocess, sys
from azurebox.fabric import Fabric
from datapath.left_behind import own_prefix
from datapath.namespaces import Namespaces

pod = Namespaces().new("pod")
asleep = subprocess.Popen(["nsenter", f"--net={pod.path}", "sleep", "600"])
lab = Fabric(own_prefix("lab"))
lab.ensure_namespaces()
print(pod.name, lab.namespace, asleep.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def run() -> Iterator[subprocess.Popen[str]]:
    """A run of tests that has made a namespace with a process in it, and a fabric with its servers."""
    environment = os.environ | {"PYTHONPATH": ":".join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", RUN], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as started:
        yield started
        started.kill()
    take_away()


def test_the_next_run_takes_away_what_a_killed_one_left(run: subprocess.Popen[str]) -> None:
    assert run.stdout
    pod, fabric, asleep = run.stdout.readline().split()
    assert not {pod, fabric} & set(take_away())  # it goes on
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert (NAMESPACES / pod).exists()
    assert {pod, fabric} <= set(take_away())
    assert not list(NAMESPACES.glob(f"{pod.partition('-')[0]}*"))
    assert not _runs(int(asleep))


def test_workers_that_begin_at_once_take_away_together() -> None:
    """A killed run had left 900 namespaces, and three of four workers failed over what the first had removed."""
    made = "from datapath.namespaces import Namespaces; print(Namespaces().new_many(60)[0].name, flush=True); input()"
    environment = os.environ | {"PYTHONPATH": ":".join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", made], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as left:
        assert left.stdout
        first = left.stdout.readline().strip()
        left.kill()
    taking = [sys.executable, "-c", "from datapath.left_behind import take_away; take_away()"]
    workers = [subprocess.Popen(taking, env=environment) for _ in range(4)]
    assert [worker.wait() for worker in workers] == [0, 0, 0, 0]
    assert not list(NAMESPACES.glob(f"{first.partition('-')[0]}*"))


def test_what_is_not_of_a_dead_run_stays() -> None:
    """Ours, and a name that only looks like one."""
    with Namespaces() as namespaces:
        mine = namespaces.new()
        theirs = f"aztec{os.getpid()}-x"
        subprocess.run(["ip", "netns", "add", theirs], check=True)
        try:
            assert mine.name.startswith(own_prefix())
            assert not {mine.name, theirs} & set(take_away())
            assert Path(mine.path).exists()
        finally:
            subprocess.run(["ip", "netns", "delete", theirs], check=True)


def test_an_id_that_another_process_has_by_now_keeps_nothing() -> None:
    """The process id is alive, and began at another time."""
    left = f"azt{os.getpid()}s1-pod0"
    subprocess.run(["ip", "netns", "add", left], check=True)
    assert left in take_away()
    assert not (NAMESPACES / left).exists()


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
