"""What a node, a pod or a tenant sends through the API server costs the command line a bounded time and memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from azure_cni.commands import access as access_module
from azure_cni.commands import http_access, pod_access
from azure_cni.commands.access import ClusterAccess
from azure_cni.errors import KubeError, KubeUnreachable
from contract.person import WAYS, Way, kubeconfig
from fakes.serving import serve
from fakes.waiting import PATIENCE_S
from unit.kube.readers import grown_mib

LOG = "/api/v1/namespaces/kube-system/pods/agent/log"
EXEC = "/api/v1/namespaces/kube-system/pods/agent/exec"
PIECE = b"x" * 2**18
STOPS = 1 << 30
"""Bytes after which the other side gives up: a test that fails fills no memory."""


async def without_end(write, piece: bytes, pause_s: float) -> None:
    """Until the reader goes away."""
    sent = 0
    try:
        while sent < STOPS:
            await write(piece)
            sent += len(piece)
            await asyncio.sleep(pause_s)
    except (ConnectionError, RuntimeError):
        pass


@asynccontextmanager
async def sending(way: Way, tmp_path: Path, piece: bytes, pause_s: float) -> AsyncIterator[ClusterAccess]:
    """A kubelet whose logs and commands have no end."""

    async def log(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await without_end(answer.write, piece, pause_s)
        return answer

    async def run(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
        await socket.prepare(request)
        await without_end(socket.send_bytes, b"\x01" + piece, pause_s)
        return socket

    app = web.Application()
    app.router.add_get(LOG, log)
    app.router.add_get(EXEC, run)
    async with serve(app) as port:
        yield way(tmp_path, f"http://127.0.0.1:{port}")


def in_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Answers have this long."""
    monkeypatch.setattr(http_access, "READ_S", seconds)
    for module in (access_module, pod_access):
        monkeypatch.setattr(module, "EXEC_S", seconds)


@pytest.fixture(params=WAYS.values(), ids=WAYS.keys())
def way(request: pytest.FixtureRequest) -> Way:
    """Each way to a cluster."""
    found: Way = request.param
    return found


async def test_a_log_without_end_is_read_up_to_a_limit(way: Way, tmp_path: Path):
    async with sending(way, tmp_path, PIECE, 0) as access:
        with pytest.raises(KubeUnreachable, match=r"/log: the answer has more than \d+ KiB"):
            await asyncio.to_thread(access.read_text, LOG, tailLines="3")


async def test_a_command_that_prints_without_end_is_read_up_to_a_limit(way: Way, tmp_path: Path):
    async with sending(way, tmp_path, PIECE, 0) as access:
        with pytest.raises(KubeUnreachable, match=r"kube-system/agent: the answer has more than \d+ KiB"):
            await asyncio.to_thread(access.run_in_pod, "kube-system", "agent", ["azure-cni"])


async def test_a_log_that_comes_byte_by_byte_is_read_up_to_a_time(
    way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    in_time(monkeypatch, 1.0)
    async with sending(way, tmp_path, b"x", 0.05) as access:
        with pytest.raises(KubeUnreachable, match="/log: it did not end within 1 s"):
            await asyncio.to_thread(access.read_text, LOG)


@pytest.mark.parametrize("pause_s", [0.05, 3600.0])
async def test_a_command_that_prints_byte_by_byte_or_nothing_is_read_up_to_a_time(
    way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pause_s: float
):
    in_time(monkeypatch, 1.0)
    async with sending(way, tmp_path, b"x", pause_s) as access:
        with pytest.raises(KubeUnreachable, match="kube-system/agent: it did not end within 1 s"):
            await asyncio.to_thread(access.run_in_pod, "kube-system", "agent", ["azure-cni"])


@pytest.mark.parametrize("pause_s", [0.05, 3600.0], ids=["byte by byte", "never"])
async def test_a_handshake_that_comes_byte_by_byte_or_never_is_waited_for_up_to_a_time(
    way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pause_s: float
):
    """The node answers it: through the API server, which passes on what comes."""
    in_time(monkeypatch, 1.0)

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def write(piece: bytes) -> None:
            writer.write(piece)
            await writer.drain()

        await write(b"HTTP/1.1 101 Switching Protocols\r\nX-Padding: ")
        await without_end(write, b"x", pause_s)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        access = way(tmp_path, f"http://127.0.0.1:{port}")
        command = asyncio.to_thread(access.run_in_pod, "kube-system", "agent", ["azure-cni"])
        words = "in pod kube-system/agent: the API server did not connect to it within 1 s"
        with pytest.raises(KubeUnreachable, match=words):
            await asyncio.wait_for(command, PATIENCE_S)


@pytest.mark.parametrize(
    "body", [b"<html>please log in</html>", b'{"message": "no"}', b'{"items": [{]}', b'{"items": [1']
)
async def test_what_is_no_list_is_no_empty_list(way: Way, tmp_path: Path, body: bytes):
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body)

    app = web.Application()
    app.router.add_get("/api/v1/pods", answer)
    async with serve(app) as port:
        access = way(tmp_path, f"http://127.0.0.1:{port}")
        with pytest.raises(KubeError, match="cannot read /api/v1/pods"):
            await asyncio.to_thread(access.list_objects, "/api/v1/pods")


PODS, POD_BYTES = 40, 800_000
READER = """
import pathlib, re, sys
from azure_cni.commands.access import KubernetesAccess
from azure_cni.commands.reads import read_cluster

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])

access = KubernetesAccess(kubeconfig=sys.argv[1])
access.list_objects("/api/v1/nodes")
before = peak()
found = read_cluster(access)
assert len(found.pods) == int(sys.argv[3])
print((peak() - before) // 1024)
"""


async def test_pods_of_a_megabyte_are_read_in_little_memory(tmp_path: Path):
    """They were ten times their size when they were read whole."""
    env = [{"name": f"v{number}", "value": "x"} for number in range(POD_BYTES // 32)]
    body = json.dumps({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "env": env}]}}).encode()

    async def pods(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b'{"metadata": {}, "items": [')
        for number in range(PODS):
            await answer.write(b"," * (number > 0) + body)
        await answer.write(b"]}")
        return answer

    async def nothing(_: web.Request) -> web.Response:
        return web.json_response({"items": []})

    app = web.Application()
    app.router.add_get("/api/v1/pods", pods)
    app.router.add_get("/{path:.*}", nothing)
    async with serve(app) as port:
        config = kubeconfig(tmp_path, url=f"http://127.0.0.1:{port}", token="secret")
        assert await grown_mib(READER, config, PODS) < 80


async def test_a_list_whose_pages_have_expired_is_read_once_more_as_a_whole(way: Way, tmp_path: Path):
    """Not as a list that is not there: most pods would be missing, or azure-cni would seem not to be installed."""
    asked: list[dict[str, str]] = []

    async def pods(request: web.Request) -> web.Response:
        asked.append(dict(request.query))
        if "continue" in request.query:
            gone = {"kind": "Status", "code": 410, "message": "The provided continue parameter is too old"}
            return web.json_response(gone, status=410)
        first = [{"metadata": {"name": "first"}}]
        if "limit" in request.query:
            return web.json_response({"metadata": {"continue": "old"}, "items": first})
        return web.json_response({"metadata": {}, "items": [*first, {"metadata": {"name": "second"}}]})

    app = web.Application()
    app.router.add_get("/api/v1/pods", pods)
    async with serve(app) as port:
        access = way(tmp_path, f"http://127.0.0.1:{port}")
        found = await asyncio.to_thread(access.list_objects, "/api/v1/pods", labelSelector="a=b")
    assert [one["metadata"]["name"] for one in found] == ["first", "second"]
    assert [sorted(query) for query in asked] == [
        ["labelSelector", "limit"], ["continue", "labelSelector", "limit"], ["labelSelector"],
    ]  # fmt: skip


async def test_a_list_whose_pages_begin_again_is_an_error(way: Way, tmp_path: Path):
    """A proxy in between leaves out the query."""

    async def pods(_: web.Request) -> web.Response:
        return web.json_response({"metadata": {"continue": "more"}, "items": [{"metadata": {"name": "first"}}]})

    app = web.Application()
    app.router.add_get("/api/v1/pods", pods)
    async with serve(app) as port, asyncio.timeout(PATIENCE_S):
        access = way(tmp_path, f"http://127.0.0.1:{port}")
        with pytest.raises(KubeUnreachable, match="its next page is one that was read before"):
            await asyncio.to_thread(access.list_objects, "/api/v1/pods")
