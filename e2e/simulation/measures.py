"""What a run is measured by: addresses, times, writes a minute, and whether they are what they must be."""

from simulation.run import Outcome

PATIENCE = 1.1
"""Times what the write budget allows."""
PATIENCE_WITH_LIARS = 1.2
"""Times what it takes without them."""
MINUTE_S = 60.0


def served_s(outcome: Outcome) -> list[float]:
    """How long each node waited for the last address that it got, sorted."""
    pools = outcome.history.pools.values()
    return sorted(
        pool.served_s - pool.asked_s for pool in pools if pool.served_s is not None and pool.asked_s is not None
    )


def began_s(outcome: Outcome) -> float:
    """When the first honest node asked."""
    pools, liars = outcome.history.pools, set(outcome.run.scenario.liar_names)
    asked = [pool.asked_s for name, pool in pools.items() if pool.asked_s is not None and name not in liars]
    return min(asked, default=0.0)


def took_s(outcome: Outcome) -> float:
    """From the first request of a node to the last change of a NIC."""
    return outcome.history.last_change_s - began_s(outcome)


def busiest_minute(outcome: Outcome) -> int:
    """The most NIC writes in any minute."""
    samples, first, most = outcome.history.samples, 0, 0
    for sample in samples:
        while sample.at_s - samples[first].at_s > MINUTE_S:
            first += 1
        most = max(most, sample.writes - samples[first].writes)
    return most


def budget_s(outcome: Outcome) -> float:
    """From the first request to the last change, at the budget's pace: one write for each node.

    Where some are hungry, that is what brings up the pools; then the other pods come, and what they need is written by
    those that have it and those that want it. How many writes that takes cannot be known before, so all that were made
    count: the budget must have been used as long as anybody waited.
    """
    scenario, written = outcome.run.scenario, outcome.history.nic_writes
    if not scenario.hungry:
        return MINUTE_S * scenario.nodes / scenario.writes_per_minute
    late_s = scenario.late_s - began_s(outcome)
    return late_s + MINUTE_S * max(written - scenario.nodes, 0) / scenario.writes_per_minute


def beside_the_demand(outcome: Outcome) -> str:
    """How many addresses are on NICs when it is not all that are wanted and allowed, "" when it is.

    Judged without faults only: with them others may have taken addresses, and nodes are gone.
    """
    scenario, seen = outcome.run.scenario, outcome.history.judge.on_nics
    if scenario.faults_s or seen == scenario.wanted:
        return ""
    return f"{seen} addresses on NICs in the end, of {scenario.wanted} wanted and allowed"


def beside_the_budget(outcome: Outcome) -> str:
    """What of the write budget was left unused, "" when nothing was; the observer judges that it was not passed.

    Judged in real time and without faults only: compressed, the machine is what a run waits for, not the budget.
    """
    scenario = outcome.run.scenario
    if scenario.speed != 1.0 or scenario.faults_s:
        return ""
    took, allowed = took_s(outcome), budget_s(outcome)
    if took > PATIENCE * allowed:
        return f"{took:.0f} s to the last address, {took / allowed:.2f} times what the budget allows"
    return ""


def beside_the_honest(outcome: Outcome, *, without_s: float) -> str:
    """How far lies kept the honest nodes back, "" when no further than may be.

    `without_s`: how long they took while nobody lied.
    """
    took = took_s(outcome)
    if took <= PATIENCE_WITH_LIARS * without_s:
        return ""
    return f"{took:.0f} s to the last address, {took / without_s:.2f} times as long as without liars"
