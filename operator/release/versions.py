"""Versions: which are accepted, and every place of the repository where the project's stands.

A place is a file with a pattern whose one group is the version. Each pattern must be found where it is named, so that
none of them is silently left behind.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

FORM: Final = re.compile(r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)")
"""MAJOR.MINOR.PATCH. No candidates: PyPI, Debian and helm each sort and write them in their own way."""
ANY: Final = r"([0-9]+\.[0-9]+\.[0-9]+)"
PLACES: Final = (
    ("pyproject.toml", rf'^version = "{ANY}"$'),
    ("operator/azure_cni/__init__.py", rf'^__version__ = "{ANY}"$'),
    ("charts/azure-cni/Chart.yaml", rf"^version: {ANY}$"),
    ("charts/azure-cni/Chart.yaml", rf"^appVersion: {ANY}$"),
    ("Dockerfile", rf"^ARG VERSION={ANY}$"),
    ("Dockerfile.windows", rf"^ARG VERSION={ANY}$"),
    ("Dockerfile.windows", rf"REGISTRY/azure-cni-windows:{ANY}"),
    ("README.md", rf"REGISTRY/azure-cni:{ANY}"),
    ("docs/docker.md", rf"azure-cni_{ANY}-1_amd64\.deb"),
    ("docs/getting-started.md", rf"\$REGISTRY/azure-cni:{ANY}"),
    ("docs/install.md", rf"REGISTRY/azure-cni:{ANY}"),
    ("docs/installers/README.md", rf"azure-cni-{ANY}\.tgz"),
    ("docs/installers/cluster-api.md", rf"^ +version: {ANY}$"),
    ("docs/installers/kubespray.md", rf"^custom_cni_chart_version: {ANY}$"),
    ("docs/installers/rke2-k3s.md", rf"^ +version: {ANY}$"),
)
"""Path in the repository and pattern."""


class ReleaseError(Exception):
    """Why there is no release, and what to do."""


def parse(version: str) -> tuple[int, int, int]:
    """Its three numbers.

    Raises:
        ReleaseError: it has another form.

    """
    found = FORM.fullmatch(version)
    if not found:
        raise ReleaseError(
            f"cannot release {version!r}: a version is MAJOR.MINOR.PATCH, three numbers without leading zeros and "
            "nothing before or after them; try make release VERSION=0.2.0"
        )
    major, minor, patch = map(int, found.groups())
    return major, minor, patch


def found(source: Path) -> dict[str, set[str]]:
    """The versions that stand in these sources, each with the paths where it does.

    Raises:
        ReleaseError: a place has none.

    """
    standing: dict[str, set[str]] = {}
    for path, pattern in PLACES:
        there = re.findall(pattern, (source / path).read_text(), re.MULTILINE)
        if not there:
            raise ReleaseError(
                f"cannot release: {path} has no version of the form {pattern}; correct it, or PLACES in "
                "release/versions.py"
            )
        for version in there:
            standing.setdefault(version, set()).add(path)
    return standing


def standing(source: Path) -> str:
    """The one version of these sources.

    Raises:
        ReleaseError: they have several.

    """
    all_of_them = found(source)
    if len(all_of_them) > 1:
        listed = "; ".join(f"{version} in {', '.join(sorted(paths))}" for version, paths in sorted(all_of_them.items()))
        raise ReleaseError(f"cannot release: the sources have several versions: {listed}; give all of them one")
    return next(iter(all_of_them))


def write(source: Path, version: str) -> None:
    """Have it stand in all places."""
    for path, pattern in PLACES:
        file = source / path
        text = file.read_text()
        for place in reversed(list(re.finditer(pattern, text, re.MULTILINE))):
            text = text[: place.start(1)] + version + text[place.end(1) :]
        file.write_text(text)
