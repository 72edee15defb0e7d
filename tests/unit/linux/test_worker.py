"""The data plane's thread: what it says of itself while it is stuck, and what the agent's health makes of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from azure_cni.entrypoints.running import STALLED_S, STUCK_S, unhealthy
from azure_cni.linux.worker import Worker


class Held:
    """Work that waits until it is let go."""

    def __init__(self) -> None:
        self.started, self.go_on = threading.Event(), threading.Event()

    def wait(self) -> None:
        self.started.set()
        assert self.go_on.wait(20)

    def fail(self) -> None:
        raise ValueError

    def close(self) -> None:
        pass


@pytest.fixture
def worker() -> Iterator[Worker[Held]]:
    worker = Worker(Held, name="test", node_netns=None)
    yield worker
    worker.close()


def test_a_thread_says_for_how_long_it_has_been_at_one_thing(worker: Worker[Held]) -> None:
    assert worker.busy_s == 0.0
    held: Held = worker.submit(lambda held: held).result()
    work = worker.submit(Held.wait)
    assert held.started.wait(20)
    first = worker.busy_s
    assert worker.busy_s >= first > 0.0
    held.go_on.set()
    work.result()
    assert worker.busy_s == 0.0


def test_work_that_fails_is_over(worker: Worker[Held]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the one above
        worker.submit(Held.fail).result()
    assert worker.busy_s == 0.0


def test_health_looks_at_the_reconciler_and_at_the_thread_that_wires() -> None:
    assert unhealthy(silent_s=STALLED_S, busy_s=STUCK_S) == ""
    assert unhealthy(silent_s=301.0, busy_s=0.0) == "the reconciler has been silent for 301 s"
    assert unhealthy(silent_s=0.0, busy_s=121.0) == "the data plane has been at one thing for 121 s"
