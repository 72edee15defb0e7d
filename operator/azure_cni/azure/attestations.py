"""Verify attested documents, with the inputs that need I/O: the bundle, the time and issuers' certificates.

Azure's documents do not carry the certificate of their signer's issuer, and these authorities change every few years.
Where neither the document nor the bundle has it, it is fetched from where the signer's certificate says, as Azure's
documentation does it, but only from hosts from which Azure's authorities publish: the document's author chose the
address. What comes need not be trusted either: it must chain to a trusted authority.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final, Protocol, TypeVar
from urllib.parse import urlsplit

import aiohttp
import certifi

from azure_cni.azure.attestation import Trust, missing_issuer, trust_in, verify, with_issuer
from azure_cni.errors import NotAttested
from azure_cni.model.text import legible

log = logging.getLogger(__name__)

T = TypeVar("T")

HOSTS: Final = ("www.microsoft.com", "caissuers.microsoft.com", "cacerts.digicert.com", "cacerts.digicert.cn")
"""From where Azure's authorities publish their certificates ("Azure Certificate Authority details")."""
LONGEST_CHAIN: Final = 3
"""Certificates that are fetched for one document."""
FETCH_S: Final = 10.0
AGAIN_S: Final = 60.0
"""How long an answer counts, also that there is none: many nodes ask for the same certificate at one time."""
MAX_CERTIFICATE: Final = 16_384
"""Bytes. Azure's have 1,500."""
MOST_ANSWERS: Final = 64
MOST_ISSUERS: Final = 32
"""Certificates that have proven something and are kept. Azure has a dozen such authorities."""


class Certificates(Protocol):
    """Where an issuer's certificate comes from."""

    async def fetch(self, url: str) -> bytes | None:
        """The certificate in DER; None if it cannot be had, which is logged."""


class PublishedCertificates:
    """Implements `Certificates` by HTTP, through the proxy of the environment if it names one."""

    def __init__(self, hosts: Collection[str] = HOSTS, *, answer_s: float = FETCH_S) -> None:
        self._hosts = hosts
        self._timeout = aiohttp.ClientTimeout(total=answer_s)

    async def fetch(self, url: str) -> bytes | None:
        """One GET, without redirects, of one of the hosts, at its usual ports."""
        if not self._allows(url):
            log.info("a certificate is not fetched from there", extra={"url": url})
            return None
        try:
            async with (
                aiohttp.ClientSession(timeout=self._timeout, trust_env=True) as session,
                session.get(url, allow_redirects=False) as response,
            ):
                content = await _content(response)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            log.warning("cannot fetch a certificate", extra={"url": url, "error": str(error) or type(error).__name__})
            return None
        if response.status != 200 or len(content) > MAX_CERTIFICATE:  # noqa: PLR2004
            facts = {"url": url, "status": response.status, "bytes": len(content)}
            log.warning("cannot fetch a certificate: it is not there, or too long", extra=facts)
            return None
        return content

    def _allows(self, url: str) -> bool:
        try:
            parts = urlsplit(url)
        except ValueError:
            return False
        return parts.scheme in {"http", "https"} and parts.netloc in self._hosts


async def _content(response: aiohttp.ClientResponse) -> bytes:
    """All of it, in however many pieces it comes; of one that is too long, a little more than is allowed."""
    content = bytearray()
    async for piece in response.content.iter_chunked(MAX_CERTIFICATE):
        content += piece
        if len(content) > MAX_CERTIFICATE:
            break
    return bytes(content)


class AttestedDocuments:
    """Implements `azure_cni.cluster.ports.Attestations`. `bundle` is a PEM file, None for none; it may change."""

    def __init__(
        self,
        *,
        cloud: str,
        bundle: Path | None,
        certificates: Certificates,
        utc_s: Callable[[], float],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cloud = cloud
        self._bundle = bundle
        self._certificates = certificates
        self._utc_s = utc_s
        self._monotonic_s = monotonic_s
        self._read: tuple[bytes, Trust] | None = None
        self._issuers: dict[str, bytes] = {}
        """By address, and only what a document was verified with: whoever sends documents chooses addresses."""
        self._answers: dict[str, tuple[float, asyncio.Task[bytes | None]]] = {}

    async def verify(self, document: str, *, nonce: str, vm_id: str) -> None:
        """Raise NotAttested unless the document proves that who was given `nonce` is that VM."""
        trust, used = self._trust(), dict[str, bytes]()
        for _ in range(LONGEST_CHAIN):
            url = next(iter(missing_issuer(document, trust)), "")
            certificate = await self._issuer(url) if url else None
            if certificate is None:
                break
            used[url] = certificate
            trust = _trusting(trust, certificate, url)
        verify(document, trust, nonce=nonce, vm_id=vm_id, now_s=self._utc_s())
        _keep(self._issuers, used, most=MOST_ISSUERS)

    def _trust(self) -> Trust:
        """Read the bundle. The parts of it that did not change are not taken apart again."""
        try:
            text = self._bundle.read_bytes() if self._bundle else b""
            if self._read is None or self._read[0] != text:
                usual = Path(certifi.where()).read_bytes()
                self._read = text, trust_in(text, usual=usual, cloud=self._cloud)
        except (OSError, ValueError) as error:
            raise NotAttested(
                f"the controller cannot use the certificates of azure.attestation.caBundle ({self._bundle}): "
                f"{legible(str(error))}"
            ) from error
        return self._read[1]

    async def _issuer(self, url: str) -> bytes | None:
        """The certificate at that address. Concurrent callers share one fetch."""
        if url in self._issuers:
            return self._issuers[url]
        asked_s, answer = self._answers.get(url, (float("-inf"), None))
        if answer is None or asked_s <= self._monotonic_s() - AGAIN_S:
            answer = asyncio.create_task(self._certificates.fetch(url), name="an issuer's certificate")
            _keep(self._answers, {url: (self._monotonic_s(), answer)}, most=MOST_ANSWERS)
        return await asyncio.shield(answer)


def _keep(kept: dict[str, T], more: Mapping[str, T], *, most: int) -> None:
    """Add to what is kept, the newest last, and let the oldest go: they can be had again."""
    for url, one in more.items():
        kept.pop(url, None)
        kept[url] = one
    while len(kept) > most:
        del kept[next(iter(kept))]


def _trusting(trust: Trust, certificate: bytes, url: str) -> Trust:
    try:
        return with_issuer(trust, certificate)
    except ValueError as error:
        log.warning("what was fetched is no certificate", extra={"url": url, "error": str(error)})
        return trust
