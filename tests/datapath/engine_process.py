"""Docker's engine as a process by the daemon's name: a list of one container, at a socket.

Usage: python -m datapath.engine_process SOCKET NETWORK ENDPOINT NAME
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from aiohttp import web

from azure_cni.errors import AzureCniError
from azure_cni.host.docker_engine import DAEMON
from fakes.docker_engine import EngineContainer, FakeEngine


async def serve(path: str, network: str, endpoint: str, name: str) -> None:
    """Until the process is ended."""
    engine = FakeEngine()
    engine.containers["c1"] = EngineContainer(name, network, endpoint, joined=True, running=True)

    async def answer(request: web.Request) -> web.Response:
        try:
            return web.Response(body=await engine.get(request.path_qs))
        except AzureCniError as error:
            return web.json_response({"message": str(error)}, status=404)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.UnixSite(runner, path).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    Path("/proc/self/comm").write_text(DAEMON)
    asyncio.run(serve(*sys.argv[1:]))
