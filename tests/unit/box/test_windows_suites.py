"""Each of the project's tests runs on Windows Python under Wine, or is left out with a reason."""

from __future__ import annotations

import re
from fnmatch import fnmatch

import pytest

from azurebox.facts import REPOSITORY
from windows.suites import LEFT_OUT, SUITES, Suite

TESTS = REPOSITORY / "tests"
FILES = [
    *(f"unit/{one.name}" for one in sorted((TESTS / "unit").iterdir()) if any(one.glob("test_*.py"))),
    *(f"{kind}/{one.name}" for kind in ("property", "contract") for one in sorted((TESTS / kind).glob("test_*.py"))),
]


def reasons(name: str) -> list[str]:
    return [reason for pattern, reason in LEFT_OUT.items() if fnmatch(name, pattern)]


@pytest.mark.parametrize("name", FILES)
def test_each_runs_there_or_is_left_out_with_one_reason(name: str):
    runs = any(name in suite.paths for suite in SUITES)
    assert len(reasons(name)) == (0 if runs else 1), reasons(name)


def test_no_entry_is_of_what_is_gone():
    assert [pattern for pattern in LEFT_OUT if not any(fnmatch(name, pattern) for name in FILES)] == []
    assert [path for suite in SUITES for path in suite.paths if not (TESTS / path).exists()] == []


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_what_is_left_out_of_a_suite_is_in_it_and_has_a_reason(suite: Suite):
    for name, reason in suite.without.items():
        file, _, test = name.partition("::")
        source = (TESTS / file).read_text()
        assert any(file == path or file.startswith(f"{path}/") for path in suite.paths), name
        assert re.search(rf"^(async )?def {test.partition('[')[0]}", source, re.MULTILINE), name
        assert reason


def test_a_test_and_a_file_are_left_out_by_what_pytest_calls_them():
    suite = Suite("s", ("unit/a",), ("-k", "x"), without={"unit/a/test_b.py": "so", "unit/a/test_c.py::test_d": "so"})
    assert suite.arguments == (
        "-k", "x", "--ignore=tests/unit/a/test_b.py", "--deselect=tests/unit/a/test_c.py::test_d", "tests/unit/a",
    )  # fmt: skip


def test_what_a_node_with_windows_depends_on_runs_each_time():
    always = {path for suite in SUITES if suite.always for path in suite.paths}
    assert {"unit/windows", "contract/test_datapaths_alike.py"} <= always
