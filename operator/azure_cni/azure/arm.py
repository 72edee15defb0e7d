"""A thin client of the Azure Resource Manager: the SDK's pipeline with plain documents for bodies.

The SDK handles authentication and its challenges. Its retries are off: a failure is reported at once, the gate stores
the wait that Azure asked for, and the caller does the pacing. Documents stay whole because a write replaces the whole
NIC, and the SDK's generated models drop fields that they do not know.

Every answer is read up to a limit and may hold anything. A link in an answer (the next page, the state of an operation)
is followed only to the resource manager, because the request carries our token.
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
from azure.core.pipeline import PipelineResponse
from azure.core.rest import HttpRequest
from azure.mgmt.core import AsyncARMPipelineClient

from azure_cni.azure import api_versions, errors_map
from azure_cni.azure.answers import LARGEST_DOCUMENT, LARGEST_REFUSAL, ArmAnswer, CallMetrics, Document, short
from azure_cni.azure.endpoints import AzureCloud
from azure_cni.azure.errors_map import UNREACHABLE, unanswered
from azure_cni.azure.instance_gate import InstanceGate
from azure_cni.azure.paged_list import PagedList
from azure_cni.azure.polling import LONGEST_POLL_S, SHORTEST_POLL_S, USUAL_POLL_S, Polling
from azure_cni.azure.resources import Resource
from azure_cni.azure.throttle_gate import Kind, ThrottleGate
from azure_cni.azure.transport import open_pipeline, open_transport, read_body
from azure_cni.errors import (
    CloudError,
    CloudUnreachable,
    PreconditionFailed,
    ResourceBusy,
    Throttled,
    VersionUnknown,
)

log = logging.getLogger(__name__)

OK: Final = range(200, 300)
"""Anything above is a refusal; a redirection (3xx) is not Azure's way, and is not followed."""


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

    `ca_file` replaces the system's authorities, `proxy` is the URL of the proxy to the resource manager. `sleep` is
    what waits between two polls.
    """

    def __init__(
        self,
        cloud: AzureCloud,
        credential: AsyncTokenCredential,
        *,
        meter: CallMetrics,
        gate: ThrottleGate | None = None,
        instance_gate: InstanceGate | None = None,
        ca_file: Path | None = None,
        proxy: str | None = None,
        patience: Patience | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._cloud = cloud
        self._credential = credential
        self._meter = meter
        self._gate = gate or ThrottleGate()
        self.instance_gate = instance_gate or InstanceGate()
        self._ca_file = ca_file
        self._proxy = proxy
        self._patience = patience or Patience()
        self._sleep = sleep
        self._versions = api_versions.ApiVersions()
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
                answer = await self._read(resource, f"{resource.noun}.get", what=what)
        except TimeoutError as error:
            raise CloudUnreachable(f"cannot {what}: no answer within {self._patience.call_s:g} s") from error
        return _document(answer, what=what)

    async def items(self, resource: Resource, collection: str) -> list[Document]:
        """What lies under a resource (`usages` of a VNet), all pages of it."""
        what = f"read {collection} of {resource.label}"
        operation = f"{resource.noun}.{collection}"
        try:
            async with asyncio.timeout(self._patience.call_s):
                listed = PagedList(what)
                answer = await self._read(resource, operation, collection=collection, what=what)
                while link := listed.take(answer):
                    request = HttpRequest("GET", self._own(link, what=what))
                    answer = await self._send(request, operation, what=what)
                return listed.documents
        except TimeoutError as error:
            raise CloudUnreachable(f"cannot {what}: no answer within {self._patience.call_s:g} s") from error

    async def put(
        self, resource: Resource, body: Mapping[str, Any], *, if_match: str, changes: bool = True
    ) -> Document:
        """Replace a resource that is still as `if_match` says, wait for the operation, and read it again.

        `changes`: the body differs from what was read, so the result has another etag; without, it may keep it.
        A cancelled wait leaves the operation running in Azure: only a read shows how it ended.
        """
        what = f"write {resource.label}"
        try:
            async with asyncio.timeout(self._patience.operation_s):
                return await self._put(resource, body, if_match=if_match, changes=changes, what=what)
        except TimeoutError as error:
            text = f"cannot {what}: not done after {self._patience.operation_s:g} s; Azure may still be working on it"
            raise ResourceBusy(text) from error

    async def pause(self, seconds: float) -> None:
        """Wait as between two polls, before a question that Azure answers late."""
        await self._sleep(seconds)

    async def _put(
        self, resource: Resource, body: Mapping[str, Any], *, if_match: str, changes: bool, what: str
    ) -> Document:
        version = self._versions.of(resource)
        url = self._url(resource, version)
        request = HttpRequest("PUT", url, json=dict(body), headers={"If-Match": if_match})
        self.instance_gate.take(resource, what=what)
        try:
            accepted = await self._send(request, f"{resource.noun}.put", what=what)
        except VersionUnknown as error:
            # The body was read under the refused version, so it is not sent under another: the caller reads again.
            self._versions.replace(resource, version, error)
            text = f"cannot {what}: Azure no longer supports API version {version}, under which it was read"
            raise PreconditionFailed(text, azure_code=error.azure_code) from error

        async def ask(link: str) -> ArmAnswer:
            return await self._ask(link, f"{resource.noun}.get" if link == url else "operation.get", what=what)

        try:
            polling = Polling(ask=ask, pause=self._sleep, what=what)
            return await polling.finish(accepted, resource=url, etag_before=if_match if changes else "")
        except CloudError as error:
            error.accepted = True
            if isinstance(error, Throttled):
                self._gate.close(Kind.WRITE, url, azure_code=error.azure_code, retry_after_s=error.retry_after_s)
            raise

    async def _read(self, resource: Resource, operation: str, *, what: str, collection: str = "") -> ArmAnswer:
        """One GET, repeated under another API version while Azure does not support the one used."""
        for _ in range(api_versions.TRIES - 1):
            version = self._versions.of(resource)
            try:
                return await self._send(
                    HttpRequest("GET", self._url(resource, version, collection)), operation, what=what
                )
            except VersionUnknown as error:
                self._versions.replace(resource, version, error)
        url = self._url(resource, self._versions.of(resource), collection)
        return await self._send(HttpRequest("GET", url), operation, what=what)

    async def _ask(self, link: str, operation: str, *, what: str) -> ArmAnswer:
        """Poll an operation in progress, repeating unanswered polls; the caller's timeout bounds it."""
        link = self._own(link, what=what)
        while True:
            try:
                return await self._send(HttpRequest("GET", link), operation, what=what)
            except (Throttled, CloudUnreachable) as error:
                wait_s = min(USUAL_POLL_S if error.retry_after_s is None else error.retry_after_s, LONGEST_POLL_S)
                log.info("polling the operation again", extra={"wait_s": wait_s, "error": str(error)})
                if isinstance(error, Throttled):
                    self._meter.throttled(wait_s)
                await self._sleep(max(wait_s, SHORTEST_POLL_S))

    async def _send(self, request: HttpRequest, operation: str, *, what: str) -> ArmAnswer:
        """One request, counted in the call metrics; the only place that talks to Azure."""
        kind = Kind.READ if request.method == "GET" else Kind.WRITE
        if wait_s := self._gate.closed_for_s(kind, request.url):
            text = f"cannot {what}: Azure throttles {kind}s for another {wait_s:.0f} s"
            raise Throttled(text, retry_after_s=wait_s)
        began_s = time.monotonic()
        try:
            answer = await self._exchange(request, what=what)
        except (AzureError, OSError, ValueError) as error:
            failure = unanswered(error, what=what, endpoint=self._cloud.endpoint)
            self._count_call(operation, failure.azure_code, began_s)
            raise failure from error
        except CloudUnreachable:
            self._count_call(operation, UNREACHABLE, began_s)
            raise
        except asyncio.CancelledError:
            self._count_call(operation, "abandoned", began_s)
            raise
        status = answer.status
        if status in OK:
            self._count_call(operation, str(status), began_s)
            return answer
        refusal = errors_map.from_answer(what, answer, now_s=time.time())
        self._count_call(operation, refusal.azure_code or str(status), began_s)
        # The id by which Azure's support finds it; the error itself is logged by whoever handles it.
        request_id = answer.headers.get("x-ms-request-id", "")
        log.info("azure refused a request", extra={"operation": operation, "status": status, "request_id": request_id})
        if isinstance(refusal, Throttled):
            self._gate.close(kind, request.url, azure_code=refusal.azure_code, retry_after_s=refusal.retry_after_s)
        raise refusal

    def _count_call(self, operation: str, code: str, began_s: float) -> None:
        self._meter.azure(operation, code, time.monotonic() - began_s)

    async def _exchange(self, request: HttpRequest, *, what: str) -> ArmAnswer:
        """Send it and read the answer, up to the limit of its kind. CloudUnreachable when a document is larger."""
        done: PipelineResponse[Any, Any] = await self._client.send_request(
            request, stream=True, _return_pipeline_response=True
        )
        response = done.http_response
        limit = LARGEST_DOCUMENT if response.status_code in OK else LARGEST_REFUSAL
        content = await read_body(response, most=limit)
        if len(content) > limit and response.status_code in OK:
            raise errors_map.too_large(what, limit)
        return ArmAnswer(response.status_code, response.headers, content)

    def _url(self, resource: Resource, version: str, collection: str = "") -> str:
        path = f"{resource.id}/{collection}" if collection else resource.id
        return f"{self._cloud.endpoint}{path}?api-version={version}"

    def _own(self, link: str, *, what: str) -> str:
        """A link from an answer, if it leads to the resource manager: our token goes nowhere else."""
        if not self._cloud.owns(link):
            raise CloudUnreachable(
                f"cannot {what}: the answer links to {short(link, most=200)}, not to the resource manager at "
                f"{self._cloud.endpoint}; the token is not sent there; is there a proxy in between?"
            )
        return link

    @property
    def _client(self) -> AsyncARMPipelineClient[Any, Any]:
        if self._opened is None:
            self._opened = open_pipeline(
                self._cloud,
                self._credential,
                transport=open_transport(
                    ca_file=self._ca_file,
                    connect_s=self._patience.connect_s,
                    answer_s=self._patience.answer_s,
                    proxy=self._proxy,
                ),
            )
        return self._opened


def _document(answer: ArmAnswer, *, what: str) -> Document:
    body = answer.document()
    if body is None:
        raise errors_map.not_understood(what, answer, wanted="a document")
    return body
