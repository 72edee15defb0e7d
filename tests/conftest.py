"""What all tests share: the settings of hypothesis.

A run that fails is to be made again by the same command, and how fast the machine is decides nothing. So examples are
the same in each run, and none has a deadline. `--hypothesis-profile=search` looks for others, at random.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping

import pytest
from hypothesis import HealthCheck, settings

from azurebox.second_attempt import SecondAttempt

STEADY, SEARCH = "steady", "search"
TIMED = (HealthCheck.too_slow,)
"""What hypothesis measures by the clock."""

settings.register_profile(STEADY, derandomize=True, deadline=None, suppress_health_check=TIMED)
settings.register_profile(SEARCH, deadline=None, suppress_health_check=TIMED, max_examples=1000, print_blob=True)
settings.load_profile(STEADY)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--every-crash`: kill at every single step in every mode, and on the real kernel too (`make crash`)."""
    parser.addoption("--every-crash", action="store_true", help="kill at every step in every mode, not at a sample")
    parser.addoption(
        "--second-attempt", action="store_true", help="where few tests failed, exit with 75: `make test` repeats those"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.option.second_attempt:
        config.pluginmanager.register(SecondAttempt())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Simulated time moves on as soon as nothing is left to do.

    By itself looptime looks 42 times more, each time it moves: that was 40 % of what simulated days cost. Nothing can
    come of it where nothing is awaited from outside, and threads it waits for as such.
    """
    for item in items:
        if item.get_closest_marker("looptime"):
            item.add_marker(pytest.mark.looptime(noop_cycles=0))


if sys.platform == "win32":

    def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
        """Simulated time is set forward where a loop selects sockets, which the usual loop of Windows does not."""
        if item.get_closest_marker("looptime"):
            return {"selector": asyncio.SelectorEventLoop}
        return {"proactor": asyncio.ProactorEventLoop}
