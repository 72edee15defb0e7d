"""The last release, for upgrades from it and for versions side by side: its chart, and its image.

Both come from the repository itself: the sources of that commit are laid out in the cache, and its image is built once,
by the Dockerfile of then. Nothing has been released yet, so a commit of some days before stands for it: since then the
definitions, the grants and the plugin have changed. With a release, its tag goes into LAST.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from azurebox import image
from azurebox.facts import CACHE, REPOSITORY
from azurebox.steps import StepError, capture, step

LAST = "5de85c5ab4965773dde07b9e16c1e856f3a8f94a"
"""A tag or commit; 29 November 2026, 4:14: before controllers took idle addresses back."""
KEY_LENGTH = 12


@dataclass(frozen=True, slots=True)
class Release:
    """A state of the project that can be installed; `archive` holds the image that is named `repository:tag`."""

    source: Path
    repository: str
    tag: str
    archive: Path

    @property
    def chart(self) -> Path:
        """Its chart's directory."""
        return self.source / "charts" / "azure-cni"


def last_release(reference: str = LAST) -> Release:
    """The last release, its image built; a minute the first time.

    Raises:
        StepError: the clone does not have it, or the image cannot be built.

    """
    key = _commit(reference)[:KEY_LENGTH]
    source = ensure_sources(reference)
    name, archive = image.ensure_earlier(source, key)
    repository, _, tag = name.rpartition(":")
    return Release(source, repository, tag, archive)


def ensure_sources(reference: str = LAST, *, cache: Path = CACHE, repository: Path = REPOSITORY) -> Path:
    """The directory with all files of a commit of the repository, which the next commit that is asked for replaces.

    Raises:
        StepError: the clone does not have it.

    """
    directory = cache / f"earlier-{_commit(reference, repository)[:KEY_LENGTH]}"
    if directory.exists():
        return directory
    partial = directory.with_suffix(f".{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        with step(f"sources of {reference[:KEY_LENGTH]}"):
            archive = partial / "sources.tar"
            git = ("git", "-C", str(repository))
            capture([*git, "archive", f"--output={archive}", reference], what=f"lay out {reference}")
            capture(["tar", "--extract", f"--file={archive}", f"--directory={partial}"], what=f"lay out {reference}")
            archive.unlink()
        partial.replace(directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for old in set(cache.glob("earlier-*/")) - {directory}:
        shutil.rmtree(old)
    return directory


def _commit(reference: str, repository: Path = REPOSITORY) -> str:
    """The hash of a commit that the clone has. StepError when it does not."""
    argv = ["git", "-C", str(repository), "rev-parse", "--verify", "--quiet", f"{reference}^{{commit}}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StepError(
            f"cannot find the last release: the clone in {repository} has no commit {reference}",
            output=done.stderr,
            advice="fetch the whole history: git fetch --unshallow --tags",
        )
    return done.stdout.strip()
