"""Where the version stands: everywhere it is named, and nowhere else."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from azure_cni import __version__
from azurebox.facts import REPOSITORY
from release import versions
from release.versions import PLACES, ReleaseError

NOT_THE_PROJECTS = re.compile(
    r"CHANGELOG\.md|requirements/|.*go\.(mod|sum)|.*\.svg|tests/|e2e/|operator/release/|operator/cni-plugin/|docs/releases\.md|\.vex/"
)
"""What may name a version of that number as another's, as history, as an example, or in a picture."""
HISTORY = {"docs/install.md": "is the only version so far", "operator/azure_cni/cni/config.py": "The specification has"}
"""Lines that are about one version, whichever is the newest, by some of their words."""


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    for path, _ in PLACES:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / path, tmp_path / path)
    return tmp_path


@pytest.mark.parametrize("version", ["0.2.0", "1.10.0", "10.0.21"])
def test_a_version_is_three_numbers(version: str):
    assert versions.parse(version) == tuple(map(int, version.split(".")))


@pytest.mark.parametrize(
    "version",
    [
        "",
        "1",
        "1.2",
        "v1.2.3",
        "1.2.3.4",
        "01.2.3",
        "1.02.3",
        "1.2.3-rc.1",
        "1.2.3+b",
        " 1.2.3",
        "1.2.3\n",
        "1\u0661.2.3",
    ],
)
def test_anything_else_is_refused_in_words(version: str):
    with pytest.raises(ReleaseError, match=re.escape(repr(version))):
        versions.parse(version)


def test_the_version_of_these_sources_is_the_products():
    assert versions.standing(REPOSITORY) == __version__


def test_a_new_version_is_written_everywhere_and_changes_nothing_else(sources: Path):
    before = {path: (sources / path).read_text() for path, _ in PLACES}
    versions.write(sources, "12.34.56")
    assert versions.found(sources).keys() == {"12.34.56"}
    for path, text in before.items():
        assert (sources / path).read_text().replace("12.34.56", __version__) == text.replace("12.34.56", __version__)


def test_two_versions_are_refused_with_the_places_of_each(sources: Path):
    file = sources / "Dockerfile"
    file.write_text(file.read_text().replace(f"VERSION={__version__}", "VERSION=9.9.9"))
    with pytest.raises(ReleaseError, match=r"9\.9\.9 in Dockerfile"):
        versions.standing(sources)


def test_a_place_without_a_version_is_refused(sources: Path):
    (sources / "Dockerfile").write_text("FROM scratch\n")
    with pytest.raises(ReleaseError, match=r"^cannot release: Dockerfile has no version"):
        versions.standing(sources)


def test_no_other_file_names_the_version():
    listed = subprocess.run(
        ["git", "-C", REPOSITORY, "grep", "-nF", __version__], capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("these sources are no git repository")
    alone = re.compile(rf"(?<![0-9.]){re.escape(__version__)}(?!\.?[0-9])")  # no part of an address
    found = (line.split(":", 2) for line in listed.stdout.splitlines())
    named = {(path, line) for path, _, line in found if alone.search(line)}
    known = {
        (path, line)
        for path, pattern in PLACES
        for line in (REPOSITORY / path).read_text().splitlines()
        if re.search(pattern, line, re.MULTILINE)
    }
    known |= {(path, line) for path, line in named if re.search(r"VERSION=[0-9]|dist/[0-9]", line)}  # examples
    known |= {(path, line) for path, line in named if HISTORY.get(path, "\0") in line}
    assert {(path, line) for path, line in named - known if not NOT_THE_PROJECTS.match(path)} == set()
