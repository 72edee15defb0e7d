from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azure_cni.api.node_ip_pool import Request
from azure_cni.ipam.grants import (
    Answer,
    PoolView,
    QuotaEntry,
    Reserve,
    TakeBack,
    Unchanged,
    ceiling,
    decide,
    first_request,
    is_superseded,
    left_in_flight,
    next_request,
    self_grant,
    usable,
)

counts = st.integers(0, 250)
numbers = st.integers(1, 4)
requests = st.builds(Request, counts, numbers)
pools = st.builds(PoolView, requests, granted=counts, granted_for=numbers, allocated=counts)
entries = st.builds(QuotaEntry, counts, numbers)


def pool(requested: int, number: int, *, granted: int = 0, granted_for: int = 0, allocated: int = 0) -> PoolView:
    return PoolView(Request(requested, number), granted=granted, granted_for=granted_for, allocated=allocated)


@pytest.mark.parametrize(("requested", "maximum", "granted"), [(16, 250, 16), (260, 250, 250), (0, 250, 0)])
def test_a_node_allows_itself_what_it_asks_up_to_max(requested, maximum, granted):
    assert self_grant(requested, maximum) == granted


@pytest.mark.parametrize(
    ("wanted", "on_nic", "in_flight", "asked"),
    [
        (16, 16, 0, Request(16, 7)),  # nothing changed, so neither does the number
        (32, 16, 0, Request(32, 8)),
        (0, 16, 0, Request(16, 7)),  # never below the NIC
        (0, 8, 0, Request(8, 8)),
        (0, 0, 16, Request(16, 7)),  # nor below what a write in flight could leave
        (0, 8, 12, Request(12, 8)),
        (0, 0, 0, Request(0, 8)),
    ],
)
def test_the_request_covers_the_nic_and_its_number_rises_with_each_change(wanted, on_nic, in_flight, asked):
    assert next_request(Request(16, 7), wanted=wanted, on_nic=on_nic, in_flight=in_flight) == asked


def test_a_new_agent_begins_with_a_number_of_its_own():
    assert first_request(Request(16, 7)) == Request(16, 8)


@pytest.mark.parametrize(
    ("shown", "superseded"),
    [
        (Request(16, 7), False),  # its own
        (Request(8, 6), False),  # its own from before: the newer one has not arrived yet
        (Request(8, 7), True),
        (Request(16, 8), True),
    ],
)
def test_another_agents_request_is_known_by_its_number(shown, superseded):
    assert is_superseded(Request(16, 7), shown=shown) is superseded


def test_a_write_of_the_agent_before_went_no_further_than_request_and_grant():
    assert left_in_flight(pool(16, 7, granted=10, granted_for=7)) == 10
    assert left_in_flight(pool(8, 8, granted=10, granted_for=7)) == 8


@pytest.mark.parametrize(
    ("seen", "may"),
    [
        (pool(16, 7, granted=16, granted_for=7), 16),
        (pool(16, 7, granted=10, granted_for=7), 10),  # the limit
        (pool(16, 7, granted=32, granted_for=7), 16),  # what is being taken back
        (pool(16, 7, granted=16, granted_for=6), 0),  # not answered yet
        (pool(32, 6, granted=32, granted_for=6), 0),  # an old view: the answer to an older request
        (pool(8, 7, granted=8, granted_for=7), 0),  # another agent's request of the same number
    ],
)
def test_only_the_answer_to_the_newest_request_counts(seen, may):
    assert usable(Request(16, 7), seen) == may


@pytest.mark.parametrize(
    ("per_node", "others", "room"), [(250, 0, 250), (250, 15_990, 10), (250, 16_000, 0), (250, 17_000, 0)]
)
def test_the_ceiling_is_what_the_node_and_the_others_leave(per_node, others, room):
    assert ceiling(limit=16_000, per_node=per_node, others=others) == room


@pytest.mark.parametrize(
    ("seen", "entry", "room", "decision"),
    [
        # Up: the ledger, then the pool, then nothing.
        (pool(16, 1), QuotaEntry(), 250, Reserve(QuotaEntry(16, 1))),
        (pool(16, 1), QuotaEntry(16, 1), 250, Answer(16, 1)),
        (pool(16, 1, granted=16, granted_for=1), QuotaEntry(16, 1), 250, Unchanged()),
        # Less than asked for at the limit, and the rest when there is room.
        (pool(16, 1), QuotaEntry(), 10, Reserve(QuotaEntry(10, 1))),
        (pool(16, 1), QuotaEntry(10, 1), 10, Answer(10, 1)),
        (pool(16, 1, granted=10, granted_for=1), QuotaEntry(10, 1), 10, Unchanged()),
        (pool(16, 1, granted=10, granted_for=1), QuotaEntry(10, 1), 12, Reserve(QuotaEntry(12, 1))),
        (pool(16, 1, granted=10, granted_for=1), QuotaEntry(12, 1), 12, Answer(12, 1)),
        (pool(16, 1), QuotaEntry(), 0, Reserve(QuotaEntry(0, 1))),
        # A request for less is answered first; the count stays, its number is recorded all the same.
        (pool(8, 2, granted=16, granted_for=1, allocated=8), QuotaEntry(16, 1), 250, Reserve(QuotaEntry(16, 2))),
        (pool(8, 2, granted=16, granted_for=1, allocated=8), QuotaEntry(16, 2), 250, Answer(8, 2)),
        # Down: only then, and never below what is reported on the NIC.
        (pool(8, 2, granted=8, granted_for=2, allocated=8), QuotaEntry(16, 2), 250, TakeBack(8, QuotaEntry(8, 2))),
        (pool(8, 2, granted=12, granted_for=2, allocated=12), QuotaEntry(16, 2), 250, TakeBack(12, QuotaEntry(12, 2))),
        (pool(8, 2, granted=8, granted_for=2, allocated=8), QuotaEntry(8, 2), 250, Unchanged()),
        # A limit that was lowered takes nothing from what a node still asks for.
        (pool(16, 1, granted=16, granted_for=1, allocated=16), QuotaEntry(16, 1), 4, Unchanged()),
        # The node's name came back with a new pool: the old entry stays until its agent has spoken.
        (pool(0, 0), QuotaEntry(16, 7), 250, Unchanged()),
    ],
)
def test_the_next_compare_and_swap(seen, entry, room, decision):
    assert decide(seen, entry, ceiling=room) == decision


@given(pools, entries, counts)
def test_reserving_is_a_matter_of_request_and_entry_alone(seen, entry, room):
    bare = PoolView(seen.request, granted=0, granted_for=0, allocated=0)
    decisions = decide(seen, entry, ceiling=room), decide(bare, entry, ceiling=room)
    assert isinstance(decisions[0], Reserve) is isinstance(decisions[1], Reserve)
    assert decisions[0] == decisions[1] or not isinstance(decisions[0], Reserve)


@given(pools, entries, counts)
def test_an_entry_of_another_request_leads_to_no_write_of_the_pool(seen, entry, room):
    if entry.request_id != seen.request.number:
        assert isinstance(decide(seen, entry, ceiling=room), Reserve)


@given(pools, entries, counts)
def test_without_room_nothing_else_is_written_to_the_pool(seen, entry, room):
    decision = decide(seen, entry, ceiling=room)
    if isinstance(decision, Answer | TakeBack):
        assert decide(seen, entry, ceiling=0) == decision


@given(pools, entries, counts)
def test_undisturbed_it_comes_to_rest_after_every_kind_of_write_once(seen, entry, room):
    kinds = []
    while not isinstance(decision := decide(seen, entry, ceiling=room), Unchanged):
        kinds.append(type(decision))
        match decision:
            case Reserve(entry=entry):
                pass
            case Answer(granted=granted, granted_for=number):
                seen = replace(seen, granted=granted, granted_for=number)
            case TakeBack(granted=granted, entry=entry):
                seen = replace(seen, granted=granted)
    assert kinds == [kind for kind in (Reserve, Answer, TakeBack) if kind in kinds]
    assert seen.granted_for == entry.request_id == seen.request.number
    assert entry.count <= max(seen.needed, room)
