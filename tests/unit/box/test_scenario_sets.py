"""The Makefile names scenarios that are slow or run apart: a name that nothing has would put them back unnoticed."""

from __future__ import annotations

import re

import pytest

from azurebox.facts import REPOSITORY

MAKEFILE = (REPOSITORY / "Makefile").read_text()
SETS = re.findall(r"^(?:SLOW|APART) := (.*)$", MAKEFILE, re.MULTILINE) + re.findall(r'-k "([^"$]*)"', MAKEFILE)
NAMES = sorted({word for one in SETS for word in re.findall(r"\w+", one)} - {"and", "or", "not"})
SCENARIOS = {file.name: file.read_text() for file in (REPOSITORY / "e2e" / "scenarios").glob("test_*.py")}


def test_the_sets_are_found() -> None:
    assert {"attacks", "nftables", "test_13", "test_03_pool", "older_sandbox"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_that_of_a_module_a_scenario_or_one_of_its_cases(name: str) -> None:
    said = re.compile(rf"def test_\w*{name}|^def {name}|\"{name}\"|'{name}'", re.MULTILINE)
    assert any(name in file or said.search(text) for file, text in SCENARIOS.items())
