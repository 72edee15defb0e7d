"""The HTTP port of agent and controller: `/metrics` for Prometheus, `/healthz` and `/readyz` for the kubelet.

Healthy means that the event loop turns and the passes of the work end. Azure or the API server being away is told in
conditions and metrics but is no reason to restart an agent that still serves pods. Ready means that it serves them.

The kubelet probes by loopback, where nobody on the network can be in its way; Prometheus comes by the node's own
address, unless `Bind` says otherwise. What one caller may use up is in `listener`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from aiohttp import http_exceptions, web
from prometheus_client import CollectorRegistry
from prometheus_client.aiohttp import make_aiohttp_handler

from azure_cni.entrypoints.listener import Bounds, Listener, bound_socket

LOOPBACK: Final = "127.0.0.1"

PROBES: Final = Bounds(connections=8)
"""For the kubelet and whoever else is on the node: 8 connections; with Prometheus' 24, 32 descriptors at the most."""


class Bind(StrEnum):
    """Where metrics can be read: at the node's address and loopback, at loopback only, or nowhere."""

    NODE = "node"
    LOOPBACK = "loopback"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class WebSettings:
    """The port, where metrics can be read on it, and the node's own address (needed for `Bind.NODE`)."""

    port: int
    bind: Bind
    node_address: str = ""


def application(
    *, registry: CollectorRegistry | None, healthy: Callable[[], str], ready: Callable[[], str]
) -> web.Application:
    """The application. `healthy` and `ready` return "" when all is well, else why not. None: no metrics."""
    app = web.Application(middlewares=[_one_request])
    if registry is not None:
        app.router.add_get("/metrics", make_aiohttp_handler(registry))
    app.router.add_get("/healthz", _probe(healthy))
    app.router.add_get("/readyz", _probe(ready))
    return app


async def serve(
    settings: WebSettings, *, registry: CollectorRegistry, healthy: Callable[[], str], ready: Callable[[], str]
) -> None:
    """Serve until cancelled. AzureCniError when the port is taken."""
    metrics = None if settings.bind is Bind.NONE else registry
    sockets = [(bound_socket(LOOPBACK, settings.port), metrics, PROBES)]
    if settings.bind is Bind.NODE and settings.node_address != LOOPBACK:
        sockets.append((bound_socket(settings.node_address, settings.port), metrics, Bounds()))
    async with asyncio.TaskGroup() as listeners:
        for listening, shown, bounds in sockets:
            app = application(registry=shown, healthy=healthy, ready=ready)
            runner = web.AppRunner(app, access_log=None, handle_signals=False, logger=_quiet())
            await runner.setup()
            server = runner.server
            assert server is not None  # noqa: S101  # there is one after setup
            listeners.create_task(Listener(listening, server, bounds=bounds).run())


@web.middleware
async def _one_request(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """A connection is closed after its answer: one that stays would hold a place."""
    try:
        response = await handler(request)
    except web.HTTPException as refusal:
        refusal.force_close()
        raise
    response.force_close()
    return response


def _probe(ask: Callable[[], str]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        why_not = ask()
        return web.Response(text=f"{why_not or 'ok'}\n", status=503 if why_not else 200)

    return answer


def _quiet() -> logging.Logger:
    """The HTTP library's log without what strangers send: a trace for each malformed request fills a disk."""
    quiet = logging.getLogger(f"{__name__}.server")
    quiet.filters = [_is_ours]
    return quiet


def _is_ours(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, http_exceptions.HttpProcessingError)
