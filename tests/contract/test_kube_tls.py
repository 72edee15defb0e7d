"""The API server's certificate: old authorities are accepted, strangers are not; by our one context."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from azure_cni.errors import KubeUnreachable
from azure_cni.kube.authorities import Authorities, context
from azure_cni.kube.client import KubeClient, KubeEndpoint
from fakes.serving import serve

DAY = dt.timedelta(days=1)


def certificate(
    subject: str, key: ec.EllipticCurvePrivateKey, issuer: str, by: ec.EllipticCurvePrivateKey, *, ca: bool
):
    """As authorities were made for years: without key identifiers and key usage."""
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if not ca:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    return builder.sign(by, hashes.SHA256())


def write(path: Path, *parts: x509.Certificate | ec.EllipticCurvePrivateKey) -> Path:
    pem = serialization.Encoding.PEM
    blobs = [
        part.public_bytes(pem)
        if isinstance(part, x509.Certificate)
        else part.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        for part in parts
    ]
    path.write_bytes(b"".join(blobs))
    return path


@pytest.fixture
def old_authority(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Files: an old authority, a server's chain by it, and an authority that is a stranger to both."""
    ca_key, server_key, other_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    server = certificate("localhost", server_key, "old-ca", ca_key, ca=False)
    return (
        write(tmp_path / "ca.pem", certificate("old-ca", ca_key, "old-ca", ca_key, ca=True)),
        write(tmp_path / "server.pem", server, server_key),
        write(tmp_path / "other.pem", certificate("other", other_key, "other", other_key, ca=True)),
    )


async def greet(server_file: Path, client: ssl.SSLContext) -> str:
    """One handshake over loopback; the subject that the client was shown."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(server_file)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=serving)
    async with server:
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="localhost")
        subject = writer.get_extra_info("peercert")["subject"]
        writer.close()
        return str(subject)


async def test_an_authority_without_key_identifiers_is_trusted(old_authority: tuple[Path, Path, Path]):
    ca_file, server_file, _ = old_authority
    assert "localhost" in await greet(server_file, context(ca_file))


async def test_a_stranger_is_still_refused(old_authority: tuple[Path, Path, Path]):
    _, server_file, other = old_authority
    with pytest.raises(ssl.SSLCertVerificationError):
        await greet(server_file, context(other))


async def test_strict_mode_is_what_would_refuse_it(old_authority: tuple[Path, Path, Path]):
    ca_file, server_file, _ = old_authority
    strict = ssl.create_default_context(cafile=str(ca_file))
    strict.verify_flags |= ssl.VERIFY_X509_STRICT
    with pytest.raises(ssl.SSLCertVerificationError):
        await greet(server_file, strict)


async def test_an_authority_that_is_replaced_is_trusted_without_a_restart(old_authority: tuple[Path, Path, Path]):
    ca_file, server_file, other = old_authority
    right, wrong = ca_file.read_bytes(), other.read_bytes()
    ca_file.write_bytes(wrong)
    authorities = Authorities(ca_file)
    with pytest.raises(ssl.SSLCertVerificationError):
        await greet(server_file, authorities.context)
    replace(ca_file, b"half a certif")
    authorities.refresh()  # said in the log, and nothing else
    replace(ca_file, right)
    authorities.refresh()
    assert "localhost" in await greet(server_file, authorities.context)


async def test_a_session_asks_for_the_authority_at_each_request(old_authority: tuple[Path, Path, Path]):
    ca_file, server_file, other = old_authority
    right = ca_file.read_bytes()
    ca_file.write_bytes(other.read_bytes())
    app = web.Application()

    async def thing(_: web.Request) -> web.Response:
        return web.json_response({"kind": "Thing"})

    app.router.add_get("/thing", thing)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(server_file)
    async with (
        serve(app, tls=serving) as port,
        KubeClient(KubeEndpoint(f"https://localhost:{port}", ca_file=ca_file)) as client,
    ):
        with pytest.raises(KubeUnreachable):
            await client.get("/thing")
        replace(ca_file, right)
        assert await client.get("/thing") == {"kind": "Thing"}


def replace(path: Path, content: bytes) -> None:
    """As the kubelet does it: another file under the name."""
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    beside.replace(path)
