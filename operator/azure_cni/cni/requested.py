"""What a runtime asks for: an address, a MAC, ports, DNS. By the CONVENTIONS.md of containernetworking/cni. Pure.

There are three places for an address, and a runtime may use several: `runtimeConfig.ips`, where the conflist has the
capability (podman's `--ip`, Multus); `args.cni.ips` (Multus' `cni-args`); and `IP=` in CNI_ARGS (cnitool, Multus). The
conflist declares `ips` and `mac`, because libcni drops in silence what no plugin declares, and nobody would hear that
it had no effect. A MAC is refused: on this network none means anything. So are ports to publish, where no portmap is in
the list: a container is reached at each port of its own address.

On Windows there is no portmap, and no file in which the runtime could write by what names are resolved. There both are
asked of us: `runtimeConfig.portMappings` and `runtimeConfig.dns`, which is the kubelet's choice for the pod.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from ipaddress import IPv4Address, ip_address, ip_interface
from typing import Annotated, Any, Final, Literal

import msgspec

from azure_cni.cni.config import NetConf
from azure_cni.datapath.interface import PodOptions, PublishedPort, Resolver
from azure_cni.errors import ConfigInvalid, EnvironmentInvalid, RequestError
from azure_cni.model.text import few, legible

_SHOWN = 80
"""Characters of what is refused that a message repeats."""


def requested_address(config: NetConf, args: Mapping[str, str]) -> IPv4Address | None:
    """The address that the runtime asks for; None where it leaves the choice to azure-cni.

    A length of prefix beside it is not looked at: every address is alone on its link. ConfigInvalid or
    EnvironmentInvalid (by the place) for a MAC, for what is no IPv4 address, and for several.
    """
    for place, mac in _macs(config, args):
        raise _refused(
            place,
            f"cannot use the MAC {_shown(mac)} ({place}): Azure delivers packets by address, and what leaves the VM "
            "has the NIC's MAC, so a container's own has no effect; leave it out",
        )
    found: dict[IPv4Address, str] = {}
    for place, text in _ips(config, args):
        found.setdefault(_address(text, place), place)
    if len(found) > 1:
        place = next(reversed(found.values()))
        raise _refused(place, f"cannot use {few(tuple(found))} ({place}): a container has one address; name one")
    return next(iter(found), None)


class _Dns(msgspec.Struct):
    """As the convention has it. Go writes a list without elements as null."""

    servers: tuple[str, ...] | None = None
    searches: tuple[str, ...] | None = None
    options: tuple[str, ...] | None = None


class _PortMapping(msgspec.Struct):
    """One entry of `portMappings`. Without a `hostPort` it publishes nothing."""

    containerPort: Annotated[int, msgspec.Meta(ge=1, le=65535)]  # noqa: N815  # the convention's spelling
    hostPort: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0  # noqa: N815
    protocol: Literal["tcp", "udp"] = "tcp"
    hostIP: str = ""  # noqa: N815


_PROTOCOLS: Final = {"tcp": 6, "udp": 17}
_ANY_ADDRESS: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104  # as pods name all addresses of the node


def asked_beside(config: NetConf, capabilities: Collection[str]) -> PodOptions:
    """What the runtime asks for beside an address; nothing of what is not among the `capabilities` of the plugin.

    ConfigInvalid for what is no such thing, and for ports where nobody publishes them.
    """
    asked = config.runtime_config or {}
    published = asked.get("portMappings")
    if published and "portMappings" not in capabilities:
        raise ConfigInvalid(
            f"cannot publish {_shown(published)}: a container has its own address of the VNet, and is reached there at "
            "every port that it listens on; leave the ports out, or, on Linux, set cni.chainPortmap for the plugin "
            "portmap"
        )
    resolver = _resolver(config, asked.get("dns")) if "dns" in capabilities else None
    return PodOptions(resolver, tuple(_ports(published)) if published else ())


def _resolver(config: NetConf, asked: object) -> Resolver | None:
    """What the runtime says, else the network's own `dns`."""
    if not asked:
        return None if config.dns is None else Resolver(config.dns.nameservers, config.dns.search, config.dns.options)
    try:
        dns = msgspec.convert(asked, _Dns)
        for server in dns.servers or ():
            ip_address(server)
    except (msgspec.ValidationError, ValueError) as error:
        raise ConfigInvalid(f"cannot use runtimeConfig.dns: {legible(str(error), _SHOWN)}") from error
    return Resolver(dns.servers or (), dns.searches or (), dns.options or ())


def _ports(asked: object) -> Iterator[PublishedPort]:
    try:
        for one in msgspec.convert(asked, list[_PortMapping]):
            address = None if one.hostIP in _ANY_ADDRESS else IPv4Address(one.hostIP)
            if one.hostPort:
                yield PublishedPort(_PROTOCOLS[one.protocol], one.hostPort, one.containerPort, address)
    except (msgspec.ValidationError, ValueError) as error:
        raise ConfigInvalid(f"cannot use runtimeConfig.portMappings: {legible(str(error), _SHOWN)}") from error


_ARGS = "CNI_ARGS"


def _ips(config: NetConf, args: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    for place, source in (("runtimeConfig.ips", config.runtime_config or {}), ("args.cni.ips", _cni_args(config))):
        listed = source.get("ips") or ()
        if not isinstance(listed, list | tuple):
            raise ConfigInvalid(f"cannot use {place}: it is {_shown(listed)}, not a list of addresses")
        yield from ((place, one) for one in listed)
    yield from ((f"IP= in {_ARGS}", one) for one in args.get("IP", "").split(",") if one)


def _macs(config: NetConf, args: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    for place, source in (("runtimeConfig.mac", config.runtime_config or {}), ("args.cni.mac", _cni_args(config))):
        if mac := source.get("mac"):
            yield place, mac
    if mac := args.get("MAC"):
        yield f"MAC= in {_ARGS}", mac


def _cni_args(config: NetConf) -> Mapping[str, Any]:
    cni = (config.args or {}).get("cni")
    return cni if isinstance(cni, Mapping) else {}


def _address(text: object, place: str) -> IPv4Address:
    try:
        address = ip_interface(text).ip if isinstance(text, str) else None
    except ValueError:
        address = None
    if not isinstance(address, IPv4Address):
        raise _refused(place, f"cannot use {_shown(text)} ({place}): it is no IPv4 address such as 10.240.0.36")
    return address


def _refused(place: str, message: str) -> RequestError:
    return EnvironmentInvalid(message) if place.endswith(_ARGS) else ConfigInvalid(message)


def _shown(value: object) -> str:
    return legible(repr(value), _SHOWN)
