"""The web servers: aiohttp around handlers that do not depend on it.

Resource manager and workload identity share one https port, the metadata service (with managed identity) and the
wireserver have a plain http port each, the admin API a unix socket. A silent answer holds its request until the client
gives up or the server stops; a lost one cuts the connection.
"""

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from fakeazure import arm, imds, tokens, wireserver
from fakeazure.certificates import write_certificates
from fakeazure.wire import Answer, Request

if TYPE_CHECKING:
    from fakeazure.fake import FakeAzure

Handler = Callable[["FakeAzure", Request], Answer]
LARGEST_BODY = 4 * 1024 * 1024  # Azure Resource Manager's own limit
SHUTDOWN_S = 1.0


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where to reach the fake: base URLs without a slash at the end, and whom to trust.

    `ca_file` is for `arm`, `attestation_ca_file` for attested documents.
    """

    arm: str
    imds: str
    wireserver: str
    ca_file: Path
    attestation_ca_file: Path
    admin_socket: Path | None


@asynccontextmanager
async def serve(
    azure: "FakeAzure",
    *,
    host: str,
    ports: tuple[int, int, int],
    imds_host: str,
    wireserver_host: str,
    admin_socket: Path | None,
    certificate_hosts: Sequence[str],
    directory: Path | None,
) -> AsyncIterator[Endpoints]:
    """Serve while the context is open. A port 0 is chosen freely; `ports` are resource manager, metadata, wireserver.

    `directory` is where ca.pem, server.pem and attestation-ca.pem are written, by default one that goes with the
    context.
    """
    async with AsyncExitStack() as stack:
        folder = directory or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fake-azure-")))
        hosts = list(dict.fromkeys([host, *certificate_hosts, "localhost"]))
        ca_file, server_file = write_certificates(folder, hosts)
        attestation_ca_file = folder / "attestation-ca.pem"
        attestation_ca_file.write_bytes(azure.attester.bundle)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(server_file)
        runners = [
            await _runner(stack, application(azure, handler))
            for handler in (_arm_or_token, imds.answer, wireserver.answer)
        ]
        arm_port = await _listen(runners[0], host, ports[0], tls=context)
        imds_port = await _listen(runners[1], imds_host, ports[1])
        wireserver_port = await _listen(runners[2], wireserver_host, ports[2])
        if admin_socket:
            await _serve_admin(stack, azure, admin_socket)
        ending = asyncio.create_task(azure.run(), name="fake Azure operations")
        stack.push_async_callback(_stop, ending)
        yield Endpoints(
            arm=f"https://{host}:{arm_port}",
            imds=f"http://{imds_host}:{imds_port}",
            wireserver=f"http://{wireserver_host}:{wireserver_port}",
            ca_file=ca_file,
            attestation_ca_file=attestation_ca_file,
            admin_socket=admin_socket,
        )


async def _serve_admin(stack: AsyncExitStack, azure: "FakeAzure", socket: Path) -> None:
    from fakeazure.admin import admin_application

    runner = await _runner(stack, admin_application(azure))
    await web.UnixSite(runner, str(socket)).start()
    stack.callback(socket.unlink, missing_ok=True)


def application(azure: "FakeAzure", handler: Handler) -> web.Application:
    """A web application in which every request goes to one handler."""

    async def handle(request: web.Request) -> web.StreamResponse:
        answer = handler(azure, await _read(request))
        if answer.fate == "silent":
            await asyncio.Event().wait()
        response = web.Response(status=answer.status or 200, body=answer.body, headers=dict(answer.headers))
        if answer.body:
            response.headers["Content-Type"] = answer.content_type
        if answer.fate == "lost" and request.transport:
            request.transport.abort()
        return response

    app = web.Application(client_max_size=LARGEST_BODY)
    app.router.add_route("*", "/{path:.*}", handle)
    return app


def _arm_or_token(azure: "FakeAzure", request: Request) -> Answer:
    is_token = request.method == "POST" and request.path.endswith("/oauth2/v2.0/token")
    return tokens.answer(azure, request) if is_token else arm.answer(azure, request)


async def _read(request: web.Request) -> Request:
    return Request(
        method=request.method,
        path=request.path,
        query=dict(request.query),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=await request.read(),
        base_url=f"{request.scheme}://{request.host}",
        source=request.remote or "",
    )


async def _runner(stack: AsyncExitStack, app: web.Application) -> web.AppRunner:
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    return runner


async def _listen(runner: web.AppRunner, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> int:
    await web.TCPSite(runner, host, port, ssl_context=tls).start()
    return int(runner.addresses[0][1])


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
