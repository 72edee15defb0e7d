"""The instance metadata service: what a VM can read about itself without any permission.

It answers only on the node's own network, without a proxy, and to the NIC's primary address. It may be unavailable
for up to 70 s while the host is updated (410), and only that is waited out; any other silence is reported soon, with
what to check. It proves identity. How soon it shows a new address is not documented, so what it shows of a NIC is no
more than a hint.
Source: Azure documentation, "Azure Instance Metadata Service for virtual machines".
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

import aiohttp

from azure_cni.azure.answers import CallMetrics, SmallResponse, short
from azure_cni.azure.instance_document import Instance, parse_instance, parse_signature
from azure_cni.errors import CloudError, CloudNotFound, CloudUnreachable, RequestRefused, Throttled
from azure_cni.model.identity import IdentityClaim
from azure_cni.model.text import counted

DEFAULT_URL: Final = "http://169.254.169.254"
API_VERSION: Final = "2021-10-01"
ANSWER_S: Final = 5.0
PAUSES_S: Final = (0.5, 1.0, 2.0)
"""Before each further attempt after 404, 429, 5xx or silence, as the documentation advises for transient answers."""
GONE: Final = 410
GONE_PAUSES_S: Final = (1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0, 15.0)  # 75 s: "available again within 70 seconds"


class Instances(Protocol):
    """Who says which VM is meant."""

    async def instance(self) -> Instance:
        """The VM, as its metadata service describes it."""


class Imds:
    """Asks the service at `url`. `sleep` is what waits between attempts."""

    def __init__(
        self,
        *,
        meter: CallMetrics,
        url: str = DEFAULT_URL,
        answer_s: float = ANSWER_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._url = url.rstrip("/")
        self._meter = meter
        self._timeout = aiohttp.ClientTimeout(total=answer_s)
        self._sleep = sleep

    async def instance(self) -> Instance:
        """Who this VM is. CloudUnreachable when nothing answers; other CloudErrors when something else is wrong."""
        return parse_instance(await self._answer("instance", {"format": "json"}, "imds.instance"))

    async def glance(self) -> Instance:
        """As `instance`, in one attempt: for who asks again soon."""
        return parse_instance(await self._answer("instance", {"format": "json"}, "imds.instance", patient=False))

    async def attested(self, nonce: str) -> str:
        """Azure's signed document on which VM this is, with `nonce` in it, as base64. Errors as those of `instance`.

        A nonce of at most ten digits is what the documentation shows. The service may give a document that it made
        before, with the former nonce: who verifies it finds out.
        """
        return parse_signature(await self._answer("attested/document", {"nonce": nonce}, "imds.attested"))

    async def _answer(self, path: str, query: Mapping[str, str], operation: str, *, patient: bool = True) -> bytes:
        """What the service answers; if `patient`, tried again while what is wrong may be passing."""
        pauses_s = list(PAUSES_S) if patient else []
        attempt = 0
        while True:
            status, content = await self._ask(path, query, operation)
            if status == 200:  # noqa: PLR2004
                return content
            if status == GONE and patient:
                pauses_s = list(GONE_PAUSES_S)
            if not _passing(status) or attempt >= len(pauses_s):
                raise self._failure(path, status, content, attempts=attempt + 1)
            await self._sleep(pauses_s[attempt])
            attempt += 1

    async def _ask(self, path: str, query: Mapping[str, str], operation: str) -> tuple[int, bytes]:
        """One attempt: status and body; 0 and the reason when there is no answer."""
        began_s = time.monotonic()
        try:
            # trust_env stays off: the service refuses what came through a proxy, or would never see it.
            async with (
                aiohttp.ClientSession(timeout=self._timeout, response_class=SmallResponse) as session,
                session.get(
                    f"{self._url}/metadata/{path}",
                    params={"api-version": API_VERSION, **query},
                    headers={"Metadata": "true"},
                    allow_redirects=False,
                ) as response,
            ):
                status, content = response.status, await response.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            said = f"no answer within {self._timeout.total:g} s" if isinstance(error, TimeoutError) else str(error)
            status, content = 0, said.encode()
        self._meter.azure(operation, str(status) if status else "unreachable", time.monotonic() - began_s)
        return status, content

    def _failure(self, path: str, status: int, content: bytes, *, attempts: int) -> CloudError:
        said = short(content[:800].decode(errors="replace"), most=200)
        what = "the instance metadata" if path == "instance" else "the attested document"
        cannot = f"cannot read {what} at {self._url} ({counted(attempts, 'attempt')})"
        if status == 0:
            return CloudUnreachable(
                f"{cannot}: {said}; is this an Azure VM, does the agent run on the host's network, and does nothing "
                "(firewall, network policy, nftables) hold back the node's own traffic to that address?",
                azure_code="ImdsSilent",
            )
        text = f"{cannot}: it answers HTTP {status}: {said}"
        if status == 404:  # noqa: PLR2004
            return CloudNotFound(f"{text}; is it the address of the metadata service?")
        if status == 429:  # noqa: PLR2004
            return Throttled(
                f"{text}; it answers 5 requests a second: which other process on this node calls it so often?"
            )
        if status == GONE or status >= 500:  # noqa: PLR2004
            return CloudUnreachable(text)
        return RequestRefused(text)


def _passing(status: int) -> bool:
    """Whether the same question may be answered soon."""
    return status in {0, 404, GONE, 429} or status >= 500  # noqa: PLR2004


class ImdsClaims:
    """Implements `azure_cni.kube.delegated_nic.Claims`: the metadata service needs no permission."""

    def __init__(self, imds: Imds) -> None:
        self._imds = imds

    async def claim(self) -> IdentityClaim:
        """Who this machine says it is. CloudError when the metadata service does not answer."""
        instance = await self._imds.instance()
        macs = tuple(interface.mac for interface in instance.interfaces)
        return IdentityClaim(vm_id=instance.vm_id, vm_resource_id=instance.resource_id, macs=macs)

    async def document(self, nonce: str) -> str:
        """The attested document with that nonce. CloudError when the metadata service does not answer."""
        return await self._imds.attested(nonce)
