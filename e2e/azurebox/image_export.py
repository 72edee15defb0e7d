"""`e2e/box image`: the project's image as one file that registries' tools take, and the proof that it is always alike.

The file is a tar of an OCI layout in which everything has one time, so two builds of the same sources on the same bases
are the same file. `--twice` builds from two folders, whose files have two times, and names what differs. `--arm64`
builds for that processor: what the Dockerfile has run there is emulated.
"""

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from azurebox import emulation, image
from azurebox.emulation import ARCHITECTURE, emulated
from azurebox.facts import CACHE, REPOSITORY
from azurebox.image import MIB, PROJECT, Image
from azurebox.image_lock import images_locked
from azurebox.image_settings import check_environment, package_settings
from azurebox.steps import StepError, capture, say, step

DAY_S = 24 * 3600


CHECKED = "checked on "  # operator/image_root/check.py, at the end of a build


@contextmanager
def bases(*, arm64: bool) -> Iterator[None]:
    """The base images are there, and with `arm64` the kernel runs its programs; nobody else builds meanwhile.

    Raises:
        StepError: a base cannot be made, or the kernel cannot be had to emulate.

    """
    with images_locked():
        image.ensure_bases()
        if not arm64:
            yield
            return
        with emulated():
            image.ensure_base_of(ARCHITECTURE)
            yield


def export(target: Path, *, at: int, arm64: bool = False, repository: Path = REPOSITORY) -> str:
    """Write the image to that file; its digest.

    Raises:
        StepError: it could not be built.

    """
    with tempfile.TemporaryDirectory(prefix="azure-cni-image-") as work:
        layout = Path(work) / "layout"
        with step(f"image from the Dockerfile, without anything kept{' (arm64)' if arm64 else ''}"):
            built = export_project(repository, layout, at=at, arm64=arm64)
        say_what_was_checked()
        pack(layout, target, at=at)
        digest = digest_of(layout)
    say(f"{target}: {digest}, {target.stat().st_size / MIB:.1f} MiB, {built.size / MIB:.0f} MiB unpacked")
    return digest


@images_locked()
def export_project(repository: Path, target: Path, *, at: int, arm64: bool = False) -> Image:
    """Build the image of these sources as an OCI layout in a new directory, alike whenever and wherever.

    Nothing is taken from earlier builds but the bases. `at`: the time of all that is in it, seconds since 1970.

    Raises:
        StepError: the build failed; carries its log.

    """
    name = f"{PROJECT}:export{'-arm64' if arm64 else ''}"
    image.run_build(
        "--no-cache", "--layers=false", "--network=host", f"--timestamp={at}", "--identity-label=false",
        *platform_arguments(arm64=arm64), *package_settings((repository / "Dockerfile").read_text()),
        "--file", repository / "Dockerfile", "--tag", name, repository,
    )  # fmt: skip
    facts = json.loads(capture(image.buildah("inspect", "--type=image", name), what="look at the image"))
    check_environment(json.loads(facts["Config"])["config"].get("Env") or ())
    built = Image(name=name, archive=target, size=image.image_size(name))
    image.check_size(built)
    capture(image.buildah("push", "--quiet", name, f"oci:{target}:azure-cni"), what=f"write {target}")
    return built


def say_what_was_checked() -> None:
    """Print what the image's own check says at the end of the last build."""
    for line in (CACHE / "log" / "image.log").read_text(errors="replace").splitlines():
        if line.startswith(CHECKED):
            say(line)


def platform_arguments(*, arm64: bool) -> list[str]:
    """For which processor `buildah build` builds, and on which bases. buildah 1.28 does not know its own platform."""
    bases = [f"--build-arg=BUILD_IMAGE={image.base_reference()}", f"--build-arg=GO_IMAGE={image.go_reference()}"]
    if not arm64:
        return [f"--build-arg=BASE_IMAGE={image.base_reference()}", *bases]
    platforms = [f"--platform=linux/{ARCHITECTURE}", "--build-arg=BUILDPLATFORM=linux/amd64"]
    platforms.append(f"--build-arg={'='.join(emulation.CPU)}")
    return [*platforms, f"--build-arg=BASE_IMAGE={image.base_reference(ARCHITECTURE)}", *bases]


def digest_of(layout: Path) -> str:
    """The digest of the one image in an OCI layout."""
    (manifest,) = json.loads((layout / "index.json").read_text())["manifests"]
    return str(manifest["digest"])


def twice(*, at: int, arm64: bool = False) -> None:
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
                export_project(sources, layouts[-1], at=at, arm64=arm64)
            say_what_was_checked()
            digests.append(digest_of(layouts[-1]))
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
