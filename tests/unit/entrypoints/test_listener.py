"""The port that strangers can reach: what one of them can use up, and who is served all the same."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
import struct
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge

from azure_cni.entrypoints import accepting, listener, web
from azure_cni.entrypoints.listener import Bounds, Listener
from azure_cni.entrypoints.port_sockets import bound_socket
from azure_cni.entrypoints.running import kept_up
from azure_cni.entrypoints.web import Bind, Shown, WebSettings
from azure_cni.errors import AzureCniError
from azure_cni.faults import Faults
from fakes.waiting import PATIENCE_S, until
from unit.entrypoints.web_port import OUTSIDE, open_port

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
METRICS = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
MOST_OF_A_PROCESSOR = 0.02
"""That connections may take with which nothing happens."""


@contextlib.asynccontextmanager
async def serving(
    monkeypatch: pytest.MonkeyPatch, *, bind: Bind = Bind.NODE, faults: Faults | None = None, **changes: float
) -> AsyncIterator[int]:
    """The port with nothing to show, with other bounds for strangers."""
    shown = Shown(registry=CollectorRegistry(), healthy=lambda: "", ready=lambda: "")
    async with open_port(monkeypatch, shown, bounds=changes, bind=bind, faults=faults) as port:
        yield port


async def ask(address: str, port: int, request: bytes = HEALTH, *, within_s: float = PATIENCE_S) -> bytes:
    """What the port answers, until it closes the connection."""
    async with asyncio.timeout(within_s):
        reader, writer = await asyncio.open_connection(address, port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        return answer


async def unfinished(
    port: int, count: int, head: bytes = b"GET /metrics HTTP/1.1\r\nX: "
) -> list[asyncio.StreamWriter]:
    """Connections whose request never ends."""
    writers = []
    for _ in range(count):
        _, writer = await asyncio.open_connection(OUTSIDE, port)
        writer.write(head)
        writers.append(writer)
    return writers


async def test_a_request_is_answered_and_the_connection_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(monkeypatch) as port:
        for address in (web.LOOPBACK, OUTSIDE):
            answer = await ask(address, port)
            assert answer.startswith(b"HTTP/1.1 200 OK")
            assert b"Connection: close" in answer
            assert (await ask(address, port, HEALTH.replace(b"healthz", b"nothing"))).startswith(b"HTTP/1.1 404")


async def test_probes_are_answered_while_strangers_hold_every_place(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(monkeypatch, head_s=PATIENCE_S) as port:
        held = await unfinished(port, 60)
        assert (await ask(web.LOOPBACK, port)).endswith(b"ok\n")
        with pytest.raises(TimeoutError):
            await ask(OUTSIDE, port, within_s=0.3)
        for writer in held:
            writer.close()
        assert (await ask(OUTSIDE, port)).endswith(b"ok\n")


async def test_no_more_descriptors_than_places_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(monkeypatch, head_s=PATIENCE_S, connections=4) as port:
        before = open_descriptors()
        held = await unfinished(port, 40)
        await asyncio.sleep(0.1)
        assert open_descriptors() - before <= 40 + 2 * 4 + 1  # the callers' own, the places, one that waits for a place
        for writer in held:
            writer.close()


async def test_a_head_that_does_not_end_in_time_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(monkeypatch, head_s=0.1) as port:
        assert await ask(OUTSIDE, port, b"GET /healthz HTT") == b""


async def test_empty_lines_are_no_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP allows them before a request (RFC 9112, 2.2): they earn no time for an answer, and the request is read."""
    async with serving(monkeypatch, head_s=0.3, answer_s=PATIENCE_S) as port:
        assert await ask(OUTSIDE, port, b"\r\n\r\n") == b""
    async with serving(monkeypatch, head_s=PATIENCE_S) as port:
        reader, writer = await asyncio.open_connection(OUTSIDE, port)
        for part in (b"\r\n", b"\r\n\r", b"\n" + HEALTH):
            writer.write(part)
            await asyncio.sleep(0.02)
        assert (await reader.read()).endswith(b"ok\n")
        writer.close()


async def test_an_answer_that_nobody_takes_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = replace(Bounds(), answer_s=0.1)
    listening = bound_socket(web.LOOPBACK, 0)
    task = asyncio.create_task(Listener(listening, Silent, faults=Faults(lambda _: None), bounds=bounds).run())
    assert await ask(web.LOOPBACK, listening.getsockname()[1]) == b""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("series", [700, 20_000], ids=["in the kernel", "with us"])
async def test_answers_that_nobody_reads_hold_the_places_and_no_more(
    monkeypatch: pytest.MonkeyPatch, series: int
) -> None:
    """Wherever they wait. The kernel would keep those of closed sockets for minutes, as many as there are callers."""
    bounds = {"connections": 4, "answer_s": 0.3, "sent_s": 0.3}
    async with open_port(monkeypatch, showing(series), bounds=bounds) as port:
        with contextlib.ExitStack() as callers:
            for _ in range(20):
                unread(callers, port)
            most = 0
            async with asyncio.timeout(PATIENCE_S):
                while not most or undelivered(port):
                    most = max(most, undelivered(port))
                    await asyncio.sleep(0.05)
        assert most <= 4


async def test_answers_that_nobody_reads_cost_the_loop_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It wires pods, and has nothing to do for those who hold places, once their answers are made."""
    async with open_port(monkeypatch, showing(20_000), bounds={"answer_s": 10 * PATIENCE_S}) as port:
        with contextlib.ExitStack() as callers:
            for _ in range(60):
                unread(callers, port)
            await until(lambda: undelivered(port) > 0, within_s=PATIENCE_S, say=lambda: "no answer waits")
            async with asyncio.timeout(PATIENCE_S):
                while await used_of_a_processor(2.0) >= MOST_OF_A_PROCESSOR:
                    pass
            assert undelivered(port) > 0
            assert (await ask(web.LOOPBACK, port)).endswith(b"ok\n")


async def used_of_a_processor(seconds: float) -> float:
    """The share that this thread, the loop's, takes of one while the caller sleeps."""
    spent_s, began_s = time.thread_time(), time.monotonic()
    await asyncio.sleep(seconds)
    return (time.thread_time() - spent_s) / (time.monotonic() - began_s)


async def test_whoever_takes_an_answer_in_time_sees_no_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it is slow to read, and slower to close."""
    async with open_port(monkeypatch, showing(700), bounds={"connections": 1}) as port:
        with contextlib.ExitStack() as callers:
            caller = unread(callers, port)
            await asyncio.sleep(0.3)
            received = bytearray()
            while data := await asyncio.get_running_loop().sock_recv(caller, 4096):
                received += data
            assert received.count(b"azure_cni_things{") == 700
            assert (await ask(OUTSIDE, port)).endswith(b"ok\n")


def showing(series: int) -> Shown:
    """Metrics of 33 bytes a series; the kernel takes 700 of them for a caller that reads nothing, but not 20,000."""
    registry = CollectorRegistry()
    things = Gauge("azure_cni_things", "Things.", ["name"], registry=registry)
    for number in range(series):
        things.labels(f"{number}").set(number)
    return Shown(registry=registry, healthy=lambda: "", ready=lambda: "")


def unread(callers: contextlib.ExitStack, port: int) -> socket.socket:
    """A caller that asks for metrics and has room for little of the answer."""
    caller = callers.enter_context(socket.socket())
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    caller.connect((OUTSIDE, port))
    caller.sendall(METRICS)
    caller.setblocking(False)
    return caller


def undelivered(port: int) -> int:
    """Sockets of that port for which the kernel has something to send."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and not row[4].startswith("00000000:") for row in rows)


async def test_what_follows_a_request_is_left_in_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading it only to throw it away would cost the loop as much as the caller's network can send."""
    listening = bound_socket(web.LOOPBACK, 0)
    task = asyncio.create_task(Listener(listening, Silent, faults=Faults(lambda _: None)).run())
    _, writer = await asyncio.open_connection(*listening.getsockname())
    writer.write(HEALTH + b"x" * (64 << 20))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await writer.drain()
    writer.transport.abort()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


class Silent(asyncio.Protocol):
    """A server that never answers."""


@pytest.mark.parametrize("head", [b"x" * 9000, b"GET /metrics HTTP/1.1\r\n" + b"A: " + b"y" * 800_000])
async def test_a_head_that_is_too_large_is_cut_off(monkeypatch: pytest.MonkeyPatch, head: bytes) -> None:
    async with serving(monkeypatch, head_s=PATIENCE_S) as port:
        with contextlib.suppress(ConnectionError):
            assert await ask(OUTSIDE, port, head) == b""


ODD = [
    b"\x16\x03\x01\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /\x00 HTTP/1.1\r\nHost\r\n\r\n",
    b"GET //[ HTTP/1.1\r\nHost: [::\r\n\r\n",
    b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 30\r\n\r\n" + bytes(30),
    b"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffff;a=b\r\ny",
    b"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnone\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
]


@pytest.mark.parametrize("request_", ODD)
@pytest.mark.parametrize("leaves", [False, True], ids=["stays", "leaves"])
async def test_odd_requests_do_not_fill_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, request_: bytes, *, leaves: bool
) -> None:
    async with serving(monkeypatch) as port:
        if leaves:
            for _ in range(5):
                with socket.create_connection((OUTSIDE, port)) as caller:
                    caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    caller.sendall(request_)
                await asyncio.sleep(0)
        else:
            with contextlib.suppress(TimeoutError, ConnectionError):
                await ask(OUTSIDE, port, request_, within_s=0.5)
        assert (await ask(OUTSIDE, port)).endswith(b"ok\n")
    assert caplog.records == []


async def test_a_fault_in_a_handler_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> str:
        raise KeyError("missing")

    shown = Shown(registry=CollectorRegistry(), healthy=broken, ready=lambda: "")
    async with open_port(monkeypatch, shown, bounds={}) as port:
        assert (await ask(OUTSIDE, port)).startswith(b"HTTP/1.1 500")
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] is KeyError


async def test_a_second_request_on_a_connection_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(monkeypatch) as port:
        assert (await ask(OUTSIDE, port, HEALTH * 100)).count(b"HTTP/1.1 200") <= 1


@pytest.mark.parametrize(
    ("bind", "outside", "metrics"), [(Bind.NODE, True, True), (Bind.LOOPBACK, False, True), (Bind.NONE, False, False)]
)
async def test_metrics_are_where_the_setting_says(
    monkeypatch: pytest.MonkeyPatch, bind: Bind, *, outside: bool, metrics: bool
) -> None:
    async with serving(monkeypatch, bind=bind) as port:
        answer = await ask(web.LOOPBACK, port, METRICS)
        assert answer.startswith(b"HTTP/1.1 200" if metrics else b"HTTP/1.1 404")
        assert (await ask(web.LOOPBACK, port)).endswith(b"ok\n")
        if outside:
            assert (await ask(OUTSIDE, port)).endswith(b"ok\n")
        else:
            with pytest.raises(ConnectionRefusedError):
                await ask(OUTSIDE, port)


async def test_when_descriptors_run_out_it_is_said_once_and_served_again_after(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(accepting, "_RETRY_S", 0.02)
    async with serving(monkeypatch) as port:
        before = open_descriptors() + 1
        caller = socket.create_connection((OUTSIDE, port))  # in the queue before there is no descriptor for it
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        await until(lambda: open_descriptors() > before, within_s=PATIENCE_S, say=open_descriptors)  # it is accepted
        second = socket.socket()
        resource.setrlimit(resource.RLIMIT_NOFILE, (second.fileno() + 1, hard))
        try:
            second.connect((OUTSIDE, port))
            await until(lambda: warnings(caplog) != [], within_s=PATIENCE_S, say=lambda: caplog.text)
            await asyncio.sleep(0.2)  # ten more attempts
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert warnings(caplog) == ["connections cannot be accepted"]
        assert (await ask(OUTSIDE, port)).endswith(b"ok\n")
        caller.close()
        second.close()


def test_a_port_that_something_else_has_is_named() -> None:
    with bound_socket(web.LOOPBACK, 0) as other:
        port = other.getsockname()[1]
        with pytest.raises(
            AzureCniError, match=rf"^cannot serve metrics and health on 127.0.0.1 port {port}: .*in use"
        ):
            bound_socket(web.LOOPBACK, port)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


class Breaking:
    """Stands in the place of a method, and fails the first time in a way that nobody foresaw."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: object, method: str, error: BaseException) -> None:
        self.error: BaseException | None = error
        whole = getattr(owner, method)

        async def broken(*args: Any, **options: Any) -> Any:
            if self.error is not None:
                error, self.error = self.error, None
                raise error
            return await whole(*args, **options)

        monkeypatch.setattr(owner, method, broken)


@pytest.mark.parametrize("error", [KeyError("x"), asyncio.CancelledError()], ids=["an error", "a cancellation"])
async def test_a_fault_in_one_connection_ends_only_that(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """A stranger may have found what no test did, and the process also wires pods."""
    counted: list[str] = []
    async with serving(monkeypatch, faults=Faults(counted.append)) as port:
        breaking = Breaking(monkeypatch, listener, "_delivered", error)
        with contextlib.suppress(ConnectionResetError):
            await ask(OUTSIDE, port)
        await until(lambda: counted != [], within_s=PATIENCE_S, say=lambda: breaking.error)
        for address in (web.LOOPBACK, OUTSIDE):
            assert b"200 OK" in await ask(address, port)
    assert counted == ["connection"]


@pytest.mark.parametrize(("owner", "method"), [(Listener, "run"), (accepting.Acceptor, "accept")])
@pytest.mark.parametrize("error", [KeyError("x"), asyncio.CancelledError()], ids=["an error", "a cancellation"])
async def test_a_fault_in_a_listener_is_counted_and_it_serves_again(
    monkeypatch: pytest.MonkeyPatch, owner: object, method: str, error: BaseException
) -> None:
    """An error ended the process, and a cancellation by somebody else ended one of the two ports for ever."""
    counted: list[str] = []
    monkeypatch.setattr(web, "kept_up", partial(kept_up, again_s=0.01))
    Breaking(monkeypatch, owner, method, error)
    async with serving(monkeypatch, faults=Faults(counted.append)) as port:
        for address in (web.LOOPBACK, OUTSIDE):
            assert b"200 OK" in await ask(address, port)
    assert counted == ["web"]


async def test_a_port_that_is_taken_is_said_and_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Shown(registry=CollectorRegistry(), healthy=lambda: "", ready=lambda: "")
    counted: list[str] = []
    with bound_socket(OUTSIDE, 0) as taken:
        settings = WebSettings(port=taken.getsockname()[1], bind=Bind.NODE, node_address=OUTSIDE)
        with pytest.raises(AzureCniError, match=f"cannot serve metrics and health on {OUTSIDE}"):
            async with asyncio.timeout(PATIENCE_S):
                await web.serve(settings, shown, faults=Faults(counted.append))
    assert counted == []
