"""CNI on one node, for every process that serves it: both sockets, the DELs that found nobody, and the installation."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final

from aiohttp.web import Application, AppRunner

from azure_cni import __version__
from azure_cni.entrypoints import netns_socket
from azure_cni.entrypoints.accepting import runner_of
from azure_cni.entrypoints.cni_server import CniServer
from azure_cni.entrypoints.host_settings import HostSettings
from azure_cni.entrypoints.running import every, kept_up
from azure_cni.entrypoints.runtime_sockets import ACTIVITY, bound, serve_socket
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
    seen: tuple[Path, ...] = (),
) -> Installation:
    """The installation in the directories of this host. `seen`: others that must still be the host's.

    Without a Node the process sees the host's own directories, and what is mounted there is its administrator's: podman
    mounts /run/netns over itself when it starts its first container.
    """
    bound_once = () if node is None else (host.bin_dir, host.conf_dir, host.run_dir, NAMESPACES, *seen)
    return Installation(
        files or HostPlugin(host.plugin, host.bin_dir, host.conf_dir, host.conf_name),
        mark=ServedMark(host.run_dir),
        directories=directories or NodeDirectories(bound_once),
        socket=str(host.run_dir / SOCKET),
        version=host.spec_version,
        chained=host.chained,
        state=state,
        stored=stored,
        wake=wake,
        node=node,
        clock=clock,
    )


async def serve_cni(
    node: Node,
    run_dir: Path,
    *,
    observer: Observer,
    closing: AsyncExitStack,
    extend: Callable[[Application], None] = lambda _: None,
) -> None:
    """Answer the binary until cancelled. `extend` adds what else the socket is asked."""
    server = CniServer(sandboxes=node.sandboxes, deferred_deletes=node.deferred_deletes, observer=observer)
    app = server.application()
    extend(app)
    runner = runner_of(app)
    await runner.setup()
    closing.push_async_callback(runner.cleanup)
    served = await serve_socket(runner, run_dir / SOCKET, requests=server.requests, faults=node.faults)
    log.info("serving sandboxes", extra={"socket": str(run_dir / SOCKET), "version": __version__})
    async with asyncio.TaskGroup() as periodic:
        periodic.create_task(kept_up(served.keep_open, ACTIVITY, node.faults))
        passed = partial(_take_passed, server, runner, run_dir)
        periodic.create_task(kept_up(passed, "netns_socket", node.faults))
        deferred = node.deferred_deletes.carry_out_all
        periodic.create_task(every(DEFERRED_DELETES_PERIOD_S, deferred, "deferred_deletes", node.faults))


async def _take_passed(server: CniServer, runner: AppRunner, run_dir: Path) -> None:
    """Accept namespaces that are passed as descriptors, on a socket of their own."""
    await server.passed.serve(bound(run_dir / netns_socket.NAME), runner.server)
