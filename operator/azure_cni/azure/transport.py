"""The HTTP under the SDK's pipeline: one session, one TLS context, and no request that is sent twice unasked.

The SDK would build a TLS context, and so a connection, for each request. aiohttp sends a PUT again by itself when its
connection breaks, as HTTP allows: but Azure may have taken the first, and would answer the second that somebody has
changed the NIC. So a write that was not answered fails, and only a read tells what became of it.
"""

from __future__ import annotations

import ssl
from pathlib import Path

import aiohttp
from azure.core.pipeline.transport import AioHttpTransport
from azure.core.rest import AsyncHttpResponse

CONNECTIONS = 4


def open_transport(
    *, ca_file: Path | None, connect_s: float, answer_s: float, proxy: str | None = None
) -> AioHttpTransport:
    """A transport of the SDK; `ca_file` replaces the system's authorities, `proxy` is the URL of one for all requests.

    The environment is not looked at: aiohttp ignores proxies that it does not like, and would take a password for
    Azure out of a .netrc file.
    """
    tls = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls, limit=CONNECTIONS),
        cookie_jar=aiohttp.DummyCookieJar(),
        proxy=proxy,
        middlewares=(_writes_once,),
    )
    return AioHttpTransport(session=session, connection_timeout=connect_s, read_timeout=answer_s)


async def read_body(response: AsyncHttpResponse, *, most: int) -> bytes:
    """The body, decompressed; of one that is longer than `most` bytes its beginning, which is longer too."""
    content = bytearray()
    try:
        async for part in response.iter_bytes():
            content += part
            if len(content) > most:
                break
    finally:
        await response.close()
    return bytes(content)


async def _writes_once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    try:
        return await send(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        if request.method == "GET":
            raise
        raise aiohttp.ClientConnectionError(str(error)) from error  # of a kind that aiohttp does not try again
