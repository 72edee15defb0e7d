"""Whether another table's forward chain drops what pods send or receive: its rules, asked with sample packets. Pure.

The kernel asks every table, and one that drops is not overruled by another that accepts. Docker sets the policy of
iptables' FORWARD to drop, firewalld rejects what no zone of it lets through. What decides is not whether a chain can
drop (kube-proxy's do, for Services without endpoints), but whether it drops pods' plain traffic. So a few packets that
every cluster needs are taken through its rules, as `nft --json` lists them.

Not every expression can be judged from outside (a set filled at run time, an extension of iptables). Such a rule may
match or not, and both are followed; only what is dropped on every way is reported. So silence proves nothing, but what
is reported is so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from azure_cni.datapath.conflicts import Conflict, ConflictReason
from azure_cni.datapath.modes import PodLinks
from azure_cni.datapath.node_table import TABLE

Rule = Mapping[str, Any]
Rules = Callable[[str], Sequence[Rule] | None]
"""The rules of a chain of the same table by its name; None where nobody knows them."""

FIREWALLD = "firewalld"
"""The table that firewalld makes."""
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
"""A name as nft reads it without quotes."""
_LOOK = "see nft list ruleset"
_DEPTH = 16  # chains within chains that the kernel allows (NFT_JUMP_STACK_SIZE)
_NOT_OTHERS = {TABLE, "kube-proxy"}  # kube-proxy's own table is large, and rejects only what is for a Service


@dataclass(frozen=True, slots=True)
class BaseChain:
    """A chain on the forward hook; `family` is `ip` or `inet`."""

    family: str
    table: str
    name: str
    drops: bool
    """Its policy."""

    def __str__(self) -> str:
        return f"{self.family} {self.table} {self.name}"


@dataclass(frozen=True, slots=True)
class Sample:
    """The first packet of a TCP connection. `what` completes "what ..."."""

    what: str
    iif: str
    oif: str
    source: IPv4Address
    destination: IPv4Address
    port: int = 8080


class _End(Enum):
    ACCEPT = auto()
    DROP = auto()
    ON = auto()
    """The chain ends, or is left, without a verdict."""


def base_chains(items: Iterable[Mapping[str, Any]]) -> tuple[BaseChain, ...]:
    """Of all chains, those of others that see forwarded IPv4 packets and may drop them."""
    chains = (item["chain"] for item in items if "chain" in item)
    return tuple(
        BaseChain(chain["family"], chain["table"], chain["name"], drops=chain.get("policy") == "drop")
        for chain in chains
        if chain.get("hook") == "forward" and chain["family"] in {"ip", "inet"} and chain["table"] not in _NOT_OTHERS
    )


def samples(pool: Iterable[IPv4Address], primary: IPv4Address, *, uplink: str, pods: PodLinks) -> tuple[Sample, ...]:
    """What every cluster needs: a pod calls a pod of another node, and is called by one."""
    pod = min(pool, default=None)
    if pod is None:
        return ()
    other = primary + 1 if primary + 1 != pod else primary + 2
    return (
        Sample("pods send to other nodes", pods.sample, uplink, pod, other),
        Sample("pods are sent from other nodes", uplink, pods.sample, other, pod),
    )


def dropped(chain: BaseChain, packets: Iterable[Sample], rules: Rules) -> tuple[Sample, ...]:
    """Of the packets, those that the chain drops whatever its unknown expressions say."""
    policy = _End.DROP if chain.drops else _End.ACCEPT
    found: list[Sample] = []
    for packet in packets:
        ends = {policy if end is _End.ON else end for end in _Walk(packet, rules).ends_of(chain.name)}
        if ends == {_End.DROP}:
            found.append(packet)
    return tuple(found)


def conflict(blocking: Sequence[tuple[BaseChain, Sequence[Sample]]], *, pods: PodLinks) -> tuple[Conflict, ...]:
    """One conflict for all chains that drop something, none where there is none."""
    if not blocking:
        return ()
    chains = "; ".join(_words(chain, packets, pods) for chain, packets in blocking)
    command = "; ".join(filter(None, dict.fromkeys(_remedy(chain, pods) for chain, _ in blocking)))
    message = f"another program's filter drops pods' traffic: {chains}"
    return (Conflict(ConflictReason.FOREIGN_FILTER, message, command),)


def _words(chain: BaseChain, packets: Sequence[Sample], pods: PodLinks) -> str:
    what = " and ".join(f"what {packet.what}" for packet in packets)
    by = "policy drop" if chain.drops else "its rules"
    hint = " (network security groups filter here)" if chain.table == FIREWALLD else ""
    return f"nftables chain {chain} ({by}) drops {what}: {_remedy(chain, pods) or _LOOK}{hint}"


def _remedy(chain: BaseChain, pods: PodLinks) -> str:
    """The command that ends it, as a shell of the node takes it; "" where names are no plain words, which a shell or
    nft would carry out: who may make a table is not always root.
    """
    if chain.table == FIREWALLD:
        return "systemctl disable --now firewalld"
    if (chain.family, chain.table, chain.name) == ("ip", "filter", "FORWARD"):
        if chain.drops:
            return "iptables -P FORWARD ACCEPT"
        names = (pattern.replace("*", "+") for pattern in pods.patterns)
        return "; ".join(f"iptables -I FORWARD {way} {name} -j ACCEPT" for name in names for way in ("-i", "-o"))
    if not all(map(_PLAIN.fullmatch, (chain.family, chain.table, chain.name))):
        return ""
    keys = ((key, pattern) for pattern in pods.patterns for key in ("iifname", "oifname"))
    return "; ".join(f"nft insert rule {chain} {key} '{pattern}' accept" for key, pattern in keys)


class _Walk:
    """One packet on its way through the chains of a table."""

    def __init__(self, packet: Sample, rules: Rules) -> None:
        self._packet = packet
        self._rules = rules

    def ends_of(self, chain: str, depth: int = 0) -> set[_End]:
        """Every way in which the chain may end for this packet."""
        rules = self._rules(chain) if depth < _DEPTH else None
        if rules is None:
            return set(_End)
        ends: set[_End] = set()
        for rule in rules:
            expressions = rule.get("expr", [])
            matches = _all(self._matches(expression) for expression in expressions)
            if matches is False:
                continue
            found, goes_on = self._verdict(expressions, depth)
            ends |= found
            if matches and not goes_on:
                return ends
        return ends | {_End.ON}

    def _verdict(self, expressions: Sequence[Mapping[str, Any]], depth: int) -> tuple[set[_End], bool]:
        """What a rule that matches does with the packet, and whether the packet may meet the next rule."""
        for expression in expressions:
            ((kind, body),) = expression.items()
            if kind in _ENDS:
                return {_ENDS[kind]}, False
            if kind in {"jump", "goto"}:
                found = self.ends_of(body["target"], depth + 1)
                returns = kind == "jump" and _End.ON in found
                return (found - {_End.ON} if returns else found), returns
            if kind in {"vmap", "queue"}:
                return set(_End), True
        return set(), True

    def _matches(self, expression: Mapping[str, Any]) -> bool | None:
        """None where that cannot be known; what is no match does not keep a packet from what follows."""
        ((kind, body),) = expression.items()
        if kind == "match":
            return self._compare(body["op"], body["left"], body["right"])
        if kind == "xt":
            return True if body and body.get("name") == "comment" else None
        return None if kind in {"limit", "quota", "ct count"} else True

    def _compare(self, operator: str, left: Any, right: Any) -> bool | None:
        value = self._value(left)
        if value is _UNKNOWN or operator not in {"==", "!=", "in"}:
            return None
        same = _same(value, right)
        return same if operator != "!=" or same is None else not same

    def _value(self, left: Mapping[str, Any]) -> Any:
        """What the packet has there: None where it lacks such a thing, _UNKNOWN where nobody knows."""
        ((kind, body),) = left.items()
        if kind == "&":
            value = self._value(body[0]) if isinstance(body[0], dict) else _UNKNOWN
            return value & body[1] if isinstance(value, int) and isinstance(body[1], int) else _UNKNOWN
        if kind == "payload":
            return self._payload(body.get("protocol"), body.get("field"))
        return self._fields().get((kind, body.get("key")), _UNKNOWN) if isinstance(body, dict) else _UNKNOWN

    def _payload(self, protocol: str | None, field: str | None) -> Any:
        if protocol in {"ip6", "udp", "icmp", "icmpv6", "sctp", "udplite"}:
            return None
        return self._fields().get((protocol or "", field), _UNKNOWN)

    def _fields(self) -> Mapping[tuple[str, str | None], Any]:
        packet = self._packet
        return {
            ("meta", "iifname"): packet.iif,
            ("meta", "oifname"): packet.oif,
            ("meta", "nfproto"): "ipv4",
            ("meta", "l4proto"): "tcp",
            ("meta", "mark"): 0,
            ("ct", "mark"): 0,
            ("ct", "state"): "new",
            ("ct", "status"): "none",
            ("ip", "protocol"): "tcp",
            ("ip", "saddr"): packet.source,
            ("ip", "daddr"): packet.destination,
            ("tcp", "dport"): packet.port,
        }


_UNKNOWN = object()
_ENDS = {"accept": _End.ACCEPT, "drop": _End.DROP, "reject": _End.DROP, "return": _End.ON}


def _all(answers: Iterable[bool | None]) -> bool | None:
    results = list(answers)
    if False in results:
        return False
    return None if None in results else True


def _same(value: Any, right: Any) -> bool | None:
    """Whether a value is, or is among, what a rule says; None where that cannot be known."""
    if value is None:
        return False
    elements = right.get("set") if isinstance(right, dict) else right
    if isinstance(elements, list):
        return _any(_same(value, element) for element in elements)
    if isinstance(value, IPv4Address):
        return _covers(value, right)
    if isinstance(value, int):
        return _numbers(value, right)
    if not isinstance(right, str) or right.startswith("@"):
        return None
    return value.startswith(right[:-1]) if right.endswith("*") else bool(value == right)


def _covers(address: IPv4Address, right: Any) -> bool | None:
    match right:
        case {"prefix": {"addr": str(network), "len": int(length)}}:
            return address in IPv4Network((network, length), strict=False)
        case str() if not right.startswith("@"):
            return str(address) == right
    return None


def _numbers(value: int, right: Any) -> bool | None:
    match right:
        case {"range": [int(low), int(high)]}:
            return low <= value <= high
        case int():
            return value == right
    return None


def _any(answers: Iterable[bool | None]) -> bool | None:
    results = list(answers)
    if True in results:
        return True
    return None if None in results else False
