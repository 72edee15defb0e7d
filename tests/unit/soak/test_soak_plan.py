"""What a seed draws can be drawn again, and no kind of fault is left out."""

from __future__ import annotations

from collections import Counter
from itertools import islice

from soak.faults import FAULTS
from soak.plan import FEWEST, MOST, WAVE_S, Kind, lifetime, plan, wanted

KINDS = [Kind("a"), Kind("b", (10.0, 20.0)), Kind("c", anywhere=False)]


def test_the_same_seed_draws_the_same_faults():
    def drawn(seed: int):
        return list(islice(plan(KINDS, nodes=2, seed=seed), 30))

    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)
    assert [one.number for one in drawn(7)] == list(range(1, 31))


def test_each_round_has_every_kind_once():
    drawn = [one.kind for one in islice(plan(KINDS, nodes=2, seed=7), 30)]
    assert Counter(drawn) == {"a": 10, "b": 10, "c": 10}
    assert all(set(drawn[at : at + 3]) == {"a", "b", "c"} for at in range(0, 30, 3))


def test_a_fault_lasts_as_long_as_its_kind_may():
    lasting = [one.hold_s for one in islice(plan(KINDS, nodes=2, seed=7), 60) if one.kind == "b"]
    assert 10.0 <= min(lasting) < max(lasting) <= 20.0


def test_what_ends_an_agent_befalls_the_last_node_only():
    drawn = list(islice(plan(KINDS, nodes=2, seed=7), 60))
    assert {one.node for one in drawn if one.kind == "c"} == {1}
    assert {one.node for one in drawn if one.kind == "a"} == {0, 1}


def test_the_number_of_pods_changes_with_each_wave_and_is_the_seeds():
    waves = [wanted(7, 0, number * WAVE_S) for number in range(200)]
    assert (min(waves), max(waves)) == (FEWEST, MOST)
    assert wanted(7, 0, 0.0) == wanted(7, 0, WAVE_S - 0.1)
    assert waves == [wanted(7, 0, number * WAVE_S + 1) for number in range(200)]
    assert waves != [wanted(7, 1, number * WAVE_S) for number in range(200)]


def test_a_pods_lifetime_is_the_seeds_and_some_are_hasty():
    assert lifetime(7, 3) == lifetime(7, 3)
    drawn = [lifetime(7, number) for number in range(500)]
    assert 20 < sum(one.hasty for one in drawn) < 100
    assert len({one.seconds for one in drawn}) > 100


def test_each_fault_of_the_box_is_listed_under_its_name():
    assert all(fault.kind.name == name for name, fault in FAULTS.items())
    assert {"agent killed", "API server away", "ARM throttles", "addresses taken off the NIC", "table deleted",
            "conflist removed", "a NIC write: fail-half"} <= FAULTS.keys()  # fmt: skip
