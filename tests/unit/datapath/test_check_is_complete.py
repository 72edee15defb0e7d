"""CHECK fails on each thing of a sandbox that can be missing or changed, names it, and fails on nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address
from typing import Any

import pytest

from azure_cni.datapath.interface import Interface, Neighbour, Route, differences
from azure_cni.ipam.address_state import LinkParameters, Sandbox
from azure_cni.model.identity import ModeName
from azure_cni.node.ports import SandboxSpec
from simulation.datapath import described

OF_ALL = {"name", "shared"}
"""What an interface is known by, and whose it is."""


def ends(mode: ModeName) -> tuple[Interface, ...]:
    """All interfaces of a sandbox."""
    link = LinkParameters(1500, IPv4Address("10.240.0.4"), mode)
    addresses = IPv4Address("10.240.0.7"), IPv6Address("2001:db8::7")
    wiring = described(SandboxSpec(Sandbox("n", "c1", "eth0"), "/run/netns/p", addresses, link))
    return (*wiring.node, wiring.pod)


def damaged(end: Interface) -> Iterator[tuple[str, Interface]]:
    """Each thing of it that is given, missing or another, once."""
    for field in fields(end):
        if field.name in OF_ALL or (end.shared and field.name == "mtu"):
            continue
        for other in others(getattr(end, field.name)):
            yield f"{field.name}: {other}", replace(end, **{field.name: other})


def others(value: Any) -> list[Any]:
    """What may stand there instead; nothing where nothing is asked for."""
    match value:
        case tuple():
            return [tuple(it for it in value if it != one) for one in value]
        case bool():
            return [not value]
        case int():
            return [value + 1] if value else []
        case str():
            return ["02:00:00:00:00:99"]
    return [] if value is None else [None]


@pytest.mark.parametrize("mode", list(ModeName))
def test_each_thing_that_is_missing_is_found(mode: ModeName) -> None:
    tried = 0
    for end in ends(mode):
        assert not differences(end, end, where="here")
        assert differences(end, None, where="here")
        for what, broken in damaged(end):
            found = differences(end, broken, where="here")
            assert found, f"{end.name}, {what}"
            tried += 1
    assert tried >= 15
    print(f"{mode}: {tried} things that can be missing")


@pytest.mark.parametrize("mode", list(ModeName))
def test_what_others_add_is_no_difference(mode: ModeName) -> None:
    for end in ends(mode):
        more = replace(
            end,
            addresses=(*end.addresses, IPv4Interface("192.168.7.7/32")),
            routes=(*end.routes, Route(IPv4Network("192.168.8.0/24"))),
            neighbours=(*end.neighbours, Neighbour(IPv4Address("192.168.9.9"), "02:00:00:00:00:98")),
        )
        assert not differences(end, more, where="here")
