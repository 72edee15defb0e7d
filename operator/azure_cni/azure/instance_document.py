"""What the metadata service says of a VM, decoded: its instance document, and the envelope of an attested one. Pure.

A NIC that is not ours may be as it likes: what cannot be read of one is said in its `fault`, and spoils nothing else.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any, Final, TypeVar

import msgspec

from azure_cni.errors import CloudUnreachable
from azure_cni.model.identity import MAX_ATTESTED_DOCUMENT
from azure_cni.model.nic import BLOCK_SIZE
from azure_cni.model.text import NOT_JSON, legible

log = logging.getLogger(__name__)

_MAC: Final = re.compile("[0-9a-f]{2}(:[0-9a-f]{2}){5}")


@dataclass(frozen=True, slots=True)
class ImdsAddress:
    """One address of an interface, and whether it has a public one (basic SKU only: others are not shown)."""

    private: IPv4Address
    public: bool
    size: int = 1
    """How many addresses it stands for, `private` being the first."""


@dataclass(frozen=True, slots=True)
class ImdsInterface:
    """One NIC as the VM sees it; `mac` as the kernel writes it, the primary address first.

    `fault` says what of it could not be read, "" when all was: a NIC that is not ours may be as it likes.
    """

    mac: str
    addresses: tuple[ImdsAddress, ...]
    subnets: tuple[IPv4Network, ...]
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Instance:
    """This VM. `resource_id` is its ARM id; `environment` names the cloud; `scale_set` is "" outside one."""

    vm_id: str
    name: str
    resource_id: str
    environment: str
    scale_set: str
    interfaces: tuple[ImdsInterface, ...]


def mac_text(raw: str) -> str:
    """`000D3A1BC721` or `00-0D-3A-1B-C7-21` as the kernel writes it."""
    digits = raw.replace("-", "").replace(":", "").lower()
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))


class _Camel(msgspec.Struct, rename="camel"):
    pass


S = TypeVar("S", bound=_Camel)


class _Address(_Camel):
    private_ip_address: str | None = None
    public_ip_address: str | None = None


class _Subnet(_Camel):
    address: str | None = None
    prefix: str | None = None


class _IPv4(_Camel):
    ip_address: list[_Address] | None = None
    subnet: list[_Subnet] | None = None


class _Interface(_Camel):
    ipv4: _IPv4 | None = None


class _Network(_Camel):
    interface: list[Any] | None = None


class _Compute(_Camel):
    vm_id: Annotated[str, msgspec.Meta(min_length=1)]
    resource_id: Annotated[str, msgspec.Meta(min_length=1)]
    name: str | None = None
    az_environment: str | None = None
    vm_scale_set_name: str | None = None


class _Attested(_Camel):
    encoding: str
    signature: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ATTESTED_DOCUMENT)]


class _Document(_Camel):
    compute: _Compute
    network: _Network | None = None


def parse_instance(content: bytes) -> Instance:
    """The VM that an instance document describes. CloudUnreachable when it is none."""
    document = _decoded(content, _Document, what="the instance metadata")
    compute = document.compute
    shown = (document.network.interface if document.network else None) or []
    return Instance(
        vm_id=legible(compute.vm_id.lower()),
        name=legible(compute.name or ""),
        resource_id=compute.resource_id,
        environment=legible(compute.az_environment or ""),
        scale_set=legible(compute.vm_scale_set_name or ""),
        interfaces=tuple(interface for raw in shown if (interface := _interface(raw)) is not None),
    )


def parse_signature(content: bytes) -> str:
    """The signed document in an attested one, as base64. CloudUnreachable when there is none."""
    document = _decoded(content, _Attested, what="the attested document")
    if document.encoding.lower() != "pkcs7":
        raise CloudUnreachable(
            f"cannot use the attested document: it is encoded as {legible(document.encoding, 40)} instead of pkcs7"
        )
    return document.signature


def _decoded(content: bytes, kind: type[S], *, what: str) -> S:
    try:
        return msgspec.json.decode(content, type=kind)
    except NOT_JSON as error:
        raise CloudUnreachable(f"cannot use {what}: {legible(str(error))}; does something else answer?") from error


def _interface(raw: object) -> ImdsInterface | None:
    """One NIC; None where not even its MAC can be read, by which it could be ours."""
    written = raw.get("macAddress") if isinstance(raw, Mapping) else None
    mac = mac_text(written) if isinstance(written, str) else ""
    if not _MAC.fullmatch(mac):
        log.info("an interface without a MAC is skipped", extra={"mac": legible(str(written), 40)})
        return None
    try:
        ipv4 = msgspec.convert(raw, _Interface).ipv4 or _IPv4()
        return ImdsInterface(mac, tuple(_addresses(ipv4)), tuple(_subnets(ipv4)))
    except (msgspec.ValidationError, ValueError) as error:
        return ImdsInterface(mac, addresses=(), subnets=(), fault=legible(str(error), 100))


def _addresses(ipv4: _IPv4) -> Iterator[ImdsAddress]:
    for item in ipv4.ip_address or ():
        # How a block is shown is not documented: as a NIC's own document does it, in CIDR form, it is understood.
        if item.private_ip_address:
            block = IPv4Network(item.private_ip_address, strict=False)
            if block.num_addresses in {1, BLOCK_SIZE}:
                public = bool(item.public_ip_address)
                yield ImdsAddress(block.network_address, public=public, size=block.num_addresses)


def _subnets(ipv4: _IPv4) -> Iterator[IPv4Network]:
    """What a NIC has not, the service leaves empty; and it may show the NIC's address for the subnet's."""
    for subnet in ipv4.subnet or ():
        if subnet.address:
            yield IPv4Network(f"{subnet.address}/{subnet.prefix or ''}", strict=False)
