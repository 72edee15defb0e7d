"""What the pages for people are made of, as far as tests look at them: headings, links, blocks."""

import importlib.util
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import yaml

from unit.chart.helm import REPOSITORY

PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "e2e/*.md", "charts/azure-cni/*.md")
    for page in REPOSITORY.glob(pattern)
)

_FENCE = re.compile(r"^( *)(```+)(\w*)\n(.*?)^\1\2$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page: its language, its text without the fence's own indentation, and its first line."""

    language: str
    text: str
    line: int


def load_site() -> ModuleType:
    """docs/site.py, which MkDocs loads by its path; `site` is also a module of the standard library."""
    spec = importlib.util.spec_from_file_location("azure_cni_site", REPOSITORY / "docs" / "site.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def prose(text: str) -> str:
    """The page without fenced blocks and comments, in which `#` and `](` are neither headings nor links."""
    return _COMMENT.sub("", _FENCE.sub("", text))


def anchors(text: str) -> list[str]:
    """What git hosts make of the headings, in their order; the second of two equal ones gets `-1`."""
    found: list[str] = []
    for heading in _HEADING.findall(prose(text)):
        plain = _LINK.sub(lambda link: link[0].partition("](")[0].strip("![]"), heading)
        one = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        found.append(f"{one}-{found.count(one)}" if one in found else one)
    return found


def links(text: str) -> list[str]:
    """Targets of links and pictures, in their order."""
    return _LINK.findall(_CODE.sub("``", prose(text)))


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks, in their order."""
    for found in _FENCE.finditer(text):
        indentation = re.compile(f"^{found[1]}", re.MULTILINE)
        yield Block(found[3], indentation.sub("", found[4]), text.count("\n", 0, found.start()) + 1)


def lost(page: Path, text: str) -> list[str]:
    """Links of a page, with this text, that lead nowhere: no such file, no such heading, or out of the repository."""
    nowhere = []
    for target in links(text):
        if re.match(r"(https?|mailto):", target):
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        there = other.is_relative_to(REPOSITORY) and other.exists() and not target.startswith("/")
        if there and anchor:
            there = other.suffix == ".md" and anchor in anchors(text if other == page else other.read_text())
        if not there:
            nowhere.append(target)
    return nowhere


def navigation() -> list[str]:
    """Paths in the repository of the pages that the site's navigation names, in its order."""
    config = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text())
    return [page for section in config["nav"] for entries in section.values() for one in entries for page in _leaf(one)]


def _leaf(entry: dict[str, str | list[dict[str, str]]]) -> Iterator[str]:
    for value in entry.values():
        if isinstance(value, str):
            yield value
        else:
            yield from (page for one in value for page in one.values())
