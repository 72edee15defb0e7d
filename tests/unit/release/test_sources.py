"""What becomes a release: never a dirty tree, an odd version or one that exists, and always the same commit."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from azurebox.facts import REPOSITORY
from release import make, sources, versions
from release.versions import PLACES, ReleaseError

LOG = """\
# Changelog

## [Unreleased]

### Added

- A thing, by a [page](docs/a.md).

## [0.1.0] - 2026-01-02

- b
"""


def git(repository: Path, *words: str) -> str:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "commit.gpgSign=false")
    done = subprocess.run(["git", "-C", repository, *identity, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One commit with the files that have a version, and a changelog."""
    monkeypatch.delenv(sources.EPOCH, raising=False)
    made = tmp_path / "repository"
    for path, _ in PLACES:
        (made / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / path, made / path)
    (made / "CHANGELOG.md").write_text(LOG)
    (made / ".gitignore").write_text("/dist/\n/build/\n.venv\n")
    git(tmp_path, "init", "-q", "-b", "main", str(made))
    git(made, "add", "-A")
    git(made, "commit", "-q", "-m", "all", "--date=@1700000000 +0000")
    return made


def release(repository: Path, version: str, output: Path | None = None) -> Path:
    return make.release(repository, version, output, say=lambda _: None, steps=["sources", "notes"])


def test_a_release_is_in_its_folder_and_on_a_branch_and_the_work_tree_stays(repository: Path):
    before = git(repository, "rev-parse", "HEAD")
    folder = release(repository, "0.2.0")
    assert folder == repository / "dist" / "0.2.0"
    assert sorted(path.name for path in folder.iterdir()) == [
        "SHA256SUMS", "azure-cni-0.2.0-source.tar.gz", "release-notes.md",
    ]  # fmt: skip
    assert "- A thing, by a page." in (folder / "release-notes.md").read_text()
    assert (git(repository, "rev-parse", "HEAD"), git(repository, "status", "--porcelain")) == (before, "")
    assert git(repository, "rev-parse", "release/0.2.0^") == before
    changed = git(repository, "diff", "--name-only", "main", "release/0.2.0").splitlines()
    assert sorted(changed) == sorted({"CHANGELOG.md"} | {path for path, _ in PLACES})
    done = subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=False)
    assert done.returncode == 0


def test_a_second_run_elsewhere_makes_the_same_commit_and_the_same_bits(repository: Path, tmp_path: Path):
    other = tmp_path / "a" / "longer" / "path"
    git(tmp_path, "clone", "-q", str(repository), str(other))
    first, second = release(repository, "0.2.0"), release(other, "0.2.0", tmp_path / "elsewhere")
    assert {path.name: path.read_bytes() for path in first.iterdir()} == {
        path.name: path.read_bytes() for path in second.iterdir()
    }
    assert git(repository, "rev-parse", "release/0.2.0") == git(other, "rev-parse", "release/0.2.0")


def test_whoever_checks_the_release_out_builds_the_same_bits(repository: Path, tmp_path: Path):
    folder = release(repository, "0.2.0")
    git(repository, "checkout", "-q", "release/0.2.0")
    steps = ["sources", "notes"]
    again = make.rebuild(repository, against=folder / "SHA256SUMS", say=lambda _: None, steps=steps)
    assert again == repository / "build" / "rebuild" / "0.2.0"
    (repository / "CHANGELOG.md").write_text(LOG)
    git(repository, "commit", "-q", "-a", "-m", "another")
    with pytest.raises(ReleaseError, match=r"other bits than .*: azure-cni-0\.2\.0-source\.tar\.gz;"):
        make.rebuild(repository, tmp_path / "b", against=folder / "SHA256SUMS", say=lambda _: None, steps=steps)


def test_a_tree_with_changes_is_refused(repository: Path):
    for path in (repository / "new", repository / "Dockerfile"):
        path.write_text("changed\n")
        with pytest.raises(ReleaseError, match=rf"in no commit.*\n.* {path.name}"):
            release(repository, "0.2.0")
        git(repository, "checkout", "-q", ".")
        (repository / "new").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("version", "words"),
    [("0.1.0", "it exists"), ("0.3.0", "it exists"), ("0.2.9", r"0\.3\.0 exists and is higher"), ("0.4", "MAJOR")],
)
def test_a_version_that_cannot_be_new_is_refused(repository: Path, version: str, words: str):
    git(repository, "tag", "v0.3.0")
    with pytest.raises(ReleaseError, match=words):
        release(repository, version)
    assert not (repository / "dist").exists()
    assert git(repository, "branch", "--list", "release/*") == ""


def test_a_folder_that_exists_is_refused_and_kept(repository: Path, tmp_path: Path):
    (tmp_path / "there").mkdir()
    with pytest.raises(ReleaseError, match="exists; remove it"):
        release(repository, "0.2.0", tmp_path / "there")


def test_a_branch_of_another_commit_is_refused_and_kept(repository: Path):
    git(repository, "branch", "release/0.2.0")
    with pytest.raises(ReleaseError, match=r"the branch release/0\.2\.0 is"):
        release(repository, "0.2.0")
    assert git(repository, "rev-parse", "release/0.2.0") == git(repository, "rev-parse", "main")
    assert not (repository / "dist").exists()


def test_its_date_is_the_commits_or_what_the_environment_says(repository: Path, monkeypatch: pytest.MonkeyPatch):
    assert sources.epoch(repository) == int(git(repository, "log", "-1", "--format=%ct"))
    monkeypatch.setenv(sources.EPOCH, "1700000000")
    assert sources.epoch(repository) == 1700000000
    folder = release(repository, "0.2.0")
    assert "## [0.2.0] - 2023-11-14" in git(repository, "show", "release/0.2.0:CHANGELOG.md")
    assert git(repository, "log", "-1", "--format=%ct %at", "release/0.2.0") == "1700000000 1700000000"
    assert folder.exists()
    monkeypatch.setenv(sources.EPOCH, "yesterday")
    with pytest.raises(ReleaseError, match="SOURCE_DATE_EPOCH is 'yesterday'"):
        sources.epoch(repository)


def test_a_step_that_fails_leaves_nothing(repository: Path, monkeypatch: pytest.MonkeyPatch):
    def fails(*_: object, **__: object) -> None:
        raise ReleaseError("no")

    monkeypatch.setattr(make, "notes", fails)
    with pytest.raises(ReleaseError, match="no"):
        release(repository, "0.2.0")
    assert not (repository / "dist" / "0.2.0").exists()
    assert git(repository, "branch", "--list", "release/*") == ""


def test_the_command_says_why_in_one_line(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(SystemExit, match=r"^cannot release '1': a version is"):
        make.main(["1"])
    assert versions.FORM.fullmatch("1") is None
