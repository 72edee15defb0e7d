"""Attacks on one node, and what it does under them beside what it does without, in rounds of both.

In each window of time the node adds and deletes sandboxes by the plugin's binary, its probes are asked, and the peak
of the memory of agent and controller is taken (/proc/PID/clear_refs resets it). All times are bounded.

A p99 rests on a few values, and other work on the machine comes and goes: of two windows without any attack one has a
p99 of twice the other's in one of five. So quiet and attacked windows take turns, and what is judged is the mean of the
slowest twentieth, with the interval in which nine of ten draws of rounds and of their values have its ratio (drawn with
repetition). An attack costs too much when even the lower end is above the aim: an attack that makes all calls four
times as slow is found in nine of ten, one that makes them half as slow again in none of thirty.

The attackers of a real cluster have machines of their own. Here they share two CPUs with the node that they attack, so
they run with the lowest priority and in a cgroup with a small share: otherwise the figures would show who gets the CPU.
What they did is shown beside the figures, so that an attack that had none is seen as such.
"""

import base64
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

from azurebox import cgroups
from azurebox.client import Box
from azurebox.controlplane import people, people_environment
from azurebox.facts import KUBECONFIG, PREFIX, RUN
from azurebox.machine import NETNS
from azurebox.steps import StepError
from scenarios.harness.node import BINARY, CONFLIST, Node
from scenarios.harness.pods import NAMESPACE, Pod
from scenarios.harness.product import Product

FIGURES = RUN / "attacks.json"
"""What was measured in the last run, one object for each attack."""
AGENT_PORT, CONTROLLER_PORT = "9810", "9811"

ROUNDS = 2
WINDOW_S = 7.0
"""Of each quiet and each attacked window."""
SETTLE_S = 1.0
END_WITHIN_S = 20.0
GROUP = f"{PREFIX}attackers"
MEMORY_MIB = 30.0
"""No attack may cost agent or controller more."""
MOST_RATIO = 2.0
"""Nor make the slowest ADDs take longer than this many times as long."""
LEAST = 60
"""Calls of the plugin with and without an attack, on a machine with other work."""
SLOWEST = 0.05
"""The share of ADDs that is judged."""
DRAWS = 400
BETWEEN = (0.05, 0.95)
"""Shares of the draws that bound an interval."""

_HERE = Path(__file__).parent
ATTACKER, WITNESS, LIAR = (_HERE / f"{name}.py" for name in ("attacker", "witness", "liar"))


@dataclass(frozen=True, slots=True)
class Attack:
    """A command that attacks until it ends, and its standard input."""

    command: Sequence[str]
    stdin: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What an attacker did: how often it tried, how often it was answered, and what it met instead."""

    tries: int
    answers: int
    failures: Mapping[str, int]
    opened: int = 0
    """Connections that came about."""

    def __str__(self) -> str:
        opened = f", {self.opened} connected" if self.opened else ""
        return f"{self.tries} tries{opened}, {self.answers} answered"


@dataclass(frozen=True, slots=True)
class Window:
    """What one node did in a window of time. Times in milliseconds, memory in MiB."""

    adds: Sequence[float]
    refused: Sequence[str]
    """What the plugin said, where it did not succeed."""
    probes: Sequence[float]
    unanswered: Sequence[str]
    memory: Mapping[str, float]
    """The peak of each program's memory, by name."""
    also: Sequence[float] = ()
    """What was measured meanwhile, if something was."""


@dataclass(frozen=True, slots=True)
class Round:
    """A quiet window, and one under attack right after it."""

    quiet: Window
    attacked: Window


@dataclass(frozen=True, slots=True)
class Comparison:
    """An attack, and the same node without it in the same minute."""

    name: str
    rounds: Sequence[Round]
    reports: Sequence[Report] = field(default_factory=tuple)

    @property
    def quiet(self) -> Window:
        """All rounds; of memory the lowest peak, because that of others may still be the attack's."""
        return reduce(joined, (one.quiet for one in self.rounds))

    @property
    def attacked(self) -> Window:
        """All rounds, and the highest peak of memory."""
        return reduce(lambda one, other: joined(one, other, peak=max), (one.attacked for one in self.rounds))

    def ratio(self, share: float = 0.99) -> float:
        """How much longer an ADD takes under attack, at that percentile."""
        return percentile(self.attacked.adds, share) / percentile(self.quiet.adds, share)

    def slow_ratio(self) -> float:
        """How much longer the slowest ADDs take."""
        return slow(self.attacked.adds) / slow(self.quiet.adds)

    def interval(self) -> tuple[float, float]:
        """Where that ratio lies, as far as these rounds show it."""
        return self._between(lambda window: window.adds, slow)

    def also_ratio(self) -> float:
        """How much longer what was measured beside takes, in the mean."""
        return mean(self.attacked.also) / mean(self.quiet.also)

    def also_interval(self) -> tuple[float, float]:
        """Where that one lies."""
        return self._between(lambda window: window.also, mean)

    def _between(
        self, of: Callable[[Window], Sequence[float]], measure: Callable[[Sequence[float]], float]
    ) -> tuple[float, float]:
        chance = random.Random(len(self.rounds))  # the same figures have the same interval
        ratios = []
        for _ in range(DRAWS):
            drawn = chance.choices(self.rounds, k=len(self.rounds))
            quiet = [value for one in drawn for value in redrawn(of(one.quiet), chance)]
            attacked = [value for one in drawn for value in redrawn(of(one.attacked), chance)]
            ratios.append(measure(attacked) / measure(quiet))
        low, high = (percentile(ratios, edge) for edge in BETWEEN)
        return low, high

    def growth_mib(self) -> dict[str, float]:
        """By how much each program's peak is above that without the attack."""
        quiet = self.quiet
        return {name: peak - quiet.memory[name] for name, peak in self.attacked.memory.items()}

    def faults(self) -> list[str]:
        """What the attack did that no attack may do, and what makes the figures worthless; none when all is well."""
        quiet, attacked = self.quiet, self.attacked
        found = [f"the plugin refused: {why}" for why in attacked.refused]
        found += [f"a probe was not answered: {why}" for why in attacked.unanswered]
        found += [f"the {name} took {mib:.0f} MiB more" for name, mib in self.growth_mib().items() if mib > MEMORY_MIB]
        few = min(len(quiet.adds), len(attacked.adds))
        if few < LEAST:
            return [*found, f"only {few} ADDs"]
        low, high = self.interval()
        if low > MOST_RATIO:
            found.append(f"the slowest ADDs took {self.slow_ratio():.2f} times as long ({low:.2f} to {high:.2f})")
        return [*found, *("an attacker did nothing" for report in self.reports if not report.tries)]

    def line(self) -> str:
        """For people."""
        quiet, attacked = self.quiet, self.attacked
        p50, p99 = ((percentile(quiet.adds, share), percentile(attacked.adds, share)) for share in (0.5, 0.99))
        memory = ", ".join(
            f"{name} {quiet.memory[name]:.0f} to {peak:.0f} MiB" for name, peak in attacked.memory.items()
        )
        low, high = self.interval()
        return (
            f"{self.name}: ADD p50 {p50[0]:.1f} to {p50[1]:.1f} ms (x {self.ratio(0.5):.2f}), p99 {p99[0]:.1f} to "
            f"{p99[1]:.1f} ms (x {self.ratio():.2f}), the slowest x {self.slow_ratio():.2f} ({low:.2f} to {high:.2f}), "
            f"of {len(quiet.adds)} and {len(attacked.adds)}; probes {percentile(quiet.probes, 0.5):.0f} to "
            f"{percentile(attacked.probes, 0.5):.0f} ms, the slowest {max(quiet.probes, default=0):.0f} to "
            f"{max(attacked.probes, default=0):.0f} ms, {memory}; {'; '.join(map(str, self.reports))}"
        )

    def document(self) -> dict[str, Any]:
        """For programs: the line's figures, and every single time."""
        figures = {"ratio": round(self.ratio(), 3), "p50_ratio": round(self.ratio(0.5), 3)}
        slowest = {"slow_ratio": round(self.slow_ratio(), 3), "between": [round(edge, 3) for edge in self.interval()]}
        return asdict(self) | figures | slowest


def percentile(times: Sequence[float], share: float) -> float:
    """One of the measured values; infinite if there is none."""
    ordered = sorted(times)
    return ordered[round((len(ordered) - 1) * share)] if ordered else float("inf")


def redrawn(values: Sequence[float], chance: random.Random) -> list[float]:
    """As many of them, with repetition; none of none."""
    return chance.choices(values, k=len(values)) if values else []


def slow(times: Sequence[float]) -> float:
    """The mean of the slowest; infinite if there is none."""
    slowest = sorted(times)[-max(1, round(len(times) * SLOWEST)) :]
    return mean(slowest)


def mean(times: Sequence[float]) -> float:
    """Of what was measured; infinite if nothing was."""
    return sum(times) / len(times) if times else float("inf")


class Target:
    """The node that is attacked, in that many rounds."""

    def __init__(self, box: Box, product: Product, node: Node, *, rounds: int = ROUNDS) -> None:
        self._box, self._product, self.node, self._rounds = box, product, node, rounds

    def compare(
        self,
        name: str,
        *attacks: Callable[[float], Attack],
        meanwhile: Callable[[float], Sequence[float]] | None = None,
        control: Callable[[float], Attack] | None = None,
    ) -> Comparison:
        """A quiet window and the attacks at once, again and again; `attacks` are made for that many seconds.

        `control` runs in the quiet windows: what an attack costs the machine that all parts share, without its harm.
        """
        rounds: list[Round] = []
        reports: list[Report] = []
        for _ in range(self._rounds):
            quiet, _ = self._watched(meanwhile, *([control] if control else []))
            attacked, did = self._watched(meanwhile, *attacks)
            rounds.append(Round(quiet, attacked))
            reports += did
        return Comparison(name, rounds, reports)

    def _watched(
        self, meanwhile: Callable[[float], Sequence[float]] | None, *attacks: Callable[[float], Attack]
    ) -> tuple[Window, Sequence[Report]]:
        with attacking(*(attack(WINDOW_S + 2 * SETTLE_S) for attack in attacks)) as did:
            time.sleep(SETTLE_S)
            window = self.watch(WINDOW_S, meanwhile)
        time.sleep(SETTLE_S)
        return window, did

    def watch(self, seconds: float, meanwhile: Callable[[float], Sequence[float]] | None = None) -> Window:
        """What the node does in that time; `meanwhile` is given it too, and measures something else."""
        programs = {"agent": self._product.processes(self.node)}
        if controller := self._product.controller_processes(self.node):
            programs["controller"] = controller
        for pid in (pid for pids in programs.values() for pid in pids):
            self.node.run("sh", "-c", f"echo 5 >/proc/{pid}/clear_refs || test ! -e /proc/{pid}")
        ports = [AGENT_PORT, *((CONTROLLER_PORT,) if controller else ())]
        witness = ["python3", "-c", WITNESS.read_text(), str(seconds), BINARY, CONFLIST, *ports]
        with ThreadPoolExecutor(1) as beside:
            other = beside.submit(meanwhile, seconds) if meanwhile else None
            answer = self.node.ask(witness)
            also = other.result() if other else ()
        if answer.status:
            raise StepError(f"cannot measure on {self.node.name}", output=answer.error)
        memory = {name: sum(peak_mib(self.node, pid) for pid in pids) for name, pids in programs.items()}
        return Window(**json.loads(answer.output), memory=memory, also=tuple(also))


def joined(one: Window, other: Window, *, peak: Callable[[float, float], float] = min) -> Window:
    """Both as one; `peak` chooses between their peaks of memory."""
    return Window(
        adds=[*one.adds, *other.adds],
        refused=[*one.refused, *other.refused],
        probes=[*one.probes, *other.probes],
        unanswered=[*one.unanswered, *other.unanswered],
        memory={name: peak(mib, other.memory.get(name, mib)) for name, mib in one.memory.items()},
        also=[*one.also, *other.also],
    )


def undelivered(node: Node, *ports: str) -> int:
    """Sockets of these ports for which the node's kernel has something to send."""
    ends = {f"{int(port):04X}" for port in ports}
    rows = [line.split() for line in node.run("cat", "/proc/net/tcp").splitlines()[1:]]
    return sum(row[1].rpartition(":")[2] in ends and not row[4].startswith("00000000:") for row in rows)


def peak_mib(node: Node, pid: int) -> float:
    """The peak of a process' resident memory since it was last reset; 0 if the process is gone."""
    status = node.ask(["cat", f"/proc/{pid}/status"]).output
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0.0)


# The attackers.


def from_vm(vm: str, kind: str, *arguments: str) -> Callable[[float], Attack]:
    """A host of the VNet attacks."""

    def attack(seconds: float) -> Attack:
        return Attack([*_in(vm), str(ATTACKER), str(seconds), kind, *arguments])

    return attack


def from_pod(pod: Pod, kind: str, *arguments: str) -> Callable[[float], Attack]:
    """A pod attacks. It has the CPU of a pod that requests none."""

    def attack(seconds: float) -> Attack:
        inside = ("python3", "-c", ATTACKER.read_text(), str(seconds), kind, *arguments)
        return Attack(people("kubectl", "exec", "-n", NAMESPACE, pod.name, "--", *inside))

    return attack


def with_token(vm: str, token: str, kind: str, node: str) -> Callable[[float], Attack]:
    """Whoever has the token of a node's agent lies in that node's pool."""
    cluster = json.loads(KUBECONFIG.read_text())["clusters"][0]["cluster"]
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    access = {"server": cluster["server"], "ca": authority, "token": token}

    def attack(seconds: float) -> Attack:
        return Attack([*_in(vm), str(LIAR), str(seconds), kind, node], stdin=json.dumps(access))

    return attack


@contextmanager
def attacking(*attacks: Attack, group: str = GROUP) -> Iterator[list[Report]]:
    """Attack while the block runs, in that cgroup; the reports are there after it."""
    reports: list[Report] = []
    running = [_started(attack, group) for attack in attacks]
    try:
        yield reports
    finally:
        ended = [_ended(process) for process in running]
        cgroups.remove(group)
    reports += ended


def _started(attack: Attack, group: str) -> "subprocess.Popen[str]":
    procs = cgroups.ensure_small(group)
    enter = ("sh", "-c", 'echo $$ >"$0" && exec nice -n 19 "$@"', str(procs))
    process = subprocess.Popen(
        [*enter, *attack.command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=people_environment(),
    )
    assert process.stdin
    process.stdin.write(attack.stdin)
    process.stdin.close()
    process.stdin = None
    return process


def _ended(process: "subprocess.Popen[str]") -> Report:
    """Its report, when it has ended; one that does not end is killed."""
    try:
        output, _ = process.communicate(timeout=WINDOW_S + END_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
    try:
        return Report(**json.loads(output.splitlines()[-1]))
    except (IndexError, TypeError, ValueError):
        raise StepError(f"an attacker ended with status {process.returncode}", output=output) from None


def _in(vm: str) -> list[str]:
    """A Python in a VM's network, with the host's files."""
    return ["nsenter", f"--net={NETNS / vm}", "--", sys.executable]
