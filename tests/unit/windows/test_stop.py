"""How a process on Windows learns that it has to end."""

from __future__ import annotations

import threading

import pytest

from azure_cni.errors import AzureCniError
from azure_cni.windows.stop import CTRL_BREAK, CTRL_C, CTRL_CLOSE, CTRL_SHUTDOWN, StopEvents
from fakes.waiting import PATIENCE_S
from fakes.windows_libraries import StandInKernel

LOGOFF = 5


@pytest.mark.parametrize("event", [CTRL_CLOSE, CTRL_SHUTDOWN])
def test_the_handler_returns_once_all_is_done(event: int) -> None:
    kernel, asked, returned = StandInKernel(), threading.Event(), threading.Event()
    events = StopEvents(kernel, asked.set, longest_s=PATIENCE_S)
    answers: list[int] = []

    def windows() -> None:
        answers.append(kernel.send(event))
        returned.set()

    thread = threading.Thread(target=windows)
    thread.start()
    assert asked.wait(PATIENCE_S)
    assert not returned.is_set()
    events.ended()
    thread.join(PATIENCE_S)
    assert answers == [1]
    assert kernel.send(event) == 1, "one that comes late has nothing to wait for"


@pytest.mark.parametrize("event", [CTRL_C, CTRL_BREAK])
def test_what_a_person_sends_ends_the_process_in_order_too(event: int) -> None:
    kernel, asked = StandInKernel(), threading.Event()
    StopEvents(kernel, asked.set)
    assert kernel.send(event) == 1
    assert asked.is_set()


def test_somebody_who_logs_off_the_node_is_no_reason_to_end() -> None:
    kernel, asked = StandInKernel(), threading.Event()
    StopEvents(kernel, asked.set)
    assert kernel.send(LOGOFF) == 0
    assert not asked.is_set()


def test_a_handler_that_windows_refuses_is_an_error() -> None:
    kernel = StandInKernel()
    kernel.refuses = True
    with pytest.raises(AzureCniError, match="SetConsoleCtrlHandler refuses it"):
        StopEvents(kernel, lambda: None)
