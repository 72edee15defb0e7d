"""The agent's socket in a process of its own, whose memory can be measured: `python -m property.cni_process SOCKET`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from azure_cni.entrypoints.accepting import runner_of
from azure_cni.entrypoints.cni_listener import RequestBounds
from azure_cni.entrypoints.cni_server import CniServer
from azure_cni.entrypoints.logs import set_up_logs
from azure_cni.entrypoints.runtime_sockets import serve_socket
from fakes.simulated_node import SimulatedNode

BOUNDS = RequestBounds(request_s=1.0)
"""As ever, but that what does not arrive is cut after a second."""


async def serve(socket: Path) -> None:
    """Until the process is killed."""
    simulated = SimulatedNode()
    async with simulated.running() as node:
        server = CniServer(
            sandboxes=node.sandboxes,
            deferred_deletes=node.node.deferred_deletes,
            observer=node.observer,
            bounds=BOUNDS,
        )
        runner = runner_of(server.application())
        await runner.setup()
        await serve_socket(runner, socket, requests=server.requests, faults=server.faults)
        await asyncio.Event().wait()


if __name__ == "__main__":
    set_up_logs(level="info", style="text")
    asyncio.run(serve(Path(sys.argv[1])))
