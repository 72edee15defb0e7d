"""The socket: real HTTP over a real unix socket, the real use cases behind it."""

from __future__ import annotations

import json
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from azure_cni.entrypoints.cni_server import CniServer
from azure_cni.entrypoints.runtime_sockets import bound, serve_socket
from azure_cni.errors import AzureCniError, DatapathError
from azure_cni.host.run_directory import Released
from azure_cni.node.pods.deferred_deletes import DeferredDeletes
from fakes.nic import FakeNic
from fakes.simulated_node import SimulatedNode

CONFIG = {"cniVersion": "1.0.0", "name": "azure-cni", "type": "azure-cni"}


def body(container: str = "c1", **more: Any) -> dict[str, Any]:
    args = {"K8S_POD_NAMESPACE": "default", "K8S_POD_NAME": container}
    netns = f"/run/netns/{container}"
    return {
        "containerID": container,
        "netns": netns,
        "ifname": "eth0",
        "args": args,
        "path": "",
        "config": CONFIG,
    } | more


class Caller:
    def __init__(self, session: aiohttp.ClientSession, node: SimulatedNode, socket: Path) -> None:
        self._session, self.node, self.socket = session, node, socket

    async def post(self, verb: str, content: Any) -> tuple[int, dict[str, Any]]:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        async with self._session.post(f"http://agent/cni/v1/{verb}", data=data) as response:
            assert response.headers["Content-Length"]
            return response.status, await response.json()


def test_a_socket_that_cannot_be_opened_is_reported_in_words(tmp_path: Path) -> None:
    (tmp_path / "cni.sock").mkdir()
    with pytest.raises(AzureCniError, match=rf"^cannot open the socket {tmp_path}/cni.sock: what is there is no "):
        bound(tmp_path / "cni.sock")


@asynccontextmanager
async def serving(directory: Path, node: SimulatedNode) -> AsyncIterator[Caller]:
    socket = directory / "cni.sock"
    bound(socket).close()  # as a dead agent leaves it
    deferred_deletes = DeferredDeletes(records=Released(directory / "released"), sandboxes=node.sandboxes)
    server = CniServer(
        sandboxes=node.sandboxes,
        deferred_deletes=deferred_deletes,
        observer=node.observer,
        run_dir=str(directory),
    )
    runner = web.AppRunner(server.application())
    await runner.setup()
    await serve_socket(runner, socket, requests=server.requests, faults=server.faults)
    async with node.running(), aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as session:
        await node.until(lambda: node.state.ready)
        yield Caller(session, node, socket)
    await runner.cleanup()


async def test_a_life_over_the_socket(tmp_path: Path):
    async with serving(tmp_path, SimulatedNode()) as caller:
        assert stat.S_IMODE(caller.socket.stat().st_mode) == 0o600
        status, result = await caller.post("add", body())
        assert (status, result["cniVersion"]) == (200, "1.0.0")
        assert result["ips"][0]["address"].endswith("/32")
        checked = body(config=CONFIG | {"prevResult": result})
        assert await caller.post("check", checked) == (200, {})
        assert await caller.post("del", body()) == (200, {})
        status, error = await caller.post("check", checked)
        assert (status, error["code"]) == (400, 3)
        assert ("cni", "add", "0") in caller.node.observer.recorded
        assert ("cni", "check", "3") in caller.node.observer.recorded


async def test_a_directory_that_the_agent_does_not_look_into_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """A conflist of somebody's own: nobody notices before a DEL comes while the agent is away."""
    async with serving(tmp_path, SimulatedNode()) as caller:
        for container, directory in (("c1", f"{tmp_path}/x/.."), ("c2", "/run/other"), ("c3", "/run/other")):
            assert (await caller.post("add", body(container, config=CONFIG | {"runDir": directory})))[0] == 200
        (said,) = [record.__dict__["what"] for record in caplog.records if "another directory" in record.message]
    assert said.startswith('runDir of network azure-cni is "/run/other", and the agent')


async def test_an_add_carries_out_the_del_of_its_containers_former_life_first(tmp_path: Path):
    """Recorded while this socket was not there; the look at all records comes after the ADD."""
    async with serving(tmp_path, SimulatedNode()) as caller:
        assert (await caller.post("add", body()))[0] == 200
        released = Released(tmp_path / "released")
        (holder,) = (slot.holder for slot in caller.node.stored.ledger.slots if slot.holder is not None)
        record = tmp_path / "released" / released.name_of(holder.sandbox)
        record.parent.mkdir()
        record.write_text(json.dumps(body()))
        assert (await caller.post("add", body()))[0] == 200
        assert not record.exists()
        assert caller.node.counts.assigned == 1


@pytest.mark.parametrize(
    ("verb", "content", "status", "code", "words"),
    [
        ("add", b"{", 400, 6, "cannot read the add request"),
        ("add", json.dumps(body()).encode().replace(b"default", b"d\xe9faut"), 400, 6, "cannot read the add request"),
        ("add", body(netns=""), 400, 4, "CNI_NETNS"),
        ("add", body(config=CONFIG | {"sockett": "/x"}), 400, 7, "sockett"),
        ("add", body(config=CONFIG | {"cniVersion": "9.9.9"}), 400, 1, "9.9.9"),
        ("check", body(), 400, 7, "prevResult"),
    ],
)
async def test_bad_input_is_an_error_in_words_and_changes_nothing(
    tmp_path: Path, verb: str, content: Any, status: int, code: int, words: str
):
    async with serving(tmp_path, SimulatedNode()) as caller:
        answered, error = await caller.post(verb, content)
        assert (answered, error["code"]) == (status, code)
        assert words in error["msg"]
        assert caller.node.counts.assigned == 0


async def test_gc_and_status(tmp_path: Path):
    async with serving(tmp_path, SimulatedNode()) as caller:
        for name in ("a", "b"):
            assert (await caller.post("add", body(name)))[0] == 200
        keep = {"cni.dev/valid-attachments": [{"containerID": "a", "ifname": "eth0"}]}
        assert await caller.post("gc", {"config": CONFIG | {"cniVersion": "1.1.0"} | keep, "path": ""}) == (200, {})
        assert caller.node.counts.assigned == 1
        assert await caller.post("status", {"config": CONFIG, "path": ""}) == (200, {})


async def test_a_full_subnet_is_code_11_with_its_cause(tmp_path: Path):
    async with serving(tmp_path, SimulatedNode(nic=FakeNic(room=0))) as caller:
        await caller.node.until(lambda: caller.node.state.forecast.reason == "SubnetFull")
        status, error = await caller.post("add", body())
        assert (status, error["code"], error["details"]) == (503, 11, "SubnetFull")
        assert (await caller.post("status", {"config": CONFIG, "path": ""}))[1]["code"] == 50


async def test_a_fault_in_our_code_is_still_an_answer(tmp_path: Path):
    async with serving(tmp_path, SimulatedNode()) as caller:
        await caller.node.until(lambda: caller.node.counts.free > 0)
        caller.node.datapath.fail_next = DatapathError("cannot make the veth: no such device")
        assert (await caller.post("add", body()))[1]["code"] == 5
        assert caller.node.counts.assigned == 0
        caller.node.datapath.attach = None  # type: ignore[method-assign,assignment]
        status, error = await caller.post("add", body())
        assert (status, error["code"]) == (500, 999)
        assert caller.node.counts.assigned == 1  # nobody knows what the kernel holds: the DEL that follows settles it
        assert await caller.post("del", body()) == (200, {})
        assert caller.node.counts.assigned == 0


async def test_a_status_that_is_asked_for_again_and_again_does_not_fill_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="azure_cni.entrypoints.cni_server")
    async with serving(tmp_path, SimulatedNode(nic=FakeNic(room=0))) as caller:
        assert (await caller.post("status", {"config": CONFIG | {"cniVersion": "1.1.0"}, "path": ""}))[0] == 503
        await caller.post("add", {})
    levels = [record.levelname for record in caplog.records if record.message == "cni request refused"]
    assert levels == ["DEBUG", "INFO"]
