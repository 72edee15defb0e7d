"""Whether security groups leave pods what they need: the VNet, probes of load balancers, the internet and Azure itself.

For each node's NIC some connections stand for all (`_passages`), and are judged by the groups of its subnet and of its
NIC. A pod's address has rules of its own at times; a node is only named where no address of its pods gets through.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from azure_cni.diagnose.check_results import ASK_A_READER, CheckResult, ClusterCheck
from azure_cni.diagnose.cloud_evidence import (
    HALVES,
    WHOLE,
    CloudEvidence,
    ConfigFacts,
    NicFacts,
    SubnetFacts,
    az_scope,
    name_of,
)
from azure_cni.diagnose.security_rules import (
    ALL_PORTS,
    ARM,
    BALANCER,
    CLOUD,
    INTERNET,
    PROBER,
    VNET,
    Denial,
    Party,
    Ports,
    SecurityGroup,
    judge,
    port_count,
)
from azure_cni.model.text import counted, few

GROUP: Final = "azure"
PAGE: Final = "docs/vnet-features.md#network-security-groups"
HTTPS: Final[Ports] = ((443, 443),)
MOST_PEERS, MOST_PODS = 8, 16
"""How many subnets of other nodes are tried with each node, and how many addresses of its pods, from all over them."""
_HALF: Final = 2
_RANK: Final = (CheckResult.BAD, CheckResult.WARNING)


@dataclass(frozen=True, slots=True)
class _Need:
    """What nodes need security groups to allow. `source` and `target` are the words of a rule that allows it."""

    code: str
    what: str
    """Completes "vm1 cannot get ..." or "nobody can ..."."""
    inbound: bool
    ports: Ports
    source: str
    target: str


FROM_VNET: Final = _Need("PodsShutOff", "from the VNet to pods", True, ALL_PORTS, "VirtualNetwork", "VirtualNetwork")
TO_VNET: Final = _Need("PodsShutOff", "from pods to the VNet", False, ALL_PORTS, "VirtualNetwork", "VirtualNetwork")
PROBES: Final = _Need(
    "ProbesShutOut", "from load balancers' probes (168.63.129.16)", True, ALL_PORTS, "AzureLoadBalancer", "'*'"
)
TO_ARM: Final = _Need(
    "OutboundDenied", "from nodes to Azure Resource Manager", False, HTTPS, "'*'", "AzureResourceManager"
)
TO_INTERNET: Final = _Need("OutboundDenied", "from nodes to the internet", False, HTTPS, "'*'", "Internet")
GOOD: Final = {
    "PodsShutOff": "security groups let pods and the VNet reach each other",
    "ProbesShutOut": "security groups let the probes of load balancers in",
    "OutboundDenied": "security groups let nodes reach the internet and Azure Resource Manager",
}
DO: Final = {
    "PodsShutOff": "let it through by a rule that is judged before, or change the one that denies it",
    "ProbesShutOut": "let them in, or load balancers consider these nodes and their pods down",
    "OutboundDenied": "let it out, if nodes are to pull images and agents are to write NICs from here",
}
UNLESS_MEANT: Final = "leave it if that is meant; else let more through by a rule that is judged before"

_Representatives = dict[str, list[tuple[str, Party]]]
"""By subnet, ID in lower case: nodes, and an address of each."""


@dataclass(frozen=True, slots=True)
class _Passage:
    """Connections that stand for a need of one node: each of `far`, with whichever of `near` gets through."""

    need: _Need
    near: tuple[Party, ...]
    far: tuple[Party, ...]
    closed: CheckResult
    """What it is if no port is left open."""
    narrow: CheckResult = CheckResult.GOOD
    """What it is if most ports are closed."""


@dataclass(frozen=True, slots=True)
class _Shut:
    """A need that groups do not allow on one node, or hardly."""

    node: str
    need: _Need
    result: CheckResult
    open_ports: int
    denials: tuple[Denial, ...]


def check_security(evidence: CloudEvidence) -> list[ClusterCheck]:
    """One check for each code. Nodes whose groups could not be read make it unknown, if nothing worse was found."""
    shut: list[_Shut] = []
    unread: dict[str, None] = {}
    representatives = _representatives(evidence)
    for node, nic in evidence.nics.items():
        subnet = evidence.subnet(nic)
        words = evidence.unknown(nic.subnet_id, *_group_ids(nic, subnet))
        unread |= dict.fromkeys(words)
        if subnet is not None and not words:
            peers = _peers(node, subnet, representatives)
            shut += _judged(node, nic, subnet, peers, evidence)
    rules = _NewRules()
    return [_made(code, [one for one in shut if one.need.code == code], tuple(unread), rules) for code in GOOD]


def _made(code: str, shut: Sequence[_Shut], unread: Sequence[str], rules: _NewRules) -> ClusterCheck:
    if not shut and unread:
        message = f"security groups could not be read: {few(unread)}"
        return ClusterCheck(GROUP, code, CheckResult.UNKNOWN, message, ASK_A_READER, PAGE)
    if not shut:
        return ClusterCheck(GROUP, code, CheckResult.GOOD, GOOD[code], page=PAGE)
    nodes: dict[str, dict[str, None]] = {}
    for one in shut:
        nodes.setdefault(_in_words(one), {})[one.node] = None
    message = "; ".join(f"{few(list(names))}: {words}" for words, names in nodes.items())
    worst = next(result for result in _RANK if any(one.result is result for one in shut))
    closed = [one for one in shut if not one.open_ports]
    commands = dict.fromkeys(filter(None, map(rules.command, closed)))
    return ClusterCheck(GROUP, code, worst, message, DO[code] if closed else UNLESS_MEANT, PAGE, "; ".join(commands))


def _in_words(shut: _Shut) -> str:
    named = [
        f"rule {one.rule.name} (priority {one.rule.priority}) of group {name_of(one.group.id)}"
        for one in _deciding(shut)
    ]
    named = named or ["a group without any rule"]
    if shut.open_ports:
        left = counted(shut.open_ports, "TCP port is left", "TCP ports are left")
        return f"{few(named)} denies most traffic {shut.need.what}: {left}"
    return f"{few(named)} denies traffic {shut.need.what}"


def _deciding(shut: _Shut) -> list[Denial]:
    """The rule of each group that denies the most."""
    by_group: dict[str, Denial] = {}
    for one in shut.denials:
        known = by_group.get(one.group.id)
        if known is None or one.count > known.count:
            by_group[one.group.id] = one
    return list(by_group.values())


class _NewRules:
    """The rules that commands make. All commands may be typed, so each rule has a number of its own, and a name by it:
    az replaces a rule of the same name.
    """

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, _Need, str], int | None] = {}

    def command(self, shut: _Shut) -> str:
        """A rule in front of each that denies it. "" where no number is left before one: people have to sort them."""
        numbers = [(one.group, self._number(one, shut.need)) for one in _deciding(shut)]
        commands = [_allowing(group, shut.need, number) for group, number in numbers if number is not None]
        return "; ".join(commands) if len(commands) == len(numbers) else ""

    def _number(self, denial: Denial, need: _Need) -> int | None:
        key = (denial.group.id, need, denial.rule.name)
        if key not in self._numbers:
            promised = [
                number
                for (group, other, _), number in self._numbers.items()
                if group == denial.group.id and other.inbound == need.inbound and number is not None
            ]
            self._numbers[key] = denial.group.free_priority(denial.rule, promised=promised)
        return self._numbers[key]


def _allowing(group: SecurityGroup, need: _Need, priority: int) -> str:
    ports, direction = "443" if need.ports == HTTPS else "'*'", "Inbound" if need.inbound else "Outbound"
    protocol = "Tcp" if need.ports == HTTPS else "'*'"
    return (
        f"az network nsg rule create {az_scope(group.id)} --nsg-name {shlex.quote(name_of(group.id))} "
        f"-n azure-cni-{direction.lower()}-{priority} --priority {priority} "
        f"--direction {direction} --access Allow --protocol {protocol} --source-address-prefixes {need.source} "
        f"--destination-address-prefixes {need.target} --destination-port-ranges {ports}"
    )


def _judged(
    node: str, nic: NicFacts, subnet: SubnetFacts, peers: tuple[Party, ...], evidence: CloudEvidence
) -> Iterator[_Shut]:
    inward = [evidence.groups[one.lower()] for one in _group_ids(nic, subnet)]
    for passage in _passages(nic, subnet, peers, evidence):
        groups = inward if passage.need.inbound else inward[::-1]
        judged = [_best(groups, passage, far) for far in passage.far]
        open_ports, denials = min(judged, key=lambda one: one[0])
        result = CheckResult.GOOD
        if open_ports == 0:
            result = passage.closed
        elif open_ports * _HALF < port_count(passage.need.ports):
            result = passage.narrow
        if result is not CheckResult.GOOD:
            yield _Shut(node, passage.need, result, open_ports, denials)


def _best(groups: Sequence[SecurityGroup], passage: _Passage, far: Party) -> tuple[int, tuple[Denial, ...]]:
    """How many ports are open for the near party that has the most, or most of all, and who closes the others."""
    need = passage.need
    best: tuple[int, tuple[Denial, ...]] = (-1, ())
    for near in passage.near:
        source, target = (far, near) if need.inbound else (near, far)
        ports, denials = judge(groups, inbound=need.inbound, source=source, target=target, ports=need.ports)
        best = max(best, (port_count(ports), denials), key=lambda one: one[0])
        if best[0] * _HALF >= port_count(need.ports):
            break  # enough, and nearly always the first
    return best


def _group_ids(nic: NicFacts, subnet: SubnetFacts | None) -> tuple[str, ...]:
    """In the order in which they judge what arrives."""
    return tuple(filter(None, (subnet.security_group_id if subnet else "", nic.security_group_id)))


def _passages(
    nic: NicFacts, subnet: SubnetFacts, peers: tuple[Party, ...], evidence: CloudEvidence
) -> Iterator[_Passage]:
    own = tuple(_party(one) for one in nic.configs if one.primary)
    groups = own[0].groups if own else frozenset[str]()
    pods = tuple(_party(one) for one in nic.configs if not one.primary and one.address is not None)
    pods = pods[:: -(-len(pods) // MOST_PODS) or 1]
    pods = pods or (Party(_spare(subnet, 1), groups=groups),)
    nodes, peers = own or pods, peers or (Party(_spare(subnet, 2), groups=groups),)
    yield _Passage(FROM_VNET, pods, peers, CheckResult.BAD, CheckResult.WARNING)
    yield _Passage(TO_VNET, pods, peers, CheckResult.BAD, CheckResult.WARNING)
    prober = Party(PROBER, frozenset({BALANCER, VNET}))
    probed = CheckResult.BAD if nic.pools else CheckResult.WARNING
    for near in (nodes, pods):
        yield _Passage(PROBES, near, (prober,), probed)
    routed = {VNET} if _routes_everything(subnet, evidence) else set()
    internet, arm = frozenset({INTERNET, *routed}), frozenset({INTERNET, CLOUD, ARM, *routed})
    yield _Passage(TO_ARM, nodes, (Party(None, arm),), CheckResult.BAD)
    yield _Passage(TO_INTERNET, nodes, (Party(None, internet),), CheckResult.WARNING)


def _routes_everything(subnet: SubnetFacts, evidence: CloudEvidence) -> bool:
    """Prefixes of a subnet's routes count as VirtualNetwork there (Azure documentation, "Service tags")."""
    prefixes = {route.prefix for route in evidence.tables.get(subnet.route_table_id.lower(), ())}
    return WHOLE in prefixes or prefixes >= HALVES


def _representatives(evidence: CloudEvidence) -> _Representatives:
    """Two nodes of each subnet, each by a pod, or itself: one is another node than that which is looked at."""
    found: dict[str, list[tuple[str, Party]]] = {}
    for node, nic in evidence.nics.items():
        known = found.setdefault(nic.subnet_id.lower(), [])
        if len(known) < 2 and (last := next((one for one in reversed(nic.configs) if one.address), None)):  # noqa: PLR2004
            known.append((node, _party(last)))
    return found


def _peers(node: str, subnet: SubnetFacts, known: _Representatives) -> tuple[Party, ...]:
    """A pod of another node, or that node: of this subnet, and of each other one with nodes."""
    found = {key: [party for name, party in parties if name != node] for key, parties in known.items()}
    ordered = sorted(found.items(), key=lambda one: (one[0] != subnet.id.lower(), one[0]))
    return tuple(parties[0] for _, parties in ordered if parties)[:MOST_PEERS]


def _spare(subnet: SubnetFacts, number: int) -> IPv4Address | None:
    """An address near the end of the subnet: a pod's that has not come yet."""
    prefix = next(iter(subnet.prefixes), None)
    return None if prefix is None else prefix.broadcast_address - number


def _party(config: ConfigFacts) -> Party:
    return Party(config.address, groups=config.groups)
