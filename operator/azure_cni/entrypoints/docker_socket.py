"""The plugin's end of Docker's socket: one HTTP request for each call, and the status for the command line.

Docker finds the plugin by the name of its socket under /run/docker/plugins. A call that cannot be done is answered with
`Err` and status 200, a document that is none with 400, an unknown call with 404 (libnetwork/docs/remote.md).
"""

from __future__ import annotations

import http.client
import logging
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web

from azure_cni.api.audit_reports import AUDIT_PATH, AuditReport
from azure_cni.docker.plugin_codec import MEDIA_TYPE, METHODS, decode, error_reply
from azure_cni.docker.plugin_methods import DockerPlugin
from azure_cni.entrypoints.accepting import one_request
from azure_cni.entrypoints.cni_listener import MAX_BODY_BYTES, BoundedRequests, RequestBounds
from azure_cni.errors import AzureCniError, DecodeFailed
from azure_cni.faults import Faults
from azure_cni.model.text import NOT_JSON, legible
from azure_cni.node.ports import Observer

log = logging.getLogger(__name__)
T = TypeVar("T")

ACTIVITY: Final = "docker_socket"
STATUS_PATH: Final = "/azure-cni/v1/status"
STATUS_WAIT_S: Final = 5.0
AGAIN_S: Final = 0.5
"""Between two looks of somebody who waits."""

_encode = msgspec.json.Encoder().encode


class DockerSocket:
    """Decodes calls, has them done, encodes replies.

    For the command line `status` gives a document, and `extend` adds whatever else it may ask for.
    """

    def __init__(
        self,
        plugin: DockerPlugin,
        *,
        status: Callable[[], dict[str, Any]],
        faults: Faults,
        observer: Observer,
        extend: Callable[[web.Application], None] = lambda _: None,
        bounds: RequestBounds | None = None,
    ) -> None:
        self.requests = BoundedRequests(bounds)
        self._plugin = plugin
        self._extend = extend
        self._status = status
        self._faults = faults
        self._observer = observer

    def application(self) -> web.Application:
        """Docker's calls, the status, and words for all else."""
        app = web.Application(middlewares=[one_request, self.requests.without_body])
        for method in METHODS:
            app.router.add_post(f"/{method}", self._handler(method))
        app.router.add_get(STATUS_PATH, self._show)
        self._extend(app)
        app.router.add_route("*", "/{unknown:.*}", _unknown)
        return app

    def _handler(self, method: str) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            started, code, status = perf_counter(), 0, 200
            try:
                body = await self._body(request, method)
                with self._faults.guard(f"docker_{method}"):
                    reply = await self._plugin.answer(decode(method, body))
            except AzureCniError as error:
                code, reply = error.code, error_reply(error)
                status = 400 if isinstance(error, DecodeFailed) else 200
                log.warning("docker's call refused", extra={"call": method, "error": str(error)})
            self._observer.cni(method, code, perf_counter() - started)
            return web.Response(body=_encode(reply), status=status, headers={"Content-Type": MEDIA_TYPE})

        return handle

    async def _body(self, request: web.Request, method: str) -> bytes:
        """Docker says how long it is; what comes without a length may be long, too."""
        length = request.content_length
        return await self.requests.body(request, method, large=length is None or length > MAX_BODY_BYTES)

    async def _show(self, _: web.Request) -> web.Response:
        return web.Response(body=_encode(self._status()), content_type="application/json")


async def _unknown(request: web.Request) -> web.Response:
    """For a newer Docker: it goes on without what this plugin does not know."""
    words = f"azure-cni does not know {request.method} {legible(request.path)}"
    return web.Response(body=_encode({"Err": words, "Error": words}), status=404, headers={"Content-Type": MEDIA_TYPE})


def await_status(path: Path, *, wait_s: float) -> dict[str, Any]:
    """The status once it says that a container can start, or after that many seconds. AzureCniError as below."""
    ends_s = monotonic() + wait_s
    while True:
        try:
            shown = fetch_status(path)
            if shown.get("ready") or monotonic() >= ends_s:
                return shown
        except AzureCniError:
            if monotonic() >= ends_s:
                raise
        sleep(AGAIN_S)


def fetch_status(path: Path) -> dict[str, Any]:
    """The status of the plugin that serves this socket. AzureCniError when none answers."""
    return _fetch(path, STATUS_PATH, dict[str, Any])


def fetch_trail(path: Path, address: str) -> AuditReport:
    """What the plugin's audit trail knows of an address. AzureCniError when none answers."""
    return _fetch(path, f"{AUDIT_PATH}?address={address}", AuditReport)


def _fetch(path: Path, what: str, kind: type[T]) -> T:
    connection = _UnixConnection(path)
    try:
        connection.request("GET", what)
        return msgspec.json.decode(connection.getresponse().read(), type=kind)
    except (OSError, http.client.HTTPException, *NOT_JSON) as error:
        raise AzureCniError(
            f"cannot ask the plugin at {path}: {error}; is `azure-cni docker` running, and is this user root? "
            "(systemctl status azure-cni-docker)"
        ) from error
    finally:
        connection.close()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=STATUS_WAIT_S)
        self._path = path

    def connect(self) -> None:
        """To the socket instead of the host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(STATUS_WAIT_S)
        self.sock.connect(str(self._path))
