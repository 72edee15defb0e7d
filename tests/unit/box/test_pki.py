"""The cluster's certificates are good in the strictest eyes: Python 3.13's."""

import ssl
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509

from azurebox.pki import Authority

ADDRESS = IPv4Address("10.240.0.4")


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_server_and_client_trust_each_other_under_strict_verification(tmp_path: Path):
    authority = Authority(tmp_path / "ca")
    pair = authority.issue("server", names=("azbox-cp",), addresses=(ADDRESS,))
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(write(tmp_path / "crt", pair.certificate), write(tmp_path / "key", pair.key))
    client = ssl.create_default_context(cadata=authority.pem)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    assert handshake(client, server, str(ADDRESS)) is not None


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> str | None:
    """Let both talk over buffers until both are content; the version they agreed on."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(8):
        waiting = []
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                waiting.append(end)
        if not waiting:
            return ends[0].version()
    raise AssertionError("no agreement")


def test_a_user_and_its_groups_are_in_the_subject(tmp_path: Path):
    pair = Authority(tmp_path).issue("system:node:azbox-vm1", ("system:nodes",))
    subject = x509.load_pem_x509_certificate(pair.certificate.encode()).subject
    assert subject.rfc4514_string() == "CN=system:node:azbox-vm1,O=system:nodes"


def test_the_authority_is_the_same_when_it_is_opened_again(tmp_path: Path):
    assert Authority(tmp_path).pem == Authority(tmp_path).pem
