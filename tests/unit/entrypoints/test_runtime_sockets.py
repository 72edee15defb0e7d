"""The sockets at which runtimes ask, as files: what is replaced, and what comes back."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from azure_cni.entrypoints import runtime_sockets
from azure_cni.entrypoints.cni_listener import BoundedRequests
from azure_cni.entrypoints.runtime_sockets import ServedSocket, bound, serve_socket
from azure_cni.errors import AzureCniError
from azure_cni.faults import Faults
from fakes.waiting import PATIENCE_S, until


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_sockets, "LOOK_S", 0.01)


@asynccontextmanager
async def served(path: Path) -> AsyncIterator[ServedSocket]:
    """A server that answers `GET /` with 404, and `GET /waits` when somebody has asked for `/goes-on`."""
    app, goes_on = web.Application(), asyncio.Event()

    async def wait(_: web.Request) -> web.Response:
        await goes_on.wait()
        return web.Response(text="answered")

    async def go_on(_: web.Request) -> web.Response:
        goes_on.set()
        return web.Response()

    app.add_routes([web.get("/waits", wait), web.get("/goes-on", go_on)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    yield await serve_socket(runner, path, requests=BoundedRequests(), faults=Faults(lambda _: None))
    await runner.cleanup()


async def asked(path: Path, what: str) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(f"GET {what} HTTP/1.0\r\n\r\n".encode())
    async with asyncio.timeout(PATIENCE_S):
        answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize("what", ["socket", "directory"])
async def test_a_socket_that_was_taken_away_is_opened_again_and_who_waits_gets_the_answer(
    what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "plugins" / "azure-cni.sock"
    path.parent.mkdir()
    async with served(path) as one:
        keeping = asyncio.create_task(one.keep_open(prepare=lambda: path.parent.mkdir(exist_ok=True)))
        for _ in range(2):
            waits = asyncio.create_task(asked(path, "/waits"))
            assert b"404" in await asked(path, "/")
            if what == "socket":
                path.unlink()
            else:
                shutil.rmtree(path.parent)
            await until(path.exists, within_s=PATIENCE_S, say=lambda: caplog.text)
            assert path.stat().st_mode & 0o777 == 0o600
            assert b"200" in await asked(path, "/goes-on")
            assert b"answered" in await waits
        keeping.cancel()
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert said == ["the socket was taken away, and is opened again"] * 2


async def test_another_socket_in_its_place_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "azure-cni.sock"
    async with served(path) as one:
        with bound(path) as others:
            keeping = asyncio.create_task(one.keep_open())
            await asyncio.sleep(0.1)
            assert not keeping.done()
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
                caller.connect(str(path))
                others.accept()[0].close()  # it is still theirs
            keeping.cancel()


async def test_a_socket_whose_process_has_gone_does_not_keep_its_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Another process was started there by mistake, and killed: what it left would have this one serve nobody."""
    path = tmp_path / "azure-cni.sock"
    async with served(path) as one:
        keeping = asyncio.create_task(one.keep_open())
        with bound(path):
            await asyncio.sleep(0.1)
        await until(lambda: "is opened again" in caplog.text, within_s=PATIENCE_S, say=lambda: caplog.text)
        assert b"404" in await asked(path, "/")
        keeping.cancel()


@pytest.mark.parametrize("thing", [Path.touch, Path.mkdir])
async def test_what_else_is_in_its_place_is_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, thing: Callable[[Path], None]
) -> None:
    path = tmp_path / "azure-cni.sock"
    async with served(path) as one:
        keeping = asyncio.create_task(one.keep_open())
        path.unlink()
        thing(path)
        await until(lambda: bool(caplog.records), within_s=PATIENCE_S, say=lambda: caplog.text)
        await asyncio.sleep(0.1)
        keeping.cancel()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        "something else is in the place of the socket: nobody is served"
    ]


async def test_where_it_cannot_be_opened_again_it_says_why(tmp_path: Path) -> None:
    """The process ends with this sentence, and its supervisor starts it again."""
    path = tmp_path / "gone" / "azure-cni.sock"
    path.parent.mkdir()
    async with served(path) as one:
        shutil.rmtree(path.parent)
        with pytest.raises(AzureCniError, match=rf"^cannot open the socket {path}: No such file"):
            await one.keep_open()


def test_only_a_socket_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    for name in ("file", "directory", "link"):
        with pytest.raises(AzureCniError, match=rf"^cannot open the socket {tmp_path}/{name}: what is there is no"):
            runtime_sockets.bound(tmp_path / name)
        assert os.path.lexists(tmp_path / name)
    runtime_sockets.bound(tmp_path / "socket").close()
    runtime_sockets.bound(tmp_path / "socket").close()
