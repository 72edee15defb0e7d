"""What a reboot clears on Windows, and what an agent after it clears itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from azure_cni.errors import AzureCniError
from azure_cni.host.run_directory import forget_pods
from azure_cni.windows.boot import KEY, BootKey, TickClock
from fakes.windows_libraries import StandInRegistry


def test_the_key_is_there_from_the_first_agent_to_the_next_reboot() -> None:
    registry = StandInRegistry()
    key = BootKey(registry)
    assert not key.exists()
    key.make()
    key.make()
    assert key.exists()
    assert registry.volatile == {KEY} == {r"SOFTWARE\azure-cni\boot"}
    registry.volatile.clear()
    assert not key.exists()
    assert registry.open == 0


def test_the_binary_looks_for_the_same_key() -> None:
    source = Path(__file__).parents[3] / "operator" / "cni-plugin" / "system_windows.go"
    assert f"bootKey       = `{KEY}`" in source.read_text()


def test_a_registry_that_refuses_says_who_may() -> None:
    registry = StandInRegistry()
    registry.denied = True
    for work, verb in ((BootKey(registry).exists, "open"), (BootKey(registry).make, "make")):
        with pytest.raises(AzureCniError, match=rf"cannot {verb} the key HKLM\\SOFTWARE.*error 5; does the agent run"):
            work()


def test_what_says_something_of_pods_goes_and_all_else_stays(tmp_path: Path) -> None:
    (tmp_path / "released" / "bad").mkdir(parents=True)
    gone = ["ledger.sqlite", "ledger.sqlite-journal", "served", "released/a.json"]
    stays = ["released/bad/b.json", "somebody.else", "released/readme"]
    for name in gone + stays:
        (tmp_path / name).write_text("x")
    forget_pods(tmp_path)
    assert [name for name in gone if (tmp_path / name).exists()] == []
    assert [name for name in stays if not (tmp_path / name).exists()] == []
    forget_pods(tmp_path)
    forget_pods(tmp_path / "new")


def test_what_cannot_be_removed_is_named(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").mkdir()
    held = re.escape(str(tmp_path / "ledger.sqlite"))
    with pytest.raises(AzureCniError, match=f"cannot remove {held}, which is of before the reboot"):
        forget_pods(tmp_path)


def test_the_clock_counts_seconds_since_the_boot() -> None:
    clock = TickClock(lambda: 90_061_500)
    assert clock.boottime_s() == 90_061.5
    assert clock.utc(ahead_s=0.0).endswith("Z")
