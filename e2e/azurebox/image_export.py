"""`e2e/box image`: the project's image as one file that registries' tools take, and the proof that it is always alike.

The file is a tar of an OCI layout in which everything has one time, so two builds of the same sources on the same bases
are the same file. `--twice` builds from two folders, whose files have two times, and names what differs.
"""

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from azurebox import image
from azurebox.facts import REPOSITORY
from azurebox.steps import StepError, capture, say, step

DAY_S = 24 * 3600


def export(target: Path, *, at: int, repository: Path = REPOSITORY) -> str:
    """Write the image to that file; its digest.

    Raises:
        StepError: it could not be built.

    """
    with tempfile.TemporaryDirectory(prefix="azure-cni-image-") as work:
        layout = Path(work) / "layout"
        with step("image from the Dockerfile, without anything kept"):
            digest = image.export_project(repository, layout, at=at)
        pack(layout, target, at=at)
    say(f"{target}: {digest}, {target.stat().st_size / image.MIB:.1f} MiB")
    return digest


def twice(*, at: int) -> None:
    """Build it from two copies of the sources and compare.

    Raises:
        StepError: they are not alike; names the files that differ.

    """
    with tempfile.TemporaryDirectory(prefix="azure-cni-twice-") as work:
        layouts, digests = [], []
        for name, age_s in (("one", 0), ("another/longer/path", DAY_S)):
            sources = Path(work) / name / "sources"
            copy_sources(sources, age_s=age_s)
            layouts.append(Path(work) / name / "layout")
            with step(f"image from {sources}"):
                digests.append(image.export_project(sources, layouts[-1], at=at))
        if digests[0] != digests[1]:
            found = differences(*layouts)
            raise StepError(
                f"the image is not the same in two builds: {digests[0]} and {digests[1]}, which differ in "
                f"{len(found)} files: {' '.join(found[:20])}",
                advice="find what puts a time, a path or an order of chance into them",
            )
    say(f"the same image from two folders at two times: {digests[0]}")


def copy_sources(target: Path, *, age_s: float) -> None:
    """Copy the files of this work tree that git knows, and date them `age_s` seconds back."""
    listed = capture(["git", "-C", str(REPOSITORY), "ls-files", "-z"], what="list the sources")
    for name in filter(None, listed.split("\0")):
        if (REPOSITORY / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REPOSITORY / name, target / name)
            (target / name).chmod((REPOSITORY / name).stat().st_mode & 0o777)
            os.utime(target / name, (time.time() - age_s,) * 2)


def pack(directory: Path, target: Path, *, at: int) -> None:
    """All files below a directory as a tar, in order of their names, of one time and owner."""
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(directory.rglob("*")):
            entry = tarfile.TarInfo(str(path.relative_to(directory)))
            entry.mtime, entry.mode = at, 0o755 if path.is_dir() else 0o644
            if path.is_dir():
                entry.type = tarfile.DIRTYPE
                archive.addfile(entry)
            else:
                entry.size = path.stat().st_size
                with path.open("rb") as content:
                    archive.addfile(entry, content)


def differences(one: Path, other: Path) -> list[str]:
    """Paths in the image that two layouts have differently, in content, mode, owner or time."""
    first, second = dict(_files(one)), dict(_files(other))
    return sorted(path for path in first.keys() | second.keys() if first.get(path) != second.get(path))


def _files(layout: Path) -> Iterator[tuple[str, tuple[object, ...]]]:
    for blob in sorted((layout / "blobs" / "sha256").iterdir()):
        content = blob.read_bytes()
        if not content.startswith(b"\x1f\x8b"):
            continue  # the manifest and the configuration
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as layer:
            for entry in layer:
                file = layer.extractfile(entry) if entry.isfile() else None
                digest = hashlib.sha256(file.read()).hexdigest() if file else entry.linkname
                yield entry.name, (digest, entry.mode, entry.uid, entry.gid, entry.mtime, entry.type)


def commit_time() -> int:
    """SOURCE_DATE_EPOCH, else the time of the last commit, seconds since 1970."""
    said = os.environ.get("SOURCE_DATE_EPOCH")
    if said:
        return int(said)
    done = subprocess.run(
        ["git", "-C", REPOSITORY, "log", "-1", "--format=%ct"], capture_output=True, text=True, check=False
    )
    return int(done.stdout.strip() or 0)
