"""The project's own image: built from its Dockerfile, unless the last that was built is kept and was built of the same.

A build that finds every layer kept takes seconds all the same, and each install needs the image. So what decides it is
known by one digest: of what the builder is sent (`.dockerignore`, as far as it lets something through or takes a name
out everywhere), of the Dockerfile itself, and of the bases. Package settings of the machine are no part of it: versions
are pinned with hashes, and an image that keeps a setting is refused.
"""

import hashlib
import json
from collections.abc import Collection, Iterator
from fnmatch import fnmatch
from pathlib import Path

from azurebox import image
from azurebox.facts import AGNHOST, CACHE, REPOSITORY
from azurebox.image import PROJECT, Image
from azurebox.image_lock import images_locked
from azurebox.image_settings import check_environment, package_settings
from azurebox.node import PAUSE_IMAGE
from azurebox.steps import capture, step, write_whole

LATEST = f"{PROJECT}:latest"
BUILT = "azure-cni.json"  # in the cache: name and size of the image that was built last, and the digest of its inputs

IGNORED = ".dockerignore"
EVERYWHERE = "**/"


@images_locked()
def ensure(repository: Path = REPOSITORY) -> Image:
    """The project's image, built unless kept; its tag is its content's.

    Raises:
        StepError: the build failed, and carries its log; or the image is larger than it may be.

    """
    found = kept(repository)
    if found is None:
        with step("image from the Dockerfile"):
            found = _build(repository)
    image.check_size(found)
    return found


def kept(repository: Path = REPOSITORY) -> Image | None:
    """The project's image if `ensure` would have nothing to build."""
    try:
        facts = json.loads((CACHE / BUILT).read_text())
        if facts["inputs"] != _inputs(repository):
            return None
        found = Image(facts["name"], archive_of(facts["name"].rpartition(":")[2]), facts["size"])
    except (FileNotFoundError, KeyError, TypeError, ValueError):
        return None
    return found if found.archive.exists() else None


def archive_of(tag: str) -> Path:
    """Where the image of that tag is kept, if it is the last that was built."""
    return CACHE / f"azure-cni-{tag}.tar"


def digest(repository: Path, *, also: Collection[str]) -> str:
    """Of all that decides the image that the Dockerfile of this directory makes, and of `also`; 64 hexadecimal digits.

    Files count with name, content and whether they may be executed, not with their times.
    """
    found = hashlib.sha256()
    for word in also:
        found.update(f"{word}\n".encode())
    for path in sorted({repository / "Dockerfile", repository / IGNORED, *sent(repository)}):
        content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        facts = (str(path.relative_to(repository)), path.is_symlink(), path.lstat().st_mode & 0o111 != 0)
        found.update(f"{facts} {hashlib.sha256(content).hexdigest()}\n".encode())
    return found.hexdigest()


def sent(repository: Path) -> Iterator[Path]:
    """The files that the builder is sent, in any order. A form of line that is not understood here, such as one that
    takes out a single path, has more count than are sent, which costs a build.
    """
    lines = (repository / IGNORED).read_text().splitlines()
    out = [line.removeprefix(EVERYWHERE) for line in lines if line.startswith(EVERYWHERE)]
    for pattern in (line[1:] for line in lines if line.startswith("!")):
        for path in repository.glob(pattern):
            for file in path.rglob("*") if path.is_dir() else [path]:
                names = file.relative_to(repository).parts
                taken_out = any(fnmatch(name, one) for name in names for one in out)
                if not taken_out and (file.is_symlink() or file.is_file()):
                    yield file


def _inputs(repository: Path) -> str:
    base = image.base_archive().stat()  # one that was made again has other packages under the same name
    bases = (image.base_reference(), image.go_reference(), f"{base.st_size} {base.st_mtime_ns}")
    return digest(repository, also=bases)


def _build(repository: Path) -> Image:
    inputs = _inputs(repository)
    image.run_build(
        "--layers", "--network=host", *package_settings((repository / "Dockerfile").read_text()),
        f"--build-arg=BASE_IMAGE={image.base_reference()}", f"--build-arg=GO_IMAGE={image.go_reference()}",
        "--file", repository / "Dockerfile", "--tag", LATEST, repository,
    )  # fmt: skip
    facts = json.loads(capture(image.buildah("inspect", "--type=image", LATEST), what="look at the image"))
    tag = facts["FromImageID"][:12]
    name, archive = f"{PROJECT}:{tag}", archive_of(tag)
    if not archive.exists():
        capture(image.buildah("tag", LATEST, name), what="tag the image")
        image.write_archive(name, archive)
    for old in set(CACHE.glob("azure-cni-*.tar")) - {archive}:
        old.unlink()
    check_environment(json.loads(facts["Config"])["config"].get("Env") or ())
    bases = (image.base_reference(), image.go_reference())
    image.prune(keep={LATEST, name, *bases, PAUSE_IMAGE, AGNHOST, image.COREDNS, image.TRAEFIK})
    built = Image(name=name, archive=archive, size=image.image_size(LATEST))
    if inputs == _inputs(repository):  # nobody wrote a file meanwhile
        write_whole(CACHE / BUILT, json.dumps({"inputs": inputs, "name": name, "size": built.size}))
    return built
