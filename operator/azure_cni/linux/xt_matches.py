"""What iptables' modules `conntrack` and `mark` ask for in rules of nftables, read from the kernel itself.

iptables stores most of its modules in nftables as they are, and nft shows such a match by its name alone: to show more
it needs iptables' libraries, which a container with nft does not have. Layouts: linux/netfilter/nf_tables.h (rules),
xt_conntrack.h and xt_mark.h (the modules' own data, in the byte order of the machine).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from azure_cni.linux.conntrack import NETLINK_NETFILTER
from azure_cni.linux.netlink import Netlink, attribute, attributes

Match = dict[str, Any]
"""An expression as `nft --json` writes it."""

_GET_RULE: Final = 10 << 8 | 7  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETRULE
_FAMILIES: Final = {"ip": socket.AF_INET, "inet": 1}
_GENERIC: Final = struct.Struct("!BBH")  # struct nfgenmsg
_ATTRIBUTE: Final = struct.Struct("=HH")
_RULE_TABLE, _RULE_HANDLE, _RULE_EXPRESSIONS = 1, 3, 4
_EXPRESSION_NAME, _EXPRESSION_DATA = 1, 2
_MATCH_NAME, _MATCH_REVISION, _MATCH_INFO = 1, 2, 3

_ASKS_STATE: Final = 1  # XT_CONNTRACK_STATE
_FLAGS: Final = struct.Struct("=HHH")  # what is asked, what of it is inverted, and the states
_FLAGS_AT: Final = 8 * 16 + 2 * 4 + 5 * 2  # behind eight addresses, two times, a protocol and four ports
_STATES: Final = {1 << 0: "invalid", 1 << 1: "established", 1 << 2: "related", 1 << 3: "new", 1 << 8: "untracked"}
_MARK: Final = struct.Struct("=IIB")


def matches(family: str, table: str) -> dict[tuple[int, str], Match]:
    """By the rule's handle and the module's name; without those that ask for something else than states or a mark.

    Of the network namespace of the calling thread. DatapathError when the kernel cannot be asked.
    """
    body = _GENERIC.pack(_FAMILIES[family], 0, 0) + attribute(_RULE_TABLE, table.encode() + b"\0")
    with Netlink(NETLINK_NETFILTER) as kernel:
        rules = kernel.dump(f"read the rules of nftables table {family} {table}", kind=_GET_RULE, body=body)
    found: dict[tuple[int, str], Match] = {}
    for rule in rules:
        values = attributes(rule[_GENERIC.size :])
        handle = int.from_bytes(values.get(_RULE_HANDLE, b""), "big")
        for name, match in _of_rule(values.get(_RULE_EXPRESSIONS, b"")):
            found.setdefault((handle, name), match)
    return found


def state_match(revision: int, info: bytes) -> Match | None:
    """What `-m conntrack` asks for, where that is nothing but states (xt_conntrack.h, revisions 1 to 3)."""
    if len(info) < _FLAGS_AT + _FLAGS.size or not revision:
        return None
    asked, inverted, mask = _FLAGS.unpack_from(info, _FLAGS_AT)
    if asked != _ASKS_STATE:
        return None
    if revision == 1:
        mask = info[_FLAGS_AT + 4]  # one octet then
    states = [word for bit, word in _STATES.items() if mask & bit]
    return {
        "match": {"op": "!=" if inverted & _ASKS_STATE else "in", "left": {"ct": {"key": "state"}}, "right": states}
    }


def mark_match(revision: int, info: bytes) -> Match | None:
    """What `-m mark` asks for (xt_mark.h, revision 1)."""
    if len(info) < _MARK.size or revision != 1:
        return None
    mark, mask, inverted = _MARK.unpack_from(info)
    left = {"&": [{"meta": {"key": "mark"}}, mask]}
    return {"match": {"op": "!=" if inverted else "==", "left": left, "right": mark}}


_MODULES: Final[Mapping[str, Callable[[int, bytes], Match | None]]] = {"conntrack": state_match, "mark": mark_match}


def _of_rule(expressions: bytes) -> Iterator[tuple[str, Match]]:
    """The matches of one rule that are understood, by module."""
    for element in _elements(expressions):
        expression = attributes(element)
        if _text(expression.get(_EXPRESSION_NAME)) != "match":
            continue
        data = attributes(expression.get(_EXPRESSION_DATA, b""))
        name, revision = _text(data.get(_MATCH_NAME)), int.from_bytes(data.get(_MATCH_REVISION, b""), "big")
        understand = _MODULES.get(name)
        if understand and (match := understand(revision, data.get(_MATCH_INFO, b""))):
            yield name, match


def _elements(data: bytes) -> Iterator[bytes]:
    """The elements of a list: attributes that are all of one type."""
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, _ = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size:
            return
        yield data[offset + _ATTRIBUTE.size : offset + length]
        offset += length + (-length % 4)


def _text(value: bytes | None) -> str:
    return (value or b"").rstrip(b"\0").decode(errors="replace")
