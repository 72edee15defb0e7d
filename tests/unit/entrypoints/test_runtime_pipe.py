"""The agent's pipe, with a Unix socket in the place of the pipe: both are streams to the event loop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from azure_cni.cni.systems import WINDOWS
from azure_cni.entrypoints.accepting import runner_of
from azure_cni.entrypoints.cni_listener import RequestBounds
from azure_cni.entrypoints.cni_server import CniServer
from azure_cni.entrypoints.runtime_pipe import NamedPipe, OpenPipe
from azure_cni.errors import AzureCniError
from azure_cni.host.run_directory import Released
from azure_cni.node.pods.deferred_deletes import DeferredDeletes
from fakes.simulated_node import SimulatedNode
from fakes.waiting import PATIENCE_S, until

PIPE = WINDOWS.default_socket


def in_place_of_a_pipe(socket: Path) -> OpenPipe:
    async def open_pipe(protocol: Callable[[], asyncio.Protocol], name: str) -> Sequence[asyncio.Server]:
        assert name == PIPE
        return [await asyncio.get_running_loop().create_unix_server(protocol, path=str(socket))]

    return open_pipe


class Door:
    def __init__(self, socket: Path, server: CniServer) -> None:
        self.socket, self.server = socket, server

    async def status(self) -> int:
        """The HTTP status of a STATUS request."""
        config = {"cniVersion": "1.1.0", "name": "azure-cni", "type": "azure-cni", "socket": PIPE}
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self.socket))) as session,
            session.post("http://agent/cni/v1/status", data=json.dumps({"path": "", "config": config})) as response,
        ):
            await response.read()
            return response.status


@asynccontextmanager
async def serving(directory: Path, bounds: RequestBounds | None = None) -> AsyncIterator[Door]:
    node = SimulatedNode()
    deletes = DeferredDeletes(records=Released(directory / "released"), sandboxes=node.sandboxes)
    server = CniServer(
        sandboxes=node.sandboxes, deferred_deletes=deletes, observer=node.observer, bounds=bounds, system=WINDOWS
    )
    runner = runner_of(server.application())
    await runner.setup()
    pipe = NamedPipe(PIPE, open_pipe=in_place_of_a_pipe(directory / "pipe"))
    assert (await pipe.open(server, runner, server.faults), pipe.name) == ({}, PIPE)
    async with node.running():
        await node.until(lambda: node.state.ready)
        yield Door(directory / "pipe", server)
    await runner.cleanup()


async def test_requests_are_answered_one_for_each_connection(tmp_path: Path) -> None:
    async with serving(tmp_path) as door:
        assert await asyncio.gather(*(door.status() for _ in range(40))) == [200] * 40


async def test_a_connection_beyond_the_bounds_waits_and_is_then_answered(tmp_path: Path) -> None:
    """One sends nothing, so that it holds the only place until it goes."""
    async with serving(tmp_path, RequestBounds(connections=1, arriving=1)) as door:
        _, silent = await asyncio.open_unix_connection(str(door.socket))
        waiting = asyncio.create_task(door.status())
        done, _ = await asyncio.wait({waiting}, timeout=0.2)
        assert not done
        silent.close()
        assert await asyncio.wait_for(waiting, PATIENCE_S) == 200


async def test_one_that_goes_while_it_waits_leaves_its_place_to_others(tmp_path: Path) -> None:
    async with serving(tmp_path, RequestBounds(connections=1, arriving=1)) as door:
        _, silent = await asyncio.open_unix_connection(str(door.socket))
        writers = [(await asyncio.open_unix_connection(str(door.socket)))[1] for _ in range(5)]

        def entering() -> list[asyncio.Task[Any]]:
            return [task for task in asyncio.all_tasks() if task.get_name() == "cni_pipe"]

        await until(lambda: len(entering()) == 5, within_s=PATIENCE_S, say=entering)
        for writer in (*writers, silent):
            writer.close()
        await until(lambda: not entering(), within_s=PATIENCE_S, say=entering)
        assert await door.status() == 200


async def test_a_pipe_that_another_agent_has_is_an_error_in_words(tmp_path: Path) -> None:
    async def refused(_: object, name: str) -> Sequence[asyncio.Server]:
        raise PermissionError(13, "Access is denied", name)

    node = SimulatedNode()
    deletes = DeferredDeletes(records=Released(tmp_path), sandboxes=node.sandboxes)
    server = CniServer(sandboxes=node.sandboxes, deferred_deletes=deletes, observer=node.observer)
    runner = web.AppRunner(server.application())
    await runner.setup()
    with pytest.raises(AzureCniError, match=r"cannot open the pipe .*: Access is denied; does another agent serve it"):
        await NamedPipe(PIPE, open_pipe=refused).open(server, runner, server.faults)
    await runner.cleanup()
