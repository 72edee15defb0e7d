"""Simulated time (looptime) costs what happens in it, and no more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

STEPS = 100


@pytest.mark.looptime
async def test_time_moves_on_when_nothing_is_left_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    selector: Any = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
    looks, select = [], selector.select

    def look(timeout: float | None) -> Any:
        looks.append(timeout)
        return select(timeout)

    monkeypatch.setattr(selector, "select", look)
    for _ in range(STEPS):
        await asyncio.sleep(1.0)
    assert len(looks) <= 5 * STEPS


@pytest.mark.looptime
async def test_it_waits_for_what_threads_do() -> None:
    """Time that flew meanwhile would end the wait before any thread could answer."""
    done = asyncio.get_running_loop().run_in_executor(None, sum, range(1000))
    async with asyncio.timeout(3600):
        assert await done == 499_500
