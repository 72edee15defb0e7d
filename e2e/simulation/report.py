"""What a run has shown, in a few lines for people."""

from collections import Counter
from collections.abc import Iterator

from simulation.children import Usage
from simulation.measures import budget_s, busiest_minute, served_s, took_s
from simulation.run import Outcome

AIM_PER_HOUR = 12
ABOUT_NODES = {"kube nodeippools", "kube nodes", "kube events"}


def lines(outcome: Outcome) -> Iterator[str]:
    """The summary: what, expected, seen."""
    scenario, history = outcome.run.scenario, outcome.history
    pools = history.pools.values()
    yield (
        f"{scenario.name}: {scenario.nodes} nodes want {scenario.demand} addresses, {scenario.limit} allowed, "
        f"{scenario.writes_per_minute} NIC writes a minute, speed {scenario.speed:g}"
        + (f", seed {outcome.run.seed}" if scenario.faults_s else "")
    )
    yield f"  result                    {outcome.failure or 'as it must be'}"
    yield f"  instants over a limit     expected 0, seen {len(history.judge.violations)}"
    seen, most = history.judge.on_nics, history.judge.most_on_nics
    yield f"  on NICs in the end        expected {scenario.wanted}, seen {seen} (most {most})"
    yield f"  assigned to pods          {sum(pool.assigned for pool in pools)}"
    reasons = Counter(pool.reason for pool in pools if pool.reason)
    yield f"  granted less, because     {', '.join(f'{count} nodes {why}' for why, count in reasons.items()) or 'none'}"
    took, allowed = took_s(outcome), budget_s(outcome)
    yield f"  time to the last address  {took:.0f} s; the budget allows {allowed:.0f} s: {took / allowed:.2f} of it"
    yield f"  NIC writes                {history.nic_writes}, of which one a node is {scenario.nodes}"
    yield (
        f"  in the busiest minute     expected at most {scenario.writes_per_minute} granted, "
        f"{history.judge.most_in_a_minute} with late ones; seen {busiest_minute(outcome)}"
    )
    waits = served_s(outcome)
    if waits:
        half, late = waits[len(waits) // 2], waits[int(len(waits) * 0.99)]
        yield f"  a node's wait             p50 {half:.0f} s, p99 {late:.0f} s, last {waits[-1]:.0f} s"
    yield from _cost(outcome)


def _cost(outcome: Outcome) -> Iterator[str]:
    for name, usage in outcome.usage.items():
        yield f"  {name:<24}  {_usage(usage)}"
    if not outcome.rest_s:
        return
    kube = sum(count for name, count in outcome.at_rest.items() if name in ABOUT_NODES)
    azure = sum(count for name, count in outcome.at_rest.items() if name.startswith("azure "))
    yield f"  at rest for {outcome.rest_s:.0f} s, requests per node and hour (aim {AIM_PER_HOUR} to each):"
    yield f"    API server {kube:.1f}, ARM {azure:.1f}"
    for name, count in sorted(outcome.at_rest.items(), key=lambda item: -item[1])[:12]:
        yield f"    {name:<28} {count:.2f}"


def _usage(usage: Usage) -> str:
    return f"{usage.cpu_s:.1f} s of processor, {usage.peak_mib:.0f} MiB at most"
