"""cnitool as the runtime of a node in a test: it reads the conflist there and calls every plugin that this names."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from azurebox import tools
from datapath.docker_process import DockerVm
from datapath.namespaces import Namespace

INSTALLED_S = 60.0
NETWORK = "azure-cni"
_RUN = """
cd {directory}
mkdir -p host.run/netns host.run/azure-cni
mount --rbind /run/netns host.run/netns
mount --bind run host.run/azure-cni
mount --rbind host.run /run
"""


@dataclass(frozen=True)
class CniTool:
    """cnitool on that VM, with a cache of its own: libcni's directory cannot be chosen, so another is mounted there."""

    vm: DockerVm
    network: str = NETWORK
    configurations: str = "net.d"
    """The directory, below the VM's."""
    as_installed: bool = False
    """The agent's directory is also where it is on a node: /run/azure-cni."""

    def call(self, verb: str, netns: str, **environment: str) -> subprocess.CompletedProcess[str]:
        directory = self.vm.directory
        run = f"sh -ec '{_RUN.format(directory=directory)}' && " if self.as_installed else ""
        inside = f'mount --bind {directory}/var /var/lib && {run}exec {tools.path("cnitool")} "$@"'
        command = ["nsenter", f"--net={self.vm.node.path}", "unshare", "--mount", "sh", "-c", inside, "cnitool"]
        places = {"NETCONFPATH": f"{directory}/{self.configurations}", "CNI_PATH": f"{directory}/bin"}
        return subprocess.run(
            [*command, verb, self.network, netns],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
            env=os.environ | places | environment,
        )

    def done(self, verb: str, netns: str, **environment: str) -> str:
        """What it printed when all went well."""
        called = self.call(verb, netns, **environment)
        assert called.returncode == 0, f"{called.stdout}{called.stderr}\n{self.vm.said}"
        return called.stdout

    def refused(self, verb: str, netns: str, **environment: str) -> str:
        """What it said when it did not."""
        called = self.call(verb, netns, **environment)
        assert called.returncode == 1, f"{called.stdout}{called.stderr}"
        return called.stdout + called.stderr

    def add(self, container: Namespace, **environment: str) -> str:
        """The address that the container has now."""
        result: dict[str, Any] = json.loads(self.done("add", container.path, **environment))
        return str(result["ips"][0]["address"]).partition("/")[0]


def until(fact: Callable[[], object], vm: DockerVm) -> None:
    deadline_s = time.monotonic() + INSTALLED_S
    while not fact():
        assert vm.process.poll() is None, vm.said
        assert time.monotonic() < deadline_s, vm.said
        time.sleep(0.1)
