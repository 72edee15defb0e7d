"""Network security groups as nftables chains. Pure: values in, text out.

Azure documentation, "Network security groups" and "How network security groups filter network traffic": what leaves is
judged by the NIC's group and then by the subnet's, what arrives by the subnet's and then by the NIC's, and both must
allow it. Groups are stateful: a flow that was let through, and its answers, are not judged again, also after the rules
have changed ("modifying rules only affects new connections"). So each NIC with a group keeps its flows in sets of its
own, which outlive a change of the rules; an idle flow is forgotten after FLOW_IDLE_S.

What a platform address is asked for (168.63.129.16, 169.254.169.254) is not judged, except by rules that name its tag,
AzurePlatformDNS or AzurePlatformIMDS (the same page, "Virtual IP of the host node"). Its probes are judged, as what
comes from AzureLoadBalancer.

Chosen where nothing is known: ICMP errors always pass; a flow that began before the first group is judged by its next
packet. Later fragments pass behind their first one (Azure drops fragments out of order).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from itertools import product
from typing import Final, Literal

from azurebox.fabric.topology import (
    ARM,
    IMDS,
    ONPREM_NETWORK,
    PUBLIC_ADDRESSES,
    STORAGE,
    WIRESERVER,
)
from fakeazure.effective import EffectiveNetwork, EffectiveNic, EffectiveSubnet, EffectiveVNet
from fakeazure.effectivefilters import EffectiveEnd, EffectiveRule, EffectiveSecurityGroup

FLOW_IDLE_S: Final = 240  # Azure documentation: a load balancer's and NAT's default; that of a group is not given
FRAGMENTS_S: Final = 30
FLOWS_KEPT: Final = 65535
COUNTED: Final = "hits/"  # a rule's counter is hits/GROUP/DIRECTION/RULE

TAGS: Final = {
    "AzureLoadBalancer": (str(WIRESERVER),),
    "AzureCloud": (str(PUBLIC_ADDRESSES),),
    "AzureResourceManager": (str(ARM),),
    "Storage": (str(STORAGE.address),),
}
PLATFORM_TAGS: Final = {
    "AzurePlatformDNS": f"ip daddr {WIRESERVER} meta l4proto {{ tcp, udp }} th dport 53",
    "AzurePlatformIMDS": f"ip daddr {IMDS}",
}
PROTOCOLS: Final = {"Tcp": "tcp", "Udp": "udp", "Icmp": "icmp", "Esp": "50", "Ah": "51"}

TUPLE: Final = "meta l4proto . ip saddr . th sport . ip daddr . th dport"
REVERSE: Final = "meta l4proto . ip daddr . th dport . ip saddr . th sport"
ECHO, ECHO_REVERSE = "ip saddr . ip daddr . icmp id", "ip daddr . ip saddr . icmp id"
FRAGMENT: Final = "ip saddr . ip daddr . meta l4proto . ip id"
LATER_FRAGMENT: Final = "ip frag-off & 0x1fff != 0"
HAS_PORTS: Final = "meta l4proto { tcp, udp }"
IS_ECHO: Final = "icmp type { echo-request, echo-reply }"


@dataclass(frozen=True, slots=True)
class Filters:
    """What the groups make of it all.

    `chains` are rules by name; `leaving` and `arriving` the chains that a device's frames pass, in order, both absent
    for a device without a group; `members` the addresses of each application security group's set; `counters` names.
    """

    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    leaving: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    arriving: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    members: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    counters: tuple[str, ...] = ()


NO_FILTERS: Final = Filters()


@dataclass(frozen=True, slots=True)
class _Place:
    """What tags mean at one subnet: the prefixes of VirtualNetwork, and those without the user-defined routes'."""

    virtual_network: tuple[str, ...]
    inside: tuple[str, ...]


def plan_filters(network: EffectiveNetwork, nics: Mapping[str, EffectiveNic]) -> Filters:
    """The chains of all groups in use; `nics` are the fabric's devices with their NICs."""
    groups = {group.group_id.lower(): group for group in network.security_groups}
    homes = {subnet.subnet_id.lower(): (vnet, subnet) for vnet in network.vnets for subnet in vnet.subnets}
    sets = {group_id: f"asg-{index}" for index, group_id in enumerate(sorted(_members(network)))}
    chains: dict[str, tuple[str, ...]] = {}
    leaving, arriving = {}, {}
    for device, nic in sorted(nics.items()):
        if (home := homes.get(nic.subnet_id.lower())) is None:
            continue
        vnet, subnet = home
        named = [groups.get((group_id or "").lower()) for group_id in (subnet.security_group_id, nic.security_group_id)]
        if not any(named):
            continue
        place, spot = _place(vnet, subnet, network), f"{network.vnets.index(vnet)}-{vnet.subnets.index(subnet)}"
        inbound, outbound = [], []
        for group in filter(None, named):
            number = network.security_groups.index(group)
            inbound.append(f"nsg-{number}-{spot}-in")
            outbound.append(f"nsg-{number}-{spot}-out")
            chains[inbound[-1]] = tuple(_chain(group, "Inbound", place, sets))
            chains[outbound[-1]] = tuple(_chain(group, "Outbound", place, sets))
            chains[f"{outbound[-1]}-platform"] = tuple(_platform_chain(group))
        arriving[device], leaving[device] = tuple(inbound), tuple(reversed(outbound))
    used = {name for rules in chains.values() for rule in rules for name in [_counter_of(rule)] if name}
    members = {sets[group_id]: addresses for group_id, addresses in _members(network).items()} if chains else {}
    return Filters(chains, leaving, arriving, members, tuple(sorted(used)))


def _members(network: EffectiveNetwork) -> dict[str, tuple[str, ...]]:
    """The addresses of each application security group that a rule names; one without members has none."""
    named = {
        group_id.lower()
        for group in network.security_groups
        for rule in group.rules
        for end in (rule.source, rule.destination)
        for group_id in end.group_ids
    }
    found: dict[str, list[str]] = {group_id: [] for group_id in named}
    for nic in network.nics:
        for address in nic.addresses:
            for group_id in named.intersection(map(str.lower, address.application_security_groups)):
                found[group_id] += map(str, IPv4Network(address.address))
    return {group_id: tuple(addresses) for group_id, addresses in found.items()}


def _place(vnet: EffectiveVNet, subnet: EffectiveSubnet, network: EffectiveNetwork) -> _Place:
    """Azure documentation, "Virtual network service tags": what VirtualNetwork holds, prefixes of routes included."""
    here = vnet.vnet_id.lower()
    there = set(map(str.lower, vnet.peered_vnet_ids))
    peers = [
        peer for peer in network.vnets if peer.vnet_id.lower() in there and here in map(str.lower, peer.peered_vnet_ids)
    ]
    prefixes = [prefix for one in (vnet, *peers) for prefix in one.prefixes]
    inside = (*prefixes, str(ONPREM_NETWORK), str(WIRESERVER))
    table_id = (subnet.route_table_id or "").lower()
    routes = [route.prefix for table in network.route_tables if table.table_id.lower() == table_id
              for route in table.routes]  # fmt: skip
    return _Place((*inside, *routes), inside)


def _chain(
    group: EffectiveSecurityGroup,
    direction: Literal["Inbound", "Outbound"],
    place: _Place,
    sets: Mapping[str, str],
) -> Iterator[str]:
    """One direction of a group: returns for what it allows, drops the rest."""
    if direction == "Outbound":
        yield f"ip daddr {{ {IMDS}, {WIRESERVER} }} goto {{self}}-platform"
    for rule in group.rules:
        if rule.direction == direction:
            verdict = "return" if rule.allow else "drop"
            for match in _matches(rule, place, sets):
                yield f'{match} counter name "{COUNTED}{group.name}/{direction}/{rule.name}" {verdict}'.strip()
    yield "drop"


def _platform_chain(group: EffectiveSecurityGroup) -> Iterator[str]:
    for rule in group.rules:
        for tag in rule.destination.prefixes if rule.direction == "Outbound" else ():
            if tag in PLATFORM_TAGS:
                verdict = "return" if rule.allow else "drop"
                yield f'{PLATFORM_TAGS[tag]} counter name "{COUNTED}{group.name}/Outbound/{rule.name}" {verdict}'
    yield "return"


def _matches(rule: EffectiveRule, place: _Place, sets: Mapping[str, str]) -> Iterator[str]:
    """The rule as nftables matches: one for each combination, since sets of prefixes are not safe to change.

    "*" as a protocol with ports stands for those that have ports.
    """
    sources, targets = (
        _end(end, key, place, sets) for end, key in ((rule.source, "saddr"), (rule.destination, "daddr"))
    )
    ports = [
        [f"th {key} {port}" if port != "*" else "" for port in end.ports or ("*",)]
        for end, key in ((rule.source, "sport"), (rule.destination, "dport"))
    ]
    for source, target, source_port, target_port in product(sources, targets, *ports):
        protocol = f"meta l4proto {PROTOCOLS[rule.protocol]}" if rule.protocol != "*" else ""
        if not protocol and (source_port or target_port):
            protocol = HAS_PORTS
        yield " ".join(filter(None, (source, target, protocol, source_port, target_port)))


def _end(end: EffectiveEnd, key: str, place: _Place, sets: Mapping[str, str]) -> list[str]:
    """The alternatives of one end; [] matches nothing, [""] everything."""
    found = [f"ip {key} @{sets[group_id.lower()]}" for group_id in end.group_ids]
    for prefix in end.prefixes:
        tag = prefix.partition(".")[0]  # Storage.EastUS
        if prefix == "*":
            found.append("")
        elif prefix == "VirtualNetwork":
            found += [_inside(key, one) for one in place.virtual_network]
        elif prefix == "Internet":
            found.append(" ".join(f"ip {key} != {one}" for one in (*place.inside, str(IMDS))))
        elif tag in TAGS:
            found += [_inside(key, one) for one in TAGS[tag]]
        elif not prefix.startswith("AzurePlatform"):
            found.append(_inside(key, prefix))
    return found


def _inside(key: str, prefix: str) -> str:
    return "" if prefix == "0.0.0.0/0" else f"ip {key} {prefix}"


def _counter_of(rule: str) -> str:
    return rule.partition('counter name "')[2].partition('"')[0]


def definitions(filters: Filters) -> Iterator[str]:
    """Counters, sets and chains, to stand in the table before the devices' own chains."""
    for counter in filters.counters:
        yield f"counter {counter} {{ }}"
    for name, rules in filters.chains.items():
        yield from (f"chain {name} {{", *(rule.replace("{self}", name) for rule in rules), "}")
    for device in filters.leaving:
        yield from _memory(device)
        yield from _judge("leave", device, filters.leaving[device])
        yield from _judge("arrive", device, filters.arriving[device])


def _memory(device: str) -> Iterator[str]:
    """The sets that remember a NIC's flows, and the chain that fills them, both ways."""
    for kind, key, seconds in (
        ("flows", TUPLE, FLOW_IDLE_S),
        ("echoes", ECHO, FLOW_IDLE_S),
        ("fragments", FRAGMENT, FRAGMENTS_S),
    ):
        options = f"flags dynamic,timeout; timeout {seconds}s; size {FLOWS_KEPT};"
        yield f"set {kind}-{device} {{ typeof {key}; {options} }}"
    yield f"chain keep-{device} {{"
    yield f"{HAS_PORTS} update @flows-{device} {{ {TUPLE} }} update @flows-{device} {{ {REVERSE} }}"
    yield f"{IS_ECHO} update @echoes-{device} {{ {ECHO} }} update @echoes-{device} {{ {ECHO_REVERSE} }}"
    yield f"ip frag-off & 0x2000 != 0 update @fragments-{device} {{ {FRAGMENT} }}"
    yield "}"


def _judge(way: str, device: str, chains: tuple[str, ...]) -> Iterator[str]:
    """A chain that returns for what belongs to a known flow, or what all groups allow."""
    yield f"chain {way}-{device} {{"
    yield f"{LATER_FRAGMENT} {FRAGMENT} @fragments-{device} return"
    yield f"{LATER_FRAGMENT} drop"
    yield f"{HAS_PORTS} {TUPLE} @flows-{device} goto keep-{device}"
    yield f"{IS_ECHO} {ECHO} @echoes-{device} goto keep-{device}"
    yield "icmp type { destination-unreachable, time-exceeded, parameter-problem } return"
    yield from (f"jump {name}" for name in chains)
    yield from (f"goto keep-{device}", "}")
