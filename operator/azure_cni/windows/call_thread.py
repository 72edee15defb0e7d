"""One thread for all calls of HNS, and how long anybody waits for it.

A call of HCN blocks, and HNS may take a minute or hang until it is restarted; no call can be broken off. So the calls
are made in one thread, in the order in which they were asked for, and who waits for them gives up after a while. What
waits in line is then never begun. What has begun stops at its next call, and that it may have had an effect is said by
DatapathOutcomeUnknown. The thread itself stays in the call that hangs, and goes on once HNS has answered or was
restarted.

The thread is a daemon, because a process has to be able to end while HNS hangs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from azure_cni.errors import DatapathError, DatapathOutcomeUnknown
from azure_cni.windows.hcn import Hcn, HcnCall, HcnKind

Answer = TypeVar("Answer")


class _Abandoned(Exception):
    """Nobody waits for this work any more."""


@dataclass(eq=False, slots=True)
class _Work:
    function: Callable[[], Any]
    future: Future[Any] = field(default_factory=Future)
    abandoned: bool = False


class CallThread:
    """Runs work in a thread of its own. `run` belongs to the event loop, `call` to the work."""

    def __init__(self, *, name: str) -> None:
        self._line: SimpleQueue[_Work | None] = SimpleQueue()
        self._work: _Work | None = None
        self._present: tuple[str, float] | None = None
        """What is being called, in words, and since when."""
        Thread(target=self._serve, name=name, daemon=True).start()

    @property
    def busy_s(self) -> float:
        """For how long the present call has taken; 0 while there is none."""
        present = self._present
        return 0.0 if present is None else time.monotonic() - present[1]

    def call(self, words: str, function: Callable[[], Answer]) -> Answer:
        """One call that may block, as part of the work that runs."""
        if self._work is not None and self._work.abandoned:
            raise _Abandoned
        self._present = (words, time.monotonic())
        try:
            return function()
        finally:
            self._present = None

    async def run(self, function: Callable[[], Answer], *, limit_s: float) -> Answer:
        """Do the work after all that was asked for before, and wait until it is done.

        DatapathError once one call, its own or one before it in line, has taken `limit_s`: the work is not begun then.
        DatapathOutcomeUnknown where it had begun. Of a caller that is cancelled likewise, without an error.
        """
        work = _Work(function)
        self._line.put(work)
        waiting = asyncio.wrap_future(work.future)
        try:
            while True:
                done, _ = await asyncio.wait({waiting}, timeout=max(0.0, limit_s - self.busy_s))
                if done:
                    return waiting.result()  # type: ignore[no-any-return]
                present = self._present
                if present is not None and time.monotonic() - present[1] >= limit_s:
                    break
        except asyncio.CancelledError:
            work.future.cancel()  # what has begun runs to its end
            raise
        begun = not work.future.cancel()
        if begun and work.future.done():
            return await waiting  # type: ignore[no-any-return]
        work.abandoned = True
        waiting.cancel()
        message = (
            f"cannot use HNS: it has not answered for {limit_s:.0f} s (the call: {present[0]}); "
            "restart it: Restart-Service hns -Force"
        )
        raise DatapathOutcomeUnknown(message) if begun else DatapathError(message)

    def close(self) -> None:
        """Finish what is in line, then end the thread. Does not wait for it."""
        self._line.put(None)

    def _serve(self) -> None:
        while (work := self._line.get()) is not None:
            if not work.future.set_running_or_notify_cancel():
                continue
            self._work = work
            try:
                result = work.function()
            except BaseException as error:  # noqa: BLE001  # it is the waiting caller's
                work.future.set_exception(error)
            else:
                work.future.set_result(result)
            self._work = None


class WatchedHcn:
    """Hcn whose every call is one of the thread's."""

    def __init__(self, hcn: Hcn, thread: CallThread) -> None:
        self._hcn = hcn
        self._thread = thread

    def enumerate(self, kind: HcnKind, query: str) -> str:
        """See `Hcn`."""
        return self._thread.call(_words(HcnCall.ENUMERATE, kind), lambda: self._hcn.enumerate(kind, query))

    def query(self, kind: HcnKind, identifier: str, query: str) -> str:
        """See `Hcn`."""
        return self._thread.call(_words(HcnCall.QUERY, kind), lambda: self._hcn.query(kind, identifier, query))

    def create(self, kind: HcnKind, document: str, *, network: str = "") -> str:
        """See `Hcn`."""
        return self._thread.call(
            _words(HcnCall.CREATE, kind), lambda: self._hcn.create(kind, document, network=network)
        )

    def modify(self, kind: HcnKind, identifier: str, request: str) -> None:
        """See `Hcn`."""
        self._thread.call(_words(HcnCall.MODIFY, kind), lambda: self._hcn.modify(kind, identifier, request))

    def delete(self, kind: HcnKind, identifier: str) -> None:
        """See `Hcn`."""
        self._thread.call(_words(HcnCall.DELETE, kind), lambda: self._hcn.delete(kind, identifier))


def _words(call: HcnCall, kind: HcnKind) -> str:
    return f"{call} the {kind.lower()}"
