"""One run: warm up, count, let pods come and go while one fault after the other happens, come to rest, count again."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial

from azurebox.facts import DISKS
from azurebox.steps import StepError
from scenarios.harness.pods import NAMESPACE
from scenarios.harness.product import QUICK
from scenarios.harness.stage import Stage, await_rest, put_right, strangers
from soak import health
from soak.churn import Churn
from soak.faults import FAULTS, Fault
from soak.follower import Follower
from soak.lost_addresses import delete_pods_as_asked
from soak.plan import Planned, plan
from soak.verdict import Befallen, Outcome, leaks, stuck

RIGHT_S = 300.0
"""The kubelet starts an agent that was killed a few times within minutes only after a while."""
GONE_S = 240.0
POD_LOGS = "var/log/pods"
READINGS = 6
"""How often memory is read while faults happen."""
EQUAL_S = 60.0
"""What takes longer to go is a leak."""

ODD = (StepError, subprocess.TimeoutExpired, LookupError, ValueError)
"""What whoever looks meets while something is wrong: nobody answers, or with a document that lacks something."""


@dataclass
class Soak:
    """`say` shows a line to whoever waits."""

    stage: Stage
    minutes: float
    seed: int
    warm_s: float
    say: Callable[[str], None]
    kinds: tuple[str, ...] = ()
    """Only these faults; without any, all."""
    outcome: Outcome = field(init=False)
    _began_s: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        """The agent of the first node lives through the whole run."""
        self.outcome = Outcome(self.minutes, frozenset({f"agent of {self.stage.nodes[0].name}"}))

    def now(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began_s

    def carry_out(self) -> Outcome:
        """All of it; what breaks it off is in the outcome. StepError where it cannot begin."""
        outcome = self.outcome
        try:
            with self._installed():
                try:
                    self._run()
                except KeyboardInterrupt:
                    outcome.broken_off = "interrupted"
                except Exception as error:  # noqa: BLE001  # what was seen until then is shown, whatever it is
                    outcome.broken_off = _words(error)
        except StepError as error:
            if not outcome.pods.lives:
                raise
            outcome.broken_off = outcome.broken_off or f"cannot put everything back: {_words(error)}"
        return outcome

    def _run(self) -> None:
        outcome, nodes = self.outcome, self.stage.nodes
        self.say(f"{self.warm_s:.0f} s of pods without faults")
        self._churn(self.warm_s, ())
        outcome.counts_before = health.counts(self.stage)
        outcome.usage_before = health.usage(self.stage)
        logs = Follower([DISKS / node.name / POD_LOGS for node in nodes], outcome.logs)
        logs.begin()
        try:
            chosen = [fault.kind for name, fault in FAULTS.items() if name in self.kinds or not self.kinds]
            self._churn(60.0 * self.minutes, plan(chosen, nodes=len(nodes), seed=self.seed))
            self._count_again()
            outcome.usage_after = health.usage(self.stage)
        finally:
            logs.end()

    @contextmanager
    def _installed(self) -> Iterator[None]:
        """What takes minutes takes seconds, and pods have a namespace; all is as before in the end."""
        stage = self.stage
        if there := strangers(stage.nodes):
            raise StepError(
                f"cannot soak: it needs the nodes for itself, but pods run there: {'; '.join(there)}",
                advice="delete them, or start again with e2e/box down",
            )
        put_right(stage)
        stage.product.use(QUICK)
        stage.box.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        try:
            yield
        finally:
            self.say("putting everything back")
            stage.box.revive()
            stage.cloud.put_right()
            stage.box.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
            for node in stage.nodes:
                node.want()
            stage.product.use({})
            stage.box.azure("PUT", "/permissions", {"actions": ["*"]})
            gone = ("get", "namespace", NAMESPACE, "--ignore-not-found")
            stage.box.wait_for(lambda: not stage.box.kubectl(*gone), GONE_S, f"the namespace {NAMESPACE} to be gone")

    def _count_again(self) -> None:
        """What leaked is still there after a while; a link or a namespace goes a moment after its pod."""

        def equal() -> bool:
            self.outcome.counts_after = health.counts(self.stage)
            return not leaks(self.outcome.counts_before, self.outcome.counts_after)

        with suppress(StepError):
            self.stage.box.wait_for(equal, EQUAL_S, "the counts to be as before", poll_s=1)

    def _churn(self, seconds: float, faults: Iterator[Planned] | tuple[()]) -> None:
        """Pods come and go for that long, and then all are gone, and the pools at rest."""
        box = self.stage.box
        churn = Churn(box, self.stage.nodes, self.seed, self.now, self.outcome.pods)
        churn.begin()
        try:
            until_s = self.now() + seconds
            for planned in faults:
                if self.now() + planned.hold_s >= until_s:
                    break
                self._befall(planned, churn)
                due = (len(self.outcome.usage_meanwhile) + 1) / (READINGS + 1)
                if self.now() > until_s - seconds * (1 - due):
                    self._read_usage()
                if waiting := stuck(churn.log, at_s=self.now()):
                    raise StepError(f"pods do not start: {', '.join(life.name for life in waiting)}")
            time.sleep(max(0.0, until_s - self.now()))
            churn.end()
            box.wait_for(churn.gone, GONE_S, "all pods to be gone")
        finally:
            churn.close()
        await_rest(box, self.stage.nodes)
        box.wait_for(partial(health.given_back, self.stage), GONE_S, "the quota to be lowered", poll_s=1)

    def _befall(self, planned: Planned, churn: Churn) -> None:
        """One fault, until all is right and each node has started another pod."""
        fault = FAULTS[planned.kind]
        first = self.stage.nodes[planned.node]
        stage = replace(self.stage, nodes=[first, *(node for node in self.stage.nodes if node is not first)])
        at_s, right_s, why = self.now(), None, ""
        over_s = at_s
        try:
            with fault.trouble(stage):
                time.sleep(planned.hold_s)
            over_s = self.now()
            stage.box.wait_for(partial(self._recovered, fault, stage), RIGHT_S, "all to be right", poll_s=1)
            stage.box.wait_for(lambda: churn.started_since(over_s), RIGHT_S, "a new pod to start on each node")
            right_s = self.now() - over_s
        except ODD as error:
            why = _words(error)
        befallen = Befallen(planned.kind, first.name, at_s, max(0.0, over_s - at_s), right_s, why)
        self.outcome.faults.append(befallen)
        self.say(_line(planned, befallen))
        time.sleep(planned.pause_s)

    def _read_usage(self) -> None:
        with suppress(*ODD):  # a process may end while it is looked at
            self.outcome.usage_meanwhile.append(health.usage(self.stage))

    def _recovered(self, fault: Fault, stage: Stage) -> bool:
        """An answer that makes no sense while something is wrong is none."""
        try:
            self.outcome.pods.bereft |= delete_pods_as_asked(stage)
            return fault.recovered(stage)
        except ODD as error:
            raise StepError(_words(error)) from error


def _words(error: Exception) -> str:
    """On one line."""
    return " ".join((str(error) if isinstance(error, StepError) else repr(error)).split())


def _line(planned: Planned, befallen: Befallen) -> str:
    ended = f"right after {befallen.right_s:.1f} s" if befallen.right_s is not None else f"NOT RIGHT: {befallen.why}"
    where = f"{planned.kind} on {befallen.node}"
    return f"{befallen.at_s:7.1f} s  fault {planned.number:>3}  {where:<44} for {befallen.hold_s:4.1f} s, {ended}"
