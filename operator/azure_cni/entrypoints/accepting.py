"""What all listeners of ours have in common: how a connection is accepted, and that it carries one request."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from aiohttp import web

log = logging.getLogger(__name__)

_RETRY_S: Final = 1.0

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Acceptor:
    """Accepts from one listening socket. That it cannot is logged once, until it can again."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._refused = False

    async def accept(self) -> socket.socket:
        """The next connection."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._listening)
            except OSError as error:  # descriptors or memory have run out, or the caller has gone again
                if not self._refused:
                    log.warning("connections cannot be accepted", extra={"error": error.strerror or str(error)})
                self._refused = True
                await asyncio.sleep(_RETRY_S)
            else:
                self._refused = False
                return connection


@web.middleware
async def one_request(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A connection is closed after its answer: an idle one would occupy a place."""
    try:
        response = await handler(request)
    except web.HTTPException as refusal:
        refusal.force_close()
        raise
    response.force_close()
    return response
