"""What is asked about is over, whatever the machine's clock says."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from azure_cni.commands import address_commands, writes
from azure_cni.model.text import seconds_of


@pytest.fixture(autouse=True)
def _later(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (address_commands, writes):
        monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: seconds_of("2026-11-29T00:00:00Z")))
