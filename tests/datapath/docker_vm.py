"""A VM without Kubernetes, as a process: its NIC in this network namespace, the fake Azure on loopback, the plugin.

Usage, inside a network namespace of its own: python -m datapath.docker_vm DIRECTORY [PLUGIN]. What is there afterwards:
the plugin's socket DIRECTORY/plugin.sock, and the settings DIRECTORY/docker.toml. With PLUGIN, the CNI binary, it also
serves CNI: in DIRECTORY/bin and DIRECTORY/net.d.
"""

from __future__ import annotations

import asyncio
import socket
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


def settings(directory: Path, endpoints: Endpoints, plugin: str = "") -> str:
    """The file docker.toml."""
    cni = f"""
        [cni]
        enabled = true
        plugin = "{plugin}"
        binDir = "{directory}/bin"
        confDir = "{directory}/net.d"
        specVersion = "1.1.0"
        chainPortmap = false
    """
    return f"""{cni if plugin else ""}
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


def make_nic(mac: str) -> None:
    """`eth0`, as cloud-init has it; one of a process before is replaced."""
    if "eth0" in [name for _, name in socket.if_nameindex()]:
        ip("link", "delete", "eth0")
    ip("link", "add", "eth0", "address", mac.replace("-", ":"), "type", "bridge")
    ip("address", "add", f"{PRIMARY}/22", "dev", "eth0")
    ip("link", "set", "eth0", "up")
    ip("route", "add", "default", "via", "10.240.0.1", "dev", "eth0")


async def serve(directory: Path, plugin: str = "") -> None:
    """Until the process is asked to stop."""
    azure = FakeAzure(seed=7)
    azure.add_vnet()
    vm = azure.add_vm("vm1", address=PRIMARY)
    azure.pin_caller("vm1")
    make_nic(vm.mac)
    async with azure.serve() as endpoints:
        file = directory / "docker.toml"
        file.write_text(settings(directory, endpoints, plugin))
        await run_docker(read_file(file))


if __name__ == "__main__":
    set_up_logs(level="info", style="text")
    asyncio.run(serve(Path(sys.argv[1]), *sys.argv[2:]))
