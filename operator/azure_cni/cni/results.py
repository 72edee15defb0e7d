"""Results of ADD in the form of each version of the specification, and what CHECK needs of an earlier one.

All versions from 0.3.0 on have the same idea: interfaces, addresses that point at them by index, routes, DNS. 1.0.0
dropped the family from addresses; 1.1.0 added the MTU to interfaces and the scope to routes.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface
from typing import Any, Final

import msgspec

from azure_cni.cni.config import NetConf
from azure_cni.datapath.sandbox import GATEWAY, SandboxLinks
from azure_cni.errors import ConfigInvalid

_POD = 1
"""Index of the pod's end among the interfaces."""

_SCOPE_LINK = 253  # rtnetlink(7): reached without a gateway
_WITH_FAMILY: Final = frozenset({"0.3.0", "0.3.1", "0.4.0"})
_WITH_MTU_AND_SCOPE: Final = frozenset({"1.1.0"})


def add_result(conf: NetConf, *, address: IPv4Address, netns: str, links: SandboxLinks) -> dict[str, Any]:
    """What ADD answers, in the version that the configuration asks for."""
    host: dict[str, Any] = {"name": links.host_ifname, "mac": links.host_mac}
    pod: dict[str, Any] = {"name": links.pod_ifname, "mac": links.pod_mac}
    ip: dict[str, Any] = {"address": f"{address}/32", "gateway": str(GATEWAY), "interface": _POD}
    on_link: dict[str, Any] = {"dst": f"{GATEWAY}/32"}
    if conf.version in _WITH_FAMILY:
        ip = {"version": "4"} | ip
    if conf.version in _WITH_MTU_AND_SCOPE:
        host["mtu"] = pod["mtu"] = links.mtu
        on_link["scope"] = _SCOPE_LINK
    result: dict[str, Any] = {
        "cniVersion": conf.version,
        "interfaces": [host, pod | {"sandbox": netns}],
        "ips": [ip],
        # In the order in which they can be set: the gateway must be reachable before a route goes through it.
        "routes": [on_link, {"dst": "0.0.0.0/0", "gw": str(GATEWAY)}],
    }
    if conf.dns is not None:
        result["dns"] = msgspec.to_builtins(conf.dns)
    return result


class _Interface(msgspec.Struct):
    name: str = ""
    sandbox: str = ""


class _IP(msgspec.Struct):
    address: str
    interface: int | None = None


class _Result(msgspec.Struct):
    interfaces: list[_Interface] = []
    ips: list[_IP] = []


def previous_address(result: Mapping[str, Any], *, ifname: str) -> IPv4Address:
    """The pod's IPv4 address in the result of an earlier ADD, ours or passed on by a plugin after us. ConfigInvalid.

    `ips[].interface` is optional in the specification: an address without it counts where none is tied to the pod's
    interface, first of all one that is a /32, as every ADD of this plugin answers.
    """
    try:
        previous = msgspec.convert(result, _Result)
        of_pod = [ip for ip in previous.ips if ":" not in ip.address]
        tied = [ip for ip in of_pod if _is_pods(_owner(previous, ip), ifname)]
        untied = sorted((ip for ip in of_pod if ip.interface is None), key=lambda ip: not ip.address.endswith("/32"))
        for ip in tied or untied:
            return IPv4Interface(ip.address).ip
    except (msgspec.ValidationError, ValueError) as error:
        raise ConfigInvalid(f"cannot use prevResult: {error}") from error
    raise ConfigInvalid(f"cannot use prevResult: it has no IPv4 address of the pod's interface {ifname}")


def _is_pods(owner: _Interface | None, ifname: str) -> bool:
    return owner is not None and bool(owner.sandbox) and owner.name == ifname


def _owner(result: _Result, ip: _IP) -> _Interface | None:
    if ip.interface is None or not 0 <= ip.interface < len(result.interfaces):
        return None
    return result.interfaces[ip.interface]
