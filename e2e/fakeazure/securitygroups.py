"""Network security groups: what a body asks for, what GET shows, and what the fabric is to enforce.

Azure documentation, "Network security groups" (overview): the properties of a rule, priorities 100 to 4096, the six
default rules, and that rules are judged from the lowest number to the highest, per direction. Refusals are worded as in
public issue trackers. Chosen where nothing is known: a write takes effect at once, without an operation.
"""

import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network
from typing import Any

from fakeazure import errors, filtererrors
from fakeazure.effectivefilters import EffectiveEnd, EffectiveRule, EffectiveSecurityGroup
from fakeazure.names import leaf
from fakeazure.records import Document

GROUP_TYPE = "Microsoft.Network/networkSecurityGroups"
PRIORITIES = range(100, 4097)
PROTOCOLS = ("*", "Tcp", "Udp", "Icmp", "Esp", "Ah")
TAGS = (
    "VirtualNetwork", "AzureLoadBalancer", "Internet", "AzureCloud", "AzureResourceManager", "Storage",
    "AzurePlatformDNS", "AzurePlatformIMDS", "AzurePlatformLKM",
)  # fmt: skip
"""The service tags that this Azure knows; real ones have a region behind a dot at times, which is accepted."""
PORTS = range(65536)
ENDS = ("source", "destination")


def _default(name: str, text: str, priority: int, direction: str, access: str, source: str, target: str) -> Document:
    return {
        "name": name,
        "properties": {
            "description": text,
            "protocol": "*",
            "sourcePortRange": "*",
            "destinationPortRange": "*",
            "sourceAddressPrefix": source,
            "destinationAddressPrefix": target,
            "access": access,
            "priority": priority,
            "direction": direction,
        },
    }


DEFAULT_RULES = (
    _default("AllowVnetInBound", "Allow inbound traffic from all VMs in VNET", 65000, "Inbound", "Allow",
             "VirtualNetwork", "VirtualNetwork"),
    _default("AllowAzureLoadBalancerInBound", "Allow inbound traffic from azure load balancer", 65001, "Inbound",
             "Allow", "AzureLoadBalancer", "*"),
    _default("DenyAllInBound", "Deny all inbound traffic", 65500, "Inbound", "Deny", "*", "*"),
    _default("AllowVnetOutBound", "Allow outbound traffic from all VMs to all VMs in VNET", 65000, "Outbound", "Allow",
             "VirtualNetwork", "VirtualNetwork"),
    _default("AllowInternetOutBound", "Allow outbound traffic from all VMs to Internet", 65001, "Outbound", "Allow",
             "*", "Internet"),
    _default("DenyAllOutBound", "Deny all outbound traffic", 65500, "Outbound", "Deny", "*", "*"),
)  # fmt: skip


def read(group_id: str, properties: Document) -> Document:
    """The properties to keep of a PUT: its rules, checked. Raises ArmError."""
    rules = [_read_rule(group_id, rule) for rule in properties.get("securityRules") or ()]
    for index, rule in enumerate(rules):
        for other in rules[:index]:
            if other["name"].lower() == rule["name"].lower():
                raise errors.duplicate_name(group_id, rule["name"])
            if _rank(other) == _rank(rule):
                raise filtererrors.rule_conflict(rule["name"], other["name"])
    return {"securityRules": rules}


def _rank(rule: Document) -> tuple[str, int]:
    return rule["properties"]["direction"], rule["properties"]["priority"]


def _read_rule(group_id: str, rule: Document) -> Document:
    name, given = rule.get("name"), rule.get("properties") or {}
    if not isinstance(name, str) or not re.fullmatch(r"\w([\w.-]{0,78}\w)?", name, re.ASCII):
        raise errors.invalid_format(f"a security rule of {group_id} has no name, or the name {name!r} is not allowed")
    access, direction = str(given.get("access")).title(), str(given.get("direction")).title()
    protocol = str(given.get("protocol")).title()
    if access not in {"Allow", "Deny"} or direction not in {"Inbound", "Outbound"} or protocol not in PROTOCOLS:
        raise errors.invalid_format(f"security rule {name}: access, direction and protocol must be said")
    priority = given.get("priority")
    if priority not in PRIORITIES:
        raise filtererrors.rule_priority(name, priority)
    kept: Document = {"access": access, "direction": direction, "protocol": protocol, "priority": priority}
    if text := given.get("description"):
        kept["description"] = text
    for end in ENDS:
        kept |= _read_end(f"{group_id}/securityRules/{name}", given, end)
    return {"name": name, "properties": kept}


def _read_end(rule_id: str, given: Document, end: str) -> Document:
    """The prefixes or groups, and the ports, of one end: one value or a list of them."""
    one, many = f"{end}AddressPrefix", f"{end}AddressPrefixes"
    groups = f"{end}ApplicationSecurityGroups"
    said = [key for key in (one, many, groups) if given.get(key)]
    if len(said) != 1:
        raise filtererrors.rule_end(rule_id, many[0].upper() + many[1:], one[0].upper() + one[1:], groups.title())
    for prefix in _values(given, one, many):
        if not _is_prefix(prefix, tags=said == [one]):
            raise filtererrors.rule_prefix(leaf(rule_id), prefix)
    port, ports = f"{end}PortRange", f"{end}PortRanges"
    for text in _values(given, port, ports):
        if not _is_port(text):
            raise filtererrors.rule_port(leaf(rule_id), text)
    kept: Document = {key: given[key] for key in (one, many, port, ports) if given.get(key)}
    if said == [groups]:
        kept[groups] = [{"id": group["id"]} for group in given[groups]]
    return {port: "*", **kept} if ports not in kept else kept


def _values(properties: Document, one: str, many: str) -> list[str]:
    return [str(value) for value in (properties.get(one), *(properties.get(many) or ())) if value]


def _is_prefix(text: str, *, tags: bool) -> bool:
    if text == "*" or text.partition(".")[0] in TAGS:
        return tags
    try:
        IPv4Network(text)
    except ValueError:
        return False
    return True


def _is_port(text: str) -> bool:
    if text == "*":
        return True
    first, _, last = text.partition("-")
    if not (first.isdecimal() and (last or first).isdecimal()):
        return False
    return int(first) in PORTS and int(last or first) in PORTS and int(first) <= int(last or first)


def shown(group_id: str, etag: str, properties: Document, *, used_by: Iterable[tuple[str, str]]) -> Document:
    """The properties that GET shows; `used_by` are (kind, id) of what refers to it, kind "subnets" or a NIC's."""
    users: dict[str, list[Document]] = {}
    for kind, user in used_by:
        users.setdefault(kind, []).append({"id": user})
    rules = properties.get("securityRules", ())
    return {
        **properties,
        "securityRules": [_shown_rule(group_id, etag, "securityRules", rule) for rule in rules],
        "defaultSecurityRules": [_shown_rule(group_id, etag, "defaultSecurityRules", rule) for rule in DEFAULT_RULES],
        **users,
    }


def _shown_rule(group_id: str, etag: str, kind: str, rule: Document) -> Document:
    lists: Document = {f"{end}{what}": [] for end in ENDS for what in ("PortRanges", "AddressPrefixes")}
    return {
        "name": rule["name"],
        "id": f"{group_id}/{kind}/{rule['name']}",
        "etag": etag,
        "type": f"{GROUP_TYPE}/{kind}",
        "properties": {"provisioningState": "Succeeded", **lists, **rule["properties"]},
    }


def references(properties: Document) -> Iterator[str]:
    """The application security groups that the rules name."""
    for rule in properties.get("securityRules", ()):
        for end in ENDS:
            for group in rule["properties"].get(f"{end}ApplicationSecurityGroups", ()):
                yield group["id"]


def effective(group_id: str, properties: Document) -> EffectiveSecurityGroup:
    """What the fabric enforces: its own rules and the default ones, lowest priority number first."""
    rules = [_effective_rule(rule) for rule in (*properties.get("securityRules", ()), *DEFAULT_RULES)]
    return EffectiveSecurityGroup(group_id, leaf(group_id), tuple(sorted(rules, key=lambda rule: rule.priority)))


def _effective_rule(rule: Document) -> EffectiveRule:
    properties = rule["properties"]
    return EffectiveRule(
        name=rule["name"],
        priority=properties["priority"],
        direction=properties["direction"],
        allow=properties["access"] == "Allow",
        protocol=properties["protocol"],
        source=_effective_end(properties, "source"),
        destination=_effective_end(properties, "destination"),
    )


def _effective_end(properties: dict[str, Any], end: str) -> EffectiveEnd:
    return EffectiveEnd(
        prefixes=tuple(_values(properties, f"{end}AddressPrefix", f"{end}AddressPrefixes")),
        group_ids=tuple(group["id"] for group in properties.get(f"{end}ApplicationSecurityGroups", ())),
        ports=tuple(_values(properties, f"{end}PortRange", f"{end}PortRanges")),
    )
