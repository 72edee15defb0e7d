"""Where the sources are, and which way imports go outside the product (inside it, import-linter holds them)."""

import ast
import operator
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from azurebox.facts import REPOSITORY

TESTS, E2E = REPOSITORY / "tests", REPOSITORY / "e2e"


def imports(folder: Path) -> Iterator[tuple[str, str]]:
    """Each module that the code of a folder imports, at its top or later, with the place."""
    for file in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            for name in names:
                yield name, f"{file.relative_to(REPOSITORY)}:{node.lineno}"


def packages(folder: Path) -> frozenset[str]:
    return frozenset(entry.name for entry in folder.iterdir() if any(entry.rglob("*.py")))


def test_the_source_root_does_not_shadow_the_standard_librarys_operator():
    """With an __init__.py in operator/, `import operator` at the repository's root would find ours."""
    assert (REPOSITORY / "operator" / "azure_cni" / "__init__.py").exists()
    assert not (REPOSITORY / "operator" / "__init__.py").exists()
    assert operator.itemgetter(0)("a") == "a"


def test_a_package_of_tests_and_one_of_e2e_never_share_a_name():
    """Both folders are on one path, where the first would hide the other."""
    assert packages(TESTS) & packages(E2E) == frozenset()


def test_all_of_e2e_is_type_checked():
    with (REPOSITORY / "pyproject.toml").open("rb") as file:
        checked = tomllib.load(file)["tool"]["mypy"]["packages"]
    assert packages(E2E) <= set(checked)


def test_scenarios_run_in_the_order_of_their_numbers_and_no_two_share_one():
    """Scenarios run by name, so every number has two digits."""
    numbers = [file.name.split("_")[1] for file in sorted((E2E / "scenarios").glob("test_*.py"))]
    assert numbers == sorted(set(numbers), key=int)
    assert {len(number) for number in numbers} == {2}


@pytest.mark.parametrize(
    ("folder", "barred"),
    [
        (E2E, packages(TESTS) | {"tests"}),
        (E2E / "fakeazure", packages(E2E) - {"fakeazure"} | {"azure_cni", "e2e"}),
        (E2E / "fakehns", packages(E2E) - {"fakehns"} | {"azure_cni", "e2e"}),
    ],
    ids=[
        "what runs on the box and in the simulation needs no test",
        "the fake Azure shares no code with the product",
        "the stand-in for HNS shares no code with the product",
    ],
)
def test_imports_go_one_way(folder: Path, barred: frozenset[str]):
    found = [(name, where) for name, where in imports(folder) if not where.startswith(WINDOWS)]
    assert found
    assert [f"{where}: {name}" for name, where in found if name.partition(".")[0] in barred] == []


WINDOWS = "e2e/windows/"
"""A suite of tests itself, with their fake of the API server: neither box nor simulation runs it."""
PRODUCT = REPOSITORY / "operator" / "azure_cni"
TWO_SIDES = {
    "ports": "the node's and the cluster's ports",
    "bridge": "the mode as data (datapath) and its adapter (linux)",
    "conntrack": "what is judged (datapath) and its adapter (linux)",
    "pod_nic": "what is wanted (datapath) and its adapter (linux)",
    "second_nics": "what is wanted (datapath) and its adapter (linux)",
    "datapath": "the pure package and its adapter (linux)",
}
"""What two places may both be called: two sides of one thing."""


def public_names() -> Iterator[tuple[str, str]]:
    """Modules, packages and public classes of the product, each with its file."""
    for file in sorted(PRODUCT.rglob("*.py")):
        where = str(file.relative_to(PRODUCT))
        yield (file.parent.name if file.stem == "__init__" else file.stem), where
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield node.name, where


def test_no_two_public_names_of_the_product_are_alike():
    places: dict[str, list[str]] = {}
    for name, where in public_names():
        places.setdefault(name, []).append(where)
    assert {name for name, found in places.items() if len(found) > 1} == TWO_SIDES.keys()


def test_modules_are_neither_crumbs_nor_too_long_to_read():
    lengths = {
        str(file.relative_to(PRODUCT)): len(file.read_text().splitlines())
        for file in PRODUCT.rglob("*.py")
        if file.stem != "__init__"
    }
    assert [path for path, lines in lengths.items() if lines > 300] == []
    small = sorted(path for path, lines in lengths.items() if lines < 60)
    assert len(small) < 20, (
        f"{len(small)} modules have fewer than 60 lines: which belongs to another's subject? {small}"
    )
