"""Hears of what others change in the node's namespace: two sockets on the event loop, and what they said since."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection

from azure_cni.errors import DatapathError
from azure_cni.linux.netfilter_changes import OVERRUN, NetfilterChanges, open_socket
from azure_cni.linux.route_changes import RouteChanges
from azure_cni.node.ports import HostChange

log = logging.getLogger(__name__)

SETTLE_S = 0.02
"""What belongs together (a flush is hundreds of messages, a restart of a service a few transactions) is one change."""


class Listeners:
    """Both sockets, made in the namespace of the calling thread."""

    def __init__(self, own_ports: Collection[int]) -> None:
        self.netfilter = NetfilterChanges(open_socket())
        try:
            self.routes = RouteChanges(own_ports)
        except DatapathError:
            self.netfilter.close()
            raise

    def close(self) -> None:
        """Give both back."""
        self.netfilter.close()
        self.routes.close()


class HostChanges:
    """Waits for changes on a running event loop. One waiter at a time."""

    def __init__(self, listeners: Listeners) -> None:
        self._listeners = listeners
        self._loop: asyncio.AbstractEventLoop | None = None
        self._heard = asyncio.Event()
        self._pending: HostChange | None = None

    async def changed(self) -> HostChange:
        """The next change, with all that comes along with it. Cancelled, it loses nothing."""
        self._begin()
        await self._heard.wait()
        await asyncio.sleep(SETTLE_S)
        change, self._pending = self._pending, None
        self._heard.clear()
        return change or HostChange()

    def close(self) -> None:
        """Stop listening."""
        if self._loop is not None and not self._loop.is_closed():
            for number in self._numbers():
                self._loop.remove_reader(number)
        self._listeners.close()

    def _begin(self) -> None:
        """Listen. What happened before is for the comparisons."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            netfilter, routes = self._numbers()
            self._loop.add_reader(netfilter, self._read, self._read_netfilter)
            self._loop.add_reader(routes, self._read, self._listeners.routes.read)

    def _numbers(self) -> tuple[int, int]:
        return self._listeners.netfilter.socket.fileno(), self._listeners.routes.socket.socket.fileno()

    def _read_netfilter(self) -> list[HostChange]:
        found = self._listeners.netfilter.read()
        return [
            HostChange.everything(words) if words == OVERRUN else HostChange(node=True, cause=words) for words in found
        ]

    def _read(self, source: Callable[[], list[HostChange]]) -> None:
        try:
            changes = source()
        except DatapathError as error:  # the comparisons go on; nothing is heard of any more
            log.warning("changes by others are found by comparison only", extra={"error": str(error)})
            assert self._loop is not None  # noqa: S101 - a reader runs on it
            for number in self._numbers():
                self._loop.remove_reader(number)
            return
        for change in changes:
            self._pending = change if self._pending is None else self._pending.merged(change)
            self._heard.set()
