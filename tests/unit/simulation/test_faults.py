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


def test_no_node_goes_whose_nic_goes_with_it():
    """The fake's side door keeps the NICs of deleted machines, and makes others: of no instance of a scale set."""
    mixed = seeded(PRESETS["mixed"])
    names = [name for seed in range(1, 41) for fault in schedule(mixed, seed) for name in fault.facts.get("names", ())]
    assert names
    assert all(mixed.shape_of(name)[0].replaced for name in names)
    for name in names:
        assert (mixed.vm_of(name), mixed.nic_of(name)) == (name, f"azbox/{name}-nic")


def test_no_node_is_deleted_or_replaced_twice():
    for seed in range(1, 21):
        gone = [name for fault in schedule(SCENARIO, seed) for name in fault.facts.get("names", ())]
        assert len(gone) == len(set(gone))
