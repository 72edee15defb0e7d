"""CNI on one node, for every process that serves it.

Where the binary asks, the DELs that found nobody, and the installation.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, Protocol

from aiohttp.web import Application, AppRunner

from azure_cni import __version__
from azure_cni.cni.conflist import AgentPlace
from azure_cni.cni.systems import LINUX, NodeSystem
from azure_cni.entrypoints import netns_socket
from azure_cni.entrypoints.accepting import runner_of
from azure_cni.entrypoints.cni_server import CniServer
from azure_cni.entrypoints.host_settings import HostSettings
from azure_cni.entrypoints.running import every, kept_up
from azure_cni.entrypoints.runtime_sockets import ACTIVITY, serve_socket
from azure_cni.faults import Faults
from azure_cni.host.files import NodeDirectories
from azure_cni.host.install import HostPlugin
from azure_cni.host.run_directory import ServedMark
from azure_cni.node.assembly import Node
from azure_cni.node.installation import Directories, Installation, PluginFiles
from azure_cni.node.ports import Clock, NodeObject, Observer
from azure_cni.node.state import NodeState
from azure_cni.node.stored_ledger import StoredLedger

log = logging.getLogger(__name__)

DEFERRED_DELETES_PERIOD_S: Final = 5.0
SOCKET: Final = "cni.sock"
NETNS_ACTIVITY: Final = "netns_socket"
"""In the count of our own faults."""

NAMESPACES: Final = Path("/run/netns")
"""Where the runtime keeps pods' network namespaces; the chart mounts it."""


def installation_on(
    host: HostSettings,
    *,
    state: NodeState,
    stored: StoredLedger,
    wake: Callable[[], None],
    node: NodeObject | None,
    clock: Clock,
    files: PluginFiles | None = None,
    directories: Directories | None = None,
    system: NodeSystem = LINUX,
) -> Installation:
    """The installation in the directories of this host.

    Without a Node the process sees the host's own `directories`, and what is mounted there is its administrator's:
    podman mounts /run/netns over itself when it starts its first container.
    """
    return Installation(
        files or HostPlugin(host.plugin, host.bin_dir, host.conf_dir, host.conf_name, modes=system.has_modes),
        mark=ServedMark(host.run_dir),
        directories=directories or (NodeDirectories(()) if node is None else directories_of(host)),
        place=place_of(host, system),
        version=host.spec_version,
        chained=host.chained,
        state=state,
        stored=stored,
        wake=wake,
        node=node,
        clock=clock,
    )


def place_of(host: HostSettings, system: NodeSystem) -> AgentPlace:
    """Where the binary finds the agent: a socket in its directory, or a pipe, which is in none."""
    if system is LINUX:
        return AgentPlace(system, socket=str(host.run_dir / SOCKET))
    return AgentPlace(system, run_dir=str(host.run_dir))


def directories_of(host: HostSettings, seen: Sequence[Path] = ()) -> NodeDirectories:
    """Those of the host that a container is bound to when it starts, and `seen`, which must still be the host's."""
    return NodeDirectories((host.bin_dir, host.conf_dir, host.run_dir, NAMESPACES, *seen))


class RuntimeDoor(Protocol):
    """Where the binary asks."""

    @property
    def name(self) -> str:
        """As the conflist has it."""

    async def open(
        self, server: CniServer, runner: AppRunner, faults: Faults
    ) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """Serve from here on, until the runner is cleaned up. Returns what is to be done meanwhile, by its activity.

        AzureCniError.
        """


class UnixSockets:
    """Implements `RuntimeDoor`: two sockets in a directory, of which the second takes namespaces as descriptors."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir

    @property
    def name(self) -> str:
        """The first one's path."""
        return str(self._run_dir / SOCKET)

    async def open(
        self, server: CniServer, runner: AppRunner, faults: Faults
    ) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """See `RuntimeDoor`."""
        served = await serve_socket(runner, self._run_dir / SOCKET, requests=server.requests, faults=faults)
        second = self._run_dir / netns_socket.NAME
        passing = await serve_socket(runner, second, requests=server.passed, faults=faults, activity=NETNS_ACTIVITY)
        return {ACTIVITY: served.keep_open, NETNS_ACTIVITY: passing.keep_open}


async def serve_cni(
    node: Node,
    door: RuntimeDoor,
    *,
    observer: Observer,
    closing: AsyncExitStack,
    extend: Callable[[Application], None] = lambda _: None,
    system: NodeSystem = LINUX,
    run_dir: str = "",
) -> None:
    """Answer the binary until cancelled. `extend` adds what else the socket is asked; `run_dir`: see `CniServer`."""
    server = CniServer(
        sandboxes=node.sandboxes,
        deferred_deletes=node.deferred_deletes,
        observer=observer,
        system=system,
        run_dir=run_dir,
    )
    app = server.application()
    extend(app)
    runner = runner_of(app)
    await runner.setup()
    closing.push_async_callback(runner.cleanup)
    works = await door.open(server, runner, node.faults)
    log.info("serving sandboxes", extra={"socket": door.name, "version": __version__})
    async with asyncio.TaskGroup() as periodic:
        for activity, work in works.items():
            periodic.create_task(kept_up(work, activity, node.faults))
        deferred = node.deferred_deletes.carry_out_all
        periodic.create_task(every(DEFERRED_DELETES_PERIOD_S, deferred, "deferred_deletes", node.faults))
