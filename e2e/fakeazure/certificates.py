"""Certificates: what all of them have, and those by which clients know the fake's Resource Manager."""

import datetime as dt
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = dt.timedelta(days=30)
SKEW = dt.timedelta(hours=1)

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def begin(
    subject: x509.Name, issuer: x509.Name, *, key: Key, issuer_key: Key, since: dt.datetime, lifetime: dt.timedelta
) -> x509.CertificateBuilder:
    """What all certificates have, to be extended and signed.

    Python 3.13 requires both key identifiers (VERIFY_X509_STRICT).
    """
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(since + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """What a key may be used for: an authority's for certificates too."""
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def common_name(text: str, *organizations: str) -> x509.Name:
    """A name, with the organizations that it belongs to."""
    owners = (x509.NameAttribute(NameOID.ORGANIZATION_NAME, one) for one in organizations)
    return x509.Name([*owners, x509.NameAttribute(NameOID.COMMON_NAME, text)])


def write_certificates(directory: Path, hosts: Sequence[str]) -> tuple[Path, Path]:
    """Make `ca.pem` for clients and `server.pem` (key and chain) for `hosts` (names or addresses); gives both paths."""
    ca_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name, since = common_name("azure-cni fake Azure CA"), dt.datetime.now(dt.UTC) - SKEW
    ca = (
        begin(ca_name, ca_name, key=ca_key, issuer_key=ca_key, since=since, lifetime=LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    server = (
        begin(common_name(hosts[0]), ca_name, key=server_key, issuer_key=ca_key, since=since, lifetime=LIFETIME)
        .add_extension(x509.SubjectAlternativeName([_alternative(host) for host in hosts]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(signs_certificates=False), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    ca_file, server_file = directory / "ca.pem", directory / "server.pem"
    ca_file.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    key = server_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    server_file.touch(mode=0o600)
    server_file.write_bytes(key + server.public_bytes(serialization.Encoding.PEM))
    return ca_file, server_file


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
