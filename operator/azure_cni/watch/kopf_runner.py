"""Runs kopf in a thread and an event loop of its own, where it may end at any time, and restarts it.

kopf behaves as if the process were its own. Its operator ends on a 401, a 404, an error in a watch or a minute of 503;
when it ends it cancels every task that was created after it; and it takes over the signal handlers. In its own thread
none of that reaches us: what it sees is handed to its owner's loop, and when it ends it is restarted, with growing
pauses. Its own log is kept quiet; an outage is logged here, once when it begins and once when it is over.

A connection that is half dead looks like a cluster in which nothing happens. The API server sends each watch a bookmark
a minute. If none comes, kopf reconnects from the version that it has seen, so this costs nothing while all is well.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from http import HTTPStatus
from typing import Any, Final, Protocol

import aiohttp
import kopf
from kopf._core.engines.peering import Identity

from azure_cni.errors import AzureCniError
from azure_cni.faults import Faults
from azure_cni.ipam.limits import delay_s
from azure_cni.kube.client import KubeClient, KubeEndpoint, open_session
from azure_cni.kube.status_errors import from_status

log = logging.getLogger(__name__)

STEADY_S: Final = 60.0
"""After watches have worked for this long, their end is a new outage and not the next attempt of the old one."""
STUCK_S: Final = 180.0
"""In an outage kopf tries at least once a minute."""
STOP_S: Final = 2.0
STOP_ATTEMPTS: Final = 3
SILENCE_S: Final = 150.0
"""Two missed bookmarks, and some tolerance."""
ANSWER_S: Final = 30.0
LONGEST_WATCH_S: Final = 3600
KOPF: Final = "kopf"
IDENTITY: Final = Identity("azure-cni")
"""For kopf's peering, which is not used. Without it kopf looks up the user's name, and a container has none."""


class Post(Protocol):
    """Hands a call from kopf's thread to the owner's loop."""

    def __call__(self, call: Callable[..., None], /, *args: Any) -> None:
        """`call(*args)` runs there soon."""


def quiet_settings(chance: random.Random | None = None) -> kopf.OperatorSettings:
    """A kopf that only listens: no events, no scanning of the cluster, no end of the process.

    Each watch is asked for again after half an hour to an hour, and refused ones after delays of their own: thousands
    of nodes that lost one API server together must not come back to it together.
    """
    chance = chance or random.SystemRandom()
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.process.ultimate_exiting_timeout = None
    settings.networking.connect_timeout = 10
    settings.networking.error_backoffs = [step_s * chance.uniform(0.5, 1.5) for step_s in (1, 2, 4, 8, 16, 32)]
    settings.watching.server_timeout = chance.randrange(LONGEST_WATCH_S // 2, LONGEST_WATCH_S)
    settings.watching.inactivity_timeout = SILENCE_S
    settings.queueing.idle_timeout = 1.0
    return settings


class Watches:
    """The watches of one process. `run` goes on until it is cancelled, whatever the API server does.

    `registry` makes the handlers, new ones for each start of kopf; they run in kopf's thread and pass on what they see
    with the `Post` that they are given. `needs` are paths that must answer first: a kind that the API server does not
    serve when kopf starts is left out by it without a word. `relisted` is called, on the owner's loop, with the path of
    each watch that began with a list: the watch does not show what was deleted before that list.
    """

    def __init__(
        self,
        endpoint: KubeEndpoint,
        *,
        registry: Callable[[Post], kopf.OperatorRegistry],
        settings: Callable[[], kopf.OperatorSettings],
        needs: Sequence[str] = (),
        relisted: Callable[[str], None] = lambda _: None,
        faults: Faults,
        pause_s: Callable[[int], float] | None = None,
        stuck_s: float = STUCK_S,
    ) -> None:
        self._endpoint = endpoint
        self._registry = registry
        self._settings = settings
        self._needs = needs
        self._faults = faults
        self._relisted = relisted
        self._pause_s = pause_s or _pause_s
        self._stuck_s = stuck_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listed: set[str] = set()
        self._lost: dict[str, str] = {KOPF: "not connected yet"}
        """What does not answer (paths, or kopf itself) and why."""
        self._reported = False
        self._signs = 0
        """Signs of life: kopf's recent requests."""

    async def run(self) -> None:
        """Run kopf and restart it, until cancelled; then kopf is ended too."""
        self._loop = asyncio.get_running_loop()
        attempt = 0
        while True:
            began_s = self._loop.time()
            try:
                with self._faults.guard("watches"):
                    why = await self._live()
            except AzureCniError as error:
                why = str(error)
            attempt = 1 if self._loop.time() - began_s > STEADY_S else attempt + 1
            self._lose(KOPF, why)
            await asyncio.sleep(self._pause_s(attempt))

    async def _live(self) -> str:
        """One life of kopf; returns why it ended."""
        life = _Life(self._operate())
        ended = asyncio.wrap_future(life.ended)
        life.start()
        try:
            while not (await asyncio.wait({ended}, timeout=self._stuck_s))[0]:
                if self._lost and not self._signs:
                    return f"kopf has not tried anything for {self._stuck_s:.0f} s"
                self._signs = 0
            return ended.result()
        finally:
            for _ in range(STOP_ATTEMPTS):
                life.stop()
                await asyncio.wait({ended}, timeout=STOP_S)

    async def _operate(self) -> None:
        """In kopf's thread."""
        async with KubeClient(self._endpoint) as client:
            for path in self._needs:
                await client.get(path)
        async with open_session(self._endpoint, self._listen) as session:
            account = kopf.AiohttpSession(server=self._endpoint.url, aiohttp_session=session)
            registry = self._registry(self._post)

            @kopf.on.login(registry=registry)
            async def log_in(**_: Any) -> kopf.AiohttpSession:
                return account

            @kopf.on.cleanup(registry=registry)
            async def let_go(**_: Any) -> None:
                """Kopf ends, but not the watches that went well: it would wait for them, for seconds or for ever."""
                for task in asyncio.all_tasks() - {main, asyncio.current_task()}:
                    task.cancel()

            main = asyncio.current_task()
            await kopf.operator(
                registry=registry, settings=self._settings(), identity=IDENTITY, standalone=True, clusterwide=True
            )

    async def _listen(self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """In kopf's thread: what each of its requests comes to."""
        path = request.url.path
        try:
            async with asyncio.timeout(ANSWER_S):  # of the headers; the stream of a watch goes on after them
                response = await send(request)
            if response.status == HTTPStatus.UNAUTHORIZED:
                # kopf would log in again, although the session already carries the newest token.
                raise from_status("GET", path, status=response.status, body={"message": response.reason})
        except (TimeoutError, aiohttp.ClientError, OSError, AzureCniError) as error:
            self._post(self._lose, path, str(error) or type(error).__name__)
            raise
        if response.ok:
            self._post(self._hear, path, "watch" in request.url.query)
        else:
            self._post(self._lose, path, f"HTTP {response.status} {response.reason}")
        return response

    def _post(self, call: Callable[..., None], /, *args: Any) -> None:
        """See `Post`. Calls of a thread whose owner is gone are dropped."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._carry_out, call, *args)

    def _carry_out(self, call: Callable[..., None], /, *args: Any) -> None:
        """On the owner's loop: an object that a handler cannot process affects no other object."""
        try:
            with self._faults.guard("watch"):
                call(*args)
        except AzureCniError as error:
            log.info("an object of a watch is skipped", extra={"reason": error.reason, "error": str(error)})

    def _lose(self, what: str, why: str) -> None:
        self._signs += 1
        self._lost[what] = why
        if not self._reported:
            self._reported = True
            log.warning(
                "cannot watch the API server; pods go on, changes are seen later",
                extra={"url": self._endpoint.url, "what": what, "why": why},
            )

    def _hear(self, path: str, watches: bool) -> None:  # noqa: FBT001  # called through `Post`
        self._signs += 1
        self._lost.pop(path, None)
        if not watches:
            self._listed.add(path)
            return
        self._lost.pop(KOPF, None)
        if self._reported and not self._lost:
            self._reported = False
            log.info("watching the API server again", extra={"url": self._endpoint.url})
        if path in self._listed:
            self._listed.discard(path)
            self._relisted(path)


class _Life(threading.Thread):
    """One run of kopf in a loop of its own. A daemon thread, so a kopf that does not end delays no exit."""

    def __init__(self, operation: Coroutine[Any, Any, None]) -> None:
        super().__init__(name=KOPF, daemon=True)
        self.ended: Future[str] = Future()
        """Why it ended, in words."""
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_leave_out)
        self._task = self._loop.create_task(operation)

    def run(self) -> None:
        """See `threading.Thread`."""
        why = "kopf ended"
        try:
            self._loop.run_until_complete(self._task)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # whatever ended kopf, it is started again
            why = str(error) or type(error).__name__
        try:
            self._clear()
        finally:
            self.ended.set_result(why)

    def stop(self) -> None:
        """Ask it to end; to ask again helps where kopf waits for its own."""
        with contextlib.suppress(RuntimeError):  # its loop is closed: it has
            self._loop.call_soon_threadsafe(self._task.cancel)

    def _clear(self) -> None:
        """End or drop whatever kopf left behind.

        A task of kopf's that ends may cancel every task that it does not know, and so the one that waits here.
        """
        for _ in range(STOP_ATTEMPTS):
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            if left:
                with contextlib.suppress(asyncio.CancelledError):
                    self._loop.run_until_complete(asyncio.wait(left, timeout=STOP_S))
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


def _pause_s(attempt: int) -> float:
    return delay_s(attempt, retry_after_s=None, jitter=random.SystemRandom().random())


def _leave_out(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Debug only: kopf leaves failed tasks behind when it ends, and its owner logs why it ended."""
    log.debug("left behind by kopf", extra={"what": context.get("message"), "error": repr(context.get("exception"))})
