"""The signature of an attested document: PKCS #7 SignedData (RFC 5652), by one signer over its content. Pure.

Azure's documents carry the signer's certificate alone and no signed attributes: the signature is over the content
itself. Attributes and further certificates are accepted, since the documentation excludes neither.

`cryptography` parses and verifies. Its ASN.1 parser is written in Rust and takes strict DER: a node may send anything.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from azure_cni.errors import NotAttested
from azure_cni.model.identity import MAX_ATTESTED_DOCUMENT
from azure_cni.model.text import legible

MAX_CERTIFICATES: Final = 8
RSA_BITS: Final = range(2048, 4096 + 1)
MAX_RSA_EXPONENT: Final = 2**32
"""Azure's is 65537. One as long as the key makes a check of a signature 100 times as slow."""

_SIGNED_DATA: Final = "1.2.840.113549.1.7.2"
_DATA: Final = "1.2.840.113549.1.7.1"
_CONTENT_TYPE: Final = "1.2.840.113549.1.9.3"
_MESSAGE_DIGEST: Final = "1.2.840.113549.1.9.4"
_HASHES: Final[Mapping[str, hashes.HashAlgorithm]] = {
    "2.16.840.1.101.3.4.2.1": hashes.SHA256(),
    "2.16.840.1.101.3.4.2.2": hashes.SHA384(),
    "2.16.840.1.101.3.4.2.3": hashes.SHA512(),
    "1.2.840.113549.1.1.11": hashes.SHA256(),
    "1.2.840.113549.1.1.12": hashes.SHA384(),
    "1.2.840.113549.1.1.13": hashes.SHA512(),
}
"""By the identifier of the digest. Azure writes sha256WithRSAEncryption there."""
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


# The parts of PKCS #7 that a document has, as `cryptography` decodes them. Implicitly tagged sets are read as lists:
# the order of certificates in a set is the writer's.


@asn1.sequence
class _Algorithm:
    oid: x509.ObjectIdentifier
    parameters: asn1.Null | None


@asn1.sequence
class _Encapsulated:
    kind: x509.ObjectIdentifier
    content: Annotated[bytes | None, asn1.Explicit(0)]


@asn1.sequence
class _IssuerAndSerial:
    issuer: x509.Name
    serial: int


@asn1.sequence
class _Attribute:
    kind: x509.ObjectIdentifier
    values: asn1.SetOf[asn1.TLV]


@asn1.sequence
class _SignerInfo:
    version: int
    certificate: _IssuerAndSerial
    digest: _Algorithm
    signed: Annotated[asn1.SetOf[_Attribute] | None, asn1.Implicit(0)]
    algorithm: _Algorithm
    signature: bytes
    unsigned: Annotated[asn1.SetOf[_Attribute] | None, asn1.Implicit(1)]


@asn1.sequence
class _SignedData:
    version: int
    digests: asn1.SetOf[_Algorithm]
    encapsulated: _Encapsulated
    certificates: Annotated[list[x509.Certificate] | None, asn1.Implicit(0)]
    revoked: Annotated[list[asn1.TLV] | None, asn1.Implicit(1)]
    signers: asn1.SetOf[_SignerInfo]


@asn1.sequence
class _ContentInfo:
    kind: x509.ObjectIdentifier
    content: Annotated[_SignedData, asn1.Explicit(0)]


@asn1.sequence
class _SignedAttributes:
    attributes: asn1.SetOf[_Attribute]


@dataclass(frozen=True, slots=True)
class Signed:
    """What was signed, and by whom: that the key of `signer` signed `content` is verified, and no more than that.

    `others` are the certificates that came with it.
    """

    content: bytes
    signer: x509.Certificate
    others: tuple[x509.Certificate, ...]


def verified(document: str) -> Signed:
    """The content of a document (base64) whose signature holds. NotAttested says why it does not."""
    with legibly():
        signed = _parsed(document)
        return _verified(signed)


@contextlib.contextmanager
def legibly() -> Iterator[None]:
    """A certificate's parts are read when they are needed: what cannot be read shows anywhere."""
    try:
        yield
    except _UNREADABLE as error:
        raise NotAttested(f"the attested document cannot be read: {legible(str(error), 200)}") from error


def _parsed(document: str) -> _SignedData:
    if len(document) > MAX_ATTESTED_DOCUMENT:
        raise NotAttested(f"the attested document is longer than {MAX_ATTESTED_DOCUMENT} bytes")
    try:
        info = asn1.decode_der(_ContentInfo, base64.b64decode(document, validate=True))
    except (binascii.Error, ValueError, UnsupportedAlgorithm) as error:
        raise NotAttested(f"the attested document is not PKCS #7 signed data: {legible(str(error), 200)}") from error
    if info.kind.dotted_string != _SIGNED_DATA:
        raise NotAttested(f"the attested document is not PKCS #7 signed data but {info.kind.dotted_string}")
    return info.content


def _verified(signed: _SignedData) -> Signed:
    content, signers = signed.encapsulated.content, signed.signers.as_list()
    certificates = signed.certificates or []
    if content is None or signed.encapsulated.kind.dotted_string != _DATA:
        raise NotAttested("the attested document holds no content")
    if len(signers) != 1:
        raise NotAttested(f"the attested document has {len(signers)} signers; Azure's has one")
    if len(certificates) > MAX_CERTIFICATES:
        raise NotAttested(f"the attested document has more than {MAX_CERTIFICATES} certificates")
    _refuse_costly(certificates)
    (info,) = signers
    named = (info.certificate.issuer, info.certificate.serial)
    signer = next((one for one in certificates if (one.issuer, one.serial_number) == named), None)
    if signer is None:
        raise NotAttested("the attested document does not hold its signer's certificate")
    digest = _HASHES.get(info.digest.oid.dotted_string)
    if digest is None:
        raise NotAttested(f"the attested document is signed over a digest that is not known: {info.digest.oid}")
    _refuse_unsigned(_signed_bytes(info, content, digest), info.signature, signer, digest)
    others = tuple(one for one in certificates if one is not signer)
    return Signed(content, signer, others)


def _refuse_costly(certificates: Collection[x509.Certificate]) -> None:
    """Raise NotAttested for certificates that nobody uses, and that would hold up the controller's event loop.

    Whoever writes the document chooses them. Of authorities with one name, each is tried for each: that is 100 checks
    of a signature before the search for a chain ends.
    """
    if len({one.subject for one in certificates}) < len(certificates):
        raise NotAttested("the attested document has several certificates for one name")
    for one in certificates:
        key = one.public_key()
        if isinstance(key, rsa.RSAPublicKey):
            usual = key.key_size in RSA_BITS and key.public_numbers().e <= MAX_RSA_EXPONENT
        else:
            usual = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES)
        if not usual:
            name = legible(one.subject.rfc4514_string(), 200)
            raise NotAttested(f"the attested document has a certificate, {name}, with a key of an unusual kind or size")


def _signed_bytes(info: _SignerInfo, content: bytes, digest: hashes.HashAlgorithm) -> bytes:
    """What the signature is over: the content, or attributes, one of which is its digest (RFC 5652, 5.4)."""
    if info.signed is None:
        return content
    attributes = info.signed.as_list()
    kinds = _values(attributes, _CONTENT_TYPE)
    digests = _values(attributes, _MESSAGE_DIGEST)
    hashed = hashes.Hash(digest)
    hashed.update(content)
    kind_known = len(kinds) == 1 and kinds[0].parse(x509.ObjectIdentifier).dotted_string == _DATA
    if not kind_known or len(digests) != 1 or digests[0].parse(bytes) != hashed.finalize():
        raise NotAttested("the attested document's content is not what was signed")
    encoded = asn1.encode_der(_SignedAttributes(attributes=info.signed))
    length = encoded[1]  # the set is what follows the header of the sequence around it
    return encoded[2 + (length & 0x7F if length & 0x80 else 0) :]


def _values(attributes: Iterable[_Attribute], kind: str) -> list[asn1.TLV]:
    return [value for one in attributes if one.kind.dotted_string == kind for value in one.values.as_list()]


def _refuse_unsigned(signed: bytes, signature: bytes, signer: x509.Certificate, digest: hashes.HashAlgorithm) -> None:
    try:
        key = signer.public_key()
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, signed, padding.PKCS1v15(), digest)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, ec.ECDSA(digest))
        else:
            raise NotAttested("the attested document is signed by a key of a kind that is not known")
    except InvalidSignature as error:
        raise NotAttested("the signature of the attested document does not match its content") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise NotAttested(f"the key of the attested document's signer cannot be used: {error}") from error
