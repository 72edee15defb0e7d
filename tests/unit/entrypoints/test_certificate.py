"""The certificate of the metrics port: self-signed, or from files that others replace, damage or write late."""

from __future__ import annotations

import logging
import os
import ssl
import subprocess
import sys
import tempfile
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from azure_cni.entrypoints import certificate, self_signed
from azure_cni.entrypoints.certificate import CertificateFiles
from azure_cni.errors import AzureCniError
from azurebox.pki import Authority, KeyPair

NODE = IPv4Address("10.240.0.4")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Where the kubelet mounts a Secret: files by way of a link, which it turns to another directory."""
    directory = tmp_path / "secret"
    directory.mkdir()
    for name in (certificate.CERTIFICATE, certificate.KEY):
        (directory / name).symlink_to(Path("..data") / name)
    return directory


def mount(secret: Path, pair: KeyPair) -> None:
    """As the kubelet replaces the files of a Secret: all at once."""
    made = secret / f"..{os.urandom(4).hex()}"
    made.mkdir()
    (made / certificate.CERTIFICATE).write_text(pair.certificate)
    (made / certificate.KEY).write_text(pair.key)
    link = secret / "..new"
    link.symlink_to(made.name)
    link.replace(secret / "..data")


def shown(context: ssl.SSLContext) -> str:
    """The subject of the certificate that a client is shown, by a handshake in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    client = trusting.wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    reported = client.getpeercert(binary_form=True)
    assert reported is not None
    return x509.load_der_x509_certificate(reported).subject.rfc4514_string()


def test_a_secret_that_is_replaced_serves_from_the_next_connection_on(secret: Path, authority: Authority):
    mount(secret, authority.issue("first", addresses=(NODE,)))
    files = CertificateFiles(secret)
    first = files.context()
    assert first is not None
    assert shown(first) == "CN=first"
    assert files.context() is first
    mount(secret, authority.issue("second", addresses=(NODE,)))
    second = files.context()
    assert second is not None
    assert shown(second) == "CN=second"


def test_without_a_secret_there_is_no_handshake_and_with_one_there_is(
    secret: Path, authority: Authority, caplog: pytest.LogCaptureFixture
):
    files = CertificateFiles(secret)
    assert [files.context() for _ in range(3)] == [None, None, None]
    assert [record.getMessage() for record in caplog.records] == ["certificate of the metrics port is absent"]
    mount(secret, authority.issue("late", addresses=(NODE,)))
    assert files.context() is not None


def encrypted(pair: KeyPair) -> KeyPair:
    key = serialization.load_pem_private_key(pair.key.encode(), None)
    how = serialization.BestAvailableEncryption(b"secret")
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)
    return KeyPair(pair.certificate, pem.decode())


@pytest.mark.parametrize("damage", ["key of another", "half", "empty", "encrypted"])
def test_a_pair_that_cannot_be_used_leaves_the_one_before(
    secret: Path, authority: Authority, caplog: pytest.LogCaptureFixture, damage: str
):
    good, other = (authority.issue(name, addresses=(NODE,)) for name in ("good", "other"))
    mount(secret, good)
    files = CertificateFiles(secret)
    before = files.context()
    bad = {
        "key of another": KeyPair(good.certificate, other.key),
        "half": KeyPair(other.certificate[:200], other.key),
        "empty": KeyPair("", ""),
        "encrypted": encrypted(other),
    }
    mount(secret, bad[damage])
    assert [files.context() for _ in range(3)] == [before, before, before]
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        "certificate of the metrics port cannot be used"
    ]
    mount(secret, other)
    after = files.context()
    assert after is not None
    assert shown(after) == "CN=other"


def test_a_secret_that_is_taken_away_leaves_the_pair_before(secret: Path, authority: Authority):
    mount(secret, authority.issue("good", addresses=(NODE,)))
    files = CertificateFiles(secret)
    before = files.context()
    (secret / "..data").unlink()
    assert files.context() is before


async def test_a_self_signed_certificate_is_for_the_nodes_address():
    assert shown(await certificate.self_signed(str(NODE))) == "CN=azure-cni metrics"


async def test_where_no_file_is_in_memory_the_key_leaves_none_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As on Windows."""
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert shown(await certificate.self_signed(str(NODE))) == "CN=azure-cni metrics"
    assert os.listdir(tmp_path) == []  # noqa: PTH208  # pathlib's is for code that does not wait


@pytest.mark.parametrize("address", ["10.240.0.4", "fd00::4"])
def test_what_it_says(address: str):
    pem = self_signed.pair(address)
    made = x509.load_pem_x509_certificate(pem)
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name) for name in names.get_values_for_type(x509.IPAddress)] == [address]
    assert (made.not_valid_after_utc - made.not_valid_before_utc).days == 3650


async def test_each_process_has_a_key_of_its_own():
    assert self_signed.pair(str(NODE)) != self_signed.pair(str(NODE))


async def test_why_none_can_be_made_is_said():
    with pytest.raises(AzureCniError, match=r"^cannot make a certificate for the metrics port: ValueError: 'nowhere'"):
        await certificate.self_signed("nowhere")


async def test_old_protocols_and_renegotiation_are_refused():
    context = await certificate.self_signed(str(NODE))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION


def test_the_library_that_makes_certificates_is_not_in_the_agent():
    """It is 9 MiB."""
    code = (
        "import sys, azure_cni.entrypoints.agent; "
        "sys.exit('cryptography' in sys.modules or 'azure_cni.entrypoints.self_signed' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
