"""Who had an address, for a thousand assignments over killed agents and a node's reboot, against the test's own log.

Sandboxes come and go on both nodes, by the plugin that is installed. Of each moment `who` must name the pod that had
the address, or say that it does not know, and why; what it says surely must be so.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from azurebox.client import Box
from azurebox.steps import StepError
from scenarios.harness.churn import Churn, Tenure
from scenarios.harness.commandline import ask, ask_many_whos
from scenarios.harness.node import Counts, Node
from scenarios.harness.product import Product

ASSIGNMENTS = 1000
EACH = 450
"""On each node at least; the one that is not rebooted has more."""
POOL = 48
SMALL = 24
SERVES_S = 120.0
CHURN_S = 240.0
ANSWERS_S = 180.0
SAMPLES = 8
SHARE_NAMED = 0.9
"""Of the moments at which a pod had the address; the others are in holes, and told."""


@pytest.fixture
def churns(nodes: list[Node]) -> Iterator[list[Churn]]:
    """One for each node, with a pool that is large enough; ended in any case."""
    for node in nodes:
        node.want(size=POOL)
    made = [Churn(node) for node in nodes]
    try:
        for node in nodes:
            node.shows(Counts(allocated=POOL, assigned=0, free=POOL, cooling=0), within_s=SERVES_S)
        yield made
    finally:
        for one in made:
            one.end()
        for node in nodes:
            node.want()


@dataclass
class Judgement:
    """The answers, held against the log: how many of which kind, and those that are wrong."""

    kinds: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def judge(self, log: Sequence[Tenure], address: str, at_s: int, answer: dict[str, Any]) -> None:
        """One answer."""
        verdict, named = answer["verdict"], set(answer["pods"])
        surely = {one.pod for one in log if one.address == address and one.surely_had(at_s)}
        maybe = {one.pod for one in log if one.may_have_had(address, at_s)}
        kind = _kind(verdict)
        self.kinds[f"{'held' if surely else 'between'}: {kind}"] += 1
        ours = {pod for pod in named if pod.startswith("churn-")}
        if kind == "named" and not (ours <= maybe and surely <= ours):
            self.wrong.append(f"{verdict}; the log has {surely or maybe}")
        elif kind == "free" and surely:
            self.wrong.append(f"{verdict}; the log has {surely}")
        elif kind != "named" and surely and not (surely <= ours or answer["unknown"]):
            self.wrong.append(f"{verdict}; the log has {surely}, and no hole is told")


def _kind(verdict: str) -> str:
    """What sort of an answer that is."""
    if " was the address of " in verdict:
        return "named"
    if verdict.startswith("no pod had "):
        return "free"
    if verdict.startswith("it is not known ") or " may still have been " in verdict:
        return "hole told"
    raise AssertionError(f"not an answer: {verdict}")


def test_a_thousand_assignments_over_killed_agents_and_a_reboot(
    box: Box, product: Product, churns: list[Churn], figure: Callable[[str], None]
) -> None:
    first, second = churns
    for churn in churns:
        churn.begin()
    for count in (100, 200):
        for churn in churns:
            await_count(box, churn, count)
            kill(box, product, churn)
    await_count(box, first, 300)
    with first.agent_away():
        product.restart(first.node)
        serves(box, first)
    await_count(box, first, 330)
    pull_the_plug(box, product, first)
    await_count(box, first, EACH)
    await_count(box, second, max(EACH, ASSIGNMENTS - EACH))
    for churn in churns:
        churn.end()
        churn.settle()
    time.sleep(2.0)

    log = [one for churn in churns for one in churn.log]
    held = [one for one in log if one.address]
    assert len(held) >= ASSIGNMENTS
    questions: dict[str, set[int]] = {}
    for one in held:
        questions.setdefault(one.address, set()).update(moments(one))
    began_s = time.monotonic()
    answers = ask_many_whos(
        {address: [text(at_s) for at_s in sorted(times)] for address, times in questions.items()}, within_s=ANSWERS_S
    )
    asking_s = time.monotonic() - began_s
    judgement = Judgement()
    for address, times in questions.items():
        for at_s, answer in zip(sorted(times), answers[address], strict=True):
            judgement.judge(log, address, at_s, answer)
    kinds = judgement.kinds
    figure(
        f"who: {len(held)} assignments of {len(questions)} addresses, {sum(kinds.values())} moments asked in "
        f"{asking_s:.0f} s; {', '.join(f'{kind} {count}' for kind, count in sorted(kinds.items()))}; "
        f"wrong {len(judgement.wrong)}"
    )
    assert not judgement.wrong, "\n".join(judgement.wrong[:20])
    known = sum(count for kind, count in kinds.items() if kind.startswith("held"))
    assert kinds["held: named"] >= SHARE_NAMED * known
    the_program_says_the_same(held, answers, questions)


def test_every_write_of_a_nic_is_answered_for(nodes: list[Node]) -> None:
    """Growing and shrinking by hand: who wrote, why, which addresses came and went, and the ETag that the NIC has."""
    node = nodes[0]
    try:
        node.want(size=SMALL)
        node.shows(Counts(allocated=SMALL, assigned=0, free=SMALL, cooling=0), within_s=SERVES_S)
        before = node.on_nic()
        time.sleep(1.0)  # a record's time is in whole seconds
        began = text(math.floor(time.time()))
        node.want(size=POOL)
        node.shows(Counts(allocated=POOL, assigned=0, free=POOL, cooling=0), within_s=SERVES_S)
        came, etag = {str(one) for one in node.on_nic() - before}, node.nic()["etag"]
        rows = [row["write"] for row in ask("writes", node.name, "-o", "json").document["writes"]]
        newest = [write for write in rows if write["time"] >= began and write.get("result") == "Succeeded"]
        assert {address for write in newest for address in write["came"]} == came
        assert newest[-1]["etag"] == etag
        assert all(write["writer"] and write["reason"] for write in newest)
        found = ask("writes", "--address", min(came), "-o", "json").document["writes"]
        assert newest[0] in [row["write"] for row in found] or newest[-1] in [row["write"] for row in found]
    finally:
        node.want()


def moments(one: Tenure) -> set[int]:
    """Whole seconds to ask about: in its first and its last whole second, and right after it."""
    within = [at_s for at_s in (math.ceil(one.began_s), math.floor(min(one.ended_s, 1e11)) - 1) if one.surely_had(at_s)]
    return {*within, *([math.ceil(one.gone_s) + 1] if math.isfinite(one.gone_s) else [])}


def the_program_says_the_same(
    held: Sequence[Tenure], answers: dict[str, list[dict[str, Any]]], questions: dict[str, set[int]]
) -> None:
    """A few of the questions once more, each as a person asks it."""
    for one in held[:: max(1, len(held) // SAMPLES)]:
        at_s = min(questions[one.address])
        said = ask("who", one.address, "--at", text(at_s), "-o", "json")
        assert said.document["verdict"] == answers[one.address][0]["verdict"], said.complaint
        assert said.code == (3 if said.document["unknown"] else 0)


def await_count(box: Box, churn: Churn, count: int) -> None:
    """Until that many got an address there."""

    def enough() -> bool:
        seen = len(churn.assignments())
        if seen < count:
            raise StepError("not yet", output=f"{seen} so far")
        return True

    box.wait_for(enough, CHURN_S, f"{count} assignments on {churn.node.name}", poll_s=0.5)


def kill(box: Box, product: Product, churn: Churn) -> None:
    """SIGKILL for the agent amid ADDs and DELs; the kubelet starts another."""
    with churn.agent_away():
        pids = " ".join(str(pid) for pid in product.processes(churn.node))
        churn.node.run("sh", "-c", f"kill -KILL {pids} || true")
        serves(box, churn)


def serves(box: Box, churn: Churn) -> None:
    """Until another ADD has succeeded."""
    asked_s = time.time()
    box.wait_for(
        lambda: any(one.asked_s > asked_s for one in churn.assignments()),
        SERVES_S,
        f"the agent of {churn.node.name} to serve again",
    )


def pull_the_plug(box: Box, product: Product, churn: Churn) -> None:
    """While containers have addresses; they end with the node."""
    churn.end(crash=True)
    pulled_s = time.time()
    box.reboot(churn.node.name)
    box.kubectl("wait", "node", churn.node.name, "--for=condition=Ready", "--timeout=180s")
    product.await_ready()
    churn.crashed(pulled_s=pulled_s, serving_s=time.time())
    churn.begin()
    serves(box, churn)


def text(at_s: int) -> str:
    """As `--at` takes it."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
