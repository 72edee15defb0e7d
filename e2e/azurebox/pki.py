"""The cluster's certificates: one authority, and a certificate for every server and every caller.

All are made when the control plane is first started, static and valid for a year: nothing in the box depends on
signing at run time.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from azurebox.steps import write_whole
from fakeazure.certificates import begin, common_name, key_usage

VALID_FOR = timedelta(days=365)
SLACK = timedelta(hours=1)  # clocks that differ


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key, as PEM."""

    certificate: str
    key: str


class Authority:
    """The cluster's certificate authority, kept in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (directory / "ca.crt").exists():
            self._found()
        self._certificate = x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes())
        key = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{directory}/ca.key is no elliptic curve key")
        self._key = key

    @property
    def pem(self) -> str:
        """The authority's certificate."""
        return (self.directory / "ca.crt").read_text()

    def issue(
        self,
        user: str,
        groups: tuple[str, ...] = (),
        *,
        names: tuple[str, ...] = (),
        addresses: tuple[IPv4Address, ...] = (),
    ) -> KeyPair:
        """A certificate for the Kubernetes user `user`, good as a client's and, with names or addresses, a server's."""
        key = ec.generate_private_key(ec.SECP256R1())
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
        subject, issuer = common_name(user, *groups), self._certificate.subject
        builder = begin(subject, issuer, key=key, issuer_key=self._key, since=_since(), lifetime=VALID_FOR)
        if names or addresses:
            uses.append(ExtendedKeyUsageOID.SERVER_AUTH)
            others = [*map(x509.DNSName, names), *map(x509.IPAddress, addresses)]
            builder = builder.add_extension(x509.SubjectAlternativeName(others), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        builder = builder.add_extension(key_usage(signs_certificates=False), critical=True)
        return KeyPair(_pem(builder.sign(self._key, hashes.SHA256())), _key_pem(key))

    def _found(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = common_name("azbox-kubernetes-ca")
        builder = begin(name, name, key=key, issuer_key=key, since=_since(), lifetime=VALID_FOR)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(key_usage(signs_certificates=True), critical=True)
        write_whole(self.directory / "ca.key", _key_pem(key), mode=0o600)
        write_whole(self.directory / "ca.crt", _pem(builder.sign(key, hashes.SHA256())))


def signing_key() -> str:
    """A private key to sign service account tokens with, as PEM."""
    return _key_pem(ec.generate_private_key(ec.SECP256R1()))


def _since() -> datetime:
    return datetime.now(UTC) - SLACK


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    # The traditional form: the API server does not take PKCS #8 for its service account keys.
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    ).decode()
