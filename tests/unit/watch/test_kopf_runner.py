"""Watches against an API server that fails in every way kopf ends by: they come back, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import kopf
import pytest

from azure_cni.api.egress import EGRESS
from azure_cni.kube.client import KubeEndpoint
from azure_cni.watch import node_watch
from azure_cni.watch.kopf_runner import Post, Watches, quiet_settings
from fakes.faults import NO_FAULTS
from fakes.kubeapi import NAMESPACES, PODS, POOLS, TOKEN, FakeKubeAPI
from fakes.waiting import PATIENCE_S

OURS = "azure_cni.watch.kopf_runner"


@dataclass
class Seen:
    """What a `Watcher` receives, and in which thread."""

    pools: list[Any] = field(default_factory=list)
    pods: set[str] = field(default_factory=set)
    relisted: list[str] = field(default_factory=list)
    namespaces: dict[str, dict[str, str]] = field(default_factory=dict)
    """Their annotations."""
    threads: set[int] = field(default_factory=set)

    def pool_seen(self, body: Any) -> None:
        self.threads.add(threading.get_ident())
        self.pools.append(body)

    def pool_gone(self) -> None:
        self.pools.append(None)

    def pod_seen(self, body: Any) -> None:
        self.pods.add(body["metadata"]["uid"])

    def pod_gone(self, uid: str) -> None:
        self.pods.discard(uid)

    def namespace_seen(self, body: Any) -> None:
        self.namespaces[body["metadata"]["name"]] = dict(body["metadata"].get("annotations", {}))

    def namespace_gone(self, name: str) -> None:
        self.namespaces.pop(name, None)


def impatient() -> kopf.OperatorSettings:
    settings = node_watch.settings_of("vm1")
    settings.networking.error_backoffs = [0.01]
    return settings


@contextlib.asynccontextmanager
async def watching(
    server: FakeKubeAPI,
    seen: Seen,
    *,
    settings: Callable[[], kopf.OperatorSettings] = impatient,
    namespaces: bool = False,
) -> AsyncIterator[asyncio.Task[None]]:
    watches = Watches(
        KubeEndpoint(server.url, token=TOKEN),
        registry=lambda post: node_watch.registry_for(seen, post, namespaces=namespaces),
        settings=settings,
        needs=(POOLS,),
        relisted=seen.relisted.append,
        faults=NO_FAULTS,
        pause_s=lambda attempt: 0.05,
    )
    task = asyncio.create_task(watches.run())
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def start_pod(server: FakeKubeAPI, name: str) -> None:
    server.put(PODS, name, metadata={"uid": f"uid-{name}"}, spec={"nodeName": "vm1"})


async def until(what: Callable[[], bool]) -> None:
    """Wait until it is so, within a bound that only a fault reaches."""
    async with asyncio.timeout(PATIENCE_S):
        while not what():  # noqa: ASYNC110  # what happens in another thread rings no bell here
            await asyncio.sleep(0.01)


@pytest.fixture
async def server() -> AsyncIterator[FakeKubeAPI]:
    server = FakeKubeAPI()
    async with server.serve():
        server.put(POOLS, "vm1", spec={})
        start_pod(server, "web-1")
        yield server


@pytest.fixture
def seen() -> Seen:
    return Seen()


async def test_what_is_listed_and_what_changes_is_reported_on_the_owners_loop(server: FakeKubeAPI, seen: Seen) -> None:
    async with watching(server, seen):
        await until(lambda: bool(seen.pools) and seen.pods == {"uid-web-1"} and len(server.watches.open) == 2)
        start_pod(server, "web-2")
        server.delete(PODS, "web-1")
        server.put(POOLS, "vm1", spec={"max": 5})
        await until(lambda: seen.pods == {"uid-web-2"} and seen.pools[-1].spec == {"max": 5})
        server.delete(POOLS, "vm1")
        await until(lambda: seen.pools[-1] is None)
    assert seen.threads == {threading.get_ident()}


async def test_namespaces_are_watched_where_their_annotations_count(server: FakeKubeAPI, seen: Seen) -> None:
    server.put(NAMESPACES, "shop", metadata={"annotations": {EGRESS: "pod", "note": "x" * 1000}})
    async with watching(server, seen, namespaces=True):
        await until(lambda: seen.namespaces.get("shop") == {EGRESS: "pod"})  # the list is lean
        server.put(NAMESPACES, "blog", metadata={"annotations": {EGRESS: "node"}})
        await until(lambda: seen.namespaces.get("blog") == {EGRESS: "node"})
        server.delete(NAMESPACES, "shop")
        await until(lambda: "shop" not in seen.namespaces)


async def test_the_selectors_are_the_servers(server: FakeKubeAPI, seen: Seen) -> None:
    async with watching(server, seen):
        await until(lambda: len(server.watches.open) == 2)
    asked = {(path, query.get("fieldSelector")) for _, path, query in server.requests if "watch" in query}
    assert asked == {
        (POOLS, "metadata.name=vm1"),
        (PODS, "spec.nodeName=vm1,status.phase!=Failed,status.phase!=Succeeded"),
    }


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
async def test_watches_come_back_after_refusals(server: FakeKubeAPI, seen: Seen, status: int) -> None:
    """Each of these ends kopf, at once or after its own attempts."""
    async with watching(server, seen) as task:
        await until(lambda: len(server.watches.open) == 2)
        server.refusals[""] = status
        server.hang_up()
        before = len(server.requests)
        await until(lambda: len(server.requests) > before + 8)
        server.refusals.clear()
        await until(lambda: len(server.watches.open) == 2)
        start_pod(server, "web-2")
        await until(lambda: "uid-web-2" in seen.pods)
        assert not task.done()


@pytest.mark.parametrize("code", [410, 500])
async def test_watches_come_back_after_an_error_in_the_stream(server: FakeKubeAPI, seen: Seen, code: int) -> None:
    async with watching(server, seen):
        await until(lambda: len(server.watches.open) == 2)
        lists = server.asked(PODS, watch=False)
        server.raise_error(code)
        await until(lambda: server.asked(PODS, watch=False) > lists and len(server.watches.open) == 2)
        start_pod(server, "web-2")
        await until(lambda: "uid-web-2" in seen.pods)


async def test_a_kind_that_is_not_served_yet_is_waited_for(server: FakeKubeAPI, seen: Seen) -> None:
    """Without that kopf would leave it out permanently."""
    server.refusals[POOLS] = 404
    async with watching(server, seen):
        await until(lambda: server.asked(POOLS, watch=False) > 2)
        assert len(server.watches.open) == 0
        server.refusals.clear()
        await until(lambda: bool(seen.pools) and len(server.watches.open) == 2)


async def test_each_list_is_reported_once_its_watch_stands(server: FakeKubeAPI, seen: Seen) -> None:
    async with watching(server, seen):
        await until(lambda: sorted(seen.relisted) == [PODS, POOLS])
        watches = server.asked(PODS, watch=True)
        server.hang_up()  # goes on from its version: nothing can have been missed
        await until(lambda: server.asked(PODS, watch=True) > watches and len(server.watches.open) == 2)
        assert sorted(seen.relisted) == [PODS, POOLS]
        server.raise_error(410)
        await until(lambda: sorted(seen.relisted) == [PODS, PODS, POOLS, POOLS])


async def test_a_half_dead_connection_is_given_up(server: FakeKubeAPI, seen: Seen) -> None:
    def short() -> kopf.OperatorSettings:
        settings = impatient()
        settings.watching.inactivity_timeout = 0.2
        return settings

    server.watches.silent = True
    async with watching(server, seen, settings=short):
        await until(lambda: len(server.watches.open) == 2)
        start_pod(server, "web-2")
        server.watches.silent = False  # the server is well again, the old connections are not
        await until(lambda: "uid-web-2" in seen.pods)


async def test_an_outage_is_reported_once_and_its_end_once(
    server: FakeKubeAPI, seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger=OURS)

    def reported() -> list[logging.LogRecord]:
        return [record for record in caplog.records if record.name == OURS]

    async with watching(server, seen):
        await until(lambda: len(server.watches.open) == 2)
        assert not reported()
        server.refusals[""] = 503
        server.hang_up()
        await until(lambda: len([request for request in server.requests if request.path == POOLS]) > 10)
        server.refusals.clear()
        await until(lambda: len(server.watches.open) == 2)
        await until(lambda: len(reported()) == 2)
    assert [record.message for record in reported()] == [
        "cannot watch the API server; pods go on, changes are seen later",
        "watching the API server again",
    ]
    assert reported()[0].__dict__["why"] == "HTTP 503 Service Unavailable"


async def test_one_path_that_is_refused_keeps_the_outage_open(
    server: FakeKubeAPI, seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    """A missing permission for pods, while the pool's watch stands again and again."""
    caplog.set_level(logging.INFO, logger=OURS)
    server.refusals[PODS] = 403
    async with watching(server, seen):
        await until(lambda: server.asked(POOLS, watch=True) > 1)
        assert len([record for record in caplog.records if record.name == OURS]) == 1
        assert seen.pools


async def test_tasks_and_signals_of_the_process_are_left_alone(server: FakeKubeAPI, seen: Seen) -> None:
    handled = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    async with watching(server, seen):
        await until(lambda: len(server.watches.open) == 2)
        born_later = asyncio.create_task(asyncio.Event().wait())
        server.raise_error(500)
        lists = server.asked(PODS, watch=False)
        await until(lambda: server.asked(PODS, watch=False) > lists)
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handled
    assert not born_later.done()
    born_later.cancel()


async def test_the_end_leaves_neither_thread_nor_watch(server: FakeKubeAPI, seen: Seen) -> None:
    async with watching(server, seen):
        await until(lambda: len(server.watches.open) == 2)
        assert [thread for thread in threading.enumerate() if thread.name == "kopf"]
    await until(lambda: not [thread for thread in threading.enumerate() if thread.name == "kopf"])
    await until(lambda: len(server.watches.open) == 0)


async def test_a_user_without_a_name_is_enough(
    server: FakeKubeAPI, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's user ID need not be in its /etc/passwd."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    async with watching(server, seen):
        await until(lambda: len(server.watches.open) == 2)


async def test_a_fault_of_a_handlers_maker_is_an_outage_not_an_end(server: FakeKubeAPI) -> None:
    asked = []

    def broken(post: Post) -> kopf.OperatorRegistry:
        asked.append(post)
        raise ValueError("no handlers")

    watches = Watches(
        KubeEndpoint(server.url, token=TOKEN),
        registry=broken,
        settings=quiet_settings,
        faults=NO_FAULTS,
        pause_s=lambda attempt: 0.01 * attempt,
    )
    task = asyncio.create_task(watches.run())
    await until(lambda: len(asked) > 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_kopf_that_hangs_is_given_up(server: FakeKubeAPI, seen: Seen) -> None:
    lives = []

    def hanging_once(post: Post) -> kopf.OperatorRegistry:
        registry = node_watch.registry_for(seen, post)

        @kopf.on.startup(registry=registry)
        async def hang(**_: Any) -> None:
            lives.append(1)
            if len(lives) == 1:
                await asyncio.Event().wait()

        return registry

    watches = Watches(
        KubeEndpoint(server.url, token=TOKEN),
        registry=hanging_once,
        settings=impatient,
        faults=NO_FAULTS,
        pause_s=lambda attempt: 0.01,
        stuck_s=3.0,
    )
    task = asyncio.create_task(watches.run())
    await until(lambda: len(server.watches.open) == 2)
    assert len(lives) >= 2
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_kopf_that_cancels_all_tasks_at_its_end_is_started_again(server: FakeKubeAPI, seen: Seen) -> None:
    lives = []
    left_behind = set()

    async def cancel_the_others() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

    def ends_once(post: Post) -> kopf.OperatorRegistry:
        lives.append(1)
        if len(lives) == 1:
            left_behind.add(asyncio.create_task(cancel_the_others()))
            raise OSError("the first life ends")
        return node_watch.registry_for(seen, post)

    watches = Watches(
        KubeEndpoint(server.url, token=TOKEN),
        registry=ends_once,
        settings=impatient,
        faults=NO_FAULTS,
        pause_s=lambda attempt: 0.01,
    )
    task = asyncio.create_task(watches.run())
    await until(lambda: len(server.watches.open) == 2)
    assert len(lives) == 2
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_watches_rest_for_half_an_hour_or_more() -> None:
    """Two watches and a list each half hour are at most 6 requests an hour; the aim is 12."""
    for _ in range(20):
        settings = quiet_settings()
        assert 1800 <= (settings.watching.server_timeout or 0) <= 3600
        assert settings.scanning.disabled
        assert not settings.posting.enabled
