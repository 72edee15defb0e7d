"""The requests that the binary sends over the socket, and the errors it gets back.

Bodies are JSON objects: `containerID netns ifname args path config` for add, del and check, `path config` for gc and
status; what the runtime did not give is "" or {}. Of a del only `containerID`, `ifname` and, where it can be read, the
config's `name` count. Unknown fields are ignored: the binary may be newer than the agent. Each request becomes one
value of a closed union, validated as far as possible without looking at the node.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Final, TypeAlias

import msgspec

from azure_cni.cni.config import NetConf, answer_version, is_network_name, parse
from azure_cni.cni.requested import asked_beside, requested_address
from azure_cni.cni.results import previous_addresses
from azure_cni.cni.systems import LINUX, NodeSystem
from azure_cni.datapath.interface import NO_OPTIONS, PodOptions
from azure_cni.errors import AzureCniError, ConfigInvalid, DecodeFailed, EnvironmentInvalid, NoAddress, RequestError
from azure_cni.ipam.address_state import Holder, Sandbox
from azure_cni.model.nic import Address
from azure_cni.model.text import NOT_JSON, legible


@dataclass(frozen=True, slots=True)
class Add:
    """Attach a sandbox, with the address that was `requested`; None leaves the choice to azure-cni. `asked`: more."""

    holder: Holder
    config: NetConf
    requested: IPv4Address | None = None
    asked: PodOptions = NO_OPTIONS


@dataclass(frozen=True, slots=True)
class Delete:
    """Detach a sandbox. Whatever else came with it may be wrong, the network's name too: a pod must be able to end."""

    sandbox: Sandbox


@dataclass(frozen=True, slots=True)
class Check:
    """Compare a sandbox with what it should be; `expected` are its addresses in the result of its ADD."""

    holder: Holder
    expected: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Collect:
    """GC: detach every sandbox of the network that is not in `valid`, which are sandboxes of that network."""

    network: str
    valid: frozenset[Sandbox]


@dataclass(frozen=True, slots=True)
class Status:
    """Can this node take a pod?"""


Request: TypeAlias = Add | Delete | Check | Collect | Status

VERBS: Final = ("add", "del", "check", "gc", "status")
"""Last parts of the request's path, `/cni/v1/VERB`."""

_CONTAINER_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")  # CNI specification, parameters
_MAX_CONTAINER_ID = 255
"""NAME_MAX: libcni keeps the result in a file that is named by it. containerd's and CRI-O's have 64 characters."""
_MAX_IFNAME = 15  # IFNAMSIZ - 1 (Linux, if.h)
_MAX_NAME = 253
"""Of a pod or namespace (Kubernetes, names: a DNS subdomain); of podman's containers as well, which it names so."""
_SHOWN = 80
"""Characters of what is refused that a message repeats: who sent it knows the rest."""


class _Body(msgspec.Struct):
    config: dict[str, Any]
    containerID: str = ""  # noqa: N815  # the protocol's spelling
    netns: str = ""
    ifname: str = ""
    args: dict[str, str] = {}


class _DelBody(msgspec.Struct):
    """The fields that name a sandbox: the rest of a DEL is not looked at, so it cannot be wrong."""

    containerID: str = ""  # noqa: N815  # the protocol's spelling
    ifname: str = ""
    config: msgspec.Raw = msgspec.Raw(b"{}")


class _Named(msgspec.Struct):
    name: str = ""


_DECODER: Final = msgspec.json.Decoder(_Body)
_DEL_DECODER: Final = msgspec.json.Decoder(_DelBody)
_NAME_DECODER: Final = msgspec.json.Decoder(_Named)


def decode(verb: str, body: bytes, *, system: NodeSystem = LINUX) -> Request:
    """Read the request for one of VERBS, of a runtime on that `system`.

    DecodeFailed, EnvironmentInvalid, ConfigInvalid or VersionUnsupported.
    """
    try:
        if verb == "del":
            named = _DEL_DECODER.decode(body)
            return Delete(_sandbox(_network(named.config), named.containerID, named.ifname))
        raw = _DECODER.decode(body)
    except NOT_JSON as error:
        shown = legible(str(error))
        raise DecodeFailed(f"cannot read the {verb} request: {shown}; it begins {body[:_SHOWN]!r}") from error
    match verb:
        case "add":
            config = parse(raw.config, system=system)
            asked = asked_beside(config, system.capabilities)
            return Add(_holder(raw, config, system), config, requested_address(config, raw.args), asked)
        case "check":
            return _check(raw, parse(raw.config, system=system), system)
        case "gc":
            return _collect(parse(raw.config, system=system))
        case "status":
            parse(raw.config, system=system)
            return Status()
    raise DecodeFailed(f'cannot do "{legible(verb, _SHOWN)}": the verbs are {", ".join(VERBS)}')


def version_of(body: bytes) -> str:
    """The version in which an answer to this body is understood, whatever else is wrong with it."""
    try:
        raw = msgspec.json.decode(body)
    except NOT_JSON:
        raw = None
    return answer_version(raw.get("config") if isinstance(raw, dict) else None)


def error_body(error: AzureCniError, version: str) -> tuple[int, dict[str, Any]]:
    """HTTP status and CNI error: 400 for the caller's faults, 503 for what may pass, 500 for the rest.

    `details` is the CamelCase cause, the same word as in events and conditions.
    """
    status = 400 if isinstance(error, RequestError) else 503 if error.code in {11, 50} else 500
    cause = error.cause if isinstance(error, NoAddress) else error.reason
    return status, {"cniVersion": version, "code": error.code, "msg": str(error), "details": cause}


def _network(config: msgspec.Raw) -> str:
    """The network that the configuration of a DEL names; "" (unknown) where it names none that could be one."""
    try:
        name = _NAME_DECODER.decode(config).name
    except NOT_JSON:
        return ""
    return name if is_network_name(name) else ""


def _sandbox(network: str, container_id: str, name: str) -> Sandbox:
    if len(container_id) > _MAX_CONTAINER_ID or not _CONTAINER_ID.fullmatch(container_id):
        raise EnvironmentInvalid(
            f'cannot use CNI_CONTAINERID "{legible(container_id, _SHOWN)}": it must be up to {_MAX_CONTAINER_ID} '
            'letters, digits, "_", "." and "-", and begin with a letter or digit'
        )
    if not 0 < len(name.encode()) <= _MAX_IFNAME or name in {".", ".."} or not _is_ifname(name):
        raise EnvironmentInvalid(
            f'cannot use CNI_IFNAME "{legible(name, _SHOWN)}": it must have 1 to {_MAX_IFNAME} printable bytes without '
            '"/", ":" and spaces'
        )
    return Sandbox(network, container_id, name)


def _is_ifname(name: str) -> bool:
    return name.isprintable() and re.search(r"[/:\s]", name) is None


def _holder(raw: _Body, config: NetConf, system: NodeSystem) -> Holder:
    sandbox = _sandbox(config.name, raw.containerID, raw.ifname)
    if not system.netns.allows(raw.netns) or not raw.netns.isprintable():
        raise EnvironmentInvalid(
            f'cannot use CNI_NETNS "{legible(raw.netns, _SHOWN)}" for container {raw.containerID}: {system.netns.words}'
        )
    return Holder(
        sandbox,
        netns=raw.netns,
        pod_namespace=_name(raw.args, "K8S_POD_NAMESPACE"),
        pod_name=_name(raw.args, "K8S_POD_NAME"),
        pod_uid=_name(raw.args, "K8S_POD_UID"),
    )


def _name(args: Mapping[str, str], key: str) -> str:
    """What goes into the ledger, the log and the audit trail: so it has an end, and is on one line."""
    name = args.get(key, "")
    if len(name) > _MAX_NAME or not name.isprintable():
        raise EnvironmentInvalid(
            f'cannot use {key} "{legible(name, _SHOWN)}" of CNI_ARGS: it must have at most {_MAX_NAME} characters, all '
            "printable"
        )
    return name


def _check(raw: _Body, config: NetConf, system: NodeSystem) -> Check:
    holder = _holder(raw, config, system)
    if config.prev_result is None:
        raise ConfigInvalid("cannot check a sandbox without prevResult: the runtime must give the result of its ADD")
    return Check(holder, previous_addresses(config.prev_result, ifname=holder.sandbox.ifname))


def _collect(config: NetConf) -> Collect:
    valid = config.attachments if config.valid_attachments is msgspec.UNSET else config.valid_attachments
    if valid is msgspec.UNSET:
        # To read "not said" as "none" would take the network from every pod of the node.
        raise ConfigInvalid("cannot collect garbage without cni.dev/valid-attachments: the runtime must list them")
    sandboxes = (Sandbox(config.name, one.containerID, one.ifname) for one in valid or ())
    return Collect(config.name, frozenset(sandboxes))
