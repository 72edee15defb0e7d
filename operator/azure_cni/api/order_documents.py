"""Orders and their answers as documents in the pool.

Both are written as merge patches, so a document names every one of its keys: None takes away what an earlier one left
there. Only who a node was found to be stays, until it is found out anew (`read_identified`). An order is read by a
process that may do more than its author, so it is taken apart strictly.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any, Final, TypeVar, assert_never

import msgspec

from azure_cni.api import reading
from azure_cni.api.identity import MachineClaim, NodeIdentity, VNetView
from azure_cni.api.nic import (
    MAX_CONFIGS_PER_NIC,
    ConfigName,
    ExcludedConfiguration,
    IPConfiguration,
    NicID,
    NicView,
    SubnetID,
    VNetID,
)
from azure_cni.api.orders import Failure, Identify, Order, ReadNic, ReadVNet, Result, WriteNic, verb
from azure_cni.errors import (
    AccessDenied,
    CloudError,
    CloudNotFound,
    CloudUnreachable,
    DecodeFailed,
    InternalFault,
    OperationFailed,
    OutcomeUnknown,
    PreconditionFailed,
    RequestRefused,
    ResourceBusy,
    SubnetFull,
    Throttled,
)

T = TypeVar("T")

ERRORS: Final[Mapping[str, type[CloudError]]] = {
    kind.reason: kind
    for kind in (
        CloudError,
        CloudUnreachable,
        Throttled,
        ResourceBusy,
        PreconditionFailed,
        SubnetFull,
        AccessDenied,
        CloudNotFound,
        RequestRefused,
        OperationFailed,
        OutcomeUnknown,
    )
}
"""By reason. One that this build does not know is the plain CloudError: who decides by its kind decides cautiously."""

_SEGMENT: Final = r"[-\w()][-\w.()]*"
_Text = Annotated[str, msgspec.Meta(max_length=1024)]
_VMResource = Annotated[
    str,
    msgspec.Meta(
        max_length=1024,
        pattern=f"(?i)^/subscriptions/{_SEGMENT}/resourceGroups/{_SEGMENT}/providers/Microsoft.Compute/"
        f"(virtualMachines|virtualMachineScaleSets/{_SEGMENT}/virtualMachines)/{_SEGMENT}$",
    ),
]
_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_CONFIGS_PER_NIC)]
_Number = Annotated[int, msgspec.Meta(ge=0)]


class _Order(msgspec.Struct, rename="camel"):
    id: _Number
    verb: str
    vm: _VMResource
    vm_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] = msgspec.field(name="vmID")
    macs: Annotated[tuple[_Text, ...], msgspec.Meta(max_length=64)] = ()
    nic: _Text = ""
    vnet: _Text = ""
    etag: _Text = ""
    add: _Count = 0
    remove: Annotated[tuple[_Text, ...], msgspec.Meta(max_length=MAX_CONFIGS_PER_NIC)] = ()
    permit: _Number = 0


class _Identity(msgspec.Struct, rename="camel"):
    vm_id: str
    vm: str
    nic: str
    subnet: str
    vnet: str
    mac: str
    primary_ip: str


class _VNet(msgspec.Struct):
    prefixes: tuple[str, ...]
    peered: tuple[str, ...]


class _Config(msgspec.Struct, omit_defaults=True):
    name: str
    address: str = ""
    primary: bool = False
    pending: bool = False
    static: bool = False


class _Excluded(msgspec.Struct, omit_defaults=True):
    name: str
    why: str
    address: str = ""
    public: bool = False


class _Nic(msgspec.Struct):
    id: str
    etag: str
    settled: bool
    failed: bool
    configs: tuple[_Config, ...]
    excluded: tuple[_Excluded, ...] = ()


class _Error(msgspec.Struct, rename="camel"):
    reason: str
    message: str
    azure_code: str
    retry_after_s: float | None = None
    action: str = ""
    scope: str = ""


class _Answer(msgspec.Struct):
    id: _Number
    identity: _Identity | None = None
    vnet: _VNet | None = None
    nic: _Nic | None = None
    error: _Error | None = None


def order_document(number: int, order: Order) -> dict[str, Any]:
    """As in `status.order`."""
    document = _Order(
        number, verb(order), vm=order.claim.vm_resource_id, vm_id=order.claim.vm_id, macs=order.claim.macs
    )
    match order:
        case Identify():
            pass
        case ReadVNet():
            document.vnet = order.vnet_id
        case ReadNic():
            document.nic = order.nic_id
        case WriteNic():
            document.nic, document.etag, document.permit = order.nic_id, order.etag, order.permit
            document.add, document.remove = order.add, order.remove
        case _:
            assert_never(order)
    return _built(document)


def read_order(document: object) -> Order:
    """The order in a pool; DecodeFailed says what is wrong with it."""
    raw = _taken(document, _Order, what="order")
    claim = MachineClaim(vm_id=raw.vm_id.lower(), vm_resource_id=raw.vm, macs=raw.macs)
    match raw.verb:
        case "identify":
            return Identify(claim)
        case "vnet":
            return ReadVNet(claim, VNetID(raw.vnet))
        case "read":
            return ReadNic(claim, NicID(raw.nic))
        case "write":
            names = tuple(ConfigName(name) for name in raw.remove)
            return WriteNic(claim, NicID(raw.nic), raw.etag, add=raw.add, remove=names, permit=raw.permit)
        case _:
            raise DecodeFailed(f"cannot carry out the order {raw.verb!r}: this version does not know it")


def answer_document(number: int, result: Result | Failure) -> dict[str, Any]:
    """As in `status.answer`."""
    answer = _Answer(number)
    match result:
        case NodeIdentity():
            answer.identity = _Identity(
                result.vm_id, result.vm_resource_id, result.nic_id, result.subnet_id, result.vnet_id, result.mac,
                str(result.primary_ip),
            )  # fmt: skip
        case VNetView():
            answer.vnet = _VNet(*(tuple(map(str, prefixes)) for prefixes in (result.prefixes, result.peered)))
        case NicView():
            answer.nic = _nic_document(result)
        case InternalFault():
            answer.error = _Error(result.reason, str(result), azure_code="")
        case CloudError():
            answer.error = _Error(result.reason, str(result), result.azure_code, result.retry_after_s)
            if isinstance(result, AccessDenied):
                answer.error.action, answer.error.scope = result.action, result.scope
        case _:
            assert_never(result)
    built = _built(answer)
    if answer.identity is None:
        del built["identity"]
    return built


def _nic_document(nic: NicView) -> _Nic:
    configs = tuple(
        _Config(config.name, str(config.address or ""), config.primary, pending=not config.ready, static=config.static)
        for config in nic.configs
    )
    excluded = tuple(
        _Excluded(config.name, config.why, str(config.address or ""), public=config.public) for config in nic.excluded
    )
    return _Nic(nic.nic_id, nic.etag, nic.settled, nic.failed, configs, excluded)


def read_answer(document: object) -> Result | Failure:
    """What came of an order: the error is returned, for the caller to raise. DecodeFailed when it is no answer."""
    raw = _taken(document, _Answer, what="answer")
    try:
        if raw.error is not None:
            return _error(raw.error)
        if raw.nic is not None:
            return _nic(raw.nic)
        if raw.vnet is not None:
            return _vnet(raw.vnet)
        if raw.identity is not None:  # last: it stays below the answers that follow
            return _identity(raw.identity)
    except ValueError as error:
        raise DecodeFailed(f"cannot use the answer: {error}") from error
    raise DecodeFailed("cannot use the answer: it says nothing")


def read_identified(pool: Mapping[str, Any]) -> str:
    """The GUID of the VM that a controller last found to be this pool's; "" when none did. No agent may write it."""
    answer = reading.mapping(reading.status_of(pool).get("answer"))
    return reading.text(reading.mapping(answer.get("identity")).get("vmId"))


def _error(raw: _Error) -> Failure:
    if raw.reason == InternalFault.reason:
        return InternalFault(raw.message)
    kind = ERRORS.get(raw.reason, CloudError)
    if issubclass(kind, AccessDenied):
        return kind(raw.message, action=raw.action, scope=raw.scope, azure_code=raw.azure_code)
    return kind(raw.message, azure_code=raw.azure_code, retry_after_s=raw.retry_after_s)


def _identity(raw: _Identity) -> NodeIdentity:
    return NodeIdentity(
        vm_id=raw.vm_id,
        vm_resource_id=raw.vm,
        nic_id=NicID(raw.nic),
        subnet_id=SubnetID(raw.subnet),
        vnet_id=VNetID(raw.vnet),
        mac=raw.mac,
        primary_ip=IPv4Address(raw.primary_ip),
    )


def _vnet(raw: _VNet) -> VNetView:
    prefixes, peered = (tuple(map(IPv4Network, texts)) for texts in (raw.prefixes, raw.peered))
    return VNetView(prefixes, peered)


def _nic(raw: _Nic) -> NicView:
    return NicView(
        NicID(raw.id),
        raw.etag,
        raw.settled,
        tuple(map(_config, raw.configs)),
        raw.failed,
        tuple(map(_excluded, raw.excluded)),
    )


def _config(raw: _Config) -> IPConfiguration:
    name, address = ConfigName(raw.name), _address(raw.address)
    return IPConfiguration(name, address, primary=raw.primary, ready=not raw.pending, static=raw.static)


def _excluded(raw: _Excluded) -> ExcludedConfiguration:
    return ExcludedConfiguration(raw.name, _address(raw.address), raw.why, public=raw.public)


def _address(text: str) -> IPv4Address | None:
    return IPv4Address(text) if text else None


def _built(document: msgspec.Struct) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(document)
    return built


def _taken(document: object, kind: type[T], *, what: str) -> T:
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise DecodeFailed(f"cannot use the {what}: {error}; is it of another version?") from error
