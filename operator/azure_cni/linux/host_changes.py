"""Hears of what others change in the node's namespace: two sockets on the event loop, and what they said since."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from azure_cni.errors import DatapathError
from azure_cni.linux.netfilter_changes import OVERRUN, NetfilterChanges, open_socket
from azure_cni.linux.route_changes import RouteChanges
from azure_cni.node.ports import HostChange

SETTLE_S = 0.02
"""What belongs together (a flush is hundreds of messages, a restart of a service a few transactions) is one change."""


READ_PAUSE_S = 0.1
"""Pause of reading where more is announced than is read in one turn: the kernel keeps some of it meanwhile, drops the
rest, and says that it did. So a program that changes routes as fast as it can costs this process a small part of a CPU
and does not keep its event loop from the pods that wait."""


Source = Callable[[], tuple[list[HostChange], bool]]
"""What waits on a socket, and whether there may be more of it."""


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
        self._ended = False
        self._failure = ""
        """Why nothing is heard of any more."""

    async def changed(self) -> HostChange:
        """The next change, with all that comes along with it. Cancelled, it loses nothing.

        DatapathError where the kernel cannot be listened to any more.
        """
        self._begin()
        await self._heard.wait()
        await asyncio.sleep(SETTLE_S)
        change, self._pending = self._pending, None
        if change is None and self._failure:
            raise DatapathError(self._failure)
        if not self._failure:
            self._heard.clear()
        return change or HostChange()

    def hear_ipv6(self) -> None:
        """Of IPv6 too, from now on."""
        self._listeners.routes.hear_ipv6()

    def close(self) -> None:
        """Stop listening."""
        self._end()
        self._listeners.close()

    def _begin(self) -> None:
        """Listen. What happened before is for the comparisons."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            netfilter, routes = self._numbers()
            self._listen(netfilter, self._read_netfilter)
            self._listen(routes, self._listeners.routes.read)

    def _listen(self, number: int, source: Source) -> None:
        assert self._loop is not None  # noqa: S101 - it runs on it
        if not self._ended:
            self._loop.add_reader(number, self._read, number, source)

    def _numbers(self) -> tuple[int, int]:
        return self._listeners.netfilter.socket.fileno(), self._listeners.routes.socket.socket.fileno()

    def _read_netfilter(self) -> tuple[list[HostChange], bool]:
        found, more = self._listeners.netfilter.read()
        everything = HostChange.everything(OVERRUN)
        return [everything if words == OVERRUN else HostChange(node=True, cause=words) for words in found], more

    def _read(self, number: int, source: Source) -> None:
        assert self._loop is not None  # noqa: S101 - a reader runs on it
        try:
            changes, more = source()
        except DatapathError as error:
            self._failure = str(error)
            self._heard.set()
            self._end()
            return
        if more:
            self._loop.remove_reader(number)
            self._loop.call_later(READ_PAUSE_S, self._listen, number, source)
        for change in changes:
            self._pending = change if self._pending is None else self._pending.merged(change)
            self._heard.set()

    def _end(self) -> None:
        self._ended = True
        if self._loop is not None and not self._loop.is_closed():
            for number in self._numbers():
                self._loop.remove_reader(number)
