"""Works of a process side by side: which failures end it, and which only the work."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import weakref
from asyncio import selector_events, sslproto
from collections.abc import Iterator

import pytest

from azure_cni.entrypoints.running import COLLECT_S, READ_B, attempt, every, kept_up, run_process, run_until_stopped
from azure_cni.errors import DatapathError, LedgerError
from azure_cni.faults import Faults

pytestmark = pytest.mark.looptime


class Work:
    """Raises these errors, one in each run, and then goes on for ever or ends."""

    def __init__(self, *errors: Exception, ends: bool = False) -> None:
        self.errors, self.ends, self.runs = list(errors), ends, 0

    async def run(self) -> None:
        self.runs += 1
        if self.errors:
            raise self.errors.pop(0)
        if not self.ends:
            await asyncio.Event().wait()


@pytest.fixture
def counted() -> list[str]:
    return []


@pytest.fixture
def faults(counted: list[str]) -> Faults:
    return Faults(counted.append)


async def test_periodic_work_goes_on_whatever_it_raises(faults: Faults, counted: list[str]):
    work = Work(KeyError("x"), DatapathError("cannot"), TypeError("y"), ends=True)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(100):
            await every(10.0, work.run, "repair", faults)
    assert work.runs == 10
    assert counted == ["repair", "repair"]


async def test_one_attempt_reports_and_returns(faults: Faults, counted: list[str]):
    await attempt(Work(KeyError("x")).run, "replay", faults)
    await attempt(Work(LedgerError("cannot")).run, "replay", faults)
    assert counted == ["replay"]


async def test_work_that_a_fault_ends_begins_again_and_what_it_raises_on_purpose_ends_the_process(faults: Faults):
    work, stop = Work(AttributeError("x"), IndexError("y"), LedgerError("the file is damaged")), asyncio.Event()
    began_s = asyncio.get_running_loop().time()
    with pytest.raises(ExceptionGroup) as ended:
        await run_until_stopped(
            {"resync": kept_up(work.run, "resync", faults)}, stop=stop, message="stopping", facts={}
        )
    assert ended.group_contains(LedgerError, match="damaged")
    assert work.runs == 3
    assert asyncio.get_running_loop().time() - began_s == pytest.approx(20.0)


@pytest.fixture
def collector() -> Iterator[None]:
    """Python's does nothing by itself, and looks at everything again after the test."""
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


class Knot:
    """Refers to itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.mark.usefixtures("collector")
async def test_garbage_that_refers_to_itself_stays_a_minute():
    before = weakref.ref(Knot())
    stop = asyncio.Event()

    async def work() -> None:
        since = weakref.ref(Knot())
        await asyncio.sleep(COLLECT_S - 1)
        assert since() is not None
        await asyncio.sleep(2)
        assert since() is None
        assert before() is not None, "what was there before is looked at again and again"
        stop.set()

    await run_until_stopped({"work": work()}, stop=stop, message="stopping", facts={})
    assert asyncio.get_running_loop().time() == pytest.approx(COLLECT_S + 1, abs=1)


async def test_being_cancelled_ends_it(faults: Faults, counted: list[str]):
    task = asyncio.create_task(kept_up(Work().run, "resync", faults))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert counted == []


class Pieces(asyncio.Protocol):
    """The sizes of what a connection gives at once, until its other end closes it."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.closed = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.sizes.append(len(data))

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()


@pytest.fixture
def asyncios_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process sets of asyncio is as it was after the test."""
    for kind in (selector_events._SelectorTransport, sslproto.SSLProtocol):
        monkeypatch.setattr(kind, "max_size", 4 * READ_B)


@pytest.mark.usefixtures("asyncios_own")
def test_a_process_takes_no_more_from_a_socket_at_once_than_it_says() -> None:
    pieces = Pieces()

    async def read() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * READ_B)
            theirs.send(bytes(2 * READ_B))
        await asyncio.get_running_loop().create_connection(lambda: pieces, sock=ours)
        await pieces.closed.wait()

    run_process(read())
    assert sum(pieces.sizes) == 2 * READ_B
    assert max(pieces.sizes) == READ_B


@pytest.mark.usefixtures("asyncios_own")
def test_a_tls_connection_of_a_process_has_a_buffer_of_that_size() -> None:
    buffers: list[int] = []

    async def connect() -> None:
        loop = asyncio.get_running_loop()
        begun = sslproto.SSLProtocol(loop, Pieces(), ssl.create_default_context(), loop.create_future())
        buffers.append(len(begun.get_buffer(-1)))

    run_process(connect())
    assert buffers == [READ_B]
