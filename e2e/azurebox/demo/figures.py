"""What Prometheus knows, and what it all costs. Every figure is measured at the moment it is shown."""

import re
from collections.abc import Sequence
from contextlib import suppress

from azurebox import prometheus
from azurebox.client import Box
from azurebox.demo.guide import Guide
from azurebox.demo.paper import aligned
from azurebox.demo.workload import Pod, addressed
from azurebox.facts import CONTROL_PLANE
from azurebox.release import NAMESPACE, SELECTOR
from azurebox.steps import StepError

SCRAPED_WITHIN_S = 15  # discovery and scrape, each every 5 s, and one to spare
BENCH_ROUNDS = 20
POOLS = "sum by (node, state) (azure_cni_pool_addresses)"
MEMORY = "max by (node) (process_resident_memory_bytes and on (pod) azure_cni_pool_ready) / 2^20"
SERIES = re.compile(r"\{(?P<labels>.*)\} => (?P<value>\S+)")  # promtool: {node="azbox-vm1"} => 87.3 @[1764000000.1]
LABEL = re.compile(r'(\w+)="([^"]*)"')
MIB_PER_UNIT = {"Ki": 1 / 1024, "Mi": 1, "Gi": 1024}


def show_prometheus(guide: Guide, box: Box, _: Sequence[Pod]) -> None:
    """Prometheus has the pools of all nodes."""
    guide.chapter(
        "Prometheus",
        f"It finds the agents by the annotations of their pods and reads each every {prometheus.SCRAPE_INTERVAL}. "
        "These are the addresses of each pool by what they are doing, as a table.",
    )
    with suppress(StepError):  # what is shown then is judged below
        words = query(POOLS)
        box.wait_for(
            lambda: _assigned(box.exec(CONTROL_PLANE, words)) == addressed(box),
            SCRAPED_WITHIN_S,
            "the pools in Prometheus",
        )
    found = _assigned(guide.show("exec", CONTROL_PLANE, "--", *query(POOLS), shorten=_pools))
    expected = addressed(box)
    guide.judge(
        found == expected,
        "as many are assigned as there are pods.",
        f"Prometheus has as assigned {found}, the pods are {expected}",
    )


def show_latency(guide: Guide, _: Box, __: Sequence[Pod]) -> None:
    """The time that a pod waits for its network."""
    guide.chapter(
        "The time that a pod waits for its network",
        "The container runtime calls ADD before a pod starts and DEL after it has ended. Here both are measured in "
        "turns with the reference plugins ptp and bridge (with host-local), on this machine as busy as it is now.",
    )
    guide.show("bench", "--rounds", str(BENCH_ROUNDS))


def show_memory(guide: Guide, box: Box, _: Sequence[Pod]) -> None:
    """The memory of the agents, against what the chart reserves for them."""
    guide.chapter(
        "The agents' memory",
        "Resident memory of the agent on each node, as Prometheus has it.",
    )
    text = guide.show("exec", CONTROL_PLANE, "--", *query(MEMORY), shorten=_memory)
    used = {labels["node"]: mib for labels, mib in series(text)}
    reserved = _reserved_mib(box)
    guide.judge(
        set(used) == set(box.nodes) and max(used.values()) <= reserved,
        f"no agent uses more than the {reserved:.0f} MiB that the chart reserves for it.",
        f"the agents use (MiB) {used}, the chart reserves {reserved:.0f} MiB for each",
    )


def query(expression: str) -> list[str]:
    """The command on the control plane's VM that asks Prometheus."""
    return ["promtool", "query", "instant", f"http://127.0.0.1:{prometheus.PORT}", expression]


def series(text: str) -> list[tuple[dict[str, str], float]]:
    """Labels and value of each series in an answer of promtool."""
    found = (SERIES.match(line) for line in text.splitlines())
    return [(dict(LABEL.findall(match["labels"])), float(match["value"])) for match in found if match]


def _assigned(text: str) -> dict[str, float]:
    return {labels["node"]: value for labels, value in series(text) if labels["state"] == "assigned"}


def _pools(text: str) -> str:
    """A line for each node, a column for each state."""
    found = {(labels["node"], labels["state"]): f"{value:.0f}" for labels, value in series(text)}
    nodes, states = sorted({node for node, _ in found}), sorted({state for _, state in found})
    rows = [[node, *(found.get((node, state), "") for state in states)] for node in nodes]
    return aligned([("NODE", *map(str.upper, states)), *rows])


def _memory(text: str) -> str:
    """A line for each node."""
    return aligned([("NODE", "MIB"), *sorted((labels["node"], f"{value:.1f}") for labels, value in series(text))])


def _reserved_mib(box: Box) -> float:
    [agents] = box.kubectl_json("get", "daemonsets", f"--namespace={NAMESPACE}", f"--selector={SELECTOR}")["items"]
    memory = agents["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["memory"]
    return int(memory[:-2]) * MIB_PER_UNIT[memory[-2:]]
