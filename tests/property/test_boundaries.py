"""Each reader of foreign bytes and objects stands in the table of docs/architecture.md, with the tests that try it.

A reader is a module that calls a decoder, or that uses `api.reading`, which is for objects that anybody may edit.
A module that takes bytes apart by hand is not found by this: whoever writes one adds its row.
"""

from __future__ import annotations

import ast
import re
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import pytest

REPOSITORY: Final = Path(__file__).parents[2]
PRODUCT: Final = REPOSITORY / "operator" / "azure_cni"
ROOTS: Final = (REPOSITORY / "operator", REPOSITORY / "tests", REPOSITORY / "e2e")
PAGE: Final = (REPOSITORY / "docs" / "architecture.md").read_text()
DECODERS: Final = frozenset({
    "msgspec.json.decode", "msgspec.json.Decoder", "msgspec.convert", "json.load", "json.loads", "tomllib.load",
    "tomllib.loads", "yaml.load", "yaml.safe_load", "yaml.safe_load_all", "yaml.SafeLoader", "ET.fromstring",
    "ElementTree.fromstring", "csv.reader", "pickle.loads", "plistlib.loads", "base64.b64decode", "sqlite3.connect",
    "struct.Struct", "struct.unpack", "struct.unpack_from", "int.from_bytes", "x509.load_der_x509_certificate",
    "x509.load_pem_x509_certificate", "x509.load_pem_x509_certificates",
})  # fmt: skip


class Row(NamedTuple):
    patterns: tuple[str, ...]
    tests: tuple[str, ...]


def rows() -> list[Row]:
    section = PAGE.partition("### Input from outside")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith("| input")]
    cells = [line.strip("|").split("|") for line in lines]
    return [Row(tuple(re.findall(r"`([^`]+)`", it[2])), tuple(re.findall(r"`([^`]+)`", it[3]))) for it in cells]


ROWS: Final = rows()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def reads(path: Path) -> bool:
    """Whether the module calls a decoder, or reads objects that anybody may have edited."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in DECODERS:
            return True
        if isinstance(node, ast.ImportFrom) and any("reading" in name.rsplit(".", 1)[-1:] for name in imported(node)):
            return True
    return False


def imported(node: ast.ImportFrom) -> list[str]:
    return [f"{node.module}", *(f"{node.module}.{alias.name}" for alias in node.names)]


READERS: Final = sorted(str(path.relative_to(PRODUCT)) for path in PRODUCT.rglob("*.py") if reads(path))


@cache
def file_of(module: str) -> Path | None:
    found = (root / f"{module.replace('.', '/')}.py" for root in ROOTS)
    return next((path for path in found if path.exists()), None)


def reached(test: Path) -> set[Path]:
    """All modules that the test imports, and those that they import."""
    seen, open_ = set[Path](), [test]
    while open_:
        path = open_.pop()
        if path in seen:
            continue
        seen.add(path)
        open_ += imports(path)
    return seen


@cache
def imports(path: Path) -> list[Path]:
    """The modules of the repository that it imports by itself."""
    found: list[Path] = []
    for node in ast.walk(tree(path)):
        names = imported(node) if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        found += [file for name in names if (file := file_of(name))]
    return found


def test_the_readers_are_found():
    assert len(READERS) > 50
    assert {"cni/wire.py", "host/ledger_store.py", "api/node_ip_pool.py", "entrypoints/toml_values.py"} <= set(READERS)


def test_each_reader_has_a_row():
    patterns = [pattern for row in ROWS for pattern in row.patterns]
    missing = [one for one in READERS if not any(fnmatchcase(one, pattern) for pattern in patterns)]
    assert missing == [], "say in docs/architecture.md, Input from outside, who writes what they read and what tries it"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.patterns[0])
def test_a_row_names_readers_and_tests_that_are_there(row: Row):
    ours = [pattern for pattern in row.patterns if pattern.endswith((".py", "*"))]
    assert [one for one in ours if not any(fnmatchcase(reader, one) for reader in READERS)] == []
    assert row.tests
    assert [one for one in row.tests if not (REPOSITORY / one).exists()] == []


TRIED: Final = [row for row in ROWS if any(test.startswith("tests/property/") for test in row.tests)]
"""Rows with readers that are given odd input; the rest of them read what nobody else writes, and the kernel's."""


@pytest.mark.parametrize("row", TRIED, ids=lambda row: row.patterns[0])
def test_the_tests_of_a_row_reach_its_readers(row: Row):
    modules = {found for test in row.tests if test.endswith(".py") for found in reached(REPOSITORY / test)}
    named = [one for one in READERS if one in row.patterns]
    assert [one for one in named if PRODUCT / one not in modules] == []
