"""What network security groups make of traffic: which TCP ports they leave open between two parties. Pure.

Azure documentation, "How network security groups filter network traffic": rules of a direction are judged by rising
priority number, the first that matches decides, and Azure's default rules come last. What arrives is judged by the
subnet's group and then by the NIC's, what leaves by the NIC's and then by the subnet's, and all must allow it.

A rule can name more than is known here: a tag with a region, source ports, public prefixes. What is in doubt counts for
the traffic: such a rule allows where it may match, and denies only where it must. So no person is sent after a rule
that denies nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final

from azure_cni.api.reading import decimal, mapping, mappings, text, whole

Ports = tuple[tuple[int, int], ...]
"""Ranges, first and last port each; they do not overlap."""

LAST_PORT: Final = 65535
ALL_PORTS: Final[Ports] = ((1, LAST_PORT),)
ANYTHING: Final = frozenset({"*", "any"})
VNET, BALANCER, INTERNET = "virtualnetwork", "azureloadbalancer", "internet"
CLOUD, ARM = "azurecloud", "azureresourcemanager"
PROBER: Final = IPv4Address("168.63.129.16")
"""From where load balancers probe (Azure documentation, "What is IP address 168.63.129.16?")."""
_LOWEST, _HIGHEST = 100, 4096
"""Priorities of rules that people make."""
_LAST: Final = 65535
"""Of Azure's own rules, none has a higher number."""


@dataclass(frozen=True, slots=True)
class Party:
    """One end of a connection. `address` is None where it is one of many, `tags` (lower case) says which then.

    `groups` are application security groups, by ID in lower case.
    """

    address: IPv4Address | None = None
    tags: frozenset[str] = frozenset({VNET})
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RuleEnd:
    """Prefixes and tags, or application security groups (lower case), of a rule's source or destination."""

    prefixes: tuple[str, ...]
    groups: frozenset[str]
    ports: Ports

    def names(self, party: Party, *, in_doubt: bool) -> bool:
        """Whether the party is meant; `in_doubt` where that is not known."""
        if self.groups:
            return not self.groups.isdisjoint(party.groups)
        return any(_names(prefix, party, in_doubt=in_doubt) for prefix in self.prefixes)


@dataclass(frozen=True, slots=True)
class SecurityRule:
    """One rule; `protocol` in lower case, "*" for all."""

    name: str
    priority: int
    inbound: bool
    allow: bool
    protocol: str
    source: RuleEnd
    destination: RuleEnd

    def ports_of(self, source: Party, target: Party) -> Ports:
        """The TCP ports of the target for which it decides."""
        if self.protocol not in {"*", "tcp"}:
            return ()
        if self.source.ports != ALL_PORTS and not self.allow:
            return ()
        if not self.source.names(source, in_doubt=self.allow):
            return ()
        return self.destination.ports if self.destination.names(target, in_doubt=self.allow) else ()


@dataclass(frozen=True, slots=True)
class SecurityGroup:
    """A network security group with its rules of both directions, Azure's own too, in the order of judgement."""

    id: str
    rules: tuple[SecurityRule, ...]

    def free_priority(self, before: SecurityRule, *, promised: Iterable[int] = ()) -> int | None:
        """A priority for a rule that is judged just before that one; None where there is none left.

        `promised` are those of rules that are still to be made in that direction.
        """
        taken = {*promised, *(rule.priority for rule in self.rules if rule.inbound == before.inbound)}
        below = range(min(before.priority, _HIGHEST + 1) - 1, _LOWEST - 1, -1)
        return next((number for number in below if number not in taken), None)


@dataclass(frozen=True, slots=True)
class Denial:
    """What one rule of a group denies, of the ports that were left for it. `count` of ports."""

    group: SecurityGroup
    rule: SecurityRule
    count: int


def judge(
    groups: Iterable[SecurityGroup], *, inbound: bool, source: Party, target: Party, ports: Ports = ALL_PORTS
) -> tuple[Ports, tuple[Denial, ...]]:
    """Which of the target's TCP ports stay open through all groups, in their order; and who closed the others."""
    denials: list[Denial] = []
    for group in groups:
        left, opened = ports, Ports()
        for rule in group.rules:
            hit = _common(left, rule.ports_of(source, target)) if rule.inbound == inbound else ()
            if not hit:
                continue
            left = _without(left, hit)
            if rule.allow:
                opened += hit
            else:
                denials.append(Denial(group, rule, port_count(hit)))
        ports = tuple(sorted(opened))
    return ports, tuple(denials)


def port_count(ports: Ports) -> int:
    """How many ports these are."""
    return sum(last - first + 1 for first, last in ports)


def parse_group(document: Mapping[str, Any]) -> SecurityGroup:
    """A networkSecurityGroups document of Resource Manager. What cannot be understood of a rule matches nothing."""
    properties = mapping(document.get("properties"))
    written = [*mappings(properties.get("securityRules")), *mappings(properties.get("defaultSecurityRules"))]
    rules = sorted(map(_parse_rule, written), key=lambda rule: rule.priority)
    return SecurityGroup(text(document.get("id")), tuple(rules))


def _parse_rule(document: Mapping[str, Any]) -> SecurityRule:
    properties = mapping(document.get("properties"))
    return SecurityRule(
        name=text(document.get("name")),
        priority=whole(properties.get("priority"), most=_LAST, default=_LAST),
        inbound=text(properties.get("direction")).lower() == "inbound",
        allow=text(properties.get("access")).lower() == "allow",
        protocol=text(properties.get("protocol")).lower(),
        source=_parse_end(properties, "source"),
        destination=_parse_end(properties, "destination"),
    )


def _parse_end(properties: Mapping[str, Any], end: str) -> RuleEnd:
    groups = mappings(properties.get(f"{end}ApplicationSecurityGroups"))
    return RuleEnd(
        prefixes=_texts(properties, f"{end}AddressPrefix", f"{end}AddressPrefixes"),
        groups=frozenset(text(group.get("id")).lower() for group in groups),
        ports=_parse_ports(_texts(properties, f"{end}PortRange", f"{end}PortRanges")),
    )


def _texts(properties: Mapping[str, Any], one: str, many: str) -> tuple[str, ...]:
    """One value or a list of them, as Azure has both."""
    listed = properties.get(many)
    values = [properties.get(one), *(listed if isinstance(listed, list) else ())]
    return tuple(filter(None, map(text, values)))


def _parse_ports(written: Iterable[str]) -> Ports:
    found: list[tuple[int, int]] = []
    for words in written:
        if words in ANYTHING:
            return ALL_PORTS
        first, _, last = words.partition("-")
        low = decimal(first.strip(), most=LAST_PORT, default=LAST_PORT + 1)
        found.append((max(low, 1), decimal((last or first).strip(), most=LAST_PORT)))
    return _merged(found)


def _merged(ranges: Iterable[tuple[int, int]]) -> Ports:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if first > last:
            continue
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged)


def _names(prefix: str, party: Party, *, in_doubt: bool) -> bool:
    word = prefix.lower()
    if word in ANYTHING:
        return True
    network = _network(word)
    if network is None:
        tag, _, region = word.partition(".")
        return tag in party.tags and (in_doubt or not region)
    if party.address is not None:
        return party.address in network
    return network.prefixlen == 0 or (in_doubt and ARM in party.tags and network.is_global)


@lru_cache(maxsize=4096)
def _network(word: str) -> IPv4Network | None:
    """None for a tag. Each rule is asked about many addresses."""
    try:
        return IPv4Network(word, strict=False)
    except ValueError:
        return None


def _common(some: Ports, others: Ports) -> Ports:
    pairs = ((max(a, c), min(b, d)) for a, b in some for c, d in others)
    return _merged(pairs)


def _without(some: Ports, gone: Sequence[tuple[int, int]]) -> Ports:
    left = list(some)
    for first, last in gone:
        left = [
            part
            for low, high in left
            for part in ((low, min(high, first - 1)), (max(low, last + 1), high))
            if part[0] <= part[1]
        ]
    return tuple(left)
