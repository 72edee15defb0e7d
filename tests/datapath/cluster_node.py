"""A node of a cluster whose agent serves CNI, with plugins of others in its directory, and cnitool as its runtime."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from azure_cni.entrypoints.environment_values import PREFIX
from azurebox import tools
from bench.__main__ import build_plugin
from datapath.cnitool import CniTool, until
from datapath.docker_process import DockerVm
from datapath.namespaces import Namespaces

NO_DOCKER = {"DOCKER_SOCKET": "", "DOCKER_STATE_DIR": "", "DOCKER_ENGINE_SOCKET": ""}


def built(directory: Path) -> Path:
    """Our plugin, and beside it whatever other programs such a node needs."""
    tools.ensure_tools((tools.CNITOOL, tools.CHAINED, tools.REFERENCE))
    return build_plugin(directory)


def put_plugins(directory: Path, *names: str) -> None:
    """As whoever sets the node up does."""
    (directory / "bin").mkdir(exist_ok=True)
    for name in names:
        shutil.copy(tools.path(name), directory / "bin")


@contextmanager
def a_cluster_node(namespaces: Namespaces, directory: Path, plugin: Path, **settings: str) -> Iterator[CniTool]:
    """Its agent runs with these settings beside those of `agent_vm`, by the names of its variables."""
    (directory / "var").mkdir()
    variables = {f"{PREFIX}{name}": value for name, value in (NO_DOCKER | settings).items()}
    vm = DockerVm(
        namespaces, directory, str(plugin), module="datapath.agent_vm", serves="run/cni.sock", variables=variables
    )
    try:
        yield CniTool(vm)
    finally:
        vm.kill()


def until_pods_can_start(node: CniTool) -> None:
    until(lambda: any((node.vm.directory / "net.d").glob("*.conflist")), node.vm)
