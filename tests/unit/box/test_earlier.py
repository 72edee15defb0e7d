"""The sources of the last release, out of the repository's own history."""

import subprocess
from pathlib import Path

import pytest

from azurebox import earlier
from azurebox.steps import StepError


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits: the first is tagged v1, and the second changed the chart."""
    directory = tmp_path / "repository"
    chart = directory / "charts" / "azure-cni" / "Chart.yaml"
    chart.parent.mkdir(parents=True)
    git(directory, "init", "--quiet")
    for version in ("1", "2"):
        chart.write_text(f"version: {version}\n")
        git(directory, "add", ".")
        git(directory, "-c", "user.name=n", "-c", "user.email=n@example.org", "commit", "--quiet", "-m", version)
        git(directory, "tag", f"v{version}")
    return directory


def git(directory: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(directory), *words], check=True)


def test_the_files_are_those_of_then(tmp_path: Path, repository: Path):
    cache = tmp_path / "cache"
    for version in ("1", "2", "1"):
        source = earlier.ensure_sources(f"v{version}", cache=cache, repository=repository)
        assert (source / "charts" / "azure-cni" / "Chart.yaml").read_text() == f"version: {version}\n"
        assert list(cache.iterdir()) == [source], "one is kept, and nothing half done"


def test_what_was_laid_out_is_not_laid_out_again(tmp_path: Path, repository: Path):
    source = earlier.ensure_sources("v1", cache=tmp_path / "cache", repository=repository)
    (source / "mark").touch()
    assert (earlier.ensure_sources("v1", cache=tmp_path / "cache", repository=repository) / "mark").exists()


def test_a_clone_without_the_release_says_how_to_get_it(tmp_path: Path, repository: Path):
    with pytest.raises(StepError, match=r"no commit v9\n(.*\n)*what to do: fetch the whole history: git fetch"):
        earlier.ensure_sources("v9", cache=tmp_path / "cache", repository=repository)
