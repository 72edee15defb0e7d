"""A NIC in the result of an operation (`status.nicOperationResult`): `NicView` as a document, and back.

Controller and agents may be of different versions for a while. An agent that does not know of attachments must not give
a pod an address that has one, so such a configuration is written as an excluded one, with what newer agents need. One
that has more attached than a document can list is excluded for all agents.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Network
from typing import Annotated, Final

import msgspec

from azure_cni.api.nic_operation_codec import Places, ResourceIDs, ResourceTable, at_places, listed_resources
from azure_cni.model.attachments import AttachedResource
from azure_cni.model.config_names import LONGEST_CONFIG_NAME, OUR_PREFIX, is_ipv6_block_name
from azure_cni.model.ipv6 import IPv6Configuration
from azure_cni.model.nic import (
    BLOCK_SIZE,
    MAX_CONFIGS_PER_NIC,
    MAX_SECURITY_GROUPS,
    ConfigName,
    ExcludedConfiguration,
    IPConfiguration,
    NicID,
    NicView,
)
from azure_cni.model.text import plain

MAX_BESIDE: Final = 15 * MAX_CONFIGS_PER_NIC
"""More than the NICs that a VM can have beside one."""
MOST_IPV6: Final = MAX_CONFIGS_PER_NIC // 2
"""Configurations of IPv6: each is beside one of IPv4."""
_PENDING: Final = "pending"
_IPv6Entry = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"\A[0-9a-z][-0-9a-z:/ ]*\Z")]
LONGEST_WHY: Final = 236
"""Characters: a pool and its load balancer have names of 80 each."""


_Size = Annotated[int, msgspec.Meta(ge=1, le=MAX_CONFIGS_PER_NIC)]


class _Config(msgspec.Struct, omit_defaults=True):
    name: str
    address: str = ""
    primary: bool = False
    pending: bool = False
    static: bool = False
    kept: bool = False
    attachable: bool = True
    size: _Size = 1


class _Excluded(msgspec.Struct, omit_defaults=True):
    """Also a configuration for pods that has something attached (`usable`): to an agent that does not know of
    attachments it must look excluded.
    """

    name: str
    why: str
    address: str = ""
    public: bool = False
    attached: Places = ()
    usable: bool = False
    pending: bool = False
    span: Annotated[int, msgspec.Meta(ge=1, le=BLOCK_SIZE)] = 1


class NicInResult(msgspec.Struct):
    """A NIC in the result of an operation."""

    id: str
    etag: str
    settled: bool
    failed: bool
    configs: tuple[_Config, ...]
    excluded: tuple[_Excluded, ...] = ()
    groups: tuple[str, ...] = ()
    resources: ResourceIDs = ()
    """What configurations have attached, each once."""
    beside: Annotated[int, msgspec.Meta(ge=0, le=MAX_BESIDE)] | None = None
    """ipConfigurations of the VM's further NICs."""
    ipv6: Annotated[tuple[_IPv6Entry, ...], msgspec.Meta(max_length=MOST_IPV6)] | None = None
    """What azure-cni made of IPv6; the names say which is a block."""


def nic_shape(nic: NicView) -> NicInResult:
    """As it is written."""
    table = ResourceTable(
        frozenset().union(*(it.attached for it in nic.configs), *(it.attached for it in nic.excluded))
    )
    configs = tuple(
        _Config(
            _name(config.name),
            str(config.address or ""),
            config.primary,
            pending=not config.ready,
            static=config.static,
            kept=config.kept,
            attachable=config.attachable,
            size=config.size,
        )
        for config in nic.configs
        if not config.attached
    )
    excluded = tuple(
        _Excluded(
            _name(config.name),
            plain(config.why, LONGEST_WHY),
            str(config.address or ""),
            config.public,
            table.places(config.attached),
            span=config.span,
        )
        for config in nic.excluded
    ) + tuple(_with_attached(config, table) for config in nic.configs if config.attached)
    groups = nic.security_groups[:MAX_SECURITY_GROUPS]
    beside = nic.beside or None
    ipv6 = tuple(map(_ipv6_entry, nic.ipv6[:MOST_IPV6])) or None
    return NicInResult(
        nic.nic_id, nic.etag, nic.settled, nic.failed, configs, excluded, groups, table.ids, beside, ipv6
    )


def _name(text: str) -> str:
    return plain(text, LONGEST_CONFIG_NAME)


def _with_attached(config: IPConfiguration, table: ResourceTable) -> _Excluded:
    places = table.places(config.attached)
    return _Excluded(
        _name(config.name),
        plain(min(config.attached).use, LONGEST_WHY),
        str(config.address or ""),
        config.public,
        places,
        usable=len(places) == len(config.attached),
        pending=not config.ready,
    )


def read_nic(raw: NicInResult) -> NicView:
    """As it was read; ValueError for what no NIC has, DecodeFailed for an attachment that cannot be told."""
    listed = listed_resources(raw.resources)
    return NicView(
        NicID(raw.id),
        raw.etag,
        raw.settled,
        tuple(map(_config, raw.configs)) + tuple(_usable(it, listed) for it in raw.excluded if it.usable),
        raw.failed,
        tuple(_excluded(it, listed) for it in raw.excluded if not it.usable),
        raw.groups,
        0 if raw.beside is None else raw.beside,
        tuple(map(_ipv6, raw.ipv6 or ())),
    )


def _ipv6_entry(config: IPv6Configuration) -> str:
    """One text and no object: 128 of those would be more than a NodeIPPool has room for."""
    shown = (config.name.removeprefix(OUR_PREFIX), str(config.network or ""), "" if config.ready else _PENDING)
    return " ".join(filter(None, shown))


def _ipv6(entry: str) -> IPv6Configuration:
    name, *shown = entry.split()
    ready = _PENDING not in shown
    network = next((IPv6Network(text) for text in shown if text != _PENDING), None)
    full = ConfigName(OUR_PREFIX + name)
    return IPv6Configuration(full, network, ready=ready, block=is_ipv6_block_name(full))


def _config(raw: _Config) -> IPConfiguration:
    name, address = ConfigName(raw.name), _first_of(raw.address, raw.size)
    return IPConfiguration(
        name,
        address,
        primary=raw.primary,
        ready=not raw.pending,
        static=raw.static,
        kept=raw.kept,
        attachable=raw.attachable,
        size=raw.size,
    )


def _excluded(raw: _Excluded, listed: Sequence[AttachedResource]) -> ExcludedConfiguration:
    attached = at_places(raw.attached, listed)
    address = _first_of(raw.address, raw.span)
    return ExcludedConfiguration(raw.name, address, raw.why, public=raw.public, attached=attached, span=raw.span)


def _usable(raw: _Excluded, listed: Sequence[AttachedResource]) -> IPConfiguration:
    attached, ready = at_places(raw.attached, listed), not raw.pending
    return IPConfiguration(ConfigName(raw.name), _address(raw.address), primary=False, ready=ready, attached=attached)


def _first_of(text: str, size: int) -> IPv4Address | None:
    address = _address(text)
    if address is not None and int(address) + size > 1 << address.max_prefixlen:
        raise ValueError(f"the block at {address} ends beyond the last address")
    return address


def _address(text: str) -> IPv4Address | None:
    return IPv4Address(text) if text else None
