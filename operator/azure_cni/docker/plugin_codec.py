"""Docker's plugin protocol as values: libnetwork's calls of network and IPAM drivers, and what they are answered. Pure.

Each call is a POST with a JSON object (libnetwork/docs/remote.md, ipam.md): names are Go's, a missing map or list is
null, and fields that are not known here are ignored, because Docker may be newer. A document of another shape is
refused as a whole, with the place.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, TypeAlias

import msgspec

from azure_cni.errors import DecodeFailed
from azure_cni.model.text import NOT_JSON, legible

_INITIALISMS: Final = {"id": "ID", "ipv4": "IPv4", "ipv6": "IPv6"}

MEDIA_TYPE: Final = "application/vnd.docker.plugins.v1.2+json"
LOCAL_SPACE: Final = "azure-cni"
SWARM_SPACE: Final = "azure-cni-swarm"
"""Address spaces. Docker asks for pools of the second for networks of a swarm."""

INTERNAL: Final = "com.docker.network.internal"
ENABLE_IPV4: Final = "com.docker.network.enable_ipv4"
ENABLE_IPV6: Final = "com.docker.network.enable_ipv6"
USER_OPTIONS: Final = "com.docker.network.generic"
"""What people gave with `docker network create -o`."""
PUBLISHED: Final = "com.docker.network.portmap"
DOCKERS_OWN: Final = "com.docker."
"""With this begin the options of an endpoint that Docker itself gives; the others are people's (`driver-opt=`)."""
INTERFACE_NAME: Final = "com.docker.network.endpoint.ifname"
"""People's, too: the name of the interface in the container, which it is for drivers to set."""
REQUEST_KIND: Final = "RequestAddressType"
OF_GATEWAY: Final = "com.docker.network.gateway"
CONTAINER_NAME: Final = "com.docker.network.endpoint.name"
"""Of the container for which an address is requested: Docker 29 and later (moby, pull request 50586)."""


def _in_go(name: str) -> str:
    return "".join(_INITIALISMS.get(word, word.capitalize()) for word in name.split("_"))


Identifier = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9_.\-]*\Z", max_length=128)]
NamespacePath = Annotated[str, msgspec.Meta(pattern=r"\A(/[^\x00-\x1f\x7f]+)?\Z", max_length=4096)]
"""Absolute, or "" while there is none. It is opened later on, by whoever looks for processes."""
Options: TypeAlias = dict[str, Any]


class _Call(msgspec.Struct, frozen=True, rename=_in_go):
    """One call, as Docker names its fields."""


class IpamData(_Call, frozen=True, rename=_in_go):
    """What an IPAM driver gave a network, as Docker passes it on to the network driver. CIDRs."""

    address_space: str = ""
    pool: str = ""
    gateway: str = ""
    aux_addresses: dict[str, Any] | None = None


class EndpointInterface(_Call, frozen=True, rename=_in_go):
    """What an endpoint has already: its address from the IPAM driver, the MAC that a person chose."""

    address: str = ""
    address_ipv6: str = msgspec.field(default="", name="AddressIPv6")
    mac_address: str = ""


class Activate(_Call, frozen=True, rename=_in_go):
    """Which kinds of driver this is."""


class NetworkCapabilities(_Call, frozen=True, rename=_in_go):
    """What the network driver can do."""


class CreateNetwork(_Call, frozen=True, rename=_in_go):
    """`docker network create`, after its pool and gateway were asked for."""

    network_id: Identifier
    options: Options | None = None
    ipv4_data: list[IpamData] | None = None
    ipv6_data: list[IpamData] | None = None


class DeleteNetwork(_Call, frozen=True, rename=_in_go):
    """`docker network rm`."""

    network_id: Identifier


class CreateEndpoint(_Call, frozen=True, rename=_in_go):
    """A container gets a place on a network; its address has been requested before."""

    network_id: Identifier
    endpoint_id: Identifier
    interface: EndpointInterface | None = None
    options: Options | None = None


class _OfEndpoint(_Call, frozen=True, rename=_in_go):
    network_id: Identifier
    endpoint_id: Identifier


class DeleteEndpoint(_OfEndpoint, frozen=True, rename=_in_go):
    """Its place is given up; its address is released afterwards."""


class EndpointInfo(_OfEndpoint, frozen=True, rename=_in_go):
    """What a driver would show of it in `docker inspect`."""


class Join(_OfEndpoint, frozen=True, rename=_in_go):
    """The container starts, or is connected: which interface is to be moved into it?"""

    sandbox_key: NamespacePath = ""
    options: Options | None = None


class Leave(_OfEndpoint, frozen=True, rename=_in_go):
    """The container ends, or is disconnected."""


class ProgramExternalConnectivity(_OfEndpoint, frozen=True, rename=_in_go):
    """The endpoint has the container's default route now; ports are to be published."""

    options: Options | None = None


class RevokeExternalConnectivity(_OfEndpoint, frozen=True, rename=_in_go):
    """Not any more."""


class Discovery(_Call, frozen=True, rename=_in_go):
    """A node of a swarm came or went."""


class SwarmNetwork(_Call, frozen=True, rename=_in_go):
    """A manager of a swarm allocates a network, or frees it."""


class IpamCapabilities(_Call, frozen=True, rename=_in_go):
    """What the IPAM driver needs to know."""


class AddressSpaces(_Call, frozen=True, rename=_in_go):
    """The names of its address spaces."""


class RequestPool(_Call, frozen=True, rename=_in_go):
    """A network needs a pool; `pool` and `sub_pool` are `--subnet` and `--ip-range`, "" where a person chose none."""

    address_space: str = ""
    pool: str = ""
    sub_pool: str = ""
    options: dict[str, str] | None = None
    v6: bool = False


class ReleasePool(_Call, frozen=True, rename=_in_go):
    """The network is gone."""

    pool_id: str


class RequestAddress(_Call, frozen=True, rename=_in_go):
    """An address for a container (`--ip`, or "" for any), or for the network's gateway."""

    pool_id: str
    address: str = ""
    options: dict[str, str] | None = None


class ReleaseAddress(_Call, frozen=True, rename=_in_go):
    """It is not needed any more."""

    pool_id: str
    address: str = ""


Call: TypeAlias = (
    Activate
    | NetworkCapabilities
    | CreateNetwork
    | DeleteNetwork
    | CreateEndpoint
    | DeleteEndpoint
    | EndpointInfo
    | Join
    | Leave
    | ProgramExternalConnectivity
    | RevokeExternalConnectivity
    | Discovery
    | SwarmNetwork
    | IpamCapabilities
    | AddressSpaces
    | RequestPool
    | ReleasePool
    | RequestAddress
    | ReleaseAddress
)

METHODS: Final[Mapping[str, type[Call]]] = MappingProxyType(
    {
        "Plugin.Activate": Activate,
        "NetworkDriver.GetCapabilities": NetworkCapabilities,
        "NetworkDriver.AllocateNetwork": SwarmNetwork,
        "NetworkDriver.FreeNetwork": SwarmNetwork,
        "NetworkDriver.CreateNetwork": CreateNetwork,
        "NetworkDriver.DeleteNetwork": DeleteNetwork,
        "NetworkDriver.CreateEndpoint": CreateEndpoint,
        "NetworkDriver.DeleteEndpoint": DeleteEndpoint,
        "NetworkDriver.EndpointOperInfo": EndpointInfo,
        "NetworkDriver.Join": Join,
        "NetworkDriver.Leave": Leave,
        "NetworkDriver.ProgramExternalConnectivity": ProgramExternalConnectivity,
        "NetworkDriver.RevokeExternalConnectivity": RevokeExternalConnectivity,
        "NetworkDriver.DiscoverNew": Discovery,
        "NetworkDriver.DiscoverDelete": Discovery,
        "IpamDriver.GetCapabilities": IpamCapabilities,
        "IpamDriver.GetDefaultAddressSpaces": AddressSpaces,
        "IpamDriver.RequestPool": RequestPool,
        "IpamDriver.ReleasePool": ReleasePool,
        "IpamDriver.RequestAddress": RequestAddress,
        "IpamDriver.ReleaseAddress": ReleaseAddress,
    }
)
"""Paths of the socket, without the slash, and what is read there. `GwAllocCheck` is not offered: its answer is no."""

_DECODERS: Final = {kind: msgspec.json.Decoder(kind) for kind in METHODS.values()}


def decode(method: str, body: bytes) -> Call:
    """The call of one of METHODS. DecodeFailed where the body has another shape."""
    kind, empty = METHODS[method], body.strip() in {b"", b"null"}
    if empty and kind.__struct_fields__:
        # Docker repeats a call whose connection broke, and has sent its body by then (moby, issues 35459 and 39331).
        raise DecodeFailed(
            f"cannot read the call of {method}: it is empty: Docker repeats without its content a call that was cut "
            "off, when azure-cni was restarted; try again what failed (docker start, docker network create)"
        )
    try:
        # Calls without arguments come with no body, or with null.
        call: Call = _DECODERS[kind].decode(b"{}" if empty else body)
    except NOT_JSON as error:
        beginning = legible(body[:80].decode(errors="replace"))
        raise DecodeFailed(f"cannot read the call of {method}: {error}; it begins {beginning!r}") from error
    return call


def error_reply(error: Exception) -> dict[str, str]:
    """What Docker shows behind "remote: ": it looks for `Err` of network drivers and for `Error` of IPAM drivers."""
    return {"Err": str(error), "Error": str(error)}


def is_on(options: Options | None, name: str, *, default: bool = False) -> bool:
    """A switch among options. Docker has it as a boolean; its older releases and people write it as text."""
    value = (options or {}).get(name, default)
    return value is True or (isinstance(value, str) and value.lower() in {"true", "1"})
