"""What a seed draws can be drawn again."""

from __future__ import annotations

from simulation.faults import WORKS, schedule
from simulation.plan import PRESETS, seeded

SCENARIO = seeded(PRESETS["ci"])


def test_the_same_seed_draws_the_same_faults():
    assert schedule(SCENARIO, 7) == schedule(SCENARIO, 7)
    assert schedule(SCENARIO, 7) != schedule(SCENARIO, 8)


def test_faults_come_in_order_and_end_in_time():
    times = [fault.at_s for fault in schedule(SCENARIO, 7)]

    assert times == sorted(times)
    assert times[-1] <= SCENARIO.faults_s


def test_twenty_seeds_hold_every_kind():
    assert {fault.kind for seed in range(1, 21) for fault in schedule(SCENARIO, seed)} == set(WORKS)


def test_no_node_is_deleted_or_replaced_twice():
    for seed in range(1, 21):
        gone = [name for fault in schedule(SCENARIO, seed) for name in fault.facts.get("names", ())]
        assert len(gone) == len(set(gone))
