"""CHANGELOG.md as data: the section of each version, and what becomes of `Unreleased` when there is a new one.

The format is that of Keep a Changelog: `## [0.2.0] - 2026-12-24`, below it `### Added` and the like, below those lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from release.versions import ReleaseError

UNRELEASED: Final = "Unreleased"
_HEADING: Final = re.compile(r"^## \[([^\]]+)\](?: - (\d{4}-\d{2}-\d{2}))?[ ]*\n", re.MULTILINE)
_LINK: Final = re.compile(r"(?<!\!)\[([^\]]+)\]\((?!https?://)[^)\s]+\)")
_ENTRY: Final = re.compile(r"^- (.+(?:\n  .+)*)", re.MULTILINE)
_KIND: Final = re.compile(r"^### (\w+)[ ]*$", re.MULTILINE)


def sections(text: str) -> dict[str, str]:
    """What the changelog says about each version, `Unreleased` among them, newest first."""
    headings = list(_HEADING.finditer(text))
    return {one[1]: text[one.end() : end].strip() for one, end in _with_ends(headings, text)}


def released(text: str) -> list[str]:
    """The versions that have a section, newest first."""
    return [name for name in sections(text) if name != UNRELEASED]


def newest(text: str) -> str:
    """What it says about the version that is being made, or was made last: the first section that says anything."""
    return next((section for section in sections(text).values() if section), "")


def cut(text: str, version: str, date: str) -> str:
    """The changelog in which what was unreleased is the section of this version, of this date (YYYY-MM-DD).

    Raises:
        ReleaseError: nothing is unreleased.

    """
    if not sections(text).get(UNRELEASED):
        raise ReleaseError(
            f"cannot release {version}: CHANGELOG.md says nothing below [{UNRELEASED}]; write there what is new"
        )
    heading = next(one for one in _HEADING.finditer(text) if one[1] == UNRELEASED)
    return f"{text[: heading.start()]}## [{UNRELEASED}]\n\n## [{version}] - {date}\n{text[heading.end() :]}"


def entries(section: str) -> list[tuple[str, str]]:
    """The entries of a section in plain words, each with its kind (`added`, `changed`): links are their text."""
    kinds = list(_KIND.finditer(section))
    return [
        (kind[1].lower(), plain(entry))
        for kind, end in _with_ends(kinds, section)
        for entry in _ENTRY.findall(section[kind.end() : end])
    ]


def _with_ends(headings: list[re.Match[str]], text: str) -> Iterator[tuple[re.Match[str], int]]:
    """Each with where the next begins, or the text ends."""
    starts = [heading.start() for heading in headings]
    yield from zip(headings, [*starts, len(text)][1:], strict=True)


def plain(text: str) -> str:
    """One line, with the words of links to files of the repository, which lead nowhere from elsewhere."""
    return " ".join(_LINK.sub(r"\1", text).split())


def without_links(text: str) -> str:
    """The same with its lines as they are."""
    return _LINK.sub(r"\1", text)
