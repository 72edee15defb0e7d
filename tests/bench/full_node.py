"""A node that fills up: 250 sandboxes one after another, beside as many of ptp's on a node of its own, in turns.

What the machine does meanwhile meets both, so a growth that is not in both is ours.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from bench.agent import ADDRESSES
from bench.node import Node, Subject
from bench.times import growth, summary

SPIN = "while True: pass"
END_S = 10.0


def full_nodes(where: Sequence[tuple[Node, Subject]], *, load: int) -> dict[str, Any]:
    """Of two subjects, each on its node: how the last ADDs compare with the first, and the DELs. `beside`: the same of
    the first subject's, each as a part of the other's beside it.

    `load`: so many processes compute without a pause meanwhile.
    """
    pods = {subject.name: node.new_pods(ADDRESSES) for node, subject in where}
    took: dict[str, dict[str, list[float]]] = {subject.name: {"ADD": [], "DEL": []} for _, subject in where}
    with _spinning(load):
        before = os.getloadavg()[0]
        for verb in ("ADD", "DEL"):
            for number in range(ADDRESSES):
                for node, subject in where[:: -1 if number % 2 else 1]:
                    took[subject.name][verb].append(node.call(subject, verb, pods[subject.name][number]))
        for node, subject in where:
            node.wait_gone(subject)
        machine = {"load": [round(before, 1), round(os.getloadavg()[0], 1)], "computing": load}
    found = {
        name: {"sandboxes": ADDRESSES, **growth(verbs["ADD"]), "DEL": summary(verbs["DEL"])}
        for name, verbs in took.items()
    }
    ours, other = (took[subject.name]["ADD"] for _, subject in where)
    beside = growth([one / another for one, another in zip(ours, other, strict=True)])
    return machine | found | {"beside": {key: beside[key] for key in ("ratio", "low", "high")}}


@contextmanager
def _spinning(count: int) -> Iterator[None]:
    processes: list[subprocess.Popen[bytes]] = []
    try:
        processes += (subprocess.Popen([sys.executable, "-S", "-c", SPIN]) for _ in range(count))
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait(END_S)
