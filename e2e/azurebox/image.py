"""Images, without any registry: a Debian base of its own, what pods need, and the project's own image.

mmdebstrap makes the base, buildah builds on it, docker archives carry the result into each node's containerd. All is
kept in the cache. buildah runs in a mount namespace of its own, because its storage leaves mounts behind. Whatever
builds has `image_lock`. What reaches a build of this machine's settings is in `image_settings`.

A base for another processor (`architecture`: Debian's name for it) is made while the kernel emulates that
(`emulation`).
"""

import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from azurebox import emulation, tools
from azurebox.facts import AGNHOST, CACHE
from azurebox.image_lock import images_locked
from azurebox.image_settings import package_settings
from azurebox.node import PAUSE_IMAGE
from azurebox.steps import StepError, capture, run, step

SUITE = "trixie"
BASE_PACKAGES = ("ca-certificates", "nftables", "python3", "python3-venv")
POD_PACKAGES = ("curl", "iproute2", "iputils-ping", "netcat-openbsd")  # beside agnhost, for tests in pods
BASE = "localhost/azbox/base"
GO = "localhost/azbox/go"
COREDNS = "localhost/azbox/coredns:1"
TRAEFIK = "localhost/azbox/traefik:1"
PROJECT = "localhost/azbox/azure-cni"
EARLIER = "localhost/azbox/azure-cni-earlier"

MIB = 2**20
MOST_MIB = 120  # that the project's image may take, unpacked
MIRROR = "AZBOX_DEBIAN_MIRROR"  # environment: where mmdebstrap finds Debian, when not at its own default
MOST_DANGLING = 40  # layers that buildah keeps to build faster; beyond that they are thrown away

PROXIES = ("http_proxy", "https_proxy", "no_proxy")  # apt reads them; `buildah build` passes them on


@dataclass(frozen=True, slots=True)
class Image:
    """A built image: its name with tag, where its archive is, and its size unpacked in bytes."""

    name: str
    archive: Path
    size: int


def buildah(*args: str | os.PathLike[str]) -> list[str]:
    """The command line of buildah with the box's own storage, in a mount namespace that ends with it."""
    return ["unshare", "--mount", *_bare_buildah(*args)]


def _bare_buildah(*args: str | os.PathLike[str]) -> list[str]:
    storage = CACHE / "buildah"
    return [
        "env", "BUILDAH_ISOLATION=chroot", "STORAGE_DRIVER=overlay",
        "buildah", f"--root={storage}", f"--runroot={storage}-run", *map(str, args),
    ]  # fmt: skip


@images_locked()
def ensure_bases() -> None:
    """Make the base images that Dockerfiles of the project build on, unless they are kept already."""
    archive = _ensure_archive()
    go_root = tools.go_root(tools.ensure_go())
    for name, key, add in (
        (BASE, archive.stem, [(archive, "/")]),
        (GO, f"{archive.stem}-{(go_root / 'VERSION').read_text().split()[0]}", [(go_root, "/usr/local/go")]),
    ):
        if not exists(f"{name}:{key}"):
            with step(f"image {name}"):
                path = ["--env", "PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
                commit(
                    f"{name}:{key}",
                    parent="scratch" if name == BASE else base_reference(),
                    add=add,
                    config=path if name == GO else [],
                )


@images_locked()
def ensure_base_of(architecture: str) -> None:
    """Make the base image for another processor, unless it is kept already."""
    name, archive = base_reference(architecture), _ensure_archive(architecture)
    if not exists(name):
        with step(f"image {BASE} for {architecture}"):
            commit(name, parent="scratch", add=[(archive, "/")], config=["--arch", architecture])


def _ensure_archive(architecture: str = "") -> Path:
    archive = base_archive(architecture)
    if not archive.exists():
        with step(f"base image: Debian {SUITE}{' for ' if architecture else ''}{architecture}"):
            bootstrap(archive, architecture=architecture)
    return archive


def base_reference(architecture: str = "") -> str:
    """The base image with the tag of its content."""
    return f"{BASE}:{base_archive(architecture).stem}"


def go_reference() -> str:
    """The base image with the Go tool chain."""
    version = (tools.go_root(tools.ensure_go()) / "VERSION").read_text().split()[0]
    return f"{GO}:{base_archive().stem}-{version}"


@images_locked()
def ensure_pod_images() -> list[Path]:
    """The archives of the images that every node has (pause, test pods, cluster DNS), made unless kept."""
    busybox = Path(shutil.which("busybox") or "/bin/busybox")
    digest = hashlib.sha256(busybox.read_bytes()).hexdigest()[:12]
    pause = CACHE / f"pause-{digest}.tar"
    if not pause.exists():
        with step("image pause"):
            sleep = ["--entrypoint", json.dumps(["/bin/sleep", "2147483647"])]
            commit(PAUSE_IMAGE, parent="scratch", add=[(busybox, "/bin/sleep")], config=sleep)
            write_archive(PAUSE_IMAGE, pause)
    for old in set(CACHE.glob("pause-*.tar")) - {pause}:
        old.unlink()
    return [pause, ensure_agnhost(AGNHOST), ensure_program_image(COREDNS, tools.COREDNS, "coredns")]


@images_locked()
def ensure_agnhost(name: str, *, packages: Collection[str] = (), add: Sequence[Path] = (), script: str = "") -> Path:
    """The archive of an image of agnhost with what tests start in pods, made unless kept.

    More than the box's own test pods have: Debian's packages, programs at the root, and what a script changes.
    """
    packages = (*POD_PACKAGES, *packages)
    said = f"{tools.KUBERNETES.key} {base_reference()} {packages}" + "".join(map(str, add)) + script
    kind = f"{name.rpartition('/')[2].partition(':')[0]}{tools.KUBERNETES.name.removeprefix('kubernetes')}"
    archive = CACHE / f"{kind}-{hashlib.sha256(said.encode()).hexdigest()[:12]}.tar"
    if not archive.exists():
        with step(f"image {kind}"):
            commit(
                name,
                parent=base_reference(),
                add=[(program, f"/{program.name}") for program in (tools.path("agnhost"), *add)],
                config=["--entrypoint", json.dumps(["/agnhost"]), "--cmd", "pause"],
                script=f"apt-get update -q && apt-get install -qy --no-install-recommends {' '.join(packages)}"
                " && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/apt/archives/*.deb"
                + (f" && {script}" if script else ""),
            )
            write_archive(name, archive)
    for old in set(CACHE.glob(f"{kind}-*.tar")) - {archive}:
        old.unlink()
    return archive


@images_locked()
def ensure_program_image(name: str, module: tools.Module, program: str) -> Path:
    """The archive of an image that holds one program and nothing else, built and made unless kept."""
    tools.ensure_tools([module])
    archive = CACHE / f"image-{program}-{module.key}.tar"
    if not archive.exists():
        with step(f"image {program}"):
            start = ["--entrypoint", json.dumps([f"/{program}"])]
            commit(name, parent="scratch", add=[(tools.path(program), f"/{program}")], config=start)
            write_archive(name, archive)
    for old in set(CACHE.glob(f"image-{program}-*.tar")) - {archive}:
        old.unlink()
    return archive


@images_locked()
def ensure_earlier(source: Path, key: str) -> tuple[str, Path]:
    """Name and archive of the image of the sources in `source`, an earlier state of the project; built unless kept.

    One is kept at a time, beside the newest image.
    """
    name, archive = f"{EARLIER}:{key}", CACHE / f"earlier-{key}.tar"
    if not archive.exists():
        with step(f"image of {key}"):
            run_build(
                "--layers", "--network=host", *package_settings((source / "Dockerfile").read_text()),
                f"--build-arg=BASE_IMAGE={base_reference()}", f"--build-arg=GO_IMAGE={go_reference()}",
                "--file", source / "Dockerfile", "--tag", name, source,
            )  # fmt: skip
            write_archive(name, archive)
        for old in set(CACHE.glob("earlier-*.tar")) - {archive}:
            old.unlink()
    return name, archive


def run_build(*arguments: str | os.PathLike[str]) -> None:
    """`buildah build` of a Dockerfile. StepError carries its log."""
    run(
        buildah("build", *arguments),
        log="image",
        what="build the image",
        advice="the Dockerfile's failing step is the last in the log",
    )


def check_size(image: Image) -> None:
    """Look at the size of an image.

    Raises:
        StepError: it is larger than the project's image may be.

    """
    if image.size > MOST_MIB * MIB:
        raise StepError(
            f"cannot use the image: it takes {image.size / MIB:.0f} MiB unpacked, more than {MOST_MIB}",
            advice="operator/image_root/trim.py says what an image does not need; look for what came in since",
        )


def base_archive(architecture: str = "") -> Path:
    """Where the base is kept, of another architecture by Debian's name, or of this machine's."""
    said = f"{SUITE} {BASE_PACKAGES} {architecture or platform.machine()}"
    digest = hashlib.sha256(said.encode()).hexdigest()[:12]
    return CACHE / f"base-{architecture}{'-' if architecture else ''}{digest}.tar"


def bootstrap(archive: Path, *, architecture: str = "") -> None:
    """Make a base, of another architecture by Debian's name where the kernel emulates it."""
    partial = archive.with_suffix(".partial.tar")
    mirror = [os.environ[MIRROR]] if os.environ.get(MIRROR) else []
    archive.parent.mkdir(parents=True, exist_ok=True)
    run(
        ["mmdebstrap", "--variant=minbase", f"--include={','.join(BASE_PACKAGES)}",
         '--aptopt=APT::Install-Recommends "false"',
         "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
         "--dpkgopt=path-exclude=/usr/share/locale/*",
         *([f"--architectures={architecture}"] if architecture else []), SUITE, str(partial), *mirror],
        log="base-image",
        what=f"make a Debian {SUITE} base",
        advice=f"if this machine uses another Debian mirror, name it in {MIRROR}",
        env=os.environ | dict([emulation.CPU]) if architecture else None,
    )  # fmt: skip
    partial.replace(archive)
    for old in set(archive.parent.glob(f"base-{architecture}*.tar" if architecture else "base-[0-9a-f]*.tar")) - {
        archive
    }:
        if architecture or "-arm64-" not in old.name:
            old.unlink()


def commit(name: str, *, parent: str, add: Sequence[tuple[Path, str]], config: Sequence[str], script: str = "") -> None:
    """Make an image of files, settings and what a script changes."""
    container = capture(buildah("from", parent), what=f"begin image {name}").strip()
    try:
        for source, target in add:
            run(buildah("add", "--quiet", container, source, target), log="image", what=f"fill image {name}")
        if script:
            proxies = [f"--env={name}={os.environ[name]}" for name in PROXIES if os.environ.get(name)]
            run(buildah("run", *proxies, container, "--", "sh", "-c", script), log="image", what=f"fill image {name}")
        if config:
            run(buildah("config", *config, container), log="image", what=f"configure image {name}")
        run(buildah("commit", "--quiet", container, name), log="image", what=f"commit image {name}")
    finally:
        subprocess.run(buildah("rm", container), capture_output=True, check=False)


def write_archive(name: str, path: Path) -> None:
    """An image as the file that nodes load, there wholly or not at all."""
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    run(buildah("push", "--quiet", name, f"docker-archive:{partial}:{name}"), log="image", what=f"write {path.name}")
    partial.replace(path)


def exists(name: str) -> bool:
    """Whether there is an image of that name."""
    return subprocess.run(buildah("inspect", "--type=image", name), capture_output=True, check=False).returncode == 0


def prune(keep: Collection[str]) -> None:
    """Drop images of earlier builds, so that the cache does not grow without end."""
    known = json.loads(capture(buildah("images", "--json"), what="list images"))
    old = {name for image in known for name in image["names"] or ()} - set(keep)
    if old:
        subprocess.run(buildah("rmi", "--force", *old), capture_output=True, check=False)
    if sum(not image["names"] for image in known) > MOST_DANGLING:
        subprocess.run(buildah("rmi", "--prune"), capture_output=True, check=False)


def image_size(name: str) -> int:
    """What an image takes unpacked, bytes."""
    container = capture(buildah("from", name), what="measure the image").strip()
    try:
        script = f'directory=$({shlex.join(_bare_buildah("mount", container))}) && du -sxB1 "$directory"'
        measured = capture(["unshare", "--mount", "sh", "-c", script], what="measure the image")
        return int(measured.split()[0])
    finally:
        subprocess.run(buildah("umount", container), capture_output=True, check=False)
        subprocess.run(buildah("rm", container), capture_output=True, check=False)
