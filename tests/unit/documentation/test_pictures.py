"""Pictures of the pages: each is shown on one, says in words what it shows, and loads nothing from anywhere."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from unit.chart.helm import REPOSITORY
from unit.documentation.markdown import PAGES

PICTURES = sorted((REPOSITORY / "docs").rglob("*.svg"))
SHOWN = re.compile(r"!\[([^\]]*)\]\(([^)\s]+\.svg)\)")
LOADED = re.compile(r"""(?:\bhref\s*=\s*["']|\bsrc\s*=\s*["']|url\(["']?|@import\s+["']?)(?!["']?#)[^"')\s]+|<script""")


@pytest.mark.parametrize("picture", PICTURES, ids=lambda one: one.name)
def test_a_picture_loads_nothing_and_is_well_formed(picture: Path):
    text = picture.read_text()
    assert LOADED.findall(text) == []
    assert ET.fromstring(text).tag.endswith("}svg")


@pytest.mark.parametrize("wrong", ["<a href='http://x/y'/>", "url(https://x/y.woff2)", '@import "x"', "<script>"])
def test_what_a_picture_would_load_is_found(wrong: str):
    assert LOADED.search(wrong)


def test_every_picture_is_on_a_page_and_said_in_words():
    shown = {
        (page.parent / target).resolve(): words for page in PAGES for words, target in SHOWN.findall(page.read_text())
    }
    assert set(PICTURES) - set(shown) == {REPOSITORY / "docs" / "icon.svg"}  # of the site's own frame
    assert [path.name for path, words in shown.items() if len(words.split()) < 10] == []
