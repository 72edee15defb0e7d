"""Pods on the box as a watch shows them: when each was there, ran, and was gone, by this machine's clock."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from azurebox import controlplane
from azurebox.client import Box
from azurebox.facts import AGNHOST
from bench.kubelet_figures import Seen, seen_in
from bench.node import BenchError

NAMESPACE: Final = "azure-cni-bench"
SENTINEL: Final = "watched"
"""A pod that nobody schedules: a watch that shows it has begun."""
BATCH_S: Final = 180.0
END_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Pods that were started at once and deleted at once. Seconds; `addresses` are the pods'."""

    count: int
    start_s: float
    """From the first pod's creation until the last one ran."""
    pod_s: tuple[float, ...]
    """From each one's creation until it ran."""
    end_s: float
    """From the first deletion until the last one was gone."""
    addresses: frozenset[str]


class Watch:
    """What `kubectl get --watch` shows of a kind, with the time at which it was shown."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._seen: list[Seen] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def seen(self) -> tuple[Seen, ...]:
        """All events so far, in their order."""
        with self._changed:
            return tuple(self._seen)

    def until(self, done: Callable[[Sequence[Seen]], bool], what: str, *, within_s: float = BATCH_S) -> None:
        """Wait until the events are as they should be. BenchError, with the last ones, when they do not become so."""
        with self._changed:
            if not self._changed.wait_for(lambda: done(self._seen), within_s):
                raise BenchError(f"waited {within_s:.0f} s in vain for {what}; last seen: {self._seen[-3:]}")

    def end(self) -> None:
        """Stop watching."""
        self._process.kill()
        self._process.wait(END_S)
        self._reader.join(END_S)

    def _read(self) -> None:
        assert self._process.stdout is not None  # a pipe
        for line in self._process.stdout:  # each is an event
            at_s = time.clock_gettime(time.CLOCK_BOOTTIME)
            with self._changed:
                self._seen.append(seen_in(json.loads(line), at_s=at_s))
                self._changed.notify_all()


@contextmanager
def watching(*what: str) -> Iterator[Watch]:
    """While these are watched: arguments of `kubectl get`."""
    command = controlplane.people("kubectl", "get", *what, "--watch", "--output-watch-events", "-o", "json")
    process = subprocess.Popen(command, env=controlplane.people_environment(), stdout=subprocess.PIPE, text=True)
    watch = Watch(process)
    try:
        yield watch
    finally:
        watch.end()


@contextmanager
def namespace(box: Box) -> Iterator[None]:
    """While there is a namespace for the pods, which takes them."""
    box.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    try:
        account = ("get", "serviceaccount", "default", "-n", NAMESPACE, "-o", "name")
        box.wait_for(lambda: box.kubectl(*account), BATCH_S, f"the service account of {NAMESPACE}")
        box.apply(pod(SENTINEL, schedulerName="nobody"))
        yield
    finally:
        box.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def pod(name: str, **place: object) -> dict[str, Any]:
    """A pod that does nothing, of an image that each node has; `place` says where: nodeName, or nodeSelector."""
    container = {"name": "pause", "image": AGNHOST, "imagePullPolicy": "Never"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "containers": [container],
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            **place,
        },
    }


def run_batch(box: Box, node: str, count: int, *, label: str) -> Batch:
    """Start so many pods on a node at once, past the scheduler, and when all run, delete them."""
    names = {f"{label}-{number}" for number in range(count)}
    pods = [pod(name, nodeName=node) for name in sorted(names)]
    with watching("pods", "-n", NAMESPACE) as watch:
        watch.until(bool, "the watch to begin")
        box.kubectl("create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": pods}))
        watch.until(lambda seen: names <= _names(it for it in seen if it.runs), f"{count} pods to run on {node}")
        ours = [it for it in watch.seen if it.name in names]
        there, runs = _first(ours), _first(it for it in ours if it.runs)
        before = len(watch.seen)
        box.kubectl("delete", "pods", "-n", NAMESPACE, "--wait=false", *names)
        watch.until(lambda seen: names <= _names(it for it in seen if it.kind == "DELETED"), "the pods to be gone")
        ended = [it.at_s for it in watch.seen[before:]]
        return Batch(
            count=count,
            start_s=max(runs.values()) - min(there.values()),
            pod_s=tuple(runs[name] - there[name] for name in sorted(names)),
            end_s=max(ended) - min(ended),
            addresses=frozenset(it.address for it in watch.seen if it.address),
        )


def _names(seen: Iterable[Seen]) -> set[str]:
    return {it.name for it in seen}


def _first(seen: Iterable[Seen]) -> dict[str, float]:
    """When each name was first seen."""
    found: dict[str, float] = {}
    for it in seen:
        found.setdefault(it.name, it.at_s)
    return found
