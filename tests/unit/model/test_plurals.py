"""A count and its noun agree, wherever one is said."""

import ast
import re
from collections.abc import Iterator
from typing import TypeGuard

import pytest

from azure_cni.model.text import addresses, counted
from unit.chart.helm import REPOSITORY

PLURAL = re.compile(
    r" (?:more |free |NIC )?(?:addresses|pods|nodes|attempts|characters|ipConfigurations|sandboxes|writes|times)\b(?!')"
)


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 addresses"), (1, "1 address"), (2, "2 addresses"), (16000, "16000 addresses")]
)
def test_the_noun_follows_the_number(count: int, said: str):
    assert addresses(count) == said


@pytest.mark.parametrize(
    ("noun", "said"), [("pod", "2 pods"), ("sandbox", "2 sandboxes"), ("NIC write", "2 NIC writes")]
)
def test_the_plural_is_spelt_as_english_does(noun: str, said: str):
    assert counted(2, noun) == said


def test_a_verb_can_agree_too():
    assert [counted(count, "pod waits", "pods wait") for count in (1, 3)] == ["1 pod waits", "3 pods wait"]


def hard_plurals() -> Iterator[str]:
    """Words right after a value in an f-string that are a plural, whatever the value is."""
    for module in sorted((REPOSITORY / "operator" / "azure_cni").rglob("*.py")):
        for node in ast.walk(ast.parse(module.read_text())):
            for value, after in zip(node.values, node.values[1:], strict=False) if is_text(node) else ():
                words = after.value if isinstance(after, ast.Constant) else ""
                if isinstance(value, ast.FormattedValue) and isinstance(words, str) and may_be_one(value, words):
                    yield f"{module.name}:{after.lineno}:{words[:40]}"


def is_text(node: ast.AST) -> TypeGuard[ast.JoinedStr]:
    return isinstance(node, ast.JoinedStr)


def may_be_one(value: ast.FormattedValue, words: str) -> bool:
    """A constant of the program cannot."""
    constant = isinstance(value.value, ast.Name) and value.value.id.isupper()
    return PLURAL.match(words) is not None and not constant


def test_no_message_counts_in_the_plural_by_hand():
    assert list(hard_plurals()) == []
