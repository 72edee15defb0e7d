"""The command of a release: `make release VERSION=0.2.0`, and `make rebuild` for whoever wants to see the same bits.

A release is built in a clone, from the commit that `sources.commit` makes there, so nothing of the work tree gets into
it. It appears in its folder when it is whole. A rebuild takes the last commit as it is, which is the release's own when
its tag is checked out, and compares what comes out with the list of sums that it is given.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from release import artifacts, changelog, contents, sources, versions
from release.versions import ReleaseError

REPOSITORY: Final = Path(__file__).resolve().parents[2]
NOTES: Final = """\
# azure-cni {version}

{section}

## What is here

{files}

How to check all of it: docs/verify.md. How long a version is supported, and what an upgrade wants: docs/releases.md.
"""
DESCRIPTIONS: Final = (
    ("*.whl", "the command line, for `pipx install` and `uv tool install`"),
    ("azure-cni", "the command line in one file, for the Python that built it"),
    ("azure-cni-plugin-*", "the CNI binary alone; the image and the Debian package have it, too"),
    ("azure-cni-[0-9]*.tgz", "the chart"),
    ("*.deb", "`azure-cni docker`, for Debian and Ubuntu"),
    ("*-image.tar", "the image for amd64 and arm64, as a tar of an OCI layout"),
    ("*-image.digest", "the digest by which a registry names that image"),
    ("*-source.tar.gz", "the sources"),
    ("*.spdx.json", "what is in it, in SPDX"),
    ("*.cdx.json", "the same in CycloneDX"),
)
Step = Callable[[Path], None]


def main(arguments: Sequence[str] | None = None) -> None:
    """Make a release, or make one again."""
    parser = argparse.ArgumentParser(description="Make a release of azure-cni into a folder.")
    parser.add_argument("version", nargs="?", default="", help="MAJOR.MINOR.PATCH")
    parser.add_argument("--rebuild", action="store_true", help="build the last commit again, whose version it has")
    parser.add_argument("--output", type=Path, help="the folder; dist/VERSION or build/rebuild/VERSION by default")
    parser.add_argument("--image", action="store_true", help="the image, too, for amd64 and arm64: root, many minutes")
    parser.add_argument("--against", type=Path, help="a list of sums that the rebuild must match")
    options = parser.parse_args(arguments)
    try:
        if options.rebuild:
            rebuild(REPOSITORY, options.output, against=options.against, say=print, image=options.image)
        else:
            release(REPOSITORY, options.version, options.output, say=print, image=options.image)
    except ReleaseError as error:
        sys.exit(str(error))


def release(
    repository: Path,
    version: str,
    output: Path | None = None,
    *,
    say: Callable[[str], None],
    steps: Sequence[str] = (),
    image: bool = False,
) -> Path:
    """Make this version of the repository's last commit; its folder. `steps`: by name, all by default.

    The image takes many minutes and root, and is part of it where `image` is true.

    Raises:
        ReleaseError: it cannot be made, and nothing is left of it.

    """
    target = (output or repository / "dist" / version).resolve()
    sources.refuse(repository, version)
    refuse_folder(target, version)
    at = sources.epoch(repository)
    with tempfile.TemporaryDirectory(prefix="azure-cni-release-") as work:
        source = Path(work) / "azure-cni"
        sources.clone(repository, source)
        made = sources.commit(source, version, at)
        sources.refuse_branch(repository, version, made)
        artifacts.build(target, chosen(steps, source, version, at, image=image), say)
        branch = sources.publish(repository, source, version)
    say(f"{target}: azure-cni {version} of commit {made[:12]}, branch {branch}")
    say(f"next: git merge --ff-only {branch} && git tag -s v{version} {made[:12]}, then push both")
    return target


def rebuild(
    repository: Path,
    output: Path | None = None,
    *,
    against: Path | None,
    say: Callable[[str], None],
    steps: Sequence[str] = (),
    image: bool = False,
) -> Path:
    """Build the repository's last commit, of whichever version it is; its folder.

    Raises:
        ReleaseError: it cannot be built, or it has not the sums of `against`.

    """
    version, at = versions.standing(repository), sources.epoch(repository)
    target = (output or repository / "build" / "rebuild" / version).resolve()
    refuse_folder(target, version)
    with tempfile.TemporaryDirectory(prefix="azure-cni-release-") as work:
        source = Path(work) / "azure-cni"
        sources.clone(repository, source)
        artifacts.build(target, chosen(steps, source, version, at, image=image), say)
    if against:
        compare(against, target)
        say(f"{target}: the same bits as {against} lists")
    return target


def refuse_folder(target: Path, version: str) -> None:
    """Raise ReleaseError where there is something already."""
    if target.exists():
        raise ReleaseError(f"cannot release {version}: {target} exists; remove it, or choose another by OUTPUT=")


def compare(against: Path, folder: Path) -> None:
    """Compare a folder with a list of sums.

    Raises:
        ReleaseError: they differ; says in which files.

    """
    if other := artifacts.differing(against.read_text(), folder):
        raise ReleaseError(
            f"{folder} has other bits than {against} lists: {', '.join(other)}; compare the tools that "
            f"{contents.STATEMENT} of both names"
        )


def chosen(names: Sequence[str], source: Path, version: str, at: int, *, image: bool) -> dict[str, Step]:
    """The steps of a release by name, in their order."""
    every: dict[str, Step] = {
        "wheel": partial(artifacts.wheel, source, at=at),
        "zipapp": partial(artifacts.zipapp, source, at=at),
        "plugin": partial(artifacts.plugin, source, at=at, version=version),
        "chart": partial(artifacts.chart, source, at=at),
        "debian package": partial(artifacts.debian_package, source, at=at),
        "sources": partial(artifacts.archive, source, at=at, version=version),
        **({"image": partial(contents.image, source, at=at, version=version)} if image else {}),
        "list of the chart's images": partial(contents.chart_lists, source, at=at, version=version),
        "lists of contents": partial(contents.lists, source, at=at, version=version),
        "notes": partial(notes, source, version=version),
        "provenance": partial(contents.provenance_of, source, at=at, version=version),
    }
    return {name: step for name, step in every.items() if not names or name in names}


def notes(source: Path, target: Path, version: str) -> None:
    """release-notes.md, of the changelog's section and of what the folder has."""
    text = (source / "CHANGELOG.md").read_text()
    section = changelog.sections(text).get(version) or changelog.newest(text)
    files = [
        f"- `{path.name}`: {words}"
        for pattern, words in DESCRIPTIONS
        for path in sorted(target.glob(pattern))
        if path.is_file()
    ]
    filled = NOTES.format(version=version, section=changelog.without_links(section), files="\n".join(files))
    (target / "release-notes.md").write_text(filled)


if __name__ == "__main__":
    main()
