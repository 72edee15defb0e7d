"""What verifying a document takes from outside: the operator's bundle, the time, and certificates by HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from azure_cni.azure.attestations import (
    AGAIN_S,
    MAX_CERTIFICATE,
    MOST_ANSWERS,
    AttestedDocuments,
    PublishedCertificates,
)
from azure_cni.errors import NotAttested
from fakeazure import FakeAzure, ManualClock
from fakeazure.attestation import Attester, Holder, content

URL = "http://www.microsoft.com/issuing.crt"
NONCE, VM = "0123456789", "02aab8a4-74ef-476e-8182-f6d2ba4166a6"


class Published:
    """Implements `azure_cni.azure.attestations.Certificates`."""

    def __init__(self, **certificates: bytes) -> None:
        self.certificates = {f"http://www.microsoft.com/{name}.crt": one for name, one in certificates.items()}
        self.fetched: list[str] = []

    async def fetch(self, url: str) -> bytes | None:
        self.fetched.append(url)
        await asyncio.sleep(0.01)
        return self.certificates.get(url)


class AttestedCloud:
    """A cloud whose signers' certificates say where their issuers' are, through two authorities; and its time."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.bundle = ManualClock(), folder / "ca.crt"
        self.attester = Attester(at=self.clock.now())
        at = self.clock.now()
        self.inner = Holder.authority("inner", self.attester.issuing, at=at, url=URL)
        self.signer = self.inner.signer("metadata.azure.com", at=at, url=URL.replace("issuing", "inner"))
        self.bundle.write_bytes(self.attester.root.pem)

    def documents(self, published: Published) -> AttestedDocuments:
        now = self.clock.now
        return AttestedDocuments(
            cloud="AzurePublicCloud", bundle=self.bundle, certificates=published, utc_s=now, monotonic_s=now
        )

    def document(self, signer: Holder | None = None) -> str:
        said = content(VM, nonce=NONCE, now=self.clock.now())
        return (signer or self.signer).document(said)


@pytest.fixture
def world(tmp_path: Path) -> AttestedCloud:
    return AttestedCloud(tmp_path)


async def test_issuers_that_are_missing_are_fetched_once(world: AttestedCloud) -> None:
    published = Published(inner=world.inner.der, issuing=world.attester.issuing.der)
    documents = world.documents(published)
    for _ in range(3):
        await documents.verify(world.document(), nonce=NONCE, vm_id=VM)
    assert published.fetched == [URL.replace("issuing", "inner"), URL]


async def test_an_issuer_that_cannot_be_had_is_named_and_tried_again_later(world: AttestedCloud) -> None:
    published = Published()
    documents = world.documents(published)
    for _ in range(3):
        with pytest.raises(NotAttested, match=r"CN=inner, .* is missing; put it into azure.attestation.caBundle"):
            await documents.verify(world.document(), nonce=NONCE, vm_id=VM)
    assert len(published.fetched) == 1
    published.certificates = Published(inner=world.inner.der, issuing=world.attester.issuing.der).certificates
    world.clock.advance(AGAIN_S)
    await documents.verify(world.document(), nonce=NONCE, vm_id=VM)


async def test_many_nodes_that_start_at_once_wait_for_one_fetch(world: AttestedCloud) -> None:
    published = Published(inner=world.inner.der, issuing=world.attester.issuing.der)
    documents, given = world.documents(published), world.document()
    await asyncio.gather(*(documents.verify(given, nonce=NONCE, vm_id=VM) for _ in range(16)))
    assert len(published.fetched) == 2


async def test_who_names_other_addresses_without_end_takes_nobody_elses_issuer_away(world: AttestedCloud) -> None:
    """A node may sign as it likes, in the name of the metadata service, and name addresses of the known hosts."""
    published = Published(inner=world.inner.der, issuing=world.attester.issuing.der)
    documents, at = world.documents(published), world.clock.now()
    await documents.verify(world.document(), nonce=NONCE, vm_id=VM)
    own = Holder.authority("own", at=at)
    for number in range(MOST_ANSWERS + 1):
        signer = own.signer("metadata.azure.com", at=at, url=f"http://www.microsoft.com/{number}.crt")
        published.certificates[f"http://www.microsoft.com/{number}.crt"] = own.der
        with pytest.raises(NotAttested):
            await documents.verify(world.document(signer), nonce=NONCE, vm_id=VM)
    published.fetched.clear()
    await documents.verify(world.document(), nonce=NONCE, vm_id=VM)
    assert published.fetched == []
    assert len(documents._answers) == MOST_ANSWERS
    fresh = world.documents(published)
    await fresh.verify(world.document(), nonce=NONCE, vm_id=VM)


@pytest.mark.parametrize("fetched", [b"", b"<html>", b"\x30\x03abc"])
async def test_what_is_fetched_and_no_certificate_proves_nothing(world: AttestedCloud, fetched: bytes) -> None:
    with pytest.raises(NotAttested, match="is missing"):
        await world.documents(Published(inner=fetched)).verify(world.document(), nonce=NONCE, vm_id=VM)


async def test_a_certificate_from_outside_is_no_authority(world: AttestedCloud) -> None:
    """Who signs also says where his issuer is: what comes from there must itself be vouched for."""
    own = Holder.authority("own", at=world.clock.now())
    signer = own.signer("metadata.azure.com", at=world.clock.now(), url=URL.replace("issuing", "own"))
    with pytest.raises(NotAttested, match=r"CN=own, .* is missing|is not trusted"):
        await world.documents(Published(own=own.der)).verify(world.document(signer), nonce=NONCE, vm_id=VM)


async def test_the_bundle_may_change_while_the_controller_runs(world: AttestedCloud) -> None:
    documents = world.documents(Published())
    with pytest.raises(NotAttested):
        await documents.verify(world.document(), nonce=NONCE, vm_id=VM)
    world.bundle.write_bytes(world.attester.bundle + world.inner.pem)
    await documents.verify(world.document(), nonce=NONCE, vm_id=VM)


@pytest.mark.parametrize("text", [None, "what"])
async def test_a_bundle_that_cannot_be_used_is_named(world: AttestedCloud, text: str | None) -> None:
    world.bundle.unlink() if text is None else world.bundle.write_text(text)
    with pytest.raises(NotAttested, match=r"cannot use the certificates of azure.attestation.caBundle \(.*\): ."):
        await world.documents(Published()).verify(world.document(), nonce=NONCE, vm_id=VM)


async def test_without_a_bundle_the_fakes_authorities_are_strangers(world: AttestedCloud) -> None:
    documents = AttestedDocuments(
        cloud="AzurePublicCloud", bundle=None, certificates=Published(), utc_s=world.clock.now
    )
    with pytest.raises(NotAttested, match="is missing"):
        await documents.verify(FakeAzure(world.clock).attester.document(VM, "", nonce=NONCE, now=0), nonce="", vm_id=VM)


# By HTTP.


@pytest.fixture
async def server() -> AsyncIterator[tuple[str, list[str]]]:
    """A server of certificates: what it answers is in the path."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        if request.path == "/moved":
            raise web.HTTPFound("/good")
        if request.path == "/in_pieces":
            return await _in_pieces(request)
        size = {"/good": 1_500, "/long": MAX_CERTIFICATE + 1}.get(request.path)
        return web.Response(body=b"x" * size) if size else web.Response(status=404)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"127.0.0.1:{runner.addresses[0][1]}", asked
    await runner.cleanup()


async def _in_pieces(request: web.Request) -> web.StreamResponse:
    """As networks deliver a certificate that is longer than a packet."""
    response = web.StreamResponse()
    response.content_length = 1_500
    await response.prepare(request)
    for size in (700, 800):
        await response.write(b"x" * size)
        await asyncio.sleep(0.05)
    return response


async def test_a_certificate_that_comes_in_pieces_is_whole(server: tuple[str, list[str]]) -> None:
    host, _ = server
    assert await PublishedCertificates((host,)).fetch(f"http://{host}/in_pieces") == b"x" * 1_500


@pytest.mark.parametrize(("path", "got"), [("good", True), ("moved", False), ("long", False), ("gone", False)])
async def test_a_certificate_is_one_short_answer(server: tuple[str, list[str]], path: str, *, got: bool) -> None:
    host, asked = server
    assert (await PublishedCertificates((host,)).fetch(f"http://{host}/{path}") is not None) == got
    assert asked == [f"/{path}"]


async def test_a_host_that_is_silent_is_no_error() -> None:
    assert await PublishedCertificates(("127.0.0.1:9",), answer_s=1).fetch("http://127.0.0.1:9/x") is None


@pytest.mark.parametrize(
    "url",
    [
        "http://{host}/good",
        "http://169.254.169.254/metadata",
        "file:///etc/passwd",
        "http://www.microsoft.com@{host}/good",
        "http://www.microsoft.com:8080/good",
        "http://www.microsoft.com.example.org/good",
        "http://[www.microsoft.com/good",
        "",
    ],
)
async def test_certificates_come_from_known_hosts_only(server: tuple[str, list[str]], url: str) -> None:
    host, asked = server
    assert await PublishedCertificates().fetch(url.format(host=host)) is None
    assert asked == []
