"""How many writes it takes to find out what a subnet has left, and what is remembered of it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azure_cni.ipam.sizing import SHARE, SubnetRoom


def grown(room: int, wanted: int, *, memory: SubnetRoom | None = None) -> tuple[int, list[int], SubnetRoom]:
    """What a node gets of a subnet for pods that wait, the sizes that it asks for, and what it remembers.

    It ends where a growth by one was refused, or nothing more is wanted.
    """
    memory, sizes, held = memory or SubnetRoom(), [], 0
    while held < wanted:
        add = memory.next_add(wanted - held, needed=wanted - held)
        sizes.append(add)
        if add > room:
            memory = memory.after_refusal(add)
            if add == 1:
                break
        else:
            memory = memory.after_growth(add, wanted=wanted - held)
            held, room = held + add, room - add
    return held, sizes, memory


@given(room=st.integers(0, 300), wanted=st.integers(1, 250))
def test_a_node_gets_all_that_the_subnet_has_in_few_writes(room: int, wanted: int):
    held, sizes, _ = grown(room, wanted)
    assert held == min(room, wanted)
    rounds = math.log(wanted, SHARE) + 2
    assert len(sizes) <= rounds * (rounds + 1)


@pytest.mark.parametrize(
    ("room", "wanted", "sizes"),
    [
        (20, 20, [20]),
        (5, 20, [20, 6, 2, 1, 1, 1, 1]),
        (5, 32, [32, 10, 3, 2, 1]),
        (0, 250, [250, 83, 27, 9, 3, 1]),
        (1, 2, [2, 1, 1]),
    ],
)
def test_the_sizes_that_it_asks_for(room: int, wanted: int, sizes: list[int]):
    assert grown(room, wanted)[1] == sizes


def test_where_one_did_not_fit_one_is_tried_until_it_does_and_then_more_and_more():
    _, _, memory = grown(0, 64)
    assert memory.next_add(64, needed=64) == 1
    assert grown(200, 64, memory=memory)[1] == [1, 4, 16, 43]


def test_a_single_address_that_came_back_costs_few_refusals():
    _, _, memory = grown(0, 200)
    assert grown(1, 200, memory=memory)[1] == [1, 4, 1]


def test_who_only_keeps_addresses_ready_asks_for_all_or_nothing():
    memory = SubnetRoom().after_refusal(16)
    assert memory.next_add(16, needed=0) == 16
    assert memory.next_add(16, needed=-3) == 16
    assert memory.next_add(16, needed=2) == 2


def test_a_growth_that_fits_whole_leaves_nothing_to_remember():
    memory = SubnetRoom().after_refusal(16).after_growth(5, wanted=16)
    assert memory == SubnetRoom(refused=11)
    assert memory.after_growth(11, wanted=11) == SubnetRoom()


def test_blocks_are_asked_for_whole():
    memory = SubnetRoom()
    assert memory.next_add(240, needed=3, size=16) == 240
    memory = memory.after_refusal(240)
    assert memory.next_add(240, needed=3, size=16) == 16
    assert memory.next_add(240, needed=100, size=16) == 80
    assert memory.after_refusal(80).next_add(240, needed=100, size=16) == 32
    assert memory.after_refusal(16).next_add(16, needed=16, size=16) == 16
    assert SubnetRoom().after_news(1).next_add(16, needed=1, size=16) == 16
