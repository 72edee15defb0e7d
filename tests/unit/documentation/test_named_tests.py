"""Pages that promise something name its test: each is there, under that name."""

import re
from pathlib import Path

import pytest

from unit.chart.helm import REPOSITORY
from unit.documentation.markdown import PAGES

NAMED = [
    (page, file, test)
    for page in PAGES
    for file, test in re.findall(r"`([\w/.-]+\.(?:py|go))::(\w+)`", page.read_text())
]


def test_some_are_named():
    assert {page.name for page, _, _ in NAMED} >= {"releases.md"}


@pytest.mark.parametrize(("page", "file", "test"), NAMED, ids=lambda value: str(value).rpartition("/")[2])
def test_a_test_that_a_page_names_is_there(page: Path, file: str, test: str):
    assert re.search(rf"^(?:async )?(?:def|func) {test}\(", (REPOSITORY / file).read_text(), re.MULTILINE), page
