"""What all listeners of ours have in common: how a connection is accepted, and that it carries one request."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from traceback import walk_tb
from typing import Final, TypeAlias

from aiohttp import web

log = logging.getLogger(__name__)

_RETRY_S: Final = 1.0
_PACKAGE: Final = "azure_cni."

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


def runner_of(app: web.Application) -> web.AppRunner:
    """Serves the application, and logs faults in our handlers alone: no caller has a traceback logged by odd bytes."""
    quiet = logging.getLogger(f"{__name__}.server")
    quiet.filters = [_is_ours]
    return web.AppRunner(app, access_log=None, handle_signals=False, logger=quiet)


def _is_ours(record: logging.LogRecord) -> bool:
    """What a caller sends or leaves out is found by the library: no line of azure-cni stands in such an error."""
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return True
    if isinstance(error, web.RequestPayloadError):  # the library raises the one again that our read has seen
        return False
    frames = (frame for frame, _ in walk_tb(error.__traceback__))
    return any(str(frame.f_globals.get("__name__")).startswith(_PACKAGE) for frame in frames)
