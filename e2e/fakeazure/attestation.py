"""The metadata service's attested document, signed by authorities of the fake's own.

As Azure's: PKCS #7 over JSON, without signed attributes, with the signer's certificate alone in it; a chain of root,
issuing authority and signer; six hours of validity; without a nonce, the time (the documentation's examples). All times
are the clock's of the fake.
"""

import base64
import datetime as dt
import json
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7Options, PKCS7SignatureBuilder
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from fakeazure.certificates import Key, begin, common_name, key_usage

LIFETIME = dt.timedelta(days=3650)
VALIDITY_S = 6 * 3600
KEY_BITS = 2048
DOMAIN = "metadata.azure.com"


@dataclass(frozen=True, slots=True)
class Holder:
    """A certificate with its key, and who issued it (None: itself)."""

    certificate: x509.Certificate
    key: Key
    issuer: "Holder | None" = None

    @classmethod
    def authority(
        cls,
        name: str,
        issuer: Self | None = None,
        *,
        at: float,
        owner: str = "",
        url: str = "",
        key: Key | None = None,
    ) -> "Holder":
        """Who may issue certificates. `owner` is the organization, `url` where the issuer's certificate is."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        return _issued(key, name, issuer, at=at, names=(), owner=owner, url=url)

    def signer(self, *names: str, at: float, url: str = "") -> "Holder":
        """Who signs documents in these names. `url` is where its certificate says that its issuer's is."""
        return _issued(_signing_key(), names[0].lstrip("*."), self, at=at, names=names, url=url)

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def der(self) -> bytes:
        """The same, as authorities publish it."""
        return self.certificate.public_bytes(Encoding.DER)

    def document(self, said: bytes) -> str:
        """An attested document as Azure makes it."""
        return base64.b64encode(self.sign(said, PKCS7Options.NoAttributes)).decode()

    def sign(
        self,
        content: bytes,
        *options: PKCS7Options,
        others: "tuple[Holder, ...]" = (),
        beside: "tuple[Holder, ...]" = (),
    ) -> bytes:
        """PKCS #7 signed data in DER; `others` sign too, and certificates of those `beside` go with it."""
        builder = PKCS7SignatureBuilder().set_data(content)
        for one in (self, *others):
            builder = builder.add_signer(one.certificate, one.key, hashes.SHA256())
        for one in beside:  # last: a signer drops them
            builder = builder.add_certificate(one.certificate)
        return builder.sign(Encoding.DER, [PKCS7Options.Binary, *options])


class Attester:
    """Signs for the VMs of one fake. The authorities are made at once, the signer when it is needed."""

    def __init__(self, *, at: float) -> None:
        self._at = at
        self.root = Holder.authority("azure-cni fake attestation root", at=at)
        self.issuing = Holder.authority("azure-cni fake attestation authority", self.root, at=at)
        self._last: dict[str, str] = {}

    @property
    def bundle(self) -> bytes:
        """Whom to trust, as PEM: the root, and the issuing authority, which documents do not hold."""
        return self.root.pem + self.issuing.pem

    @cached_property
    def signer(self) -> Holder:
        """The metadata service of a region."""
        return self.issuing.signer(f"eastus.{DOMAIN}", DOMAIN, at=self._at)

    def document(self, vm_id: str, subscription_id: str, *, nonce: str, now: float, stale: bool = False) -> str:
        """The signed document in base64; a `stale` one is the last that this VM was given, whatever the nonce."""
        if stale and vm_id in self._last:
            return self._last[vm_id]
        self._last[vm_id] = self.signer.document(content(vm_id, subscription_id, nonce=nonce, now=now))
        return self._last[vm_id]


@cache
def _signing_key() -> rsa.RSAPrivateKey:
    """One for a process: it takes a second to make on a busy machine, and none of our signers keeps it secret."""
    return rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)


def content(vm_id: str, subscription_id: str = "", *, nonce: str, now: float) -> bytes:
    """What a document says."""
    created, expires = (dt.datetime.fromtimestamp(at, dt.UTC) for at in (now, now + VALIDITY_S))
    said = {
        "licenseType": "",
        "nonce": nonce or expires.strftime("%Y%m%d-%H%M%S"),
        "plan": {"name": "", "product": "", "publisher": ""},
        "sku": "22_04-lts-gen2",
        "subscriptionId": subscription_id,
        "timeStamp": {"createdOn": _written(created), "expiresOn": _written(expires)},
        "vmId": vm_id,
    }
    return json.dumps(said, separators=(",", ":")).encode()


def _written(time: dt.datetime) -> str:
    return time.strftime("%m/%d/%y %H:%M:%S -0000")


def _issued(
    key: Key,
    name: str,
    issuer: Holder | None,
    *,
    at: float,
    names: tuple[str, ...],
    url: str = "",
    owner: str = "",
) -> Holder:
    is_authority = not names
    subject = common_name(name, *filter(None, [owner]))
    issuing_name, issuing_key = (issuer.certificate.subject, issuer.key) if issuer else (subject, key)
    since = dt.datetime.fromtimestamp(at, dt.UTC) - dt.timedelta(days=1)
    builder = (
        begin(subject, issuing_name, key=key, issuer_key=issuing_key, since=since, lifetime=LIFETIME)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(key_usage(signs_certificates=is_authority), critical=True)
    )
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(one) for one in names])
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        builder = builder.add_extension(alternatives, critical=False).add_extension(usage, critical=False)
    if url:
        where = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier(url))
        builder = builder.add_extension(x509.AuthorityInformationAccess([where]), critical=False)
    return Holder(builder.sign(issuing_key, hashes.SHA256()), key, issuer)
