"""One thread, and the object that only this thread may touch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

from azure_cni.linux import netns


class Closing(Protocol):
    """Something that holds descriptors."""

    def close(self) -> None:
        """Give them back."""


Held = TypeVar("Held", bound=Closing)
Answer = TypeVar("Answer")


class Worker(Generic[Held]):
    """Makes `held` inside a new thread, in the namespace at `node_netns`, and runs work on it in the order asked."""

    def __init__(self, make: Callable[[], Held], *, name: str, node_netns: str | None) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._held = self._thread.submit(_settle_in, make, node_netns).result()
        self._began_s: float | None = None

    @property
    def busy_s(self) -> float:
        """For how long the thread has been at the work that it does now; 0 when it does none."""
        began_s = self._began_s
        return 0.0 if began_s is None else time.monotonic() - began_s

    def submit(self, work: Callable[[Held], Answer]) -> Future[Answer]:
        """Put work at the end of the line."""
        return self._thread.submit(self._timed, work)

    def _timed(self, work: Callable[[Held], Answer]) -> Answer:
        self._began_s = time.monotonic()
        try:
            return work(self._held)
        finally:
            self._began_s = None

    async def run(self, work: Callable[[Held], Answer]) -> Answer:
        """Put work at the end of the line, and wait for it. Work that has started runs to its end even if cancelled."""
        return await asyncio.wrap_future(self.submit(work))

    def release(self) -> Held:
        """End the thread and hand over what it made: for what belongs to the namespace and not to the thread."""
        self._thread.shutdown()
        return self._held

    def close(self) -> None:
        """Finish what is in the line, then end the thread."""
        self._thread.submit(self._held.close)
        self._thread.shutdown()


def _settle_in(make: Callable[[], Held], node_netns: str | None) -> Held:
    if node_netns is not None:
        with netns.opened(node_netns) as node:
            netns.enter(node)
    return make()
