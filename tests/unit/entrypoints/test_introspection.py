"""Introspection over the real socket, by the command that runs in the agent's container."""

from __future__ import annotations

import asyncio
import io
import socket as sockets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from click.testing import CliRunner, Result

from azure_cni.api.audit_reports import (
    AUDIT_PATH,
    USAGE_PATH,
    WRITES_PATH,
    decode_audit_report,
    decode_usage_report,
    decode_writes_report,
)
from azure_cni.api.introspection import NODE_PATH, decode_node_report
from azure_cni.api.trace_reports import MOST_DESTINATIONS, TRACE_PATH, decode_trace_report
from azure_cni.cni.systems import WINDOWS
from azure_cni.commands.introspect import BUSY, ask, default_door
from azure_cni.entrypoints.cli import main
from azure_cni.entrypoints.cni_server import CniServer
from azure_cni.entrypoints.introspection_routes import add_introspection
from azure_cni.entrypoints.runtime_sockets import serve_socket
from azure_cni.faults import Faults
from azure_cni.node.audit import AuditTrail
from fakes.audit_store import FakeAuditStore
from fakes.clocks import LoopClock
from fakes.simulated_node import SimulatedNode


@asynccontextmanager
async def serving(directory: Path, node: SimulatedNode) -> AsyncIterator[Path]:
    """The socket as the agent opens it."""
    socket = directory / "cni.sock"
    server = CniServer(sandboxes=node.sandboxes, deferred_deletes=node.node.deferred_deletes, observer=node.observer)
    app = server.application()
    add_introspection(
        app,
        node.reconciler.inspector,
        paths=node.reconciler.path_inspector,
        node_name="vm1",
        faults=Faults(node.observer.internal_error),
        audit=node.audit,
    )
    runner = web.AppRunner(app)
    await runner.setup()
    await serve_socket(runner, socket, requests=server.requests, faults=server.faults)
    async with node.running():
        await node.until(lambda: node.counts.free > 0)
        yield socket
    await runner.cleanup()


def introspect(*words: str) -> Result:
    return CliRunner().invoke(main, ["introspect", *words])


async def test_the_command_prints_what_the_agent_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AZURE_CNI_RUN_DIR", str(tmp_path))
    async with serving(tmp_path, SimulatedNode()) as socket:
        done = await asyncio.to_thread(introspect)
        other = await asyncio.to_thread(introspect, NODE_PATH, "--socket", str(socket))
    assert done.exit_code == other.exit_code == 0
    report = decode_node_report(done.stdout_bytes)
    assert (report.node, len(report.slots)) == ("vm1", 16)


async def test_an_agent_on_windows_is_asked_over_its_pipe(tmp_path: Path):
    """Here a socket that is opened as a file is, as a pipe there, and for a moment all its instances are taken."""
    opened: list[str] = []

    def open_pipe(name: str) -> io.RawIOBase:
        opened.append(name)
        if len(opened) < 3:
            busy = OSError("all pipe instances are busy")
            busy.winerror = BUSY  # type: ignore[attr-defined]
            raise busy
        connected = sockets.socket(sockets.AF_UNIX)
        connected.connect(str(tmp_path / "cni.sock"))
        file = connected.makefile("rwb", buffering=0)
        connected.close()
        assert isinstance(file, io.RawIOBase)
        return file

    assert default_door("linux") == "/run/azure-cni/cni.sock"
    async with serving(tmp_path, SimulatedNode()):
        status, body = await asyncio.to_thread(ask, default_door("win32"), NODE_PATH, open_pipe=open_pipe)
        unknown, _ = await asyncio.to_thread(ask, default_door("win32"), "/none", open_pipe=open_pipe)
    assert (status, unknown) == (200, 404)
    assert len(decode_node_report(body).slots) == 16
    assert opened == [WINDOWS.default_socket] * 4


def test_a_pipe_that_nobody_serves_is_named():
    done = introspect("--socket", WINDOWS.default_socket)
    assert done.exit_code == 3
    assert f"cannot ask the agent at {WINDOWS.default_socket}: " in done.stderr


async def test_the_way_of_a_pods_packets(tmp_path: Path):
    node = SimulatedNode()
    async with serving(tmp_path, node) as socket:
        wiring = await node.add("web")
        (source,) = map(str, wiring.addresses)
        where = ("--socket", str(socket))
        asked = f"{TRACE_PATH}?source={source}&to=203.0.113.9&to={source}"
        report = decode_trace_report((await asyncio.to_thread(introspect, asked, *where)).stdout_bytes)
        strange = decode_trace_report(
            (await asyncio.to_thread(introspect, f"{TRACE_PATH}?source=10.9.9.9&to=10.9.9.8", *where)).stdout_bytes
        )
        wrong = [
            await asyncio.to_thread(introspect, f"{TRACE_PATH}?source={source}{to}", *where)
            for to in ("", "&to=web", "".join("&to=10.9.9.9" for _ in range(MOST_DESTINATIONS + 1)))
        ]
    assert (report.holder, report.error) == ("pod default/web", "")
    assert report.table is not None
    assert (report.table.uplink, source in report.table.pool) == ("eth0", True)
    assert report.table.routable == sorted({*report.table.vnet, *report.table.peered, *report.table.configured})
    assert [(one.kind, one.interface, one.pod) for one in report.ways] == [
        ("forward", "eth0", ""),
        ("forward", report.interfaces[-1], "pod default/web"),
    ]
    assert (strange.ways, "no route of the node leads 10.9.9.9" in strange.error) == ([], True)
    assert [done.exit_code for done in wrong] == [3, 3, 3]
    assert "cannot trace to 17 destinations" in wrong[-1].stderr


async def test_nothing_can_be_written(tmp_path: Path):
    async with serving(tmp_path, SimulatedNode()) as socket:
        connector = aiohttp.UnixConnector(str(socket))
        async with aiohttp.ClientSession(connector=connector) as session:
            for method in ("POST", "PUT", "PATCH", "DELETE"):
                async with session.request(method, f"http://agent{NODE_PATH}", data=b"{}") as response:
                    assert response.status == 405


async def test_a_fault_is_an_answer_in_words_and_pods_go_on(tmp_path: Path):
    node = SimulatedNode()
    async with serving(tmp_path, node) as socket:
        node.datapath.sandboxes = None  # type: ignore[method-assign,assignment]
        done = await asyncio.to_thread(introspect, NODE_PATH, "--socket", str(socket))
        assert done.exit_code == 3
        assert "the activity introspection failed with TypeError" in done.stderr
        await node.add("web")


def test_no_agent_is_an_error_in_words(tmp_path: Path):
    done = introspect("--socket", str(tmp_path / "cni.sock"))
    assert done.exit_code == 3
    assert "cannot ask the agent at" in done.stderr


async def test_the_audit_trail_is_asked_by_address(tmp_path: Path):
    trail = AuditTrail(FakeAuditStore(), clock=LoopClock(), node="vm1")
    task = asyncio.create_task(trail.run())
    node = SimulatedNode(audit=trail)
    async with serving(tmp_path, node) as socket:
        (address,) = (await node.add("web")).addresses
        done = await asyncio.to_thread(introspect, f"{AUDIT_PATH}?address={address}", "--socket", str(socket))
    task.cancel()
    report = decode_audit_report(done.stdout_bytes)
    assert [(one.holder, one.uid, one.end) for one in report.tenures] == [("default/web", "uid-web", "")]


@pytest.mark.parametrize("query", ["", "?address=", "?address=web", "?address=10.0.0.1;x"])
async def test_a_question_without_an_address_is_refused(tmp_path: Path, query: str):
    async with serving(tmp_path, SimulatedNode()) as socket:
        done = await asyncio.to_thread(introspect, f"{AUDIT_PATH}{query}", "--socket", str(socket))
    assert done.exit_code == 3
    assert "not an IPv4 address" in done.stderr


async def test_an_agent_that_keeps_no_trail_says_so(tmp_path: Path):
    async with serving(tmp_path, SimulatedNode()) as socket:
        done = await asyncio.to_thread(introspect, f"{AUDIT_PATH}?address=10.0.0.1", "--socket", str(socket))
    assert "audit.enabled" in decode_audit_report(done.stdout_bytes).error


async def test_the_writes_of_a_nic_are_those_of_its_trail(tmp_path: Path):
    trail = AuditTrail(FakeAuditStore(), clock=LoopClock(), node="vm1", nic_writer="controller")
    task = asyncio.create_task(trail.run())
    node = SimulatedNode(audit=trail)
    async with serving(tmp_path, node) as socket:
        await node.add("web")
        done = await asyncio.to_thread(introspect, WRITES_PATH, "--socket", str(socket))
    task.cancel()
    assert done.exit_code == 0
    (write,) = decode_writes_report(done.stdout_bytes).writes
    assert (write.writer, write.result, write.added, len(write.came), write.went) == (
        "controller", "Succeeded", 16, 16, (),
    )  # fmt: skip
    assert write.etag
    async with serving(tmp_path, SimulatedNode()) as socket:
        done = await asyncio.to_thread(introspect, WRITES_PATH, "--socket", str(socket))
    assert "audit.enabled" in decode_writes_report(done.stdout_bytes).error


async def test_an_agent_without_a_trail_knows_no_usage(tmp_path: Path):
    async with serving(tmp_path, SimulatedNode()) as socket:
        done = await asyncio.to_thread(introspect, USAGE_PATH, "--socket", str(socket))
    assert "audit.enabled" in decode_usage_report(done.stdout_bytes).error


async def test_the_usage_of_a_node_is_that_of_its_trail_with_the_pools_sizes(tmp_path: Path):
    trail = AuditTrail(FakeAuditStore(), clock=LoopClock(), node="vm1")
    task = asyncio.create_task(trail.run())
    node = SimulatedNode(audit=trail)
    async with serving(tmp_path, node) as socket:
        await node.add("web")
        done = await asyncio.to_thread(introspect, USAGE_PATH, "--socket", str(socket))
    task.cancel()
    assert done.exit_code == 0
    report = decode_usage_report(done.stdout_bytes)
    assert (report.node, report.error) == ("vm1", "")
    assert (report.hours[-1].peak, report.hours[-1].started, report.hours[-1].burst) == (1, 1, 1)
    assert (report.pool.min_free, report.pool.max_free, report.pool.batch, report.pool.ceiling) == (8, 24, 16, 250)
