"""Image, lists of contents and provenance, as steps of a release: each reads what the steps before it built."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import yaml

from release import artifacts, components, provenance, sbom, sources
from release.components import Component

PLUGIN: Final = "azure-cni-plugin-linux-amd64"
OWN: Final = "azure-cni"
STATEMENT: Final = "provenance.intoto.json"
IMAGE_PYTHON: Final = "3.13"
"""Of the Debian release that the Dockerfile names."""


def image(source: Path, target: Path, at: int, version: str) -> None:
    """The image for this machine's processor, as a tar of an OCI layout."""
    file = target / f"{OWN}-{version}-image-linux-amd64.tar"
    artifacts.run(source, at, sys.executable, "-m", "azurebox", "image", file)


def lists(source: Path, target: Path, at: int, version: str) -> None:
    """What is in the image, the command line and the Debian package, each in both formats."""
    said = artifacts.run(source, at, sys.executable, "-m", "azurebox", "go", "version", "-m", target / PLUGIN)
    plugin = components.go_modules(said)
    agent, client = ((source / "requirements" / name).read_text() for name in ("agent.txt", "client.txt"))
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    image_parts = [*components.python_packages(agent, python=IMAGE_PYTHON), *plugin]
    for built in target.glob(f"{OWN}-{version}-image-*.tar"):
        image_parts += components.of_image(built)
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
    )
    (target / STATEMENT).write_text(provenance.text(document))
