"""Image, lists of contents and provenance, as steps of a release: each reads what the steps before it built."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import yaml

from release import artifacts, components, oci_index, provenance, sbom, sources
from release.components import Component
from release.versions import ReleaseError

PLUGIN: Final = "azure-cni-plugin-linux-amd64"
OWN: Final = "azure-cni"
STATEMENT: Final = "provenance.intoto.json"
IMAGE_PYTHON: Final = "3.13"
"""Of the Debian release that the Dockerfile names."""
IMAGES: Final = {"amd64": (), "arm64": ("--arm64",)}
"""Processor -> what `e2e/box image` wants to hear for it."""


def image(source: Path, target: Path, at: int, version: str, *, say: Callable[[str], None] = print) -> None:
    """The image for both processors, as a tar of an OCI layout with an index of the two."""
    with tempfile.TemporaryDirectory(prefix="azure-cni-image-") as work:
        built = {processor: Path(work) / f"{processor}.tar" for processor in IMAGES}
        for processor, file in built.items():
            said = artifacts.run(source, at, sys.executable, "-m", "azurebox", "image", *IMAGES[processor], file)
            say(said.rstrip())
        whole = image_file(target, version)
        digest = oci_index.join(list(built.values()), whole, at=at)
    digest_file(target, version).write_text(f"{digest}\n")
    say(f"  {whole.name}: {digest}, {whole.stat().st_size / 2**20:.1f} MiB")


def image_file(folder: Path, version: str) -> Path:
    """Where the image is in a release, if it is part of it."""
    return folder / f"{OWN}-{version}-image.tar"


def digest_file(folder: Path, version: str) -> Path:
    """Where the digest of that image is, by which registries name it."""
    return folder / f"{OWN}-{version}-image.digest"


def lists(source: Path, target: Path, at: int, version: str) -> None:
    """What is in the image, the command line and the Debian package, each in both formats."""
    said = artifacts.run(source, at, sys.executable, "-m", "azurebox", "go", "version", "-m", target / PLUGIN)
    plugin = components.go_modules(said)
    agent, client = ((source / "requirements" / name).read_text() for name in ("agent.txt", "client.txt"))
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    pinned = components.python_packages(agent, python=IMAGE_PYTHON)
    image_parts = [*pinned, *plugin]
    if (built := image_file(target, version)).exists():
        there = components.of_image(built)
        refuse_others(pinned, there, built)
        image_parts += [one for one in there if one.purl not in {pin.purl for pin in pinned}]
    for name, purl, kind, parts in (
        ("image", "pkg:oci/azure-cni", "container", image_parts),
        ("command-line", "pkg:pypi/azure-cni", "application", components.python_packages(client, python=here)),
        (
            "debian-package",
            "pkg:deb/azure-cni/azure-cni",
            "application",
            [*components.python_packages(agent, python=here), *plugin],
        ),
    ):
        _write(target, name, Component(f"{OWN}-{name}", version, f"{purl}@{version}"), parts, at=at, kind=kind)


def refuse_others(pinned: Sequence[Component], there: Sequence[Component], built: Path) -> None:
    """Compare the Python packages that the lock file has with those that are in an image, azure-cni's own apart.

    Raises:
        ReleaseError: one is missing, of another version, or pinned nowhere.

    """
    wanted = {one.purl for one in pinned}
    found = {one.purl for one in there if one.purl.startswith(components.PYPI)}
    found = {purl for purl in found if not purl.startswith(f"{components.PYPI}{OWN}@")}
    if wanted != found:
        raise ReleaseError(
            f"cannot list the packages in {built.name}: of what requirements/agent.txt pins it lacks "
            f"{', '.join(sorted(wanted - found)) or 'none'}, and it has {', '.join(sorted(found - wanted)) or 'none'} "
            "that is not pinned; build it from the sources of this commit"
        )


def chart_lists(source: Path, target: Path, at: int, version: str) -> None:
    """Which images the chart names, in both formats; it holds no package itself."""
    values = yaml.safe_load((source / "charts" / OWN / "values.yaml").read_text())
    subject = Component(f"{OWN}-chart", version, f"pkg:helm/{OWN}@{version}")
    parts = components.chart_images(values, version=version)
    _write(target, "chart", subject, parts, at=at, kind="application")


def _write(target: Path, name: str, subject: Component, parts: Sequence[Component], *, at: int, kind: str) -> None:
    (target / f"{name}.spdx.json").write_text(sbom.spdx(subject, parts, at=at))
    (target / f"{name}.cdx.json").write_text(sbom.cyclonedx(subject, parts, at=at, kind=kind))


def provenance_of(source: Path, target: Path, at: int, version: str) -> None:
    """The statement about all that is there so far."""
    go, helm = (
        artifacts.run(source, at, sys.executable, "-m", "azurebox", *words)
        for words in (("go", "version"), ("helm", "version", "--template", "{{.Version}}"))
    )
    document = provenance.statement(
        artifacts.sums(target),
        source,
        version=version,
        commit=sources.git(source, "rev-parse", "HEAD"),
        tools=provenance.tools(go, helm),
        image=image_file(target, version).exists(),
    )
    (target / STATEMENT).write_text(provenance.text(document))
