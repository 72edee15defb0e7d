"""The taint under random histories: it turns when it must, and for nothing shorter than a while."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from azure_cni.node.pool.taint import STEADY_S, Room, Stance, margin, room_of, turned

WHILE_S = STEADY_S - 1e-6
"""A while as floats measure it."""

History = list[tuple[float, Room]]
"""Looks: seconds since the one before, and what was seen."""

looks = st.tuples(st.floats(0.05, 2 * STEADY_S), st.sampled_from(Room))
histories = st.lists(looks, max_size=120)
churn = st.lists(st.tuples(st.floats(0.05, STEADY_S / 4), st.sampled_from(Room)), max_size=120)


def walk(history: History, stance: Stance, *, now_s: float = 0.0) -> list[tuple[float, Room, Stance]]:
    """Time, room and stance after each look."""
    seen = []
    for pause_s, room in history:
        now_s += pause_s
        stance = turned(stance, room, now_s=now_s)
        seen.append((now_s, room, stance))
    return seen


def turns_of(seen: list[tuple[float, Room, Stance]], *, first: bool) -> list[tuple[int, float, bool]]:
    """Index, time and new side of each change."""
    before = [first, *(stance.tainted for _, _, stance in seen)]
    return [(index, seen[index][0], after) for index, (was, after) in enumerate(pairwise(before)) if was is not after]


@given(history=histories, first=st.booleans())
def test_changes_are_at_least_a_while_apart(history: History, *, first: bool):
    turns = turns_of(walk(history, Stance(first)), first=first)
    assert all(later - earlier >= WHILE_S for (_, earlier, _), (_, later, _) in pairwise(turns))
    assert len(turns) <= sum(pause_s for pause_s, _ in history) / WHILE_S


@given(history=histories, first=st.booleans())
def test_a_change_follows_a_while_in_which_nothing_spoke_for_staying(history: History, *, first: bool):
    seen = walk(history, Stance(first))
    for index, now_s, tainted in turns_of(seen, first=first):
        while_before = [room for at_s, room, _ in seen[: index + 1] if at_s >= now_s - WHILE_S]
        assert set(while_before) <= ({Room.NONE, Room.SPOKEN_FOR} if tainted else {Room.ENOUGH})


@given(history=churn, first=st.booleans())
def test_a_node_that_is_never_full_nor_roomy_for_a_while_never_changes(history: History, *, first: bool):
    broken = [
        step
        for index, step in enumerate(history)
        # every fourth look something else is seen: no stretch of one kind lasts
        for step in ([step, (0.05, Room.SOME)] if index % 4 == 3 else [step])
    ]
    assert not turns_of(walk(broken, Stance(first)), first=first)


@given(history=histories, first=st.booleans())
def test_what_lasts_is_reported_whatever_was_before(history: History, *, first: bool):
    seen = walk(history, Stance(first))
    now_s, _, stance = seen[-1] if seen else (0.0, Room.SOME, Stance(first))
    for room, tainted in ((Room.NONE, True), (Room.ENOUGH, False)):
        now_s, _, stance = walk([(1.0, room)] * int(STEADY_S + 2), stance, now_s=now_s)[-1]
        assert stance == Stance(tainted)


@given(now_s=st.floats(0.0, 1e8), first=st.booleans())
def test_it_turns_at_the_very_time_that_it_names(now_s: float, *, first: bool):
    """Who sleeps until then is not woken again soon: a rounding error must not let it pass."""
    against = Room.ENOUGH if first else Room.NONE
    turning = turned(Stance(first), against, now_s=now_s)
    assert turning.turns_at_s is not None
    assert turned(turning, against, now_s=turning.turns_at_s) == Stance(not first)


pods = st.lists(
    st.tuples(st.floats(0.5, 120.0), st.integers(1, 3)), min_size=1, max_size=200
)  # pauses between pods that end or come, and how many


@given(pods, st.integers(1, 250), st.integers(0, 40))
def test_pods_that_come_and_go_at_the_limit_do_not_make_it_flap(steps, ceiling: int, min_free: int):
    """A full node on which single pods end and are replaced: room enough for a while means that several have left."""
    enough = margin(min_free=min_free, ceiling=ceiling)
    stance, free, changes, now_s, wide_since_s = Stance(tainted=False), 0, 0, 0.0, None
    for number, (pause_s, count) in enumerate(steps):
        until_s = now_s + pause_s
        while now_s < until_s:
            now_s += min(1.0, until_s - now_s)
            room = room_of(can_take_a_pod=free > 0, free=free, waiting=0, margin=enough)
            before, stance = stance, turned(stance, room, now_s=now_s)
            if free < enough or not free:
                wide_since_s = None
            elif wide_since_s is None:
                wide_since_s = now_s
            if before.tainted and not stance.tainted:
                assert wide_since_s is not None
                assert now_s - wide_since_s >= WHILE_S
            changes += before.tainted is not stance.tainted
        free = max(0, free - count) if number % 2 else min(ceiling, free + count)
    assert changes <= 1 + now_s / WHILE_S


@given(st.integers(0, 250), st.integers(0, 250))
def test_the_margin_is_one_that_the_pool_strives_for_and_can_reach(min_free: int, ceiling: int):
    assert 0 <= margin(min_free=min_free, ceiling=ceiling) <= min(min_free, ceiling)
