"""Scenarios with liars: who is one, and what the others want."""

from __future__ import annotations

from simulation.measures import beside_the_honest
from simulation.plan import PRESETS, seeded
from unit.simulation.test_command import BreaksOff

BYZANTINE = PRESETS["byzantine"]


def test_the_last_nodes_lie_and_the_others_share_the_demand():
    assert [*BYZANTINE.honest_names, *BYZANTINE.liar_names] == BYZANTINE.node_names
    assert len(BYZANTINE.liar_names) == BYZANTINE.liars == 2
    assert sum(BYZANTINE.demand_of(index) for index in range(BYZANTINE.honest)) == BYZANTINE.demand == BYZANTINE.wanted


def test_what_liars_can_be_granted_leaves_room_for_the_others():
    """Or nodes would wait because there is nothing left, which is nobody's fault."""
    assert BYZANTINE.limit >= BYZANTINE.wanted + 250 * BYZANTINE.liars


def test_a_seed_draws_lies_and_no_faults():
    assert seeded(BYZANTINE) == BYZANTINE


def test_lies_may_cost_a_fifth_of_the_time():
    outcome = BreaksOff().outcome
    outcome.history.last_change_s = 120.0
    assert beside_the_honest(outcome, without_s=100.0) == ""
    assert beside_the_honest(outcome, without_s=99.0).endswith("1.21 times as long as without liars")
