"""Route tables: what a body asks for, what GET shows, and what the fabric is to enforce.

Azure documentation, "Virtual network traffic routing" (user-defined routes): the next hop types, and that an appliance
is named by its address. Chosen where nothing is known: a write takes effect at once, without an operation.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from typing import get_args

from fakeazure import errors, filtererrors
from fakeazure.effectivefilters import EffectiveRoute, EffectiveRouteTable, NextHop
from fakeazure.records import Document

TABLE_TYPE = "Microsoft.Network/routeTables"
ROUTES_PER_TABLE = 400  # Azure documentation, virtual network limits
APPLIANCE = "VirtualAppliance"


def read(table_id: str, properties: Document) -> Document:
    """The properties to keep of a PUT: its routes, checked. Raises ArmError."""
    routes = [_read_route(table_id, route) for route in properties.get("routes") or ()]
    if len(routes) > ROUTES_PER_TABLE:
        raise errors.invalid_format(f"{table_id} has {len(routes)} routes, the most are {ROUTES_PER_TABLE}")
    for index, route in enumerate(routes):
        for other in routes[:index]:
            if other["name"].lower() == route["name"].lower():
                raise errors.duplicate_name(table_id, route["name"])
            if other["properties"]["addressPrefix"] == route["properties"]["addressPrefix"]:
                raise filtererrors.route_conflict(route["name"], other["name"])
    return {"disableBgpRoutePropagation": bool(properties.get("disableBgpRoutePropagation")), "routes": routes}


def _read_route(table_id: str, route: Document) -> Document:
    name, given = route.get("name"), route.get("properties") or {}
    if not isinstance(name, str) or not name:
        raise errors.invalid_format(f"a route of {table_id} has no name")
    kind, address = given.get("nextHopType"), given.get("nextHopIpAddress")
    if kind not in get_args(NextHop):
        raise errors.invalid_format(f"route {name}: nextHopType {kind!r} is none of {', '.join(get_args(NextHop))}")
    if kind == APPLIANCE and not address:
        raise filtererrors.route_without_hop(name)
    try:
        prefix = str(IPv4Network(given.get("addressPrefix") or ""))
        hop = {"nextHopIpAddress": str(IPv4Address(address))} if kind == APPLIANCE else {}
    except ValueError as error:
        raise errors.invalid_format(f"route {name}: {error}") from error
    return {"name": name, "properties": {"addressPrefix": prefix, "nextHopType": kind, **hop}}


def shown(table_id: str, etag: str, properties: Document, *, used_by: Iterable[tuple[str, str]]) -> Document:
    """The properties that GET shows; `used_by` are (kind, id) of the subnets that refer to it."""
    subnets = [{"id": user} for _, user in used_by]
    routes = [
        {
            "name": route["name"],
            "id": f"{table_id}/routes/{route['name']}",
            "etag": etag,
            "type": f"{TABLE_TYPE}/routes",
            "properties": {"provisioningState": "Succeeded", **route["properties"], "hasBgpOverride": False},
        }
        for route in properties.get("routes", ())
    ]
    return {**properties, "routes": routes, **({"subnets": subnets} if subnets else {})}


def effective(table_id: str, properties: Document) -> EffectiveRouteTable:
    """What the fabric enforces."""
    routes = tuple(
        EffectiveRoute(
            name=route["name"],
            prefix=route["properties"]["addressPrefix"],
            kind=route["properties"]["nextHopType"],
            next_hop=route["properties"].get("nextHopIpAddress"),
        )
        for route in properties.get("routes", ())
    )
    return EffectiveRouteTable(table_id, routes)
