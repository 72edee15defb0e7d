"""Pods that come and go, and who watches them: what the plan wants of each node, and what the API server shows.

The watch is kubectl's. After an outage, and each ten seconds, all pods are listed: what a watch has missed.
"""

import contextlib
import json
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from azurebox.client import Box
from azurebox.controlplane import people, people_environment
from azurebox.steps import StepError
from scenarios.harness.node import Node
from scenarios.harness.pods import NAMESPACE, server_spec
from soak.plan import lifetime, wanted
from soak.pod_log import Life, PodLog, Seen

LABEL = "soak=churn"
SELECTED = ("-n", NAMESPACE, "-l", LABEL)
TICK_S = 0.5
LIST_S = 10.0
AT_ONCE = 4
"""Pods that are asked for in one tick: a node starts some two each second."""
FINAL = frozenset({"Succeeded", "Failed"})


@dataclass
class Churn:
    """Threads that ask for pods and delete them, and that watch them. `now` is the run's clock, seconds."""

    box: Box
    nodes: Sequence[Node]
    seed: int
    now: Callable[[], float]
    log: PodLog
    refused: int = 0
    """Calls of the API server that failed, most of them while it was away."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    broken: list[str] = field(default_factory=list)
    """Why a thread ended early."""
    _numbers: Iterator[int] = field(init=False)
    _over: threading.Event = field(default_factory=threading.Event)
    """No more pods are asked for."""
    _closed: threading.Event = field(default_factory=threading.Event)
    """Nobody watches any more."""
    _watch: subprocess.Popen[str] | None = None
    _threads: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        """No name is used twice, also where the log has pods already."""
        self._numbers = count(len(self.log.lives) + 1)

    def begin(self) -> None:
        """Start."""
        works = (self._turn, self._follow, self._list)
        self._threads = [threading.Thread(target=self._guarded, args=(work,), daemon=True) for work in works]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Ask for no more pods, and delete all; they are not waited for, and still watched."""
        self._over.set()
        self._threads[0].join()
        self.box.kubectl("delete", "pods", *SELECTED, "--wait=false")

    def close(self) -> None:
        """Watch no more; StepError when a thread had ended early."""
        self._over.set()
        self._closed.set()
        for thread in self._threads:
            while thread.is_alive():
                if self._watch is not None:
                    self._watch.kill()
                thread.join(TICK_S)
        if self.broken:
            raise StepError("cannot keep pods coming and going", output="\n".join(self.broken))

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  a thread's end is nobody's to see but by this
            self.broken.append(repr(error))

    def look(self) -> None:
        """List all pods."""
        asked_s = self.now()
        items = self.box.kubectl_json("get", "pods", *SELECTED)["items"]
        with self._lock:
            self.log.see_all([seen(item) for item in items], asked_s=asked_s, at_s=self.now())

    def started_since(self, at_s: float) -> bool:
        """Whether each node has started a pod that was asked for after that."""
        with self._lock:
            return all(self.log.started_since(node.name, at_s) for node in self.nodes)

    def gone(self) -> bool:
        """Whether no pod is left."""
        with self._lock:
            return not self.log.alive()

    def _turn(self) -> None:
        while not self._over.wait(TICK_S):
            for index, node in enumerate(self.nodes):
                try:
                    self._delete(node)
                    self._create(node, wanted(self.seed, index, self.now()))
                except StepError:
                    self.refused += 1

    def _delete(self, node: Node) -> None:
        with self._lock:
            due = [life for life in self.log.alive(node.name) if life.due(self.now())]
        if due:
            self.box.kubectl(
                "delete", "pods", "-n", NAMESPACE, "--wait=false", "--ignore-not-found", *(life.name for life in due)
            )
            for life in due:
                life.deleted_s = self.now()

    def _create(self, node: Node, want: int) -> None:
        with self._lock:
            there = [life for life in self.log.alive(node.name) if life.deleted_s is None]
            fresh = [self._fresh(node) for _ in range(min(AT_ONCE, want - len(there)))]
            for life in fresh:
                self.log.ask(life)
        if not fresh:
            return
        items = [pod(life) for life in fresh]
        try:
            self.box.kubectl(
                "create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
            )
        except StepError:
            # Some of them may be there: the next list shows which.
            self.refused += 1

    def _fresh(self, node: Node) -> Life:
        number = next(self._numbers)
        return Life(f"churn-{number}", node.name, lifetime(self.seed, number), self.now())

    def _list(self) -> None:
        while not self._closed.wait(LIST_S):
            with contextlib.suppress(StepError):
                self.look()

    def _follow(self) -> None:
        """Watch, again and again: kubectl ends when the API server goes away."""
        command = people("kubectl", "get", "pods", *SELECTED, "--watch", "--output-watch-events", "-o", "json")
        while not self._closed.wait(TICK_S):
            with subprocess.Popen(
                command, env=people_environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            ) as self._watch:
                assert self._watch.stdout is not None
                document: list[str] = []
                for line in self._watch.stdout:
                    document.append(line)
                    if line == "}\n":
                        self._event(json.loads("".join(document)))
                        document.clear()

    def _event(self, event: dict[str, Any]) -> None:
        with self._lock:
            if event["type"] == "DELETED":
                self.log.go(event["object"]["metadata"]["name"], at_s=self.now())
            elif event["object"].get("kind") == "Pod":
                self.log.see(seen(event["object"]), at_s=self.now())


def seen(item: dict[str, Any]) -> Seen:
    """What counts of a Pod's document."""
    status = item.get("status", {})
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions", ()))
    ending = bool(item["metadata"].get("deletionTimestamp")) or status.get("phase") in FINAL
    return Seen(item["metadata"]["name"], status.get("podIP", ""), ready, ending)


def pod(life: Life) -> dict[str, Any]:
    """The Pod's document."""
    key, _, value = LABEL.partition("=")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": life.name, "namespace": NAMESPACE, "labels": {key: value}},
        "spec": {**server_spec(), "nodeSelector": {"kubernetes.io/hostname": life.node}},
    }
