"""SECURITY.md names a test for each attack: one that is there, in a file that is there."""

import re

import pytest

from unit.chart.helm import REPOSITORY

PAGE = (REPOSITORY / "SECURITY.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| who |")]
SOURCES = [
    *(REPOSITORY / "tests").rglob("test_*.py"),
    *(REPOSITORY / "e2e" / "scenarios").rglob("test_*.py"),
    *(REPOSITORY / "operator" / "cni-plugin").rglob("*_test.go"),
]
NAMES = {name for path in SOURCES for name in re.findall(r"(?:def|func) ([tT]est\w+)\(", path.read_text())}


def test_there_are_rows():
    assert len(ROWS) > 20


@pytest.mark.parametrize("row", ROWS)
def test_each_attack_names_a_test_that_exists(row: str):
    *_, tests, _ = row.split("|")
    paths = re.findall(r"`((?:tests|operator|e2e)/[\w/.-]+)`", tests)
    assert paths
    assert [path for path in paths if not (REPOSITORY / path).exists()] == []
    assert [name for name in re.findall(r"`([tT]est\w+)`", tests) if name not in NAMES] == []


def test_a_name_is_in_the_file_that_stands_before_it():
    lost = []
    for row in ROWS:
        *_, tests, _ = row.split("|")
        source = ""
        for word in re.findall(r"`([^`]+)`", tests):
            if word.endswith((".py", ".go")):
                source = (REPOSITORY / word).read_text()
            elif word.lower().startswith("test") and f" {word}(" not in source:
                lost.append(word)
    assert lost == []
