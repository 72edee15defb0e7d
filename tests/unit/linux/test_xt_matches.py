"""iptables' own data in rules of nftables, as far as it is understood; and nothing where it is not."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from azure_cni.linux.xt_matches import mark_match, state_match

STATE, DESTINATION = 1, 0x10  # XT_CONNTRACK_STATE, XT_CONNTRACK_REPLSRC: what a match asks for
ESTABLISHED, RELATED, NEW, UNTRACKED = 1 << 1, 1 << 2, 1 << 3, 1 << 8


def conntrack(*, asked: int = STATE, inverted: int = 0, states: int) -> bytes:
    return bytes(146) + struct.pack("=HHHH", asked, inverted, states, 0)


def of_states(*states: str, op: str = "in") -> dict[str, Any]:
    return {"match": {"op": op, "left": {"ct": {"key": "state"}}, "right": list(states)}}


@pytest.mark.parametrize(
    ("revision", "info", "expected"),
    [
        (3, conntrack(states=RELATED | ESTABLISHED), of_states("established", "related")),
        (2, conntrack(states=NEW | UNTRACKED), of_states("new", "untracked")),
        (1, bytes(146) + struct.pack("=HHBB", STATE, 0, NEW, 0xFF) + bytes(4), of_states("new")),
        (3, conntrack(inverted=STATE, states=NEW), of_states("new", op="!=")),
        (3, conntrack(asked=STATE | DESTINATION, states=NEW), None),
        (3, conntrack(asked=DESTINATION, states=NEW), None),
        (3, b"short", None),
        (0, conntrack(states=NEW), None),
    ],
)
def test_states_that_conntrack_asks_for(revision: int, info: bytes, expected: dict[str, Any] | None) -> None:
    assert state_match(revision, info) == expected


@pytest.mark.parametrize(
    ("revision", "inverted", "op"), [(1, 0, "=="), (1, 1, "!="), (0, 0, None)], ids=["is", "is not", "old"]
)
def test_a_mark(revision: int, inverted: int, op: str | None) -> None:
    found = mark_match(revision, struct.pack("=IIBxxx", 0x4000, 0xF000, inverted))
    left = {"&": [{"meta": {"key": "mark"}}, 0xF000]}
    assert found == (op and {"match": {"op": op, "left": left, "right": 0x4000}})
    assert mark_match(1, b"") is None
