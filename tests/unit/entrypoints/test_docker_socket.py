"""Docker's socket, and callers of it that leak, stall or send too much: Docker is served beside them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from azure_cni.entrypoints.cni_listener import MAX_BODY_BYTES, MAX_LARGE_BYTES, RequestBounds
from azure_cni.errors import NoAddress
from fakes.docker import FakeDocker, PluginHost, serving
from fakes.waiting import PATIENCE_S, until

UNTIL_CUT = RequestBounds(connections=8, arriving=4, request_s=1.0)
ACTIVATE = "Plugin.Activate"


class Caller:
    """Whoever else may open the socket."""

    def __init__(self, path: Path, opened: AsyncExitStack) -> None:
        self._path, self._opened = path, opened

    async def send(self, sent: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_unix_connection(str(self._path))
        self._opened.callback(writer.close)
        writer.write(sent)
        return reader, writer


@asynccontextmanager
async def served(directory: Path, bounds: RequestBounds | None = None) -> AsyncIterator[tuple[FakeDocker, Caller]]:
    async with serving(directory, PluginHost(), bounds=bounds) as docker, AsyncExitStack() as opened:
        yield docker, Caller(docker.socket, opened)


def head(method: str, length: int) -> bytes:
    return f"POST /{method} HTTP/1.1\r\nHost: plugin\r\nContent-Length: {length}\r\n\r\n".encode()


async def ended(readers: list[asyncio.StreamReader]) -> list[bytes]:
    async with asyncio.timeout(PATIENCE_S):
        return [await reader.read() for reader in readers]


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"POST /Plugin.Activate HT",
        head("NetworkDriver.Join", 1000) + b"{",
        head("NetworkDriver.Join", 3_000_000) + b"{",
        b"POST /NetworkDriver.Join HTTP/1.1\r\nHost: plugin\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
    ],
)
async def test_what_does_not_end_in_time_is_cut_while_docker_is_served(
    tmp_path: Path, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(tmp_path, UNTIL_CUT) as (docker, caller):
        unfinished = [(await caller.send(sent))[0] for _ in range(6)]
        assert (await docker.post(ACTIVATE))[0] == 200
        assert await ended(unfinished) == [b""] * 6
        assert (await docker.post(ACTIVATE))[0] == 200
    words = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert words == []


async def test_a_connection_carries_one_call(tmp_path: Path) -> None:
    """Docker would keep it open for the next, in a place that others need."""
    async with served(tmp_path) as (_, caller):
        reader, _ = await caller.send(2 * head(ACTIVATE, 0))
        (answers,) = await ended([reader])
        assert answers.count(b"HTTP/1.1 200 OK") == 1
        assert b"Connection: close" in answers


async def test_calls_that_wait_for_an_address_keep_no_release_from_arriving(tmp_path: Path) -> None:
    async with served(tmp_path, RequestBounds(connections=20, arriving=2)) as (docker, _):
        pool, released, waiting = await docker.create_network(), asyncio.Event(), 0

        async def request(*_: object, **__: object) -> Any:
            nonlocal waiting
            waiting += 1
            await released.wait()
            raise NoAddress("cannot give a container an address: by this test", cause="Test")

        async def release(*_: object) -> None:
            released.set()

        docker.host.endpoints.request = request  # type: ignore[method-assign]
        docker.host.endpoints.release = release  # type: ignore[method-assign]
        requests = [asyncio.create_task(docker.refusal("IpamDriver.RequestAddress", PoolID=pool)) for _ in range(10)]
        await until(lambda: waiting == 10, within_s=PATIENCE_S, say=lambda: waiting)
        assert await docker.call("IpamDriver.ReleaseAddress", PoolID=pool, Address="10.240.0.7") == {}
        assert set(await asyncio.gather(*requests)) == {"cannot give a container an address: by this test"}


async def test_a_call_has_a_size(tmp_path: Path) -> None:
    async with served(tmp_path) as (docker, _):
        content = {"NetworkID": "net1", "EndpointID": "ep1", "Options": {"x": "y" * MAX_LARGE_BYTES}}
        status, reply = await docker.post("NetworkDriver.Join", content)
        assert status == 400
        assert reply["Err"].startswith(
            f"cannot read the NetworkDriver.Join request: it has more than {MAX_LARGE_BYTES >> 10} KiB"
        )


async def test_a_container_that_exposes_every_port_is_served(tmp_path: Path) -> None:
    """`EXPOSE 1-65535` in an image: Docker passes each."""
    ports = [{"Proto": 6, "Port": port} for port in range(1, 65536)]
    exposed = {"com.docker.network.endpoint.exposedports": ports}
    assert len(json.dumps(exposed)) > MAX_BODY_BYTES
    async with served(tmp_path) as (docker, _):
        pool = await docker.create_network()
        given = (await docker.call("IpamDriver.RequestAddress", PoolID=pool))["Address"]
        endpoint = {"NetworkID": "net1", "EndpointID": "ep1"}
        interface = {"Address": given, "AddressIPv6": "", "MacAddress": ""}
        assert await docker.call("NetworkDriver.CreateEndpoint", **endpoint, Interface=interface, Options=exposed)


async def test_one_large_call_is_read_at_a_time_and_others_pass(tmp_path: Path) -> None:
    async with served(tmp_path) as (docker, caller):
        _, unfinished = await caller.send(head("NetworkDriver.Join", 3_000_000) + b"{")
        assert (await docker.post(ACTIVATE))[0] == 200
        large = json.dumps({"NetworkID": "net1", "EndpointID": "ep1", "Options": {"x": "y" * MAX_BODY_BYTES}}).encode()
        second = asyncio.create_task(docker.post("NetworkDriver.Leave", large))
        for _ in range(3):
            assert (await docker.post(ACTIVATE))[0] == 200
        assert not second.done()
        unfinished.close()
        assert await second == (200, {})
