"""One suite for Docker's own API: the fake in memory, and the adapter before a daemon on a socket; and for what is no
daemon there: it hangs, never ends, answers anything.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from azure_cni.docker.engine_view import CONTAINERS_PATH, NETWORKS_PATH, network_path, read_containers, read_networks
from azure_cni.docker.ports import Engine
from azure_cni.errors import AzureCniError
from azure_cni.host import docker_engine
from azure_cni.host.docker_engine import DockerEngine
from fakes.docker_engine import NET1, EngineContainer, FakeEngine


@asynccontextmanager
async def daemon(path: Path, answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[Path]:
    """Whatever listens at Docker's socket."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    try:
        yield path
    finally:
        await runner.cleanup()


@asynccontextmanager
async def engines(kind: str, directory: Path) -> AsyncIterator[tuple[Engine, FakeEngine]]:
    """The engine to ask, and what it is."""
    fake = FakeEngine()
    fake.containers["c1"] = EngineContainer("web", NET1, "ep1", joined=True, running=True)
    if kind == "fake":
        yield fake, fake
        return

    async def answer(request: web.Request) -> web.Response:
        assert request.method == "GET"
        try:
            return web.Response(body=await fake.get(request.path_qs))
        except AzureCniError:
            return web.json_response({"message": "no such network"}, status=404)

    async with daemon(directory / "docker.sock", answer) as path:
        yield DockerEngine(path), fake


@pytest.mark.parametrize("kind", ["fake", "adapter"])
async def test_it_lists_containers_networks_and_who_is_on_one(kind: str, tmp_path: Path) -> None:
    async with engines(kind, tmp_path) as (engine, fake):
        assert read_containers(await engine.get(CONTAINERS_PATH)).endpoints == {"ep1": "c1"}
        assert read_networks(await engine.get(NETWORKS_PATH))[NET1] == "vnet"
        inside = json.loads(await engine.get(network_path(NET1)))
        assert inside["Containers"]["c1"]["EndpointID"] == "ep1"
        assert fake.asked == [CONTAINERS_PATH, NETWORKS_PATH, network_path(NET1)]


@pytest.mark.parametrize("kind", ["fake", "adapter"])
async def test_what_it_does_not_have_is_an_error_in_words(kind: str, tmp_path: Path) -> None:
    async with engines(kind, tmp_path) as (engine, _):
        with pytest.raises(AzureCniError, match=r"^cannot ask Docker .*for /networks/net9: it answers 404: .*no such"):
            await engine.get(network_path("net9"))


async def test_nobody_at_the_socket_is_an_error_in_words(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    with pytest.raises(AzureCniError, match=rf"^cannot ask Docker at {path} for /networks: .*No such file"):
        await DockerEngine(path).get(NETWORKS_PATH)
    path.touch()
    with pytest.raises(AzureCniError, match=r"^cannot ask Docker .*Connection refused"):
        await DockerEngine(path).get(NETWORKS_PATH)


def show_process(processes: Path, number: str, name: str, *numbers: str) -> None:
    """As procfs does; `numbers` are the process's in its own namespace and those above."""
    directory = processes / number
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "comm").write_text(f"{name}\n")
    (directory / "status").write_text("\n".join([f"Name:\t{name}", "\t".join(["NSpid:", *numbers]), "Threads:\t9", ""]))


async def test_a_docker_that_is_stopped_is_not_asked_for_systemd_would_start_it(tmp_path: Path) -> None:
    asked: list[str] = []

    async def start(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(body=b"[]")

    processes = tmp_path / "proc"
    async with daemon(tmp_path / "docker.sock", start) as path:
        engine = DockerEngine(path, processes=processes)

        async def refused() -> None:
            said = rf"^cannot ask Docker .*: Docker is stopped: no process dockerd is seen in {processes}$"
            with pytest.raises(AzureCniError, match=said):
                await engine.get(NETWORKS_PATH)

        await refused()  # there is not even a procfs
        show_process(processes, "1", "systemd", "1")
        show_process(processes, "7", "dockerd", "7", "21")  # Docker in Docker, of a container
        (processes / "8").mkdir()  # it has just ended
        (processes / "uptime").write_text("1 1")
        await refused()
        assert asked == []
        show_process(processes, "9", "dockerd", "9")
        assert await engine.get(NETWORKS_PATH) == b"[]"
        show_process(processes, "9", "sleep", "9")  # Docker has ended, and another process has its number
        await refused()
        show_process(processes, "12", "dockerd", "12")
        assert await engine.get(NETWORKS_PATH) == b"[]"
        assert len(asked) == 2


async def test_a_process_of_this_host_is_known_by_what_the_kernel_says_of_it(tmp_path: Path) -> None:
    """One under the daemon's name, with the sources of a real procfs; those of other names are passed over."""
    program = tmp_path / docker_engine.DAEMON
    shutil.copy2(shutil.which("sleep") or "/bin/sleep", program)
    process = await asyncio.create_subprocess_exec(program, "600")
    try:
        seen = docker_engine.is_daemon(Path("/proc", str(process.pid)))
    finally:
        process.kill()
        await process.wait()
    assert seen
    assert not docker_engine.is_daemon(Path("/proc", str(os.getpid())))


async def test_systemd_listens_at_the_usual_socket_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual, link, other = (tmp_path / name for name in ("docker.sock", "link.sock", "other.sock"))
    link.symlink_to(usual)
    monkeypatch.setattr(docker_engine, "STANDARD_SOCKET", usual)
    monkeypatch.setattr(docker_engine, "PROCESSES", tmp_path / "proc")
    for path in (usual, link):
        with pytest.raises(AzureCniError, match="Docker is stopped"):
            await DockerEngine.at(path).get(NETWORKS_PATH)
    with pytest.raises(AzureCniError, match="No such file"):
        await DockerEngine.at(other).get(NETWORKS_PATH)


async def test_a_daemon_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_engine, "ANSWER_S", 0.2)

    async def hang(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with daemon(tmp_path / "docker.sock", hang) as path:
        with pytest.raises(AzureCniError, match=r"no answer within 0\.2 s$"):
            await DockerEngine(path).get(NETWORKS_PATH)


async def test_an_answer_without_end_is_read_up_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_engine, "MAX_BYTES", 1 << 20)

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"[" + b" " * (1 << 16))

    async with daemon(tmp_path / "docker.sock", endless) as path:
        with pytest.raises(AzureCniError, match=r"the answer has more than 1 MiB$"):
            await DockerEngine(path).get(NETWORKS_PATH)


async def test_what_is_not_http_is_an_error_in_words(tmp_path: Path) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"\x00\x01 no HTTP\r\n\r\n")
        writer.close()

    async with await asyncio.start_unix_server(speak, tmp_path / "docker.sock"):
        with pytest.raises(AzureCniError, match=r"^cannot ask Docker at "):
            await DockerEngine(tmp_path / "docker.sock").get(NETWORKS_PATH)
