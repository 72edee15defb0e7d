"""What Docker's engine has, by its own API: which endpoint is whose. Pure.

Docker tells its drivers of networks and endpoints, and not of containers; and what it forgets in a crash it tells
nobody. So its lists are read (`GET /containers/json?all=1`, `/networks`, `/networks/ID`), and an endpoint of the ledger
has a container if

- a container says so: its settings name the endpoint while it runs; or
- the network says so: it names the endpoint with the container's ID, or, before the container has joined, its name.
  That is so from the first call to the plugin on, however long a container takes to start (a volume that hangs).

An answer of another shape is refused as a whole: half of a list would say of the other half that it is gone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec

from azure_cni.errors import DecodeFailed
from azure_cni.model.text import NOT_JSON, legible

CONTAINERS_PATH: Final = "/containers/json?all=1"
NETWORKS_PATH: Final = "/networks"
LONGEST_NAME: Final = 128
"""Of a name as it is shown. Docker has no limit."""

T = TypeVar("T")


class _Attachment(msgspec.Struct, rename="pascal"):
    endpoint_id: str = msgspec.field(name="EndpointID", default="")


class _Attachments(msgspec.Struct, rename="pascal"):
    networks: dict[str, _Attachment | None] | None = None


class _Container(msgspec.Struct, rename="pascal"):
    id: str
    names: list[str] | None = None
    network_settings: _Attachments | None = None


class _Network(msgspec.Struct, rename="pascal"):
    id: str
    name: str = ""


class _Place(msgspec.Struct, rename="pascal"):
    """Of a network, under the ID of a container, or under another key where it has none yet."""

    endpoint_id: str = msgspec.field(name="EndpointID")
    name: str = ""


class _NetworkInside(msgspec.Struct, rename="pascal"):
    id: str
    containers: dict[str, _Place] | None = None


@dataclass(frozen=True, slots=True)
class EngineView:
    """One reading. `containers` are names of containers by endpoint ID, `networks` names of networks by their ID.

    `count`: how many containers there are, whatever their networks.
    """

    containers: Mapping[str, str] = field(default_factory=dict)
    networks: Mapping[str, str] = field(default_factory=dict)
    count: int = 0


@dataclass(frozen=True, slots=True)
class EngineReport:
    """The comparison with the engine as people see it. `view`: as of the last answer, None before the first; `age_s`:
    seconds since then; `error`: why the last reading failed, "" where it did not.
    """

    view: EngineView | None = None
    age_s: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True)
class ContainerList:
    """All containers: names by ID, and IDs by the endpoints that they name."""

    names: Mapping[str, str]
    endpoints: Mapping[str, str]


def read_containers(answer: bytes) -> ContainerList:
    """DecodeFailed where it is no list of containers."""
    listed = _decoded(answer, list[_Container], CONTAINERS_PATH)
    names = {one.id: _name(one) for one in listed}
    endpoints: dict[str, str] = {}
    for one in listed:
        attached = one.network_settings.networks if one.network_settings is not None else None
        endpoints |= {place.endpoint_id: one.id for place in (attached or {}).values() if place and place.endpoint_id}
    return ContainerList(names, endpoints)


def read_networks(answer: bytes) -> dict[str, str]:
    """Names by ID. DecodeFailed where it is no list of networks."""
    return {one.id: legible(one.name, LONGEST_NAME) for one in _decoded(answer, list[_Network], NETWORKS_PATH)}


def read_places(answer: bytes, network_id: str) -> dict[str, _Place]:
    """Who is on one network, by container ID. DecodeFailed where it is not that network."""
    inside = _decoded(answer, _NetworkInside, network_path(network_id))
    if inside.id != network_id:
        raise DecodeFailed(
            f"cannot read Docker's answer to GET {network_path(network_id)}: it is about {legible(inside.id)}"
        )
    return inside.containers or {}


def network_path(network_id: str) -> str:
    """Of one network, with who is on it."""
    return f"{NETWORKS_PATH}/{network_id}"


def viewed(
    containers: ContainerList, networks: Mapping[str, str], places: Collection[Mapping[str, _Place]]
) -> EngineView:
    """What the three kinds of answers say together."""
    named = {name: identifier for identifier, name in containers.names.items()}
    owners = dict(containers.endpoints)
    for one in places:
        for key, place in one.items():
            owner = key if key in containers.names else named.get(legible(place.name, LONGEST_NAME), "")
            if owner:
                owners.setdefault(place.endpoint_id, owner)
    found = {endpoint: containers.names[owner] for endpoint, owner in owners.items()}
    return EngineView(found, networks, len(containers.names))


def _name(container: _Container) -> str:
    """Its own one: links of other containers are names, too, with a second slash."""
    own = [name.removeprefix("/") for name in container.names or [] if name.count("/") <= 1]
    return legible(own[0] if own and own[0] else container.id, LONGEST_NAME)


def _decoded(answer: bytes, kind: type[T], path: str) -> T:
    try:
        return msgspec.json.decode(answer, type=kind)
    except NOT_JSON as error:
        beginning = legible(answer[:80].decode(errors="replace"))
        raise DecodeFailed(f"cannot read Docker's answer to GET {path}: {error}; it begins {beginning!r}") from error
