"""Which attested documents prove which VM a node is, and which do not: a table of bad ones, each wrong in one way."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path

import certifi
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7Options
from hypothesis import given, settings
from hypothesis import strategies as st

from azure_cni.azure import attestation
from azure_cni.azure.attestation import MAX_AGE_S, SKEW_S, Trust
from azure_cni.azure.signed_data import MAX_RSA_EXPONENT, RSA_BITS
from azure_cni.errors import NotAttested
from azure_cni.model.identity import MAX_ATTESTED_DOCUMENT
from fakeazure.attestation import VALIDITY_S, Holder, content
from fakeazure.certificates import Key

NOW = 1_800_000_000.0
NONCE, VM = "0123456789", "02aab8a4-74ef-476e-8182-f6d2ba4166a6"
PLAIN = PKCS7Options.NoAttributes
SAID = content(VM, nonce=NONCE, now=NOW)
NOT_SIGNED = "is not PKCS #7 signed data"


class Authorities:
    """Authorities, and signers that they issued certificates to."""

    def __init__(self) -> None:
        self.root = Holder.authority("root", at=NOW)
        self.issuing = Holder.authority("issuing", self.root, at=NOW)
        self.signer = self.issuing.signer("eastus.metadata.azure.com", "metadata.azure.com", at=NOW)
        self.stranger = Holder.authority("stranger", at=NOW).signer("metadata.azure.com", at=NOW)
        self.elsewhere = self.issuing.signer("metadata.azure.us", at=NOW)
        self.not_a_service = self.issuing.signer("metadata.azure.com.example.org", "xmetadata.azure.com", at=NOW)
        self.astray = self.issuing.signer("metadata.azure.com", at=NOW, url="http://www.microsoft.com/issuing.crt")
        self.in_the_past = self.issuing.signer("metadata.azure.com", at=NOW - 3651 * 86_400)

    def trust(self, *extra: bytes, cloud: str = "AzurePublicCloud") -> Trust:
        bundle = b"".join(extra) or self.root.pem + self.issuing.pem
        return attestation.trust_in(bundle, usual=b"", cloud=cloud)


@cache
def world() -> Authorities:
    return Authorities()


def document(signer: Holder | None = None, said: bytes | None = None, *options: PKCS7Options) -> str:
    return _encoded((signer or world().signer).sign(SAID if said is None else said, *options))


def verify(given: str, trust: Trust | None = None, *, now_s: float = NOW) -> None:
    attestation.verify(given, trust or world().trust(), nonce=NONCE, vm_id=VM, now_s=now_s)


def _encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _plain(signer: Holder | None = None, said: bytes | None = None) -> str:
    """As Azure makes them."""
    return document(signer, said, PLAIN)


def _saying(vm: str = VM, *, nonce: str = NONCE, now: float = NOW) -> str:
    return _plain(said=content(vm, nonce=nonce, now=now))


def _lasting(seconds: float) -> bytes:
    said = json.loads(SAID)
    expired = json.loads(content(VM, nonce=NONCE, now=NOW + seconds - VALIDITY_S))
    said["timeStamp"]["expiresOn"] = expired["timeStamp"]["expiresOn"]
    return json.dumps(said).encode()


def _changed(*options: PKCS7Options) -> str:
    raw = base64.b64decode(document(None, None, *options))
    return _encoded(raw.replace(VM.encode(), VM.replace("0", "1").encode()))


def _signed_by_two() -> str:
    return _encoded(world().signer.sign(SAID, PLAIN, others=(world().stranger,)))


def _with_certificates(signer: Holder, *others: Holder) -> str:
    return _encoded(signer.sign(SAID, PLAIN, beside=others))


def _of_microsoft() -> Holder:
    return Holder.authority("root", at=NOW, owner="Microsoft Corporation")


def _slow_rsa() -> rsa.RSAPrivateKey:
    """A key with a long exponent, which everybody who checks a signature pays for."""
    made = rsa.generate_private_key(65537, RSA_BITS.start).private_numbers()
    p, q, order, e = made.p, made.q, (made.p - 1) * (made.q - 1), MAX_RSA_EXPONENT + 1
    while math.gcd(e, order) != 1:
        e += 1
    d = pow(e, -1, order)
    public = rsa.RSAPublicNumbers(e, p * q)
    return rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public).private_key()


def _with_key(key: Key) -> str:
    """With an authority beside the signer that has this key."""
    return _with_certificates(world().signer, Holder.authority("own", at=NOW, key=key))


def _of_one_name() -> str:
    same = Holder.authority("issuing", world().root, at=NOW)
    return _with_certificates(world().signer, world().issuing, same)


@pytest.mark.parametrize("options", [(PLAIN,), (), (PKCS7Options.NoCapabilities,)])
def test_a_document_as_azure_makes_it_is_proof_with_and_without_signed_attributes(
    options: tuple[PKCS7Options, ...],
) -> None:
    verify(document(None, None, *options))


@pytest.mark.parametrize(
    ("cloud", "name"),
    [
        ("AzurePublicCloud", "metadata.azure.com"),
        ("AzurePublicCloud", "westeurope.metadata.azure.com"),
        ("AzurePublicCloud", "*.metadata.azure.com"),
        ("AzurePublicCloud", "Metadata.Azure.COM"),
        ("AzureUSGovernment", "usgovvirginia.metadata.azure.us"),
        ("AzureChinaCloud", "metadata.azure.cn"),
    ],
)
def test_the_signer_is_the_metadata_service_of_the_cloud_or_of_a_region(cloud: str, name: str) -> None:
    signer = world().issuing.signer(name, at=NOW)
    verify(document(signer, None, PLAIN), world().trust(cloud=cloud))


def test_an_authority_that_the_document_brings_need_not_be_in_the_bundle() -> None:
    with_chain = _with_certificates(world().signer, world().issuing)
    verify(with_chain, world().trust(world().root.pem))


def test_the_guid_may_be_written_in_capitals() -> None:
    verify(document(None, content(VM.upper(), nonce=NONCE, now=NOW), PLAIN))


@pytest.mark.parametrize("age_s", [-SKEW_S, 0.0, MAX_AGE_S + SKEW_S])
def test_clocks_may_differ_by_minutes(age_s: float) -> None:
    verify(_plain(), now_s=NOW + age_s)


BAD: dict[str, tuple[Callable[[], str], str]] = {
    "of an authority that nobody trusts": (lambda: _plain(world().stranger), "certificate of .* is missing"),
    "of a name outside": (lambda: _plain(world().not_a_service), r"is signed by .*must be metadata\.azure\.com"),
    "of another cloud": (lambda: _plain(world().elsewhere), r"is signed by metadata\.azure\.us; .* must"),
    "of an authority, not of a service": (lambda: _plain(world().issuing), "is signed by nobody by name"),
    "of a certificate that is over": (lambda: _plain(world().in_the_past), "is not trusted: .* not valid"),
    "for another nonce": (lambda: _saying(nonce="9876543210"), "answers another nonce"),
    "without a nonce": (lambda: _saying(nonce=""), "answers another nonce"),
    "of another VM": (lambda: _saying(VM.replace("0", "1")), "is of VM 12aab8a4.*, and the node claims 02aab8a4"),
    "of yesterday": (lambda: _saying(now=NOW - 86_400), "was made at 2027-01-14.*is the clock"),
    "an hour old": (lambda: _saying(now=NOW - 3_600), "at most 900 s may pass"),
    "of tomorrow": (lambda: _saying(now=NOW + 86_400), "was made at"),
    "that expired": (lambda: _plain(said=_lasting(-SKEW_S - 1)), "was made at"),
    "without times": (lambda: _plain(said=b'{"vmId": "x", "nonce": "1"}'), "cannot be read"),
    "with times of another kind": (lambda: _plain(said=SAID.replace(b"/", b"-")), "cannot be read: time data"),
    "that is no JSON": (lambda: _plain(said=b"\xff\x00"), "cannot be read"),
    "that says nothing": (lambda: _plain(said=b""), "cannot be read|holds no content"),
    "that was changed": (lambda: _changed(PLAIN), "does not match its content"),
    "whose digest is another's": (_changed, "content is not what was signed"),
    "of two signers": (_signed_by_two, "has 2 signers"),
    "of authorities of one name": (_of_one_name, "several certificates for one name"),
    "with a key that is slow": (lambda: _with_key(_slow_rsa()), "CN=own, with a key of an unusual"),
    "with a key that is long": (
        lambda: _with_key(rsa.generate_private_key(65537, RSA_BITS.stop + 31)),
        "CN=own, with a key of an unusual",
    ),
    "with a key of a rare curve": (
        lambda: _with_key(ec.generate_private_key(ec.BrainpoolP512R1())),
        "CN=own, with a key of an unusual",
    ),
    "detached from its content": (lambda: document(None, None, PKCS7Options.DetachedSignature), "holds no content"),
    "that is a certificate": (lambda: _encoded(world().root.der), NOT_SIGNED),
    "of garbage": (lambda: _encoded(b"\x30\x03abc"), NOT_SIGNED),
    "that is not base64": (lambda: "%%%%", NOT_SIGNED),
    "that is not ASCII": (lambda: "\u00e9" * 8, NOT_SIGNED),
    "that is empty": (lambda: "", NOT_SIGNED),
    "that ends early": (lambda: _plain()[:400], NOT_SIGNED),
    "with more behind it": (lambda: _encoded(base64.b64decode(_plain()) + b"\x00\x00"), NOT_SIGNED),
    "that is nested deeply": (lambda: _encoded(b"\x30\x80" * 5_000), NOT_SIGNED),
    "that is huge": (lambda: "A" * (MAX_ATTESTED_DOCUMENT + 4), f"is longer than {MAX_ATTESTED_DOCUMENT} bytes"),
}


@pytest.mark.parametrize("case", BAD)
def test_no_proof_is_a_document(case: str) -> None:
    make, words = BAD[case]
    with pytest.raises(NotAttested, match=words):
        verify(make())


def test_an_authority_that_is_missing_is_named_with_the_place_where_it_is() -> None:
    with pytest.raises(
        NotAttested, match=r"CN=issuing.* is missing; put it into azure\.attestation\.caBundle \(it is at http"
    ):
        verify(_plain(world().astray), world().trust(world().root.pem))


def test_where_a_missing_authority_is_found_the_signers_certificate_says() -> None:
    given = _plain(world().astray)
    alone = world().trust(world().root.pem)
    assert attestation.missing_issuer(given, alone) == ("http://www.microsoft.com/issuing.crt",)
    assert attestation.missing_issuer(given, world().trust()) == ()
    assert attestation.missing_issuer(_plain(), alone) == ()
    with_it = attestation.with_issuer(alone, world().issuing.der)
    assert attestation.missing_issuer(given, with_it) == ()
    verify(given, with_it)


def test_nothing_is_fetched_for_who_is_not_the_metadata_service() -> None:
    stranger = Holder.authority("x", at=NOW).signer("example.org", at=NOW, url="http://www.microsoft.com/x.crt")
    with pytest.raises(NotAttested, match=r"is signed by example\.org"):
        attestation.missing_issuer(document(stranger, None, PLAIN), world().trust())


def test_without_a_bundle_the_authorities_that_issue_for_azure_are_trusted() -> None:
    trust = attestation.trust_in(b"", usual=Path(certifi.where()).read_bytes(), cloud="AzurePublicCloud")
    names = {root.subject.rfc4514_string() for root in trust.roots}
    assert any("CN=DigiCert Global Root G2" in name for name in names)
    assert any("CN=Microsoft RSA Root Certificate Authority 2017" in name for name in names)
    assert all("O=DigiCert" in name or "O=Microsoft Corporation" in name for name in names)
    with pytest.raises(NotAttested, match="is missing"):
        verify(_plain(), trust)


def test_a_bundle_of_intermediates_leaves_the_usual_authorities() -> None:
    trust = attestation.trust_in(world().issuing.pem, usual=_of_microsoft().pem, cloud="AzurePublicCloud")
    assert (len(trust.roots), len(trust.intermediates)) == (1, 1)
    trust = attestation.trust_in(world().root.pem, usual=_of_microsoft().pem, cloud="AzurePublicCloud")
    assert trust.roots == (world().root.certificate,)


@pytest.mark.parametrize("text", [b"what", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_bundle_that_is_none_is_reported(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        attestation.trust_in(text, usual=b"", cloud="AzurePublicCloud")


@settings(max_examples=300)
@given(st.data())
def test_a_document_with_any_bytes_changed_is_no_proof_and_no_fault(data: st.DataObject) -> None:
    raw = bytearray(base64.b64decode(data.draw(st.sampled_from([_good(PLAIN), _good()]))))
    original = bytes(raw)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    if bytes(raw) == original:
        return
    try:
        verify(_encoded(bytes(raw)))
    except NotAttested:
        return
    # What is neither signed nor needed may differ: the digests' list, versions, and signature algorithms' names.
    assert _said(bytes(raw)) == _said(original)


@cache
def _good(*options: PKCS7Options) -> str:
    return document(None, None, *options)


def _said(raw: bytes) -> bytes:
    begin = raw.index(b'{"licenseType"')
    return raw[begin : begin + len(SAID)]
