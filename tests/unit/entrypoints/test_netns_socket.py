"""Namespaces that come as descriptors: real sockets, real HTTP, and no descriptor left behind."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from azure_cni.datapath.interface import Wiring
from azure_cni.entrypoints import netns_socket, runtime_sockets
from azure_cni.entrypoints.cni_server import CniServer
from azure_cni.entrypoints.cni_service import SOCKET, UnixSockets
from azure_cni.entrypoints.runtime_sockets import bound
from azure_cni.errors import AzureCniError, DatapathError
from azure_cni.node.ports import SandboxSpec
from fakes.simulated_node import SimulatedNode
from fakes.waiting import PATIENCE_S, until

PROCESS_NETNS = "/proc/4711/ns/net"


def request(verb: str, container: str, **more: Any) -> bytes:
    config = {"cniVersion": "1.0.0", "name": "azure-cni", "type": "azure-cni"} | more
    body = json.dumps({"containerID": container, "netns": PROCESS_NETNS, "ifname": "eth0", "config": config}).encode()
    head = (
        f"POST /cni/v1/{verb} HTTP/1.1\r\nHost: azure-cni\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def opened() -> set[str]:
    """The files that this process has open."""
    found = set()
    for one in Path("/proc/self/fd").iterdir():
        try:
            found.add(str(one.readlink()))
        except FileNotFoundError:
            continue
    return found


class Agent:
    """The server with its second socket, and a data plane that opens what it is given."""

    def __init__(self, directory: Path, node: SimulatedNode) -> None:
        self.path = directory / netns_socket.NAME
        self.node = node
        self.wired: list[os.stat_result] = []
        self.namespace = directory / "namespace"
        self.namespace.touch()
        self._attach = node.datapath.attach
        node.datapath.attach = self.attach  # type: ignore[method-assign]

    async def attach(self, spec: SandboxSpec) -> Wiring:
        try:
            self.wired.append(Path(spec.netns).stat())  # noqa: ASYNC240  # of a test, and short
        except OSError as error:
            raise DatapathError(f"cannot open network namespace {spec.netns}: {error.strerror}") from error
        return await self._attach(spec)

    async def ask(self, first: bytes, *files: Path, then: bytes) -> tuple[int, dict[str, Any]] | None:
        """Status and body; None when the connection was closed without an answer."""
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX) as caller:
            caller.setblocking(False)
            await loop.sock_connect(caller, str(self.path))
            descriptors = [os.open(one, os.O_RDONLY) for one in files]
            socket.send_fds(caller, [first], descriptors)
            for one in descriptors:
                os.close(one)
            answer = b""
            try:
                await loop.sock_sendall(caller, then)
                while part := await loop.sock_recv(caller, 65536):
                    answer += part
            except (BrokenPipeError, ConnectionResetError):
                return None
        head, _, body = answer.partition(b"\r\n\r\n")
        return (int(head.split()[1]), json.loads(body)) if answer else None


@asynccontextmanager
async def serving(directory: Path) -> AsyncIterator[Agent]:
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.counts.free == 16)
        agent = Agent(directory, node)
        deferred_deletes = node.node.deferred_deletes
        server = CniServer(sandboxes=node.sandboxes, deferred_deletes=deferred_deletes, observer=node.observer)
        runner = web.AppRunner(server.application(), handle_signals=False)
        await runner.setup()
        bound(agent.path).close()  # as a dead agent leaves it
        works = await UnixSockets(directory).open(server, runner, server.faults)
        tasks = [asyncio.create_task(work()) for work in works.values()]
        yield agent
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await runner.cleanup()


async def test_a_sandbox_is_wired_by_the_descriptor_and_known_by_its_path(tmp_path: Path) -> None:
    async with serving(tmp_path) as agent:
        assert stat.S_IMODE(agent.path.stat().st_mode) == 0o600
        answer = await agent.ask(b"\0", agent.namespace, then=request("add", "c1"))
        assert answer is not None
        status, result = answer
        assert status == 200, result
        assert result["interfaces"][1]["sandbox"] == PROCESS_NETNS
        assert [os.path.samestat(one, agent.namespace.stat()) for one in agent.wired] == [True]
        assert str(agent.namespace) not in opened()
        checked = await agent.ask(b"\0", agent.namespace, then=request("check", "c1", prevResult=result))
        assert checked is not None
        assert str(agent.namespace) not in opened()


async def test_callers_at_once_each_get_their_own(tmp_path: Path) -> None:
    async with serving(tmp_path) as agent:
        spaces = [tmp_path / f"namespace{number}" for number in range(8)]
        for one in spaces:
            one.touch()
        asked = (agent.ask(b"\0", one, then=request("add", one.name)) for one in spaces)
        assert [answer and answer[0] for answer in await asyncio.gather(*asked)] == [200] * 8
        assert {one.st_ino for one in agent.wired} == {one.stat().st_ino for one in spaces}
        assert len(agent.wired) == 8
        assert not [one for one in opened() if "namespace" in one]


@pytest.mark.parametrize("files", [0, 2])
async def test_a_connection_without_exactly_one_descriptor_is_closed(tmp_path: Path, files: int) -> None:
    async with serving(tmp_path) as agent:
        assert await agent.ask(b"\0", *[agent.namespace] * files, then=request("add", "c1")) is None
        assert str(agent.namespace) not in opened()
        assert agent.wired == []


async def test_a_descriptor_is_closed_whatever_becomes_of_the_request(tmp_path: Path) -> None:
    async with serving(tmp_path) as agent:
        answer = await agent.ask(b"\0", agent.namespace, then=request("del", "c1"))
        assert answer == (200, {})
        answer = await agent.ask(b"\0", agent.namespace, then=request("gc", "c1"))
        assert answer is not None
        assert answer[0] == 400
        assert str(agent.namespace) not in opened()


async def test_a_descriptor_waits_for_its_request_no_longer_than_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(netns_socket, "_REQUEST_S", 2.0)
    async with serving(tmp_path) as agent:
        with socket.socket(socket.AF_UNIX) as silent:
            silent.connect(str(agent.path))
            with agent.namespace.open() as file:
                socket.send_fds(silent, [b"\0"], [file.fileno()])
            for there in (True, False):
                await until(lambda: (str(agent.namespace) in opened()) is there, within_s=PATIENCE_S, say=opened)  # noqa: B023


async def test_both_sockets_come_back_when_they_are_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_sockets, "LOOK_S", 0.01)
    async with serving(tmp_path) as agent:
        for one in (tmp_path / SOCKET, agent.path):
            one.unlink()
            await until(one.exists, within_s=PATIENCE_S, say=opened)
        answer = await agent.ask(b"\0", agent.namespace, then=request("add", "c1"))
        assert answer is not None
        assert answer[0] == 200


def test_a_socket_that_cannot_be_opened_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "netns.sock").mkdir()
    with pytest.raises(AzureCniError, match=rf"^cannot open the socket {tmp_path}/netns.sock: what is there is no "):
        bound(tmp_path / "netns.sock")
