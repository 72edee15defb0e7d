"""Verify IMDS's attested document: Azure's signed statement of which VM called its metadata service. No I/O, no clock.

What makes a document proof: an authority that we trust issued the signer's certificate, for a name below
`metadata.azure.com` or the cloud's own domain; the signature over the content holds (`signed_data`); the nonce is the
controller's own choice for this node; the document was made minutes ago; and the VM that it names is the one that the
node claims to be. Who has such a document could ask that VM's metadata service.

The document normally carries only the signer's certificate. The issuer's certificate is then in the operator's bundle,
or is fetched from the address that the signer's certificate names (`missing_issuer`).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import msgspec
from cryptography import x509
from cryptography.x509 import verification
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from azure_cni.azure import environments
from azure_cni.azure.signed_data import Signed, legibly, verified
from azure_cni.errors import NotAttested
from azure_cni.model.text import legible

SIGNERS: Final[Mapping[str, str]] = {
    environments.PUBLIC: "metadata.azure.com",
    environments.US_GOVERNMENT: "metadata.azure.us",
    environments.CHINA: "metadata.azure.cn",
}
"""The domain in the signer's certificate, by cloud (IMDS documentation, "Signature validation guidance")."""
OWNERS: Final = ("Microsoft Corporation", "DigiCert")
MAX_AGE_S: Final = 900.0
"""How old a document may be. The agent sends it as soon as it has it; a controller may have to take over in between."""
SKEW_S: Final = 300.0
"""How far the clocks of Azure's host and of the controller's node may differ."""
_SHOWN: Final = "%Y-%m-%dT%H:%M:%SZ"
_TIME: Final = "%m/%d/%y %H:%M:%S %z"
"""As Azure writes it: `11/28/18 00:16:17 -0000`."""


class _TimeStamp(msgspec.Struct, rename="camel"):
    created_on: str
    expires_on: str


class _Content(msgspec.Struct, rename="camel"):
    vm_id: str
    nonce: str
    time_stamp: _TimeStamp


@dataclass(frozen=True, slots=True)
class Trust:
    """Who may sign. `roots` issue, `intermediates` complete a chain, `domain` is the metadata service's."""

    roots: tuple[x509.Certificate, ...]
    intermediates: tuple[x509.Certificate, ...]
    domain: str


def verify(document: str, trust: Trust, *, nonce: str, vm_id: str, now_s: float) -> None:
    """Raise NotAttested, in words, unless the document proves that who has `nonce` is the VM `vm_id`.

    `document` is base64, as the metadata service gives it; `now_s` is in seconds since 1970.
    """
    now = dt.datetime.fromtimestamp(now_s, dt.UTC)
    signed = verified(document)
    with legibly():
        _refuse_untrusted(signed, trust, now=now)
    _refuse_wrong(signed.content, nonce=nonce, vm_id=vm_id, now=now)


def missing_issuer(document: str, trust: Trust) -> tuple[str, ...]:
    """Where the certificate can be had that the chain lacks; () when it has all, or does not say.

    The certificates themselves say so, and nobody vouches for that yet: judge the addresses before use. NotAttested
    as `verify`, if the document is not signed, or not in the metadata service's name.
    """
    signed = verified(document)
    with legibly():
        _service_name(signed.signer, trust.domain)
        last = _last(signed, trust)
        return tuple(_issuer_urls(last)) if last is not None else ()


def with_issuer(trust: Trust, certificate: bytes) -> Trust:
    """The same with one more intermediate, in DER, as `missing_issuer` says where. ValueError if it is none."""
    return replace(trust, intermediates=(*trust.intermediates, x509.load_der_x509_certificate(certificate)))


def trust_in(certificates: bytes, *, usual: bytes, cloud: str) -> Trust:
    """Whom to trust, from PEM texts: an operator's bundle ("" for none) and the public authorities (`usual`).

    Certificates of the bundle that are their own issuer are the authorities, instead of the usual ones; the others
    complete chains. ValueError where a bundle is no PEM text, or holds none.
    """
    bundle = tuple(x509.load_pem_x509_certificates(certificates)) if certificates.strip() else ()
    own = tuple(one for one in bundle if one.subject == one.issuer)
    intermediates = tuple(one for one in bundle if one.subject != one.issuer)
    return Trust(own or tuple(_of_azure(usual)), intermediates, SIGNERS.get(cloud, SIGNERS[environments.PUBLIC]))


def _of_azure(usual: bytes) -> Iterator[x509.Certificate]:
    """Those authorities that issue for Azure ("Azure Certificate Authority details"): Microsoft's and DigiCert's.

    Each is parsed separately, because one of the many public certificates may be unreadable.
    """
    end = b"-----END CERTIFICATE-----"
    for text in usual.split(end)[:-1]:
        with contextlib.suppress(ValueError), warnings.catch_warnings(action="ignore"):
            one = x509.load_pem_x509_certificate(text[text.index(b"-----BEGIN") :] + end)
            owners = one.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
            if any(str(owner.value).startswith(OWNERS) for owner in owners):
                yield one


# Who signed it.


def _refuse_untrusted(signed: Signed, trust: Trust, *, now: dt.datetime) -> None:
    signer = signed.signer
    name = _service_name(signer, trust.domain)
    others = [*signed.others, *trust.intermediates]
    builder = verification.PolicyBuilder().store(verification.Store(list(trust.roots))).time(now)
    try:
        builder.build_server_verifier(x509.DNSName(name)).verify(signer, others)
    except verification.VerificationError as error:
        last = _last(signed, trust)
        if last is None:
            raise NotAttested(
                f"the certificate of the attested document's signer, {name}, is not trusted: {legible(str(error), 200)}"
            ) from error
        issuer = legible(last.issuer.rfc4514_string(), 200)
        raise NotAttested(
            f"the certificate of {issuer}, the authority behind the attested document's signer, is missing; put it "
            f"into azure.attestation.caBundle (it is at {', '.join(_issuer_urls(last)) or 'an unknown place'})"
        ) from error


def _service_name(signer: x509.Certificate, domain: str) -> str:
    """The metadata service's name in the signer's certificate; for a wildcard, one of the names that it covers."""
    names: list[str] = []
    with contextlib.suppress(x509.ExtensionNotFound, ValueError):
        names = signer.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
            x509.DNSName
        )
    for name in names:
        if name.lower() == domain or name.lower().endswith(f".{domain}"):
            return name.replace("*", "any", 1)
    shown = legible(", ".join(names), 200) or "nobody by name"
    raise NotAttested(
        f"the attested document is signed by {shown}; for this azure.cloud it must be {domain} or a name below it"
    )


def _last(signed: Signed, trust: Trust) -> x509.Certificate | None:
    """The certificate at which the chain breaks off, since its issuer's is not there; None where it does not."""
    last, known = signed.signer, [*signed.others, *trust.intermediates]
    while not any(last.issuer == root.subject for root in trust.roots):
        issuer = next((one for one in known if one.subject == last.issuer), None)
        if issuer is None:
            return last
        known.remove(issuer)
        last = issuer
    return None


def _issuer_urls(signer: x509.Certificate) -> Iterator[str]:
    with contextlib.suppress(x509.ExtensionNotFound, ValueError):
        for access in signer.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value:
            location = access.access_location
            if access.access_method == AuthorityInformationAccessOID.CA_ISSUERS and isinstance(
                location, x509.UniformResourceIdentifier
            ):
                yield legible(location.value)


# What it says.


def _refuse_wrong(content: bytes, *, nonce: str, vm_id: str, now: dt.datetime) -> None:
    try:
        said = msgspec.json.decode(content, type=_Content)
        created, expires = _time(said.time_stamp.created_on), _time(said.time_stamp.expires_on)
    except ValueError as error:  # of msgspec, too
        raise NotAttested(f"the attested document cannot be read: {legible(str(error), 200)}") from error
    if not nonce or said.nonce != nonce:
        raise NotAttested(
            "the attested document answers another nonce than the controller's: it was made for another request, or "
            "the metadata service repeated an earlier one"
        )
    if said.vm_id.lower() != vm_id.lower():
        raise NotAttested(f"the attested document is of VM {legible(said.vm_id, 64)}, and the node claims {vm_id}")
    skew = dt.timedelta(seconds=SKEW_S)
    if not created - skew <= now <= min(created + dt.timedelta(seconds=MAX_AGE_S), expires) + skew:
        raise NotAttested(
            f"the attested document was made at {created:{_SHOWN}} and expires at {expires:{_SHOWN}}; here it is "
            f"{now:{_SHOWN}}, and at most {MAX_AGE_S:.0f} s may pass: is the clock of the controller's node right?"
        )


def _time(text: str) -> dt.datetime:
    return dt.datetime.strptime(text, _TIME).astimezone(dt.UTC)
