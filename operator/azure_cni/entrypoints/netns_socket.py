"""Network namespaces that are passed as a descriptor, because the agent cannot open them by path.

cri-dockerd names a pod's namespace /proc/PID/ns/net, and the agent's container does not see the node's processes. So
the binary opens such a path itself and passes the descriptor on a second socket: a connection there begins with one
byte that carries it (SCM_RIGHTS, unix(7)), and continues like any other. The first socket is not slowed by this.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from aiohttp import web

from azure_cni.entrypoints.accepting import Acceptor
from azure_cni.entrypoints.cni_listener import BoundedRequests, Place

NAME: Final = "netns.sock"
"""The socket's name, beside the first one."""

_FIRST_BYTE_S: Final = 5.0
_REQUEST_S: Final = 60.0
"""A request must begin this soon after its descriptor, or the descriptor is closed."""


class PassedNamespaces:
    """The descriptors that were passed and not used yet, by the connection that each came with."""

    def __init__(self, requests: BoundedRequests) -> None:
        self._requests = requests
        self._passed: dict[web.RequestHandler, int] = {}

    @contextmanager
    def path_for(self, request: web.Request) -> Iterator[str]:
        """A path by which this process can open the namespace that came with the request; "" when none did."""
        netns = self._passed.pop(request.protocol, None) if self._passed else None
        if netns is None:
            yield ""
            return
        try:
            yield f"/proc/self/fd/{netns}"
        except asyncio.CancelledError:
            raise  # without closing it: the data plane may be about to open it, and would find another one's there
        except BaseException:
            os.close(netns)
            raise
        os.close(netns)

    async def serve(self, listening: socket.socket, server: web.Server) -> None:
        """Take connections until cancelled."""
        acceptor = Acceptor(listening)
        async with asyncio.TaskGroup() as connections:
            while True:
                connection, place = await self._requests.accept(acceptor)
                connections.create_task(self._receive(connection, place, server))

    async def _receive(self, connection: socket.socket, place: Place, server: web.Server) -> None:
        loop = asyncio.get_running_loop()
        connection.setblocking(False)
        try:
            async with asyncio.timeout(_FIRST_BYTE_S):
                netns = await _received(connection)
            await loop.connect_accepted_socket(partial(self._protocol, server, netns, place), connection)
        except BaseException as error:
            connection.close()
            place.end()
            if not isinstance(error, OSError):  # a timeout is one
                raise

    def _protocol(self, server: web.Server, netns: int, place: Place) -> asyncio.Protocol:
        protocol = server()
        self._passed[protocol] = netns
        asyncio.get_running_loop().call_later(_REQUEST_S, self._expire, protocol)
        return self._requests.protocol(protocol, place)

    def _expire(self, protocol: web.RequestHandler) -> None:
        netns = self._passed.pop(protocol, None)
        if netns is not None:
            os.close(netns)


async def _received(connection: socket.socket) -> int:
    """The descriptor that the first byte carries; OSError when it carries none, or more than one."""
    await _readable(connection)
    _, descriptors, _, _ = socket.recv_fds(connection, 1, 2, socket.MSG_CMSG_CLOEXEC)
    if len(descriptors) != 1:
        for one in descriptors:
            os.close(one)
        raise OSError(f"{len(descriptors)} descriptors instead of one")
    return descriptors[0]


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(connection, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(connection)
