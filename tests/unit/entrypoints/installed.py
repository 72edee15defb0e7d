"""The installation of an agent on a simulated node, and what it leaves in the host's directories."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from azure_cni.entrypoints.cni_service import installation_on
from azure_cni.entrypoints.host_settings import HostSettings
from azure_cni.node.installation import Installation
from fakes.simulated_node import SimulatedNode

Host = Callable[[SimulatedNode], Installation]


def of(node: SimulatedNode, host: HostSettings, /, **more: Any) -> Installation:
    """The installation on a node."""
    return installation_on(
        host,
        state=node.state,
        stored=node.stored,
        wake=node.reconciler.wake,
        clock=node.clock,
        **{"node": node.node_port} | more,
    )


def takes_pods(host: HostSettings) -> bool:
    return (host.conf_dir / host.conf_name).exists()


async def a_node_with_pods(host: HostSettings, installation: Host) -> SimulatedNode:
    async with SimulatedNode().running() as node:
        installed = installation(node)
        installed.begin()
        await node.until(lambda: installed.wanted)
        await installed.once()
        await node.add("p")
    assert takes_pods(host)
    return node


def written(host: HostSettings) -> dict[str, Any]:
    """The conflist on the node."""
    document: dict[str, Any] = json.loads((host.conf_dir / host.conf_name).read_text())
    return document


def served(host: HostSettings) -> bool:
    return (host.run_dir / "served").exists()


def runs_on(node: SimulatedNode, runtime: str) -> None:
    """The kubelet says that this is the node's container runtime."""
    node.pools.node["status"] = {"nodeInfo": {"containerRuntimeVersion": runtime}}


@asynccontextmanager
async def at_work(installed: Installation) -> AsyncIterator[None]:
    """The installation as the agent runs it."""
    installed.begin()
    running = asyncio.create_task(installed.run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
