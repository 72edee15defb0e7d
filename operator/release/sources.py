"""The sources of a release: the commit that has its version everywhere, made in a clone beside the repository.

That commit depends on nothing but its parent and the version: its date is the parent's (or SOURCE_DATE_EPOCH), its
author the project. So whoever repeats the release gets the same commit, and the same files from it. The repository
itself gets one branch, and keeps its own work tree and branch as they are.
"""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from debian_package.build import MAINTAINER
from release import changelog, versions
from release.versions import ReleaseError

EPOCH: Final = "SOURCE_DATE_EPOCH"


def git(repository: Path, *words: str, env: dict[str, str] | None = None) -> str:
    """What git prints, stripped.

    Raises:
        ReleaseError: it failed.

    """
    command = ["git", "-C", str(repository), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        raise ReleaseError(f"cannot release: {' '.join(command)} failed: {done.stderr.strip()}")
    return done.stdout.strip()


def epoch(repository: Path) -> int:
    """The time of a release, seconds since 1970: SOURCE_DATE_EPOCH, else of the last commit.

    Raises:
        ReleaseError: the variable is no number.

    """
    said = os.environ.get(EPOCH) or git(repository, "log", "-1", "--format=%ct")
    if not said.isascii() or not said.isdigit():
        raise ReleaseError(f"cannot release: {EPOCH} is {said!r}, and must be seconds since 1970; unset it")
    return int(said)


def refuse(repository: Path, version: str) -> None:
    """Look at whether these sources can become this version.

    Raises:
        ReleaseError: they cannot.

    """
    numbers = versions.parse(version)
    if changed := git(repository, "status", "--porcelain"):
        raise ReleaseError(
            f"cannot release {version}: the work tree has changes that are in no commit; commit or remove them:\n"
            f"{changed}"
        )
    tags = git(repository, "tag", "--list", "v*").split()
    known = {tag.removeprefix("v") for tag in tags} | set(changelog.released((repository / "CHANGELOG.md").read_text()))
    if version in known:
        raise ReleaseError(
            f"cannot release {version}: it exists (a tag or a section of CHANGELOG.md has it); choose a higher one. "
            "To build it again, check its tag out and run make rebuild"
        )
    newest = max((versions.parse(one) for one in known if versions.FORM.fullmatch(one)), default=(0, 0, 0))
    if numbers < newest:
        raise ReleaseError(
            f"cannot release {version}: {'.'.join(map(str, newest))} exists and is higher; choose a higher one"
        )


def clone(repository: Path, target: Path) -> None:
    """The repository's last commit in another directory; its objects stay where they are."""
    git(repository, "clone", "--quiet", "--shared", "--no-tags", str(repository), str(target))
    environment = repository / ".venv"
    if environment.exists():  # the tools, which a build does not change
        (target / ".venv").symlink_to(environment.resolve())


def commit(source: Path, version: str, at: int) -> str:
    """Write the version and the changelog's section, and commit them; the commit's name.

    Raises:
        ReleaseError: there is nothing to release, or git failed.

    """
    versions.write(source, version)
    file = source / "CHANGELOG.md"
    file.write_text(changelog.cut(file.read_text(), version, datetime.fromtimestamp(at, UTC).date().isoformat()))
    name, _, mail = MAINTAINER.removesuffix(">").partition(" <")
    identity = {
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", name), ("EMAIL", mail), ("DATE", f"@{at} +0000"))
    }
    quiet = ("-c", "core.hooksPath=/dev/null", "-c", "commit.gpgSign=false", "-c", "core.autocrlf=false")
    words = ("commit", "--quiet", "--all", "--message", f"release: {version}")
    git(source, *quiet, *words, env=os.environ | identity)
    return git(source, "rev-parse", "HEAD")


def branch_of(version: str) -> str:
    """The branch that a release leaves in the repository."""
    return f"release/{version}"


def refuse_branch(repository: Path, version: str, made: str) -> None:
    """Look at whether the release's branch can be this commit.

    Raises:
        ReleaseError: there is such a branch of another commit.

    """
    branch = branch_of(version)
    if (there := git(repository, "for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")) and there != made:
        raise ReleaseError(
            f"cannot release {version}: the branch {branch} is {there[:12]}, and this release would be {made[:12]}; "
            f"finish that one, or git branch -D {branch}"
        )


def publish(repository: Path, source: Path, version: str) -> str:
    """Have the repository's branch `release/VERSION` be the commit of these sources; its name."""
    branch = branch_of(version)
    git(repository, "fetch", "--quiet", "--no-tags", str(source), f"HEAD:refs/heads/{branch}")
    return branch
