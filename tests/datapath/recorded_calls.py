"""Which system calls the agent makes, beside its seccomp profile: for whoever prepares a release.

PYTHONPATH=operator:tests:e2e .venv/bin/python -m datapath.recorded_calls       (as root, with strace)

An agent runs under strace in a namespace of its own, from its installation to its end: it reads a fake Azure, writes
the NIC, wires a pod, compares and ends it. Printed is what it called and how often, and what of that the
profile does not name; its conditions on arguments are for `tests/datapath/test_seccomp.py`, where the same agent works
under the profile. Another C library or Python calls what stands for the same (`epoll_pwait2` for `epoll_wait`): such
calls are in the profile, too, though no run has shown them.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

from bench.__main__ import build_plugin
from datapath.docker_process import DockerVm
from datapath.namespaces import Namespaces
from datapath.test_agent_docker import cni
from datapath.test_seccomp import AGENT

CALL = re.compile(r"^([a-z_0-9]+)\(")


def recorded(directory: Path) -> Counter[str]:
    """All calls of one agent's life, by name."""
    traces = directory / "traces"
    traces.mkdir()
    (directory / "vm").mkdir()
    strace = ("strace", "-ff", "-qq", "-o", str(traces / "of"))
    with Namespaces() as namespaces:
        node = DockerVm(
            namespaces, directory / "vm", str(build_plugin(directory)), module="datapath.agent_vm", under=strace
        )
        try:
            assert node.status("--wait", "120")[0] == 0, node.said
            pod = namespaces.new("pod")
            status, result = cni(node, "add", pod.path)
            assert status == 200, result
            cni(node, "check", pod.path, prevResult=result)
            cni(node, "status")
            cni(node, "del", pod.path)
            cni(node, "gc", **{"cni.dev/valid-attachments": []})
        finally:
            node.kill()
    lines = (line for trace in traces.iterdir() for line in trace.read_text(errors="replace").splitlines())
    return Counter(found[1] for line in lines if (found := CALL.match(line)))


def main() -> int:
    """1 when the agent calls what the profile does not name."""
    with tempfile.TemporaryDirectory() as directory:
        calls = recorded(Path(directory))
    named = {name for rule in json.loads(AGENT.read_text())["syscalls"] for name in rule["names"]} | {"clone3"}
    for name, count in calls.most_common():
        print(f"{count:8} {name}{'' if name in named else '   NOT IN THE PROFILE'}")
    beyond = sorted(set(calls) - named)
    print(f"{len(calls)} calls, of {len(named)} in the profile; beyond it: {', '.join(beyond) or 'none'}")
    return int(bool(beyond))


if __name__ == "__main__":
    sys.exit(main())
