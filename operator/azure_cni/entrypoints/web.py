"""The HTTP port of agent and controller: `/metrics` for Prometheus, `/healthz` and `/readyz` for the kubelet.

Healthy means that the event loop runs and each pass of the work ends. An outage of Azure or the API server shows in
conditions and metrics; it is no reason to restart an agent that still serves pods. Ready means that it serves them.

The kubelet probes on loopback, where nobody on the network can interfere; Prometheus uses the node's own address,
unless `Bind` says otherwise. `listener` bounds what one caller may use. A fault of ours in one connection ends that
connection; one in a listener restarts this listener on the same socket. Neither ends the process, which wires pods.

With TLS, the node's address speaks nothing else; loopback stays plain. If metrics need a token, they are served at the
node's address only, and nothing else is served there: each port has one rule.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry

from azure_cni.entrypoints.accepting import Handler, one_request, runner_of
from azure_cni.entrypoints.certificate import CertificateFiles, self_signed
from azure_cni.entrypoints.common_metrics import Exposition
from azure_cni.entrypoints.listener import Bounds, Listener
from azure_cni.entrypoints.metrics_auth import REVIEW_S, MetricsAuth
from azure_cni.entrypoints.port_sockets import bound_socket
from azure_cni.entrypoints.running import kept_up
from azure_cni.errors import AzureCniError
from azure_cni.faults import Faults
from azure_cni.kube.client import KubeClient, KubeEndpoint
from azure_cni.kube.reviews import KubeReviews

log = logging.getLogger(__name__)

LOOPBACK: Final = "127.0.0.1"
CERTIFICATE_RETRY_S: Final = 60.0
ACTIVITY: Final = "web"
"""In the count of our own faults."""


PROBES: Final = Bounds(connections=8)
"""For the kubelet and whoever else is on the node: 8 connections; with Prometheus' 24, 32 descriptors at the most."""


class Bind(StrEnum):
    """Where metrics can be read: at the node's address and loopback, at loopback only, or nowhere."""

    NODE = "node"
    LOOPBACK = "loopback"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Where the certificate is, in the files of a Secret; None: it is self-signed, and made at the start."""

    directory: Path | None = None


@dataclass(frozen=True, slots=True)
class WebSettings:
    """The port, where metrics can be read on it, and the node's own address (needed for `Bind.NODE`).

    `tls` is for the node's address. With `tokens` the API server judges who may read metrics, by bearer tokens for
    `audience` ("": the API server's own).
    """

    port: int
    bind: Bind
    node_address: str = ""
    tls: TlsSettings | None = None
    tokens: bool = False
    audience: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """What is shown to whoever may see it. `healthy` and `ready` return "" when all is well, else why not."""

    registry: CollectorRegistry
    healthy: Callable[[], str]
    ready: Callable[[], str]


def application(
    shown: Shown, *, metrics: bool, probes: bool = True, auth: MetricsAuth | None = None
) -> web.Application:
    """The application, with or without metrics and probes; `auth` judges who may read the metrics."""
    app = web.Application(middlewares=[one_request])
    if metrics:
        show = Exposition(shown.registry).handle
        app.router.add_get("/metrics", _guarded(show, auth) if auth else show)
    if probes:
        app.router.add_get("/healthz", _probe(shown.healthy))
        app.router.add_get("/readyz", _probe(shown.ready))
    return app


async def serve_in_cluster(settings: WebSettings, shown: Shown, api_server: KubeEndpoint, *, faults: Faults) -> None:
    """As `serve`; tokens, where metrics need one, are judged by that API server."""
    if not settings.tokens:
        await serve(settings, shown, faults=faults)
        return

    async def judged() -> None:
        # A client of its own, so that strangers' tokens delay no other request to the API server.
        async with KubeClient(api_server, timeout_s=REVIEW_S) as client:
            auth = MetricsAuth(KubeReviews(client, audience=settings.audience))
            await _listen(settings, shown, faults=faults, auth=auth)

    await kept_up(judged, ACTIVITY, faults)


async def serve(settings: WebSettings, shown: Shown, *, faults: Faults, auth: MetricsAuth | None = None) -> None:
    """Serve until cancelled, again after a fault of ours. `auth` is needed with `settings.tokens`. AzureCniError when
    the port is taken.
    """
    if settings.tokens != (auth is not None):
        raise AzureCniError("cannot serve metrics: settings and the check of tokens do not fit together")
    await kept_up(partial(_listen, settings, shown, faults=faults, auth=auth), ACTIVITY, faults)


async def _listen(settings: WebSettings, shown: Shown, *, faults: Faults, auth: MetricsAuth | None) -> None:
    with ExitStack() as sockets:
        inside = sockets.enter_context(bound_socket(LOOPBACK, settings.port))
        app = partial(application, shown, metrics=settings.bind is not Bind.NONE and auth is None)
        works = [partial(_serve, inside, app, bounds=PROBES, faults=faults)]
        if settings.bind is Bind.NODE and settings.node_address != LOOPBACK:
            outside = sockets.enter_context(bound_socket(settings.node_address, settings.port))
            app = partial(application, shown, metrics=True, probes=auth is None, auth=auth)
            works.append(partial(_serve, outside, app, bounds=Bounds(), faults=faults, tls=settings.tls))
        async with asyncio.TaskGroup() as listeners:
            for work in works:
                listeners.create_task(kept_up(work, ACTIVITY, faults))


async def _serve(
    listening: socket.socket,
    app: Callable[[], web.Application],
    *,
    bounds: Bounds,
    faults: Faults,
    tls: TlsSettings | None = None,
) -> None:
    """Serve a socket, which stays open for the next attempt when this one fails."""
    runner = runner_of(app())
    await runner.setup()
    server = runner.server
    assert server is not None  # noqa: S101  # there is one after setup
    context = await _certificate(tls, str(listening.getsockname()[0])) if tls else None
    await Listener(listening.dup(), server, bounds=bounds, faults=faults, tls=context).run()


async def _certificate(tls: TlsSettings, address: str) -> Callable[[], ssl.SSLContext | None]:
    """What gives the context of the next handshake. Without a certificate metrics wait; pods do not."""
    if tls.directory is not None:
        return CertificateFiles(tls.directory).context
    while True:
        try:
            made = await self_signed(address)
        except AzureCniError as error:
            log.warning("metrics are not served yet", extra={"error": str(error)})
            await asyncio.sleep(CERTIFICATE_RETRY_S)
        else:
            return lambda: made


def _guarded(show: Handler, auth: MetricsAuth) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        refusal = await auth.refusal(request.headers.get("Authorization", ""), source=request.remote or "")
        if refusal is not None:
            headers = {"WWW-Authenticate": "Bearer"} if refusal.status == web.HTTPUnauthorized.status_code else {}
            return web.Response(text=f"{refusal.text}\n", status=refusal.status, headers=headers)
        return await show(request)

    return answer


def _probe(ask: Callable[[], str]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        why_not = ask()
        return web.Response(text=f"{why_not or 'ok'}\n", status=503 if why_not else 200)

    return answer
