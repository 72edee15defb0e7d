"""Processes are seen by a mount of /proc alone: with the agent's two capabilities, and never half of them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from azure_cni.ipam.address_state import Holder, Sandbox
from azure_cni.linux.netns import enter, opened
from azure_cni.linux.occupancy import Occupants, occupied_marks, own_mark
from azure_cni.node.pods.liveness import Occupancy
from datapath.namespaces import NEEDS_ROOT, Namespaces
from fakes.waiting import PATIENCE_S, until

pytestmark = NEEDS_ROOT

LOOK = """
import sys
from pathlib import Path
from azure_cni.linux.occupancy import occupied_marks
seen = occupied_marks(Path(sys.argv[1]))
print("hidden" if seen is None else int(sys.argv[2]) in seen)
"""
AGENT = ["setpriv", "--bounding-set", "-all,+net_admin,+sys_admin", "--inh-caps", "-all", "--no-new-privs"]
OPERATOR = Path(__file__).parents[2] / "operator"


@pytest.fixture
def occupied() -> Iterator[int]:
    """The mark of a namespace with one process in it, which is nobody's child here and not root's."""
    with Namespaces() as namespaces:
        netns = namespaces.new()
        inside = ["nsenter", f"--net={netns.path}", "setpriv", "--reuid", "65534", "--clear-groups"]
        with subprocess.Popen([*inside, "sh", "-c", "echo; exec sleep 60"], stdout=subprocess.PIPE) as process:
            assert process.stdout
            process.stdout.readline()
            yield Path(f"/proc/{process.pid}/net/dev").stat().st_ino
            process.kill()


def look(*before: str, processes: str, mark: int) -> str:
    done = subprocess.run(
        [*before, sys.executable, "-c", LOOK, processes, str(mark)],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(OPERATOR)},
    )
    return done.stdout.strip()


def test_with_the_agents_capabilities(occupied: int) -> None:
    assert look(*AGENT, processes="/proc", mark=occupied) == "True"
    assert look(*AGENT, processes="/proc", mark=occupied + 10**6) == "False"


@pytest.mark.parametrize("path", ["", "/run/\0", "netns", "/tmp", "/proc/self/ns/net", "/" + "n" * 5000])
def test_a_sandbox_whose_path_leads_to_no_other_namespace_is_unreadable(path: str) -> None:
    """And those of others are looked at all the same."""
    occupants = Occupants(Path("/proc"))
    try:
        assert occupants.look([Holder(Sandbox("net1", "ep1", "eth"), path)]) == (Occupancy.UNREADABLE,)
    finally:
        occupants.close()


async def test_a_thread_of_a_process_that_is_elsewhere_counts_too(namespaces: Namespaces) -> None:
    """As a virtual machine in a thread of its runtime."""
    netns, entered, leave = namespaces.new(), threading.Event(), threading.Event()
    marks = []

    def live() -> None:
        with opened(netns.path) as there:
            enter(there)
        marks.append(own_mark())
        entered.set()
        leave.wait()

    thread = threading.Thread(target=live)
    thread.start()
    entered.wait()
    during = occupied_marks(Path("/proc"))
    leave.set()
    thread.join()
    assert during is not None
    assert marks[0] in during
    # Python has joined a thread a moment before the kernel ends it.
    await until(lambda: ended(marks[0]), within_s=PATIENCE_S, say=lambda: f"{marks[0]} is still occupied")


def ended(mark: int) -> bool:
    """Whether nobody is in that namespace any more."""
    occupied = occupied_marks(Path("/proc"))
    assert occupied is not None
    return mark not in occupied


def test_from_a_container_by_the_mount_of_the_node(occupied: int, tmp_path: Path) -> None:
    """Its own /proc shows its own processes alone: nothing may be concluded from that."""
    container = ["unshare", "--pid", "--fork", "--mount", "sh", "-c"]
    script = f'mount --rbind /proc {tmp_path} && mount -t proc proc /proc && exec "$@"'
    for processes, seen in ((str(tmp_path), "True"), ("/proc", "hidden")):
        assert look(*container, script, "sh", *AGENT, processes=processes, mark=occupied) == seen


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ("hidepid=2", "True"),  # the agent's group is root's, which is let see them
        ("hidepid=1,gid=12345", "hidden"),
        ("hidepid=2,gid=12345", "hidden"),
        ("hidepid=4", "hidden"),
    ],
)
def test_where_others_processes_are_hidden_nothing_is_concluded(occupied: int, options: str, seen: str) -> None:
    container = ["unshare", "--mount", "sh", "-c", f'mount -t proc -o {options} proc /proc && exec "$@"', "sh"]
    assert look(*container, *AGENT, processes="/proc", mark=occupied) == seen


def test_where_there_is_no_proc(tmp_path: Path) -> None:
    assert occupied_marks(tmp_path) is None
    assert occupied_marks(tmp_path / "missing") is None
