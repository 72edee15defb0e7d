"""Every link of every page leads somewhere, where the repository is browsed and on the site; without MkDocs."""

import re
from pathlib import Path
from types import ModuleType

import pytest

from unit.chart.helm import REPOSITORY
from unit.documentation.markdown import PAGES, anchors, links, load_site, lost, navigation, prose

EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
README = REPOSITORY / "README.md"


@pytest.fixture(scope="module")
def site() -> ModuleType:
    return load_site()


@EACH_PAGE
def test_every_link_leads_somewhere(page: Path):
    assert lost(page, page.read_text()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        "[a](docs/gone.md)",
        "[a](docs/install.md#gone)",
        "[a](#gone)",
        "![a](docs/gone.svg)",
        "[a](/docs/install.md)",
        "[a](../outside.md)",
        "[a\nb](docs/gone.md)",
        "[a](docs/azure-role.json#actions)",
    ],
)
def test_a_link_that_leads_nowhere_is_found(wrong: str):
    assert len(lost(README, f"# A title\n\nText {wrong}.\n")) == 1


def test_what_only_looks_like_a_link_or_a_heading_is_none():
    text = "# One\n\n`[a](b)`\n\n```console\n# Two\n[c](d)\n```\n\n<!-- [e](f) -->\n\n## One\n\n[g](#one-1)\n"
    assert links(text) == ["#one-1"]
    assert anchors(text) == ["one", "one-1"]
    assert lost(README, text) == []


def test_the_anchors_of_the_site_are_those_of_git_hosts(site: ModuleType):
    for page in PAGES:
        headings = re.findall(r"^#{1,6} +(.+)$", prose(page.read_text()), re.MULTILINE)
        assert [site.slug(heading.replace("`", "")) for heading in headings] == anchors(page.read_text()), page


@EACH_PAGE
def test_no_two_headings_of_a_page_are_alike(page: Path):
    """The site and git hosts number the second one differently, so no link to it could serve both."""
    headings = re.findall(r"^#{1,6} +(.+)$", prose(page.read_text()), re.MULTILINE)
    assert len(set(headings)) == len(headings)


def test_every_page_of_the_site_is_in_its_navigation_once_and_no_other(site: ModuleType):
    assert sorted(navigation()) == sorted(site.PAGES)
    assert {str(page.relative_to(REPOSITORY)) for page in PAGES} - set(site.PAGES) == {"charts/azure-cni/README.md"}


def test_the_site_is_built_strictly_and_by_each_run_of_the_ci():
    """MkDocs counts what it logs: with --quiet, as it once was, a strict build passes whatever is broken."""
    (build,) = re.findall(r"bin/mkdocs (.*?)(?: #.*)?\n", (REPOSITORY / "Makefile").read_text())
    assert build == "build --strict"
    assert "step make --no-print-directory docs\n" in (REPOSITORY / ".ci" / "run").read_text()


def test_no_two_pages_of_the_site_have_one_address(site: ModuleType):
    addresses = [site.address(path) for path in (*site.PAGES, *site.linked_files())]
    assert len(set(addresses)) == len(addresses)
    assert site.address("README.md") == "index.html"


def test_whoever_reads_the_readme_finds_every_page():
    found, left = {README}, [README]
    while left:
        page = left.pop()
        targets = (target.partition("#")[0] for target in links(page.read_text()) if "://" not in target)
        pages = {(page.parent / path).resolve() for path in targets if path.endswith(".md")}
        left += pages - found
        found |= pages
    assert [str(page) for page in PAGES if page not in found and page.parent.name != "azure-cni"] == []


@EACH_PAGE
def test_blocks_and_tables_are_where_the_site_shows_them_as_such(page: Path):
    """Its Markdown wants an empty line before a list or a table, and four blanks before what belongs to an item."""
    lines = re.sub(r"(?ms)^```.*?^```$", "", page.read_text()).split("\n")
    wrong = [
        line
        for before, line in zip(["", *lines], lines, strict=False)
        if re.match(r" {1,3}(([-*|]|\d+\.) |```)", line)
        or (re.match(r"([-*]|\d+\.) |\|", line) and before and not re.match(r"[-*|]|\d+\.| {2,}", before))
    ]
    assert wrong == []


@EACH_PAGE
def test_no_page_needs_what_the_site_does_not_have(page: Path):
    """Diagrams by Mermaid are drawn by a script from the internet, and raw HTML is checked by nobody."""
    assert "```mermaid" not in page.read_text()
    assert re.findall(r"<(?:img|script|iframe|a) ", re.sub(r"`[^`]*`", "", prose(page.read_text()))) == []
