"""SECURITY.md names a test for each attack: one that is there, in a file that is there."""

import re

import pytest

from unit.chart.helm import REPOSITORY

PAGE = (REPOSITORY / "SECURITY.md").read_text()
ROWS = [
    line
    for line in PAGE.partition("**Threat model**")[2].splitlines()
    if line.startswith("| ") and not line.startswith("| who |")
]
SOURCES = [
    *(REPOSITORY / "tests").rglob("test_*.py"),
    *(REPOSITORY / "e2e" / "scenarios").rglob("test_*.py"),
    *(REPOSITORY / "operator" / "cni-plugin").rglob("*_test.go"),
]
NAMES = {name for path in SOURCES for name in re.findall(r"(?:def|func) ([tT]est\w+)\(", path.read_text())}


def test_there_are_rows():
    assert len(ROWS) > 20


WHO = (
    "a pod", "a namespace's admin", "a viewer", "who took a node over", "who took the agent's container over",
    "who has an agent's token", "who has the controller's token", "who has the token of the pod of `helm test`",
    "who has an identity of azure-cni in Azure", "somebody on the VNet",
)  # fmt: skip


def test_the_threat_model_has_each_of_them_with_what_they_can_and_cannot_do():
    model = PAGE.partition("**Threat model**")[2].partition("**Attacks that tests make**")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in model.splitlines() if line[:2] == "| "]
    rows = [row for row in rows if row[0] != "who"]
    named = [row[0] for row in rows if row[0]]
    assert [who for who in WHO if not any(name == who or name.startswith(f"{who} (") for name in named)] == []
    assert len(named) == len(WHO)
    for who, can, cannot, tests in rows:
        assert cannot
        assert tests
        assert can or not who


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
