"""The part of HNS's schema that a node with containers uses, as data, and what of a document is not in it.

From Microsoft's documentation ("HNS schema", "HCN Error Code", June 2021 on). Field names and enumerations are as they
stand there; an enumeration of flags may also be written as its number, as Microsoft's own library (hcsshim) does.
The real service may take more than is documented. This one does not, so that whatever passes here is documented.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

Check = Callable[[Any], str]
"""Says what is wrong with a value, "" where nothing is."""

GUID: Final = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


def _is(kind: type, words: str) -> Check:
    return lambda value: "" if isinstance(value, kind) and not (kind is int and isinstance(value, bool)) else words


def _number(bits: int) -> Check:
    whole = _is(int, "is not a number")
    return lambda value: whole(value) or ("" if 0 <= value < 1 << bits else f"is not a uint{bits}")


def _one_of(*variants: str) -> Check:
    return lambda value: "" if value in variants else f"is {value!r}, not one of {', '.join(variants)}"


def _flags(*variants: str) -> Check:
    named, number = _one_of(*variants), _number(32)
    return lambda value: named(value) if isinstance(value, str) else number(value)


def _guid(value: Any) -> str:
    return "" if isinstance(value, str) and GUID.fullmatch(value) else "is not a GUID"


def _prefix(value: Any) -> str:
    try:
        ipaddress.ip_network(value)
    except ValueError:
        return f"is {value!r}, not an address prefix"
    return ""


def _address(value: Any) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return f"is {value!r}, not an address"
    return ""


def _separated(check: Check) -> Check:
    """A text with commas between what it lists."""
    text = _is(str, "is not a text")
    return lambda value: text(value) or next((fault for one in value.split(",") if (fault := check(one))), "")


def _several(check: Check) -> Check:
    array = _is(list, "is not an array")
    return lambda value: array(value) or next((fault for one in value if (fault := check(one))), "")


def _struct(fields: Mapping[str, Check], *required: str) -> Check:
    def check(value: Any) -> str:
        if not isinstance(value, dict):
            return "is not an object"
        for name, inner in value.items():
            if name not in fields:
                return f"has the unknown field {name}"
            if fault := fields[name](inner):
                return f"has a field {name} that {fault}"
        return next((f"lacks the field {name}" for name in required if name not in value), "")

    return check


_text = _is(str, "is not a text")


def _any(value: Any) -> str:
    """Anything is right."""
    del value
    return ""


VERSION: Final = _struct({"Major": _number(32), "Minor": _number(32)}, "Major", "Minor")
_base: Final[Mapping[str, Check]] = {
    "ID": _guid,
    "Owner": _text,
    "Name": _text,
    "SchemaVersion": VERSION,
    "AdditionalParams": _any,
    "Health": _any,  # hcsshim writes it wherever it is read
}
DNS: Final = _struct(
    {"Domain": _text, "Search": _several(_text), "ServerList": _several(_text), "Options": _several(_text)}
)
ROUTE: Final = _struct({"NextHop": _address, "DestinationPrefix": _prefix, "Metric": _number(16)})

_tuple: Final[Mapping[str, Check]] = {
    "Protocols": _separated(lambda one: "" if one.isdecimal() and int(one) < 256 else f"lists {one!r}"),
    "LocalAddresses": _separated(_prefix),
    "RemoteAddresses": _separated(_prefix),
    "LocalPorts": _text,
    "RemotePorts": _text,
    "Priority": _number(16),
}
ENDPOINT_POLICIES: Final[Mapping[str, Check]] = {
    "ACL": _struct(
        {
            **_tuple,
            "Id": _text,
            "Action": _one_of("Allow", "Block", "Pass"),
            "Direction": _one_of("In", "Out"),
            "RuleType": _one_of("Host", "Switch"),
        },
        "Action",
        "Direction",
    ),
    "OutBoundNAT": _struct(
        {
            "VirtualIP": _address,
            "Exceptions": _several(_prefix),
            "Destinations": _several(_prefix),
            "Flags": _flags("None", "LocalRoutedVip", "IPv6"),
            "MaxPortPoolUsage": _number(16),
        }
    ),
    "PortMapping": _struct(
        {
            "Protocol": _flags("Unknown", "ICMPv4", "IGMP", "TCP", "UDP", "ICMPv6"),
            "InternalPort": _number(16),
            "ExternalPort": _number(16),
            "VIP": _address,
            "Flags": _flags("None", "LocalRoutedVip", "IPv6"),
        }
    ),
    "SDNRoute": _struct(
        {"DestinationPrefix": _prefix, "NextHop": _address, "NeedEncap": _is(bool, "is not a boolean")}
    ),
    "QOS": _struct({"MaximumOutgoingBandwidthInBytes": _number(64)}),
}
"""By type, what the settings are. Other types of the schema are refused as well: nobody here uses them."""

NETWORK_POLICIES: Final[Mapping[str, Check]] = {
    "NetAdapterName": _struct({"NetworkAdapterName": _text}, "NetworkAdapterName"),
    "ProviderAddress": _struct({"ProviderAddress": _address}, "ProviderAddress"),
}

_policy: Final = _struct({"Type": _text, "Settings": _any}, "Type")
_subnet: Final = _struct(
    {"ID": _guid, "IpAddressPrefix": _prefix, "Policies": _several(_any), "Routes": _several(ROUTE)}, "IpAddressPrefix"
)
_modes: Final = ("NAT", "ICS", "Transparent", "L2Bridge", "L2Tunnel", "Overlay", "Private", "Internal")

NETWORK: Final = _struct(
    {
        **_base,
        "Type": _one_of(*_modes),
        "Policies": _several(_policy),
        "MacPool": _any,
        "Dns": DNS,
        "Ipams": _several(_struct({"Type": _one_of("Static", "Dhcp"), "Subnets": _several(_subnet)})),
        "Flags": _flags("None", "EnableDnsProxy", "EnableDhcpServer", "EnableMirroring", "EnableNonPersistent"),
    },
    "SchemaVersion",
    "Name",
    "Type",
)
ENDPOINT: Final = _struct(
    {
        **_base,
        "HostComputeNetwork": _guid,
        "HostComputeNamespace": _guid,
        "Policies": _several(_policy),
        "IpConfigurations": _several(
            _struct({"IpAddress": _address, "PrefixLength": _number(8), "IpSubnetId": _guid}, "IpAddress")
        ),
        "Dns": DNS,
        "Routes": _several(ROUTE),
        "MacAddress": _text,
        "Flags": _flags("None", "RemoteEndpoint", "DisableInterComputeCommunication", "EnableLowInterfaceMetric"),
    },
    "SchemaVersion",
)
NAMESPACE: Final = _struct(
    {
        **_base,
        "NamespaceId": _number(32),
        "Type": _one_of("Host", "HostDefault", "Guest", "GuestDefault"),
        "Resources": _any,
    },
    "SchemaVersion",
)
QUERY: Final = _struct(
    {"SchemaVersion": VERSION, "Flags": _flags("None", "Detailed"), "Filter": _text}, "SchemaVersion"
)

_requests: Final = _one_of("Add", "Remove", "Update", "Refresh", "Reset")
ENDPOINT_REQUEST: Final = _struct(
    {"ResourceUri": _text, "ResourceType": _one_of("Port", "Policy"), "RequestType": _requests, "Settings": _any},
    "ResourceType",
    "RequestType",
)
NAMESPACE_REQUEST: Final = _struct(
    {
        "ResourceUri": _text,
        "ResourceType": _one_of("Container", "Endpoint"),
        "RequestType": _requests,
        "Settings": _struct({"EndpointId": _guid, "ContainerId": _text}),
    },
    "ResourceType",
    "RequestType",
    "Settings",
)
POLICY_SETTINGS: Final = _struct({"Policies": _several(_policy)}, "Policies")


def policies_fault(policies: list[dict[str, Any]], known: Mapping[str, Check]) -> tuple[bool, str]:
    """Whether the first wrong policy is of an unknown type, and what is wrong with it; "" where none is."""
    for policy in policies:
        kind = policy["Type"]
        if kind not in known:
            return True, f"the policy type {kind} is unknown"
        if fault := known[kind](policy.get("Settings", {})):
            return False, f"the policy {kind} {fault}"
    return False, ""
