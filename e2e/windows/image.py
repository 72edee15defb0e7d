"""The image for Windows nodes: buildah builds it from Dockerfile.windows, to try that and its arguments.

It is built twice, and not published: USUAL on an empty base with the CPython of the Dockerfile, OTHER on a base that
has a file, with the CPython of another image. Both are looked at as a registry would get them, as OCI layouts in the
cache.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from azurebox import image
from azurebox.facts import CACHE, REPOSITORY
from azurebox.image_lock import images_locked
from azurebox.image_settings import package_settings
from azurebox.steps import capture, step

DOCKERFILE: Final = REPOSITORY / "Dockerfile.windows"
LAYOUTS: Final = CACHE / "images-windows"
USUAL, OTHER = "usual", "other"
BASES: Final = {name: f"localhost/azbox/windows-base-{name}:1" for name in (USUAL, OTHER)}
PYTHON: Final = "localhost/azbox/windows-python:1"
MARK: Final = "of-another-image.txt"
"""In the base of OTHER below Files/, and in its CPython beside python.exe."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a layer."""

    name: str
    size: int


class Layout:
    """An image as a registry gets it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._directory = LAYOUTS / name

    @cached_property
    def config(self) -> dict[str, Any]:
        """Of which system it is, its environment and labels."""
        return self._document(self._manifest["config"]["digest"])

    @cached_property
    def entries(self) -> Sequence[Entry]:
        """The files of all layers."""
        return [Entry(one.name, one.size) for layer in self._layers() for one in layer if one.isfile()]

    @property
    def compressed(self) -> int:
        """What a node fetches, in bytes."""
        return sum(layer["size"] for layer in self._manifest["layers"])

    @property
    def unpacked(self) -> int:
        """What its files have, in bytes."""
        return sum(entry.size for entry in self.entries)

    def extract(self, target: Path) -> None:
        """All files, as they are in the layers."""
        for layer in self._layers():
            layer.extractall(target, filter="data")

    @cached_property
    def _manifest(self) -> dict[str, Any]:
        (one,) = json.loads((self._directory / "index.json").read_text())["manifests"]
        return self._document(one["digest"])

    def _layers(self) -> Iterator[tarfile.TarFile]:
        for layer in self._manifest["layers"]:
            with tarfile.open(self._blob(layer["digest"])) as opened:
                yield opened

    def _document(self, digest: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._blob(digest).read_text())
        return found

    def _blob(self, digest: str) -> Path:
        return self._directory / "blobs" / digest.replace(":", "/")


@images_locked()
def build() -> None:
    """Both images, as layouts. StepError carries the log of a build that failed."""
    image.ensure_bases()
    shutil.rmtree(LAYOUTS, ignore_errors=True)
    LAYOUTS.mkdir()
    mark = LAYOUTS / MARK
    mark.write_text(f"{Path(__file__).name}\n")
    as_windows = ["--os", "windows", "--arch", "amd64"]
    image.commit(BASES[USUAL], parent="scratch", add=[], config=as_windows)
    image.commit(BASES[OTHER], parent="scratch", add=[(mark, f"/Files/{MARK}")], config=as_windows)
    with step("image for Windows, on an empty base"):
        _write(USUAL)
    with step("CPython for Windows as an image"):
        _build(PYTHON, USUAL, "--target=cpython")
        image.commit(PYTHON, parent=PYTHON, add=[(mark, f"/cpython/windows/{MARK}")], config=["--os", "linux"])
    with step("image for Windows, on another base and with that CPython"):
        _write(OTHER, f"--build-context=cpython=container-image://{PYTHON}")


def _write(name: str, *more: str) -> None:
    tag = f"localhost/azbox/azure-cni-windows:{name}"
    _build(tag, name, *more)
    capture(image.buildah("push", "--quiet", tag, f"oci:{LAYOUTS / name}:{name}"), what=f"write the image {name}")


def _build(tag: str, base: str, *more: str) -> None:
    image.run_build(
        "--layers", "--network=host", "--platform=windows/amd64", "--build-arg=BUILDPLATFORM=linux/amd64",
        "--build-arg=LAYER_ROOT=/Files", f"--build-arg=WINDOWS_BASE_IMAGE={BASES[base]}",
        f"--build-arg=BASE_IMAGE={image.base_reference()}", f"--build-arg=GO_IMAGE={image.go_reference()}",
        *package_settings(DOCKERFILE.read_text()), *more, "--file", DOCKERFILE, "--tag", tag, REPOSITORY,
    )  # fmt: skip
