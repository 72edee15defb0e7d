"""Results of ADD in the form of each version of the specification, and what CHECK needs of an earlier one.

All versions from 0.3.0 on have the same idea: interfaces, addresses that point at them by index, routes, DNS. 1.0.0
dropped the family from addresses; 1.1.0 added the MTU to interfaces and the scope to routes.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import Any, Final

import msgspec

from azure_cni.cni.config import NetConf
from azure_cni.datapath.interface import IPV4, Interface, Route, Wiring
from azure_cni.errors import ConfigInvalid
from azure_cni.model.nic import Address
from azure_cni.model.text import legible

_SCOPE_LINK = 253  # rtnetlink(7): reached without a gateway
_WITH_FAMILY: Final = frozenset({"0.3.0", "0.3.1", "0.4.0"})
_WITH_MTU_AND_SCOPE: Final = frozenset({"1.1.0"})


def add_result(conf: NetConf, *, wiring: Wiring, netns: str) -> dict[str, Any]:
    """What ADD answers, in the version that the configuration asks for; `netns` as the runtime named it."""
    pod, index = wiring.pod, len(wiring.node)
    interfaces = [_interface(conf, interface) for interface in wiring.node]
    result: dict[str, Any] = {
        "cniVersion": conf.version,
        "interfaces": [*interfaces, _interface(conf, pod) | {"sandbox": netns}],
        "ips": [_ip(conf, pod, address, index) for address in pod.addresses],
        # In the order in which they can be set: the gateway must be reachable before a route goes through it.
        "routes": [_route(conf, route) for route in pod.routes],
    }
    if conf.dns is not None:
        result["dns"] = msgspec.to_builtins(conf.dns)
    return result


def _interface(conf: NetConf, interface: Interface) -> dict[str, Any]:
    mtu = {"mtu": interface.mtu} if conf.version in _WITH_MTU_AND_SCOPE else {}
    return {"name": interface.name, "mac": interface.mac, **mtu}


def _ip(conf: NetConf, pod: Interface, address: IPv4Interface | IPv6Interface, index: int) -> dict[str, Any]:
    """`index` is the pod's among the interfaces."""
    version = {"version": str(address.version)} if conf.version in _WITH_FAMILY else {}
    ways = (route.gateway for route in pod.routes if route.is_default and route.gateway is not None)
    gateways = [str(gateway) for gateway in ways if gateway.version == address.version]
    gateway = {"gateway": gateways[0]} if gateways else {}
    return {**version, "address": str(address), **gateway, "interface": index}


def _route(conf: NetConf, route: Route) -> dict[str, Any]:
    if route.gateway is not None:
        return {"dst": str(route.destination), "gw": str(route.gateway)}
    scope = {"scope": _SCOPE_LINK} if conf.version in _WITH_MTU_AND_SCOPE else {}
    return {"dst": str(route.destination), **scope}


class _Interface(msgspec.Struct):
    name: str = ""
    sandbox: str = ""


class _IP(msgspec.Struct):
    address: str
    interface: int | None = None


class _Result(msgspec.Struct):
    interfaces: list[_Interface] = []
    ips: list[_IP] = []


def previous_addresses(result: Mapping[str, Any], *, ifname: str) -> tuple[Address, ...]:
    """The pod's addresses in the result of an earlier ADD, ours or passed on by a plugin after us. ConfigInvalid.

    `ips[].interface` is optional in the specification: addresses without it count where none is tied to the pod's
    interface. Plugins after this one may have added some of their own to either kind, and all of those of IPv6.
    """
    try:
        previous = msgspec.convert(result, _Result)
        of_ipv4 = [ip for ip in previous.ips if ":" not in ip.address]
        of_ipv6 = [ip for ip in previous.ips if ":" in ip.address]
        theirs = [ip for family in (of_ipv4, of_ipv6) for ip in _of_pod(previous, family, ifname)]
        found = tuple(ip_interface(ip.address).ip for ip in theirs)
    except (msgspec.ValidationError, ValueError) as error:
        raise ConfigInvalid(f"cannot use prevResult: {legible(str(error))}") from error
    if all(address.version != IPV4 for address in found):
        raise ConfigInvalid(f"cannot use prevResult: it has no IPv4 address of the pod's interface {ifname}")
    return found


def _of_pod(previous: _Result, ips: list[_IP], ifname: str) -> list[_IP]:
    tied = [ip for ip in ips if _is_pods(_owner(previous, ip), ifname)]
    return tied or [ip for ip in ips if ip.interface is None]


def _is_pods(owner: _Interface | None, ifname: str) -> bool:
    return owner is not None and bool(owner.sandbox) and owner.name == ifname


def _owner(result: _Result, ip: _IP) -> _Interface | None:
    if ip.interface is None or not 0 <= ip.interface < len(result.interfaces):
        return None
    return result.interfaces[ip.interface]
