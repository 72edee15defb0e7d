"""The sockets that runtimes use: what one that leaks, or sends too much, takes from the others."""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from azure_cni.cni.wire import VERBS
from azure_cni.datapath.interface import PodOptions
from azure_cni.entrypoints import accepting, runtime_sockets
from azure_cni.entrypoints.cni_listener import (
    MAX_BODY_BYTES,
    MAX_LARGE_BYTES,
    BoundedRequests,
    RequestBounds,
)
from azure_cni.entrypoints.cni_server import CniServer
from azure_cni.entrypoints.running import kept_up
from azure_cni.entrypoints.runtime_sockets import serve_socket
from azure_cni.errors import AzureCniError, DecodeFailed
from azure_cni.faults import Faults
from azure_cni.ipam.address_state import Holder, Sandbox
from azure_cni.model.nic import Address
from fakes.simulated_node import SimulatedNode
from fakes.waiting import PATIENCE_S, until

CONFIG = {"cniVersion": "1.1.0", "name": "azure-cni", "type": "azure-cni"}
SANDBOX = {"containerID": "c1", "ifname": "eth0", "netns": "/run/netns/c1", "config": CONFIG}
UNTIL_CUT = RequestBounds(connections=8, arriving=4, request_s=1.0)


class WaitingSandboxes:
    """ADDs wait until a DEL comes."""

    def __init__(self) -> None:
        self.waiting = 0
        self._deleted = asyncio.Event()

    async def add(self, _: Holder, *, netns: str, wanted: Address | None, asked: PodOptions) -> Any:
        self.waiting += 1
        await self._deleted.wait()
        raise AzureCniError("cannot attach c1: it was deleted meanwhile")

    async def delete(self, _: Sandbox) -> None:
        self._deleted.set()

    async def collect(self, *_: object) -> tuple[Sandbox, ...]:
        return ()

    def status(self) -> None: ...


class Socket:
    """One that is served."""

    def __init__(self, path: Path, sandboxes: WaitingSandboxes) -> None:
        self.path = path
        self.sandboxes = sandboxes
        self._opened = AsyncExitStack()

    async def connect(self, sent: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        self._opened.callback(writer.close)
        writer.write(sent)
        return reader, writer

    async def ask(self, verb: str, content: Any) -> tuple[int, dict[str, Any]]:
        """Status and answer; the connection ends after it."""
        body = json.dumps(content).encode()
        reader, _ = await self.connect(head(verb, len(body)) + body)
        async with asyncio.timeout(PATIENCE_S):
            answer = await reader.read()
        first, _, rest = answer.partition(b"\r\n\r\n")
        return int(first.split()[1]), json.loads(rest)

    async def close(self) -> None:
        await self._opened.aclose()


def head(verb: str, length: int) -> bytes:
    return f"POST /cni/v1/{verb} HTTP/1.1\r\nHost: azure-cni\r\nContent-Length: {length}\r\n\r\n".encode()


@asynccontextmanager
async def serving(directory: Path, bounds: RequestBounds | None = None) -> AsyncIterator[Socket]:
    node, sandboxes = SimulatedNode(), WaitingSandboxes()
    deferred_deletes = node.node.deferred_deletes
    server = CniServer(
        sandboxes=sandboxes,  # type: ignore[arg-type]
        deferred_deletes=deferred_deletes,
        observer=node.observer,
        bounds=bounds,
    )
    runner = web.AppRunner(server.application(), access_log=None, handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    await serve_socket(runner, directory / "cni.sock", requests=server.requests, faults=server.faults)
    served = Socket(directory / "cni.sock", sandboxes)
    try:
        yield served
    finally:
        await served.close()
        await runner.cleanup()


async def test_connections_that_send_nothing_hold_few_descriptors_and_are_cut(tmp_path: Path):
    async with serving(tmp_path, UNTIL_CUT) as served:
        before = descriptors()
        idle = [await served.connect() for _ in range(12)]
        assert descriptors() - before <= len(idle) + UNTIL_CUT.arriving
        assert (await served.ask("status", SANDBOX))[0] == 200
        async with asyncio.timeout(PATIENCE_S):
            assert [await reader.read() for reader, _ in idle] == [b""] * len(idle)


@pytest.mark.parametrize("sent", [b"", b"POST /cni/v1/add HT", head("add", 1000) + b"{", head("gc", 3_000_000) + b"{"])
async def test_what_does_not_end_in_time_is_cut_and_is_no_error_of_ours(
    tmp_path: Path, sent: bytes, caplog: pytest.LogCaptureFixture
):
    async with serving(tmp_path, UNTIL_CUT) as served:
        unfinished = [await served.connect(sent) for _ in range(6)]
        async with asyncio.timeout(PATIENCE_S):
            assert [await reader.read() for reader, _ in unfinished] == [b""] * 6
        assert (await served.ask("status", SANDBOX))[0] == 200
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_adds_that_wait_keep_no_del_from_arriving(tmp_path: Path):
    async with serving(tmp_path, RequestBounds(connections=20, arriving=2)) as served:
        adds = [asyncio.create_task(served.ask("add", SANDBOX)) for _ in range(10)]
        await until(lambda: served.sandboxes.waiting == 10, within_s=PATIENCE_S, say=lambda: served.sandboxes.waiting)
        assert await served.ask("del", SANDBOX) == (200, {})
        assert {status for status, _ in await asyncio.gather(*adds)} == {500}


async def test_an_answer_that_takes_too_long_ends_the_connection(tmp_path: Path):
    async with serving(tmp_path, RequestBounds(answer_s=0.5)) as served:
        body = json.dumps(SANDBOX).encode()
        reader, _ = await served.connect(head("add", len(body)) + body)
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.read() == b""


@pytest.mark.parametrize("verb", VERBS)
async def test_a_request_has_a_size(tmp_path: Path, verb: str):
    most = MAX_LARGE_BYTES if verb == "gc" else MAX_BODY_BYTES
    async with serving(tmp_path) as served:
        status, answer = await served.ask(verb, SANDBOX | {"path": "x" * most})
    assert (status, answer["code"]) == (400, 6)
    assert answer["msg"].startswith(f"cannot read the {verb} request: it has more than {most >> 10} KiB; ")


async def test_hundreds_of_attachments_and_a_result_of_many_addresses_are_usual(tmp_path: Path):
    listed = [{"containerID": f"{number:064}", "ifname": "eth0"} for number in range(3000)]
    previous = {"cniVersion": "1.1.0", "ips": [{"address": f"10.240.0.{low}/32"} for low in range(255)]}
    async with serving(tmp_path) as served:
        gc = {"config": CONFIG | {"cni.dev/valid-attachments": listed, "cni.dev/attachments": listed}}
        assert await served.ask("gc", gc) == (200, {})
        assert await served.ask("del", SANDBOX | {"config": CONFIG | {"prevResult": previous}}) == (200, {})


async def test_one_large_request_is_read_at_a_time_and_others_pass(tmp_path: Path):
    gc = {"config": CONFIG | {"cni.dev/valid-attachments": []}}
    async with serving(tmp_path) as served:
        _, unfinished = await served.connect(head("gc", 3_000_000) + b"{")
        for _ in range(3):
            assert await served.ask("del", SANDBOX) == (200, {})
        second = asyncio.create_task(served.ask("gc", gc))
        for _ in range(3):
            assert await served.ask("del", SANDBOX) == (200, {})
        assert not second.done()
        unfinished.close()
        assert await second == (200, {})


async def test_when_descriptors_run_out_it_is_said_once_and_served_again_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(accepting, "_RETRY_S", 0.02)
    async with serving(tmp_path) as served:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket(socket.AF_UNIX) as caller:
            resource.setrlimit(resource.RLIMIT_NOFILE, (caller.fileno() + 1, hard))
            try:
                caller.connect(str(served.path))
                await until(lambda: said(caplog) != [], within_s=PATIENCE_S, say=lambda: caplog.text)
                await asyncio.sleep(0.2)  # ten more attempts
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert said(caplog) == ["connections cannot be accepted"]
        assert (await served.ask("status", SANDBOX))[0] == 200


async def test_a_fault_while_accepting_is_counted_and_it_serves_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    counted: list[str] = []
    requests = BoundedRequests()
    whole, broken = requests.accept, [KeyError("x")]

    async def accept(acceptor: accepting.Acceptor) -> Any:
        if broken:
            raise broken.pop()
        return await whole(acceptor)

    monkeypatch.setattr(requests, "accept", accept)
    monkeypatch.setattr(runtime_sockets, "kept_up", partial(kept_up, again_s=0.01))
    runner = web.AppRunner(web.Application())
    await runner.setup()
    await serve_socket(runner, tmp_path / "cni.sock", requests=requests, faults=Faults(counted.append))
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "cni.sock"))
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    async with asyncio.timeout(PATIENCE_S):
        assert b"404" in await reader.readline()
    writer.close()
    await runner.cleanup()
    assert counted == ["cni_socket"]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_a_body_that_is_not_encoded_as_its_head_says_is_refused_in_words(tmp_path: Path):
    async with serving(tmp_path) as served:
        said = head("add", 40).replace(b"Host", b"Content-Encoding: gzip\r\nHost")
        reader, _ = await served.connect(said + b"x" * 40)
        async with asyncio.timeout(PATIENCE_S):
            answer = await reader.read()
    assert b"its body is not encoded as its head says" in answer


class Gone:
    """The body of a request whose caller left before it was read (aiohttp's words)."""

    async def readany(self) -> bytes:
        raise RuntimeError("Connection closed.")


async def test_a_caller_that_left_before_its_body_was_read_is_no_fault_of_ours():
    request = SimpleNamespace(content=Gone(), protocol=None)
    with pytest.raises(DecodeFailed, match="it ended after 0 bytes"):
        await BoundedRequests().body(request, "add")  # type: ignore[arg-type]
