"""Calls of azure-cni.exe as no runtime should make them: each is refused in the CNI's words, and leaves nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from azure_cni.api.introspection import decode_node_report
from azure_cni.cni.systems import WINDOWS
from windows.node import CALL_S
from windows.replay import differences, read_record
from windows.wine import RUN
from windows.world import World

GUID: Final = "12345678-1234-1234-1234-123456789abc"
ABOUT: Final = {
    "CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_NETNS": GUID, "CNI_IFNAME": "eth0", "CNI_PATH": "C:\\",
}  # fmt: skip
ASK_S: Final = 300.0

INPUTS: Final = {
    "nothing": b"",
    "half a document": b'{"cniVersion": "1.0.0"',
    "a list": b"[]",
    "no UTF-8": b"\xff\xfe{\x00}\x00",
    "as deep as it goes": b"[" * 100_000,
    "long": b'{"cniVersion":"1.0.0","name":"' + b"n" * (4 << 20) + b'","type":"azure-cni"}',
    "a version of another time": b'{"cniVersion":"9.9.9","name":"azure-cni","type":"azure-cni"}',
    "a socket that is a file": b'{"cniVersion":"1.0.0","name":"azure-cni","type":"azure-cni","socket":"C:\\\\x"}',
    "a pipe of another machine": b'{"cniVersion":"1.0.0","name":"azure-cni","type":"azure-cni",'
    b'"socket":"\\\\\\\\10.0.0.9\\\\pipe\\\\azure-cni"}',
}
NAMES: Final = (
    {"CNI_NETNS": "/run/netns/c1"}, {"CNI_NETNS": GUID + "0"}, {"CNI_NETNS": "..\\..\\x"}, {"CNI_NETNS": ""},
    {"CNI_CONTAINERID": "..\\..\\evil"}, {"CNI_CONTAINERID": "C:evil"}, {"CNI_CONTAINERID": ""},
    {"CNI_CONTAINERID": "c" * 30_000}, {"CNI_IFNAME": "..\\x"}, {"CNI_IFNAME": "e" * 40}, {"CNI_IFNAME": ""},
    {"CNI_COMMAND": "add"}, {"CNI_COMMAND": "EVIL"},
)  # fmt: skip


def call(world: World, stdin: bytes, **about: str) -> subprocess.CompletedProcess[bytes]:
    """As a runtime would, without a word of the program's own."""
    environ = {name: value for name, value in (ABOUT | about).items() if value}
    done = subprocess.run(
        [*RUN, WINDOWS.bin_dir + r"\azure-cni.exe"],
        input=stdin,
        env=world.node.environment(**environ),
        capture_output=True,
        check=False,
        timeout=CALL_S,
    )
    assert b"goroutine" not in done.stderr
    return done


def refused(world: World, stdin: bytes, **about: str) -> dict[str, Any]:
    """What it says of a call that must fail."""
    done = call(world, stdin, **about)
    assert done.returncode != 0, done.stdout
    said: dict[str, Any] = json.loads(done.stdout)
    assert said["code"] > 0
    assert said["msg"]
    return said


def config(world: World) -> bytes:
    conflist = json.loads((world.node.file(WINDOWS.conf_dir) / "10-azure-cni.conflist").read_text())
    about = {"cniVersion": conflist["cniVersion"], "name": conflist["name"]}
    return json.dumps(conflist["plugins"][0] | about).encode()


def files(world: World) -> set[Path]:
    """All of drive C: but what is Windows' and what the agent or a DEL writes as it goes."""
    drive = world.node.prefix / "drive_c"
    found = (Path(where) / name for where, _, names in os.walk(drive) for name in names)
    own = drive / "windows", world.node.file(WINDOWS.run_dir)
    return {one for one in found if not any(it in one.parents for it in own)}


@pytest.fixture
def untouched(world: World) -> Any:
    before = files(world)
    yield
    assert files(world) == before
    assert world.hns.endpoints() == []
    world.await_counts(assigned=0)


@pytest.mark.usefixtures("untouched")
def test_odd_documents_are_refused(world: World) -> None:
    for name, stdin in INPUTS.items():
        assert refused(world, stdin)["code"] in {1, 4, 6, 7}, name


@pytest.mark.usefixtures("untouched")
def test_odd_names_are_refused_and_name_no_file(world: World) -> None:
    given = config(world)
    for about in NAMES:
        refused(world, given, **about)
    world.kill_agent()
    for about in NAMES:
        call(world, given, **{"CNI_COMMAND": "DEL"} | about)  # which is done where there can be nothing to remove
    recorded = world.records
    world.start_agent()
    assert recorded
    assert all(re.fullmatch(r"[0-9a-f]{32}\.json", name) for name in recorded), recorded
    assert world.records == [], "carried out, or moved aside with words"


def test_the_agent_says_of_itself_what_the_plugin_was_told(world: World) -> None:
    first = world.add("p1")
    assert first.status == 0
    asked = world.node.python("-m", "azure_cni", "introspect", timeout_s=ASK_S)
    assert asked.returncode == 0, asked.stdout
    report = decode_node_report(asked.stdout.encode())
    assert [link.addresses for link in report.kernel.links] == [[first.address]]
    assert [slot.pod for slot in report.slots if slot.address == first.address] == ["p1"]
    assert world.delete("p1").status == 0


def test_what_hns_answers_is_recorded_and_replayed(world: World) -> None:
    """By the program for the first real node, through the library. Nothing else asks meanwhile."""
    world.kill_agent()
    try:
        done = world.node.python("-m", "azure_cni.windows.hns_recording", "10.240.3.99", timeout_s=ASK_S)
    finally:
        world.start_agent()
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    found = read_record("\n".join(lines))
    assert {"ADD", "CHECK", "other prefixes", "DEL", "the namespace goes"} <= {one.step for one in found.calls}, (
        done.stdout
    )
    assert differences(found) == []
    assert world.hns.endpoints() == []
