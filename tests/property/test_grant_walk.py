"""Every state of a small world in which the product grants addresses: no way past a limit, and nobody starves.

The world has two nodes, a limit of 2, any number of controllers that act on fresh reads and two that do not, and all
the faults of `grant_world`. By default one node asks or restarts twice and the other once (2.5 million states, half a
minute or so), and in two smaller worlds nodes also go and come back under their names; with AZURE_CNI_GRANT_WALK=full
larger ones follow, with a limit of 3 among them (some minutes, 4 GiB).
With a rule broken on purpose the walk finds a way, so it would find it in the product too.
"""

import os
from dataclasses import replace

import pytest

from azure_cni.api.node_ip_pool import Request
from azure_cni.ipam import grants
from azure_cni.ipam.grants import Answer, QuotaEntry, Reserve, TakeBack, Unchanged
from property import grant_explorer
from property.grant_explorer import Explorer
from property.grant_world import Rules, Size

FULL = os.environ.get("AZURE_CNI_GRANT_WALK") == "full"
WORLDS = [Size(), Size(numbers=(3, 1), mortal=True), Size(numbers=(2, 2), mortal=True)]
LARGER = [
    Size(mortal=True),
    Size(numbers=(4, 1), mortal=True),
    Size(numbers=(2, 2), limit=3, per_node=3),
    Size(numbers=(3, 2), limit=3),
    Size(numbers=(5, 1)),
]

ONE_NODE = Size(numbers=(4, 1))
"""A world in which the other node asks for nothing: as deep as most mistakes need."""
BOTH_NODES = Size(numbers=(2, 2))
MORTAL, LONGER = Size(numbers=(3, 1), mortal=True), Size(numbers=(4, 1), mortal=True)
"""Worlds in which a node can ask for something, go, and come back; in the longer one, and ask for something again."""

OURS = Rules()


@pytest.mark.parametrize("size", WORLDS + LARGER * FULL, ids=str)
def test_no_way_leads_past_a_limit_and_nobody_starves(size, capsys):
    explorer = Explorer(OURS, size)
    found = explorer.walk()
    looked_at, starving = explorer.starving()
    with capsys.disabled():
        print(f"\n  {size}: {found.states:,} states walked, {looked_at:,} states of rest followed to their end")
    assert not found.wrong, str(found)
    assert not starving, starving
    assert found.states > 100_000


# The rules, each broken on purpose.


def asks(**broken):
    """A node that does not take into account what `broken` overrides."""
    return replace(OURS, next_request=lambda last, **facts: grants.next_request(last, **{**facts, **broken}))


def asks_by_an_old_number():
    def ask(last, **facts):
        return Request(grants.next_request(last, **facts).count, last.number)

    return replace(OURS, next_request=ask, is_superseded=lambda _mine, **_: False)


def uses(usable):
    return replace(OURS, usable=usable)


def decides(broken):
    """A controller with another mind; `broken` gets what the product would decide."""

    def decide(seen, entry, *, ceiling):
        return broken(seen, entry, grants.decide(seen, entry, ceiling=ceiling))

    return replace(OURS, decide=decide)


def records_no_number(seen, entry, ours):
    match ours:
        case Reserve(entry=reserved) if reserved.count == entry.count:
            return grants.decide(seen, reserved, ceiling=0)
    return ours


def lowers_while_it_answers(seen, _entry, ours):
    match ours:
        case Reserve(entry=reserved):
            return Reserve(QuotaEntry(min(seen.request.count, reserved.count), reserved.request_id))
    return ours


def answers_first(seen, _entry, ours):
    if seen.granted_for != seen.request.number:
        return Answer(seen.request.count, seen.request.number)
    return ours


def takes_from_the_ledger_first(_seen, _entry, ours):
    match ours:
        case TakeBack(entry=lowered):
            return Reserve(lowered)
    return ours


def takes_back_what_is_not_answered(seen, entry, ours):
    """It answers by taking back, and records the number last."""
    if entry.count > seen.needed:
        if seen.granted_for != seen.request.number:
            return Answer(seen.needed, seen.request.number)
        return TakeBack(seen.needed, QuotaEntry(seen.needed, seen.request.number))
    return ours


BROKEN = {
    "rule 1: asks for less than a write in flight could leave": (asks(in_flight=0), ONE_NODE),
    "rule 1: asks for less than the NIC holds": (asks(on_nic=0), ONE_NODE),
    "rule 1: forgets at a restart what may be in flight": (replace(OURS, left_in_flight=lambda _: 0), ONE_NODE),
    "rule 1: changes the request and keeps its number": (asks_by_an_old_number(), ONE_NODE),
    "rule 1: begins after a restart with the last number": (
        replace(OURS, first_request=lambda last: last, is_superseded=lambda _mine, **_: False),
        ONE_NODE,
    ),
    "rule 1: writes its request unguarded": (replace(OURS, requests_guarded=False), ONE_NODE),
    "rule 3: uses an answer to another request": (uses(lambda mine, seen: min(mine.count, seen.granted)), ONE_NODE),
    "rule 3: does not look whose request was answered": (
        uses(lambda mine, seen: min(mine.count, seen.granted) if seen.granted_for == mine.number else 0),
        ONE_NODE,
    ),
    "rule 3: uses more than it asked for": (
        uses(lambda mine, seen: seen.granted if grants.usable(mine, seen) else 0),
        ONE_NODE,
    ),
    "rule 3: uses more than it was granted": (
        uses(lambda mine, seen: mine.count if grants.usable(mine, seen) else 0),
        BOTH_NODES,
    ),
    "rule 2: does not record the number when the count stays": (decides(records_no_number), ONE_NODE),
    "rule 2: lowers the count while it answers": (decides(lowers_while_it_answers), ONE_NODE),
    "rule 2: answers before it reserves": (decides(answers_first), ONE_NODE),
    "rule 4: takes from the ledger first": (decides(takes_from_the_ledger_first), ONE_NODE),
    "rule 4: takes back what is not answered": (decides(takes_back_what_is_not_answered), ONE_NODE),
    "rule 4: lowers a ledger that it has not read before": (replace(OURS, take_back_guarded=False), ONE_NODE),
    "rule 5: nobody checks the sum": (
        replace(OURS, ceiling=lambda limit, per_node, **_: min(limit, per_node), sum_guarded=False),
        BOTH_NODES,
    ),
    "rule 6: numbers start again when a node comes back": (replace(OURS, numbers_go_on=False), MORTAL),
    "rule 6: removes an entry that looks as it did when the node was gone": (
        replace(OURS, reclaim_guarded=False),
        LONGER,
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_leads_past_a_limit(name):
    """`pytest -s` shows the way."""
    found = Explorer(*BROKEN[name]).walk()
    print(f"\n  {name}, after {found}")
    assert found.wrong
    assert found.way


def test_the_api_server_alone_keeps_the_sum():
    """A controller that forgets the others' entries is refused: nobody gets past the limit by it."""
    forgetful = replace(OURS, ceiling=lambda limit, per_node, **_: min(limit, per_node))
    assert not Explorer(forgetful, BOTH_NODES).walk().wrong


def test_a_controller_that_takes_nothing_back_starves_a_node():
    def keeps(seen, entry, ours):
        return Unchanged() if isinstance(ours, TakeBack) else ours

    explorer = Explorer(decides(keeps), Size(limit=1, per_node=1, numbers=(3, 2)))
    assert not explorer.walk().wrong
    assert "holds 0 and keeps 1" in explorer.starving()[1]


def test_without_recalls_a_node_starves_while_the_other_holds_idle_addresses(monkeypatch):
    monkeypatch.setattr(grant_explorer, "recalled", lambda _nodes, _ledger, wishes, _size: wishes)
    explorer = Explorer(OURS, ONE_NODE)
    explorer.walk()
    assert "and the other has 1 idle" in explorer.starving()[1]
