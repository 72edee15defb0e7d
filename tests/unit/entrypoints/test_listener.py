"""The port that strangers can reach: what one of them can use up, and who is served all the same."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from azure_cni.entrypoints import listener, web
from azure_cni.entrypoints.listener import Bounds, Listener, bound_socket
from azure_cni.entrypoints.web import Bind, WebSettings
from azure_cni.errors import AzureCniError

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
OUTSIDE = "127.0.0.2"
"""Stands for the node's address."""


@contextlib.asynccontextmanager
async def serving(monkeypatch: pytest.MonkeyPatch, *, bind: Bind = Bind.NODE, **changes: float) -> AsyncIterator[int]:
    """The port as agent and controller open it, with other bounds for strangers."""
    quick = replace(Bounds(), pause_s=0.0, **changes)  # type: ignore[arg-type]
    monkeypatch.setattr(web, "Bounds", lambda: quick)
    with bound_socket(web.LOOPBACK, 0) as free:
        port = free.getsockname()[1]
    task = asyncio.create_task(
        web.serve(
            WebSettings(port=port, bind=bind, node_address=OUTSIDE),
            registry=CollectorRegistry(),
            healthy=lambda: "",
            ready=lambda: "",
        )
    )
    await asyncio.sleep(0.05)
    try:
        yield port
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def ask(address: str, port: int, request: bytes = HEALTH, *, within_s: float = 2.0) -> bytes:
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
    async with serving(monkeypatch, head_s=30.0) as port:
        held = await unfinished(port, 60)
        assert (await ask(web.LOOPBACK, port)).endswith(b"ok\n")
        with pytest.raises(TimeoutError):
            await ask(OUTSIDE, port, within_s=0.3)
        for writer in held:
            writer.close()
        assert (await ask(OUTSIDE, port)).endswith(b"ok\n")


async def test_no_more_descriptors_than_places_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(monkeypatch, head_s=30.0, connections=4) as port:
        before = open_descriptors()
        held = await unfinished(port, 40)
        await asyncio.sleep(0.1)
        assert open_descriptors() - before <= 40 + 4 + 1  # the callers' own, the places, one that waits for a place
        for writer in held:
            writer.close()


async def test_a_head_that_does_not_end_in_time_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(monkeypatch, head_s=0.1) as port:
        assert await ask(OUTSIDE, port, b"GET /healthz HTT") == b""


async def test_an_answer_that_nobody_takes_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = replace(Bounds(), answer_s=0.1)
    listening = bound_socket(web.LOOPBACK, 0)
    task = asyncio.create_task(Listener(listening, Silent, bounds=bounds).run())
    assert await ask(web.LOOPBACK, listening.getsockname()[1]) == b""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


class Silent(asyncio.Protocol):
    """A server that never answers."""


@pytest.mark.parametrize("head", [b"x" * 9000, b"GET /metrics HTTP/1.1\r\n" + b"A: " + b"y" * 800_000])
async def test_a_head_that_is_too_large_is_cut_off(monkeypatch: pytest.MonkeyPatch, head: bytes) -> None:
    async with serving(monkeypatch, head_s=30.0) as port:
        with contextlib.suppress(ConnectionError):
            assert await ask(OUTSIDE, port, head) == b""


async def test_malformed_requests_do_not_fill_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(monkeypatch) as port:
        for junk in (b"\x16\x03\x01\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /\x00 HTTP/1.1\r\nHost\r\n\r\n"):
            await ask(OUTSIDE, port, junk)
        assert (await ask(OUTSIDE, port)).endswith(b"ok\n")
    assert caplog.records == []


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
        answer = await ask(web.LOOPBACK, port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
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
    monkeypatch.setattr(listener, "_ACCEPT_RETRY_S", 0.02)
    async with serving(monkeypatch) as port:
        caller = socket.create_connection((OUTSIDE, port))  # in the queue before there is no descriptor for it
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        await asyncio.sleep(0.1)
        second = socket.socket()
        resource.setrlimit(resource.RLIMIT_NOFILE, (second.fileno() + 1, hard))
        try:
            second.connect((OUTSIDE, port))
            await asyncio.sleep(0.2)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert said == ["connections cannot be accepted"]
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


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
