"""The SDK's pipeline and its HTTP transport: one session, one TLS context, and no request is resent automatically.

The SDK would build a TLS context, and so a connection, for each request. aiohttp automatically resends a PUT when its
connection breaks, as HTTP allows. But Azure may have accepted the first, and would answer to the second that somebody
else changed the NIC. So a write without an answer fails, and only a read shows its outcome.
"""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import aiohttp
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import HeadersPolicy, RequestIdPolicy, UserAgentPolicy
from azure.core.pipeline.transport import AioHttpTransport
from azure.core.rest import AsyncHttpResponse
from azure.mgmt.core import AsyncARMPipelineClient
from azure.mgmt.core.policies import AsyncARMChallengeAuthenticationPolicy

from azure_cni import __version__
from azure_cni.azure.answers import SmallResponse
from azure_cni.azure.endpoints import AzureCloud
from azure_cni.azure.proxies import tls_context

CONNECTIONS = 4


def open_transport(
    *, ca_file: Path | None, connect_s: float, answer_s: float, proxy: str | None = None
) -> AioHttpTransport:
    """A transport of the SDK; `ca_file` replaces the system's authorities, `proxy` is the URL of one for all requests.

    The environment is not looked at: aiohttp ignores proxies that it does not like, and would take a password for
    Azure out of a .netrc file. ConfigInvalid where `ca_file` holds no authorities.
    """
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls_context(ca_file), limit=CONNECTIONS),
        cookie_jar=aiohttp.DummyCookieJar(),
        proxy=proxy,
        middlewares=(_writes_once,),
        response_class=SmallResponse,
    )
    return AioHttpTransport(session=session, connection_timeout=connect_s, read_timeout=answer_s)


def open_pipeline(
    cloud: AzureCloud, credential: AsyncTokenCredential, *, transport: AioHttpTransport
) -> AsyncARMPipelineClient[Any, Any]:
    """What adds our headers and the credential's token to each request, and answers challenges. It does not retry."""
    return AsyncARMPipelineClient(
        cloud.endpoint,
        transport=transport,
        policies=[
            RequestIdPolicy(),
            HeadersPolicy({"Accept": "application/json"}),
            UserAgentPolicy(base_user_agent=f"azure-cni/{__version__}", user_agent_use_env=False),
            _TokenPolicy(credential, cloud.scope),
        ],
    )


@runtime_checkable
class Forgetful(Protocol):
    """A credential that can be told of a token that was refused."""

    def forget(self) -> None:
        """The next token is to be another."""


class _TokenPolicy(AsyncARMChallengeAuthenticationPolicy):
    """The SDK's own forgets a token that Azure refuses, and its credential gives it the same one again."""

    async def send(self, request: PipelineRequest[Any]) -> PipelineResponse[Any, Any]:
        response = await super().send(request)
        if response.http_response.status_code == HTTPStatus.UNAUTHORIZED and isinstance(self._credential, Forgetful):
            self._credential.forget()
        return response


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
