"""A thin client of the Azure Resource Manager: the SDK's pipeline with plain documents for bodies.

The SDK brings authentication, its challenges and the waiting for operations. Retries are not its business here: a
failure is told at once, the gate keeps what Azure asked us to wait, and pacing is the caller's. Documents stay whole,
because a NIC is replaced by what is written: the generated models drop fields that they do not know.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError
from azure.core.pipeline.policies import HeadersPolicy, RequestIdPolicy, UserAgentPolicy
from azure.core.rest import HttpRequest
from azure.mgmt.core import AsyncARMPipelineClient
from azure.mgmt.core.policies import AsyncARMChallengeAuthenticationPolicy

from azure_cni import __version__
from azure_cni.azure import errors_map
from azure_cni.azure.clouds import AzureCloud
from azure_cni.azure.gate import Gate, Kind
from azure_cni.azure.meter import Meter
from azure_cni.azure.polling import LONGEST_POLL_S, SHORTEST_POLL_S, USUAL_POLL_S, Answer, Document, Polling, finish
from azure_cni.azure.resources import Resource
from azure_cni.azure.transport import open_transport
from azure_cni.azure.unanswered import unanswered
from azure_cni.errors import CloudError, CloudUnreachable, ResourceBusy, Throttled

log = logging.getLogger(__name__)

OK_BELOW: Final = 400


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what, in seconds. A write of a NIC on a busy VM may take a minute; nothing says the most."""

    connect_s: float = 10.0
    answer_s: float = 60.0
    call_s: float = 120.0
    """One call with its token; the SDK alone asks up to 75 s for a token when the host is being updated."""
    operation_s: float = 600.0


class Arm:
    """One session with the resource manager. Every method raises only CloudError.

    `ca_file` replaces the system's authorities. `sleep` is what waits between two polls.
    """

    def __init__(
        self,
        cloud: AzureCloud,
        credential: AsyncTokenCredential,
        *,
        meter: Meter,
        gate: Gate | None = None,
        ca_file: Path | None = None,
        patience: Patience | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._cloud = cloud
        self._credential = credential
        self._meter = meter
        self._gate = gate or Gate()
        self._ca_file = ca_file
        self._patience = patience or Patience()
        self._sleep = sleep
        self._opened: AsyncARMPipelineClient[Any, Any] | None = None

    async def close(self) -> None:
        """Close the connections and the credential's."""
        if self._opened is not None:
            await self._opened.close()
        await self._credential.close()

    async def get(self, resource: Resource) -> Document:
        """One resource as it is now."""
        what = f"read {resource.label}"
        try:
            async with asyncio.timeout(self._patience.call_s):
                answer = await self._send(HttpRequest("GET", self._url(resource)), f"{resource.noun}.get", what=what)
        except TimeoutError as error:
            raise CloudUnreachable(f"cannot {what}: no answer within {self._patience.call_s:g} s") from error
        return _document(answer, what=what)

    async def items(self, resource: Resource, collection: str) -> list[Document]:
        """What lies under a resource (`usages` of a VNet), all pages of it."""
        what = f"read {collection} of {resource.label}"
        url = self._url(resource, collection)
        found: list[Document] = []
        try:
            async with asyncio.timeout(self._patience.call_s):
                while url:
                    answer = await self._send(HttpRequest("GET", url), f"{resource.noun}.{collection}", what=what)
                    page = _document(answer, what=what)
                    found += page.get("value", [])
                    url = self._following(page.get("nextLink"), what=what)
        except TimeoutError as error:
            raise CloudUnreachable(f"cannot {what}: no answer within {self._patience.call_s:g} s") from error
        return found

    async def put(self, resource: Resource, body: Mapping[str, Any], *, if_match: str) -> Document:
        """Replace a resource that is still as `if_match` says, wait for the operation, and read it again.

        Whoever stops waiting leaves the operation running in Azure: only a read tells how it ended.
        """
        what = f"write {resource.label}"
        try:
            async with asyncio.timeout(self._patience.operation_s):
                return await self._put(resource, body, if_match=if_match, what=what)
        except TimeoutError as error:
            text = f"cannot {what}: not done after {self._patience.operation_s:g} s; Azure may still be working on it"
            raise ResourceBusy(text) from error

    async def _put(self, resource: Resource, body: Mapping[str, Any], *, if_match: str, what: str) -> Document:
        url = self._url(resource)
        request = HttpRequest("PUT", url, json=dict(body), headers={"If-Match": if_match})
        answer = await self._send(request, f"{resource.noun}.put", what=what)

        async def ask(link: str) -> Answer:
            return await self._ask(link, f"{resource.noun}.get" if link == url else "operation.get", what=what)

        return await finish(Polling(ask=ask, pause=self._sleep), client=self._client, answer=answer, what=what)

    async def _ask(self, link: str, operation: str, *, what: str) -> Answer:
        """A question about an operation under way: asked again until it is answered, the caller's time bounds it."""
        while True:
            try:
                return await self._send(HttpRequest("GET", link), operation, what=what)
            except (Throttled, CloudUnreachable) as error:
                wait_s = min(USUAL_POLL_S if error.retry_after_s is None else error.retry_after_s, LONGEST_POLL_S)
                log.info("operation is asked for again", extra={"wait_s": wait_s, "error": str(error)})
                if isinstance(error, Throttled):
                    self._meter.throttled(wait_s)
                await self._sleep(max(wait_s, SHORTEST_POLL_S))

    async def _send(self, request: HttpRequest, operation: str, *, what: str) -> Answer:
        """One request, told to the meter; the only place that talks to Azure."""
        kind = Kind.READ if request.method == "GET" else Kind.WRITE
        if wait_s := self._gate.closed_for_s(kind):
            text = f"cannot {what}: Azure asked for no more {kind}s; {wait_s:.0f} s of that are left"
            raise Throttled(text, retry_after_s=wait_s)
        began_s = time.monotonic()
        try:
            answer: Answer = await self._client.send_request(request, _return_pipeline_response=True)
        except (AzureError, OSError) as error:
            failure = unanswered(error, what=what, endpoint=self._cloud.endpoint)
            self._told(operation, failure.azure_code, began_s)
            raise failure from error
        except asyncio.CancelledError:
            self._told(operation, "abandoned", began_s)
            raise
        status = answer.http_response.status_code
        if status < OK_BELOW:
            self._told(operation, str(status), began_s)
            return answer
        refusal = _refusal(answer, what=what)
        self._told(operation, refusal.azure_code or str(status), began_s)
        # The id by which Azure's support finds it; the error itself is logged by whoever handles it.
        request_id = answer.http_response.headers.get("x-ms-request-id", "")
        log.info("azure refused a request", extra={"operation": operation, "status": status, "request_id": request_id})
        if isinstance(refusal, Throttled):
            self._gate.close(kind, refusal.retry_after_s)
        raise refusal

    def _told(self, operation: str, code: str, began_s: float) -> None:
        self._meter.azure(operation, code, time.monotonic() - began_s)

    def _url(self, resource: Resource, collection: str = "") -> str:
        path = f"{resource.id}/{collection}" if collection else resource.id
        return f"{self._cloud.endpoint}{path}?api-version={resource.api_version}"

    def _following(self, link: object, *, what: str) -> str:
        """The next page's URL, "" after the last. Our token goes to nobody but the resource manager."""
        if not link:
            return ""
        if not str(link).startswith(f"{self._cloud.endpoint}/"):
            raise CloudUnreachable(f"cannot {what}: the next page is said to be at {link}, not at the resource manager")
        return str(link)

    @property
    def _client(self) -> AsyncARMPipelineClient[Any, Any]:
        if self._opened is None:
            self._opened = AsyncARMPipelineClient(
                self._cloud.endpoint,
                transport=open_transport(
                    ca_file=self._ca_file, connect_s=self._patience.connect_s, answer_s=self._patience.answer_s
                ),
                policies=[
                    RequestIdPolicy(),
                    HeadersPolicy({"Accept": "application/json"}),
                    UserAgentPolicy(base_user_agent=f"azure-cni/{__version__}", user_agent_use_env=False),
                    AsyncARMChallengeAuthenticationPolicy(self._credential, self._cloud.scope),
                ],
            )
        return self._opened


def _refusal(answer: Answer, *, what: str) -> CloudError:
    response = answer.http_response
    try:
        body = response.json()
    except ValueError:
        body = response.text()
    return errors_map.from_response(
        what, status=response.status_code, body=body, retry_after_s=_retry_after_s(response.headers)
    )


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Azure's wish in seconds; None where it names none."""
    for name, per_second in (("Retry-After", 1), ("x-ms-retry-after-ms", 1000), ("retry-after-ms", 1000)):
        text = headers.get(name, "")
        if text.isdigit():
            return int(text) / per_second
    return None


def _document(answer: Answer, *, what: str) -> Document:
    try:
        body = answer.http_response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise CloudUnreachable(f"cannot {what}: the answer is not a document; does a proxy stand between?")
    return body
