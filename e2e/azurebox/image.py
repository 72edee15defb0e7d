"""Images, without any registry: a Debian base of its own, what pods need, and the project's own image.

mmdebstrap makes the base, buildah builds on it, docker archives carry the result into each node's containerd. All is
kept in the cache. buildah runs in a mount namespace of its own, because its storage leaves mounts behind.

Settings of the package managers (PIP_*, GOPROXY, certificates) reach the build as files that are mounted for its time
only, so that none of them is ever in a layer or in the image's configuration.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from azurebox import tools
from azurebox.facts import CACHE, REPOSITORY
from azurebox.node import PAUSE_IMAGE
from azurebox.steps import StepError, capture, run, step

SUITE = "trixie"
BASE_PACKAGES = ("ca-certificates", "iproute2", "nftables", "python3", "python3-pip", "python3-venv")
BASE = "localhost/azbox/base"
GO = "localhost/azbox/go"
AGNHOST = "localhost/azbox/agnhost:1"
PROJECT = "localhost/azbox/azure-cni"

MIRROR = "AZBOX_DEBIAN_MIRROR"  # environment: where mmdebstrap finds Debian, when not at its own default
CERTIFICATES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE")
IN_IMAGE_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
GO_SETTINGS = ("GOPROXY", "GONOSUMDB", "GONOSUMCHECK", "GOSUMDB", "GOPRIVATE", "GONOPROXY", "GOINSECURE")
PIP_SKIPPED = {"PIP_CERT", "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_REQUIRE_VIRTUALENV", "PIP_CONFIG_FILE"}


@dataclass(frozen=True, slots=True)
class Image:
    """A built image: its name with tag, where its archive is, and its size unpacked in bytes."""

    name: str
    archive: Path
    size: int


def buildah(*args: str | os.PathLike[str]) -> list[str]:
    """The command line of buildah with the box's own storage."""
    storage = CACHE / "buildah"
    return [
        "unshare", "--mount", "env", "BUILDAH_ISOLATION=chroot", "STORAGE_DRIVER=overlay",
        "buildah", f"--root={storage}", f"--runroot={storage}-run", *map(str, args),
    ]  # fmt: skip


def ensure_bases() -> None:
    """Make the base images that Dockerfiles of the project build on, unless they are kept already."""
    archive = _base_archive()
    if not archive.exists():
        with step(f"base image: Debian {SUITE}"):
            _bootstrap(archive)
    go_root = tools.go_root(tools.ensure_go())
    for name, key, add in (
        (BASE, archive.stem, [(archive, "/")]),
        (GO, f"{archive.stem}-{(go_root / 'VERSION').read_text().split()[0]}", [(go_root, "/usr/local/go")]),
    ):
        if not _exists(f"{name}:{key}"):
            with step(f"image {name}"):
                path = ["--env", "PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
                _commit(
                    f"{name}:{key}",
                    parent="scratch" if name == BASE else base_reference(),
                    add=add,
                    config=path if name == GO else [],
                )


def base_reference() -> str:
    """The base image with the tag of its content."""
    return f"{BASE}:{_base_archive().stem}"


def go_reference() -> str:
    """The base image with the Go tool chain."""
    version = (tools.go_root(tools.ensure_go()) / "VERSION").read_text().split()[0]
    return f"{GO}:{_base_archive().stem}-{version}"


def ensure_small_images() -> list[Path]:
    """The archives of the pause image and of the test pods' image, made unless kept."""
    busybox = Path(shutil.which("busybox") or "/bin/busybox")
    agnhost = tools.path("agnhost")
    digest = hashlib.sha256(busybox.read_bytes() + str(agnhost).encode() + RECIPE.encode()).hexdigest()[:12]
    pause = CACHE / f"pause-{digest}.tar"
    test = CACHE / f"agnhost-{digest}.tar"
    if not pause.exists():
        with step("image pause"):
            _commit(
                PAUSE_IMAGE,
                parent="scratch",
                add=[(busybox, "/bin/sleep")],
                config=["--entrypoint", json.dumps(["/bin/sleep", "2147483647"])],
            )
            _archive(PAUSE_IMAGE, pause)
    if not test.exists():
        with step("image agnhost"), tempfile.TemporaryDirectory() as scratch:
            root = Path(scratch)
            (root / "bin").mkdir()
            (root / "tmp").mkdir(mode=0o1777)
            shutil.copy(busybox, root / "bin" / "busybox")
            for applet in capture([str(busybox), "--list"], what="list busybox's applets").split():
                if applet != "busybox":
                    (root / "bin" / applet).symlink_to("busybox")
            shutil.copy(agnhost, root / "agnhost")
            _commit(
                AGNHOST,
                parent="scratch",
                add=[(root, "/")],
                config=["--entrypoint", json.dumps(["/agnhost"]), "--cmd", "pause", "--env", "PATH=/bin:/"],
            )
            _archive(AGNHOST, test)
    return [pause, test]


RECIPE = "busybox+agnhost 1"  # part of the archives' key: raise the number when the recipe above changes


def build_project(repository: Path = REPOSITORY, *, dockerfile: str = "Dockerfile") -> Image:
    """Build the project's image from its Dockerfile and return it; its tag is its content's.

    Raises:
        StepError: the build failed; carries its log.

    """
    with package_settings() as mounts:
        volumes = [f"--volume={host}:{inside}:ro" for inside, host in mounts.items()]
        run(
            buildah(
                "build", "--layers", "--network=host", *volumes,
                f"--build-arg=BASE_IMAGE={base_reference()}", f"--build-arg=GO_IMAGE={go_reference()}",
                "--file", repository / dockerfile, "--tag", f"{PROJECT}:latest", repository,
            ),
            log="image",
            what="build the image",
            advice="the Dockerfile's failing step is the last in the log",
        )  # fmt: skip
    facts = json.loads(capture(buildah("inspect", "--type=image", f"{PROJECT}:latest"), what="look at the image"))
    tag = facts["FromImageID"][:12]
    name = f"{PROJECT}:{tag}"
    archive = CACHE / f"azure-cni-{tag}.tar"
    if not archive.exists():
        for old in CACHE.glob("azure-cni-*.tar"):
            old.unlink()
        capture(buildah("tag", f"{PROJECT}:latest", name), what="tag the image")
        _archive(name, archive)
    _check_environment(facts)
    return Image(name=name, archive=archive, size=_size(f"{PROJECT}:latest"))


@contextmanager
def package_settings(environment: Mapping[str, str] = os.environ) -> Iterator[dict[str, Path]]:
    """Files for the time of a build, as path inside -> path outside: what this machine sets for pip, Go and TLS."""
    with tempfile.TemporaryDirectory(prefix="azbox-build-") as scratch:
        mounts: dict[str, Path] = {}
        bundle = next((Path(environment[name]) for name in CERTIFICATES if environment.get(name)), None)
        if bundle and bundle.is_file():
            mounts[IN_IMAGE_CERTIFICATES] = bundle
        for inside, text in (
            ("/etc/pip.conf", pip_configuration(environment, certificates=bundle is not None)),
            ("/root/.config/go/env", go_configuration(environment)),
        ):
            if text:
                file = Path(scratch) / inside.replace("/", "_")
                file.write_text(text)
                mounts[inside] = file
        for place in environment.get("PIP_FIND_LINKS", "").split():
            if Path(place).is_dir():
                mounts[place] = Path(place)
        yield mounts


def pip_configuration(environment: Mapping[str, str], *, certificates: bool) -> str:
    """The pip.conf that says what the PIP_* variables say; empty when none is set."""
    settings = {
        name.removeprefix("PIP_").lower().replace("_", "-"): value
        for name, value in environment.items()
        if name.startswith("PIP_") and name not in PIP_SKIPPED and value
    }
    if certificates:
        settings["cert"] = IN_IMAGE_CERTIFICATES
    return "".join(["[global]\n", *(f"{key} = {value}\n" for key, value in settings.items())]) if settings else ""


def go_configuration(environment: Mapping[str, str]) -> str:
    """Go's own settings file with the variables that are set; empty when none is."""
    return "".join(f"{name}={environment[name]}\n" for name in GO_SETTINGS if environment.get(name))


def _check_environment(facts: Mapping[str, object]) -> None:
    config = json.loads(str(facts["Config"]))["config"]
    leaked = [
        entry.split("=")[0]
        for entry in config.get("Env") or []
        if entry.startswith(("PIP_", "GOPROXY", "GONOSUM", *CERTIFICATES))
        and not entry.startswith(("PIP_NO_CACHE_DIR", "PIP_DISABLE_PIP_VERSION_CHECK"))
    ]
    if leaked:
        raise StepError(
            f"cannot use the image: its configuration holds settings of this machine: {' '.join(leaked)}",
            advice="set them in the RUN line that needs them, not with ENV",
        )


def _base_archive() -> Path:
    digest = hashlib.sha256(f"{SUITE} {BASE_PACKAGES} {platform.machine()}".encode()).hexdigest()[:12]
    return CACHE / f"base-{digest}.tar"


def _bootstrap(archive: Path) -> None:
    partial = archive.with_suffix(".partial.tar")
    mirror = [os.environ[MIRROR]] if os.environ.get(MIRROR) else []
    archive.parent.mkdir(parents=True, exist_ok=True)
    run(
        ["mmdebstrap", "--variant=minbase", f"--include={','.join(BASE_PACKAGES)}",
         '--aptopt=APT::Install-Recommends "false"',
         "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
         "--dpkgopt=path-exclude=/usr/share/locale/*",
         SUITE, str(partial), *mirror],
        log="base-image",
        what=f"make a Debian {SUITE} base",
        advice=f"if this machine uses another Debian mirror, name it in {MIRROR}",
    )  # fmt: skip
    partial.replace(archive)


def _commit(name: str, *, parent: str, add: Sequence[tuple[Path, str]], config: Sequence[str]) -> None:
    container = capture(buildah("from", parent), what=f"begin image {name}").strip()
    try:
        for source, target in add:
            run(buildah("add", "--quiet", container, source, target), log="image", what=f"fill image {name}")
        if config:
            run(buildah("config", *config, container), log="image", what=f"configure image {name}")
        run(buildah("commit", "--quiet", container, name), log="image", what=f"commit image {name}")
    finally:
        subprocess.run(buildah("rm", container), capture_output=True, check=False)


def _archive(name: str, path: Path) -> None:
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    run(buildah("push", "--quiet", name, f"docker-archive:{partial}:{name}"), log="image", what=f"write {path.name}")
    partial.replace(path)


def _exists(name: str) -> bool:
    return subprocess.run(buildah("inspect", "--type=image", name), capture_output=True, check=False).returncode == 0


def _size(name: str) -> int:
    container = capture(buildah("from", name), what="measure the image").strip()
    try:
        script = f'd=$(buildah --root={CACHE}/buildah --runroot={CACHE}/buildah-run mount {container}) && du -sxB1 "$d"'
        measured = capture(
            ["unshare", "--mount", "env", "STORAGE_DRIVER=overlay", "sh", "-c", script], what="measure the image"
        )
        return int(measured.split()[0])
    finally:
        subprocess.run(buildah("umount", container), capture_output=True, check=False)
        subprocess.run(buildah("rm", container), capture_output=True, check=False)
