"""The agent's HTTP port: `/metrics` for Prometheus, `/healthz` and `/readyz` for the kubelet.

Healthy means that the event loop turns and the reconciler's passes end. Azure or the API server being away is told in
conditions and metrics but is no reason to restart an agent that still serves pods. Ready means that it serves them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.aiohttp import make_aiohttp_handler

from azure_cni.errors import AzureCniError


def application(
    *, registry: CollectorRegistry, healthy: Callable[[], str], ready: Callable[[], str]
) -> web.Application:
    """The application. `healthy` and `ready` return "" when all is well, else why not."""
    app = web.Application()
    app.router.add_get("/metrics", make_aiohttp_handler(registry))
    app.router.add_get("/healthz", _probe(healthy))
    app.router.add_get("/readyz", _probe(ready))
    return app


async def open_port(runner: web.AppRunner, port: int) -> None:
    """Serve on all addresses of the node. AzureCniError when something else has the port."""
    try:
        await web.TCPSite(runner, port=port).start()
    except OSError as error:
        raise AzureCniError(
            f"cannot serve metrics and health on port {port}: {error.strerror}; find what has it with "
            f"`ss -ltnp sport = :{port}`, or set another one"
        ) from error


def _probe(ask: Callable[[], str]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        why_not = ask()
        return web.Response(text=f"{why_not or 'ok'}\n", status=503 if why_not else 200)

    return answer
