"""What walks of the property tests begin with."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a process loses nothing that it has written: only the end of the machine does."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
