"""Docker's plugin socket on one node, for every process that serves it: a VM without Kubernetes, and the agent.

The agent loads this module only where it serves Docker: the others do without its memory.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

from aiohttp.web import Application

from azure_cni import __version__
from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.docker import plugin_status
from azure_cni.docker.container_endpoints import REQUEST_WAITS_S, ContainerEndpoints
from azure_cni.docker.docker_networks import DockerNetworks
from azure_cni.docker.engine_roll import EngineRoll
from azure_cni.docker.plugin_methods import DockerPlugin
from azure_cni.entrypoints.accepting import runner_of
from azure_cni.entrypoints.cni_listener import RequestBounds
from azure_cni.entrypoints.docker_socket import ACTIVITY, DockerSocket
from azure_cni.entrypoints.running import every, kept_up
from azure_cni.entrypoints.runtime_sockets import serve_socket
from azure_cni.errors import AzureCniError
from azure_cni.host.files import WholeFile
from azure_cni.linux.datapath import LinuxDatapath
from azure_cni.linux.docker_firewall import DockerFirewall
from azure_cni.node.assembly import Node
from azure_cni.node.ports import Clock, Observer
from azure_cni.node.state import ADDRESSES_FREE

log = logging.getLogger(__name__)

ID_BYTES: Final = 8
"""Of the names of addresses that were requested for nobody yet: no two of a VM are alike."""
ADMIT_S: Final = 30.0
"""Between two looks at Docker's firewall, beside that of each container that joins."""


def docker_networks(state_dir: Path) -> DockerNetworks:
    """The list of networks in this directory, which outlives a reboot."""
    return DockerNetworks(WholeFile(state_dir / "docker-networks.json"))


def pool_document(
    pool: NodeIPPool, node: Node, networks: DockerNetworks, engine: EngineRoll | None = None
) -> dict[str, Any]:
    """What the socket says of the node to `azure-cni docker status`."""
    return plugin_status.document(
        pool,
        node.stored.ledger,
        node.state,
        networks=networks.ids,
        unready=_unready(node),
        engine=engine.report if engine else None,
    )


def _unready(node: Node) -> str:
    """Why no container of Docker can start now; "" when one can.

    `NodeState.can_take_a_pod` answers for pods, and is not asked: their runtime tries again until the pool has grown,
    and Docker does not; and what a CNI runtime lacks for them (`obstacle`) Docker needs for none of its containers.
    """
    state = node.state
    if state.ready and node.stored.ledger.counts().free:
        return ""
    if state.forecast.reason == ADDRESSES_FREE:  # it is about to be published anew
        return "no address is free"
    return state.forecast.message


async def serve_docker(
    node: Node,
    path: Path,
    *,
    networks: DockerNetworks,
    datapath: LinuxDatapath,
    clock: Clock,
    observer: Observer,
    status: Callable[[], dict[str, Any]],
    extend: Callable[[Application], None],
    closing: AsyncExitStack,
    wait_s: float = REQUEST_WAITS_S,
    engine: EngineRoll | None = None,
) -> None:
    """Answer Docker at the socket `path` until cancelled. `extend` adds what else the socket is asked.

    `engine`: where Docker is asked for its own lists.
    """
    endpoints = ContainerEndpoints(
        node,
        datapath=datapath,
        handover=datapath,
        forwarding=DockerFirewall(),
        clock=clock,
        new_id=lambda: secrets.token_hex(ID_BYTES),
        wait_s=wait_s,
        joined=engine.request if engine else lambda: None,
    )
    server = DockerSocket(
        DockerPlugin(networks=networks, endpoints=endpoints, state=node.state),
        status=status,
        faults=node.faults,
        observer=observer,
        extend=extend,
        bounds=RequestBounds(answer_s=RequestBounds().answer_s + wait_s),
    )
    runner = runner_of(server.application())
    await runner.setup()
    closing.push_async_callback(runner.cleanup)
    closing.callback(endpoints.end_waits)  # before that, which waits for each answer
    _make_parent(path)
    served = await serve_socket(runner, path, requests=server.requests, faults=node.faults, activity=ACTIVITY)
    closing.callback(path.unlink, missing_ok=True)
    log.info("serving docker", extra={"socket": str(path), "version": __version__})
    async with asyncio.TaskGroup() as periodic:
        keep_open = partial(served.keep_open, prepare=partial(_make_parent, path))
        periodic.create_task(kept_up(keep_open, ACTIVITY, node.faults))
        periodic.create_task(every(ADMIT_S, endpoints.admit_again, "docker_firewall", node.faults))


def _make_parent(path: Path) -> None:
    """Docker itself makes /run/docker/plugins only when it starts, and may start after us."""
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise AzureCniError(f"cannot make {path.parent} for the plugin's socket: {error.strerror}") from error
