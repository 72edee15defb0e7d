"""The agent at work under its own seccomp profile, and what the profile refuses to whoever takes it over.

`python -m datapath.recorded_calls` says what the agent calls beyond the profile, for the next release.
"""

from __future__ import annotations

import ctypes.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import build_plugin
from datapath.docker_process import DockerVm
from datapath.namespaces import NEEDS_ROOT, Namespaces
from datapath.test_agent_docker import cni

PROFILES = Path(__file__).parents[2] / "charts" / "azure-cni" / "files" / "seccomp"
AGENT, CONTROLLER = PROFILES / "agent.json", PROFILES / "controller.json"
pytestmark = [
    *NEEDS_ROOT,
    pytest.mark.skipif(not ctypes.util.find_library("seccomp"), reason="needs libseccomp, which runc has"),
]


def under(profile: Path) -> tuple[str, ...]:
    return (sys.executable, "-m", "datapath.under_profile", str(profile))


@pytest.fixture
def node(namespaces: Namespaces, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerVm]:
    plugin = build_plugin(tmp_path_factory.mktemp("plugin"))
    started = DockerVm(namespaces, tmp_path, str(plugin), module="datapath.agent_vm", under=under(AGENT))
    yield started
    started.kill()


def test_the_agent_works_under_its_profile(node: DockerVm, namespaces: Namespaces):
    """It installs itself, reads Azure, writes the NIC, wires a pod, compares it, ends it, and ends."""
    assert node.status("--wait", "60")[0] == 0, node.said
    pod = namespaces.new("pod")
    status, result = cni(node, "add", pod.path)
    assert status == 200, result
    assert cni(node, "check", pod.path, prevResult=result) == (200, {})
    assert cni(node, "status")[0] == 200
    assert cni(node, "del", pod.path) == (200, {})
    assert cni(node, "gc", **{"cni.dev/valid-attachments": []}) == (200, {})
    assert (node.directory / "net.d").is_dir()
    assert node.end() == 0, node.said
    assert [line for line in node.said.splitlines() if "not implemented" in line or "ERROR" in line] == []


CALLS = {
    "mount": ("mount", b"none", b"/nowhere", b"tmpfs", 0, None),
    "take a mount away": ("umount2", b"/nowhere", 0),
    "a user namespace": ("unshare", 0x10000000),
    "a mount namespace": ("unshare", 0x00020000),
    "another root": ("pivot_root", b"/nowhere", b"/nowhere"),
    "a root of its own": ("chroot", b"/"),
    "trace a process": ("ptrace", 16, -1, 0, 0),
    "load a program into the kernel": ("bpf", 0, None, 0),
    "load a module": ("init_module", None, 0, b""),
    "another kernel": ("kexec_load", 0, 0, None, 0xFFFF),
    "measure the kernel": ("perf_event_open", None, 0, -1, -1, 0),
    "another process's memory": ("process_vm_readv", -1, None, 0, None, 0, 0),
    "keys of the kernel": ("keyctl", 0, 0, 0, 0, 0),
    "a device": ("mknod", b"/nowhere/device", 0o60600, 0),
    "a file by its handle": ("open_by_handle_at", -1, None, 0),
    "a mount namespace by its file": ("setns", -1, 0x00020000),
    "a raw link": ("socket", 17, 3, 0),
    "the kernel's ciphers": ("socket", 38, 5, 0),
    "io_uring": ("io_uring_setup", 1, None),
}
"""Most of them are what CAP_SYS_ADMIN would allow, and RuntimeDefault with it. Each would fail anyway, otherwise."""
TRY = """
import ctypes, errno, json, sys
library = ctypes.CDLL("libseccomp.so.2")
libc = ctypes.CDLL(None, use_errno=True)
found = {}
for what, (name, *arguments) in json.loads(sys.argv[1]).items():
    number = library.seccomp_syscall_resolve_name(name.encode())
    values = [one.encode() if isinstance(one, str) else one for one in arguments]
    done = libc.syscall(number, *values)
    found[what] = errno.errorcode.get(ctypes.get_errno(), "?") if done < 0 else "done"
print(json.dumps(found))
"""


@pytest.mark.parametrize("profile", [AGENT, CONTROLLER], ids=lambda path: path.stem)
def test_what_neither_ever_does_is_refused(profile: Path):
    asked = {what: [one.decode() if isinstance(one, bytes) else one for one in call] for what, call in CALLS.items()}
    done = subprocess.run(
        [*under(profile), sys.executable, "-c", TRY, json.dumps(asked)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=Path(__file__).parents[1],
    )
    found: dict[str, Any] = json.loads(done.stdout)
    assert {what: said for what, said in found.items() if said != "ENOSYS"} == {}


def test_only_the_agent_enters_network_namespaces():
    named = {path.stem: {name for rule in rules(path) for name in rule["names"]} for path in (AGENT, CONTROLLER)}
    assert named["agent"] - named["controller"] == {"setns"}
    assert named["controller"] <= named["agent"]


def rules(profile: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(profile.read_text())["syscalls"]
    return found
