"""A VM without Kubernetes, as a process: its NIC in this network namespace, the fake Azure on loopback, the plugin.

Usage, inside a network namespace of its own: python -m datapath.docker_vm DIRECTORY. What is there afterwards: the
plugin's socket DIRECTORY/plugin.sock, and the settings DIRECTORY/docker.toml.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from azure_cni.entrypoints.docker_plugin import run_docker
from azure_cni.entrypoints.docker_settings import read_file
from azure_cni.entrypoints.logs import set_up_logs
from fakeazure import Endpoints, FakeAzure

PRIMARY = "10.240.0.4"


def ip(*arguments: str) -> None:
    """One command of iproute2, here."""
    subprocess.run(["ip", *arguments], check=True, timeout=30)


def settings(directory: Path, endpoints: Endpoints) -> str:
    """The file docker.toml."""
    return f"""
        [azure]
        resourceManagerEndpoint = "{endpoints.arm}"
        metadataEndpoint = "{endpoints.imds}"
        caFile = "{endpoints.ca_file}"
        [agent]
        coolingSeconds = 1
        [docker]
        socket = "{directory}/plugin.sock"
        runDirectory = "{directory}/run"
        stateDirectory = "{directory}/state"
    """


async def serve(directory: Path) -> None:
    """Until the process is asked to stop."""
    azure = FakeAzure(seed=7)
    azure.add_vnet()
    vm = azure.add_vm("vm1", address=PRIMARY)
    azure.pin_caller("vm1")
    ip("link", "add", "eth0", "address", vm.mac.replace("-", ":"), "type", "bridge")
    ip("address", "add", f"{PRIMARY}/22", "dev", "eth0")
    ip("link", "set", "eth0", "up")
    ip("route", "add", "default", "via", "10.240.0.1", "dev", "eth0")
    async with azure.serve() as endpoints:
        file = directory / "docker.toml"
        file.write_text(settings(directory, endpoints))
        await run_docker(read_file(file))


if __name__ == "__main__":
    set_up_logs(level="info", style="text")
    asyncio.run(serve(Path(sys.argv[1])))
