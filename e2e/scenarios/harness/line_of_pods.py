"""A line of pods on one node, on a pool that is as large as the line: one pod more needs one address more.

A pod that waits is the kubelet's to try again after 10 to 15 s; a harmless change of the pod has it tried at once.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from azurebox.client import Box
from azurebox.steps import StepError
from scenarios.harness.node import Counts, Node
from scenarios.harness.pods import NAMESPACE, START_S, Pod, Workload, servers

NUDGE_S = 2.0
EVERYWHERE = {"tolerations": [{"operator": "Exists"}]}
"""The node is full for most of the time, and has our taint."""


class Queue:
    """The line; `line` is its workload."""

    def __init__(self, box: Box, node: Node, line: Workload) -> None:
        self._box = box
        self.node = node
        self.line = line

    def settle(self, *, within_s: float = START_S) -> int:
        """Wait until every pod of the line runs, and no address is left; how many that are."""
        count = max(1, len(self.line.pods()))
        self.node.want(size=count)
        self.line.scale(count)
        self._nudge_until_ready(count, within_s=within_s)
        self.node.shows(Counts(count, assigned=count, free=0, cooling=0), within_s=within_s)
        return count

    def lengthen(self) -> str:
        """One pod more; its name, once the kubelet has it."""
        before = {pod.uid for pod in self.line.pods()}
        self.line.scale(len(before) + 1)

        def placed() -> Pod | None:
            return next((pod for pod in self.line.pods() if pod.uid not in before and pod.node), None)

        return self._box.wait_for(placed, START_S, f"the next pod of {self.line.name} to be placed").name

    def runs(self, *, within_s: float = START_S) -> None:
        """Wait until the whole line runs, the same pods as now."""
        waiting = {pod.uid for pod in self.line.pods()}
        self._nudge_until_ready(len(waiting), within_s=within_s)
        assert {pod.uid for pod in self.line.pods()} == waiting

    def _nudge_until_ready(self, count: int, *, within_s: float) -> None:
        nudged_s = 0.0

        def ready() -> bool:
            nonlocal nudged_s
            pods = self.line.pods()
            late = [pod.name for pod in pods if not pod.ready]
            if late and time.monotonic() - nudged_s > NUDGE_S:
                nudged_s = time.monotonic()
                nudge = f"nudged={nudged_s}"
                self._box.kubectl("annotate", "pods", "-n", NAMESPACE, "--overwrite", *late, nudge)
            if late or len(pods) != count:
                raise StepError("not yet", output=f"{len(pods)} pods of {count}; not ready: {late}")
            return True

        self._box.wait_for(ready, within_s, f"{count} pods of {self.line.name} to run")


@contextmanager
def queue(box: Box, node: Node) -> Iterator[Queue]:
    """A line of one pod, which runs."""
    node.want(size=1)
    try:
        with servers(box, "queue", node=node.name, replicas=1, pod=EVERYWHERE) as line:
            made = Queue(box, node, line)
            made.settle()
            yield made
    finally:
        node.want()
