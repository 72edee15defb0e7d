"""Whoever asks a command of the box what it takes gets the answer, and no cluster."""

from __future__ import annotations

import contextlib
from typing import NoReturn

import pytest

from azurebox import cli, lifecycle, passed_on, release


class Became(Exception):
    """The process would be another program now."""


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize(
    ("command", "asked"),
    [("scenarios", "pytest --help"), ("install", "helm upgrade --help"), ("demo", "helm upgrade --help")],
)
def test_help_changes_nothing(command: str, asked: str, flag: str, monkeypatch: pytest.MonkeyPatch):
    ran = list[str]()

    def become(module: str, rest: list[str]) -> NoReturn:
        ran.append(f"{module} {rest[-1]}")
        raise Became

    def helm(rest: list[str]) -> int:
        ran.append(" ".join(("helm", *rest)))
        return 0

    def refuse(*_: object, **__: object) -> NoReturn:
        pytest.fail("the box was changed")

    monkeypatch.setattr(passed_on, "_become", become)
    monkeypatch.setattr(passed_on, "_helm", helm)
    monkeypatch.setattr(lifecycle, "up", refuse)
    monkeypatch.setattr(release, "install", refuse)
    with contextlib.suppress(Became):
        assert cli.main([command, "--a-flag", flag]) == 0
    assert ran == [asked]
