"""The changelog as data: sections, the cut of a release, plain words."""

from __future__ import annotations

import pytest

from azurebox.facts import REPOSITORY
from release import changelog
from release.versions import ReleaseError

TEXT = """\
# Changelog

Words.

## [Unreleased]

### Added

- One, with a [link](docs/a.md#b)
  on two lines.
- Two, by [others](https://example.com/a).

### Fixed

- Three.

## [0.1.0] - 2026-01-02

### Added

- Four.
"""


def test_each_version_has_its_section():
    found = changelog.sections(TEXT)
    assert list(found) == ["Unreleased", "0.1.0"]
    assert found["0.1.0"] == "### Added\n\n- Four."
    assert changelog.released(TEXT) == ["0.1.0"]


def test_a_cut_moves_what_was_unreleased_and_loses_nothing():
    after = changelog.cut(TEXT, "0.2.0", "2026-12-24")
    before, found = changelog.sections(TEXT), changelog.sections(after)
    assert found == {"Unreleased": "", "0.2.0": before["Unreleased"], "0.1.0": before["0.1.0"]}
    assert "## [Unreleased]\n\n## [0.2.0] - 2026-12-24\n\n### Added\n" in after
    assert after.startswith("# Changelog\n\nWords.\n")


@pytest.mark.parametrize("text", ["# Changelog\n", "## [Unreleased]\n\n## [0.1.0] - 2026-01-02\n\n- a\n"])
def test_there_is_no_release_of_nothing(text: str):
    with pytest.raises(ReleaseError, match=r"says nothing below \[Unreleased\]"):
        changelog.cut(text, "0.2.0", "2026-12-24")


def test_entries_are_plain_lines_of_a_kind():
    assert changelog.entries(changelog.sections(TEXT)["Unreleased"]) == [
        ("added", "One, with a link on two lines."),
        ("added", "Two, by [others](https://example.com/a)."),
        ("fixed", "Three."),
    ]


def test_the_projects_own_changelog_has_this_form():
    text = (REPOSITORY / "CHANGELOG.md").read_text()
    newest = next(section for section in changelog.sections(text).values() if section)
    assert len(changelog.entries(newest)) > 10
