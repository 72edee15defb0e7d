"""A node of a cluster as a process: its NIC in this network namespace, Azure and API server on loopback, the agent.

Usage, inside a network namespace of its own: python -m datapath.agent_vm DIRECTORY PLUGIN. What is there afterwards:
Docker's socket DIRECTORY/plugin.sock, the CNI socket DIRECTORY/run/cni.sock, and DIRECTORY/docker.toml for the command.
LOG_LEVEL in the environment is the agent's, `info` without it. So is any AZURE_CNI_ variable; an empty one is as if it
were not set.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from azure_cni.entrypoints import settings
from azure_cni.entrypoints.agent import run_agent
from azure_cni.entrypoints.environment_values import PREFIX
from azure_cni.entrypoints.logs import set_up_logs
from azure_cni.kube.client import KubeEndpoint
from datapath.docker_vm import PRIMARY, make_nic
from fakeazure import Endpoints, FakeAzure
from fakes.kubeapi import NODES, TOKEN, FakeKubeAPI


def environment(directory: Path, endpoints: Endpoints, plugin: str) -> dict[str, str]:
    """What the chart's DaemonSet sets with `docker.enabled` and `docker.engineSocket`, and where this VM's Azure is."""
    values = {
        "NODE_NAME": "vm1",
        "HOST_IP": PRIMARY,
        "METRICS_BIND": "loopback",
        "ARM_ENDPOINT": endpoints.arm,
        "IMDS_ENDPOINT": endpoints.imds,
        "CA_FILE": str(endpoints.ca_file),
        "COOLING_S": "1",
        "BIN_DIR": f"{directory}/bin",
        "CONF_DIR": f"{directory}/net.d",
        "CHAIN_PORTMAP": "false",
        "RUN_DIR": f"{directory}/run",
        "PLUGIN": plugin,
        "PROCESS_DIR": "/proc",
        "DOCKER_SOCKET": f"{directory}/plugin.sock",
        "DOCKER_STATE_DIR": f"{directory}/state",
        "DOCKER_ENGINE_SOCKET": f"{directory}/engine/docker.sock",
        "LOG_FORMAT": "text",
    }
    chosen = {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
    return {f"{PREFIX}{name}": value for name, value in values.items()} | chosen


async def serve(directory: Path, plugin: str) -> None:
    """Until the process is asked to stop."""
    azure, api = FakeAzure(seed=7), FakeKubeAPI()
    azure.add_vnet()
    azure.add_ipv6()
    vm = azure.add_vm("vm1", address=PRIMARY)
    azure.pin_caller("vm1")
    make_nic(vm.mac)
    api.put(NODES, "vm1")
    async with azure.serve() as endpoints, api.serve() as url:
        (directory / "docker.toml").write_text(f'[docker]\nsocket = "{directory}/plugin.sock"\n')
        (directory / "engine").mkdir()  # the runtime makes it for the mount
        chosen = settings.read(environment(directory, endpoints, plugin))
        await run_agent(chosen, api_server=KubeEndpoint(url, token=TOKEN))


if __name__ == "__main__":
    set_up_logs(level=os.environ.get("LOG_LEVEL", "info"), style="text")
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2]))
