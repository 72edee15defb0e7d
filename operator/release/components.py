"""What is in an image, a package or a file, read from what pins it or lists it there.

Four kinds: packages of PyPI by a lock file, modules of Go by what the compiler left in a binary (`go version -m`),
packages of Debian by /var/lib/dpkg/status of an image, and images by the values of a chart.
"""

from __future__ import annotations

import email
import gzip
import io
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from packaging.markers import Marker
from packaging.utils import canonicalize_name

from release.versions import ReleaseError

DPKG_STATUS: Final = "var/lib/dpkg/status"
OS_RELEASE: Final = "usr/lib/os-release"
PYPI: Final = "pkg:pypi/"
DEBIAN: Final = "pkg:deb/debian/"
_INSTALLED: Final = re.compile(r"opt/azure-cni/lib/python[\d.]+/site-packages/[^/]+\.dist-info/METADATA")
_PIN: Final = re.compile(r"^([A-Za-z0-9][\w.-]*)==([^\s;\\]+)(?: ; ([^\\\n]+?))?(?: \\)?$", re.MULTILINE)
_GO: Final = re.compile(r"^\tdep\t(\S+)\t(\S+)", re.MULTILINE)
_GO_VERSION: Final = re.compile(r": go(\d\S*)")
_SOURCE: Final = re.compile(r"(\S+)(?: \((\S+)\))?")
_RELEASE: Final = re.compile(r'^(ID|VERSION_ID)="?([^"\n]*)"?$', re.MULTILINE)
_GZIP: Final = b"\x1f\x8b"


@dataclass(frozen=True, slots=True, order=True)
class Component:
    """One package; `purl` is its name in all registries of all kinds (package URL)."""

    name: str
    version: str
    purl: str


def python_packages(lock: str, *, python: str, system: str = "linux", machine: str = "x86_64") -> list[Component]:
    """The packages of a lock file's text that are installed on such a machine. `python`: 3.13."""
    where = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": system,
        "platform_system": system.capitalize(),
        "platform_machine": machine,
        "os_name": "nt" if system == "win32" else "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "extra": "",
    }
    return sorted(
        _python_package(name, version)
        for name, version, marker in _PIN.findall(lock)
        if not marker or Marker(marker).evaluate(where)
    )


def _python_package(name: str, version: str) -> Component:
    return Component(name, version, f"{PYPI}{quote(canonicalize_name(name))}@{quote(version)}")


def go_modules(listed: str) -> list[Component]:
    """The modules in a binary, and Go's own library, by what `go version -m BINARY` prints.

    Raises:
        ReleaseError: it is no binary of Go.

    """
    compiler = _GO_VERSION.search(listed)
    if not compiler:
        raise ReleaseError(f"cannot list the modules of a binary: go version -m says {listed[:200]!r}")
    modules = [
        Component(path, version, f"pkg:golang/{quote(path.lower(), safe='/')}@{quote(version)}")
        for path, version in _GO.findall(listed)
    ]
    return sorted([Component("stdlib", compiler[1], f"pkg:golang/stdlib@{quote(compiler[1])}"), *modules])


def debian_packages(status: str, *, release: str) -> list[Component]:
    """The packages that dpkg's list of them has as installed. `release`: the text of os-release.

    Debian lists vulnerabilities by its own release and by source package. A scanner looks for none without the first,
    and finds those of few without the second.
    """
    system = dict(_RELEASE.findall(release))
    found = []
    for paragraph in status.split("\n\n"):
        fields = dict(re.findall(r"^([A-Z][\w-]*): (.*)$", paragraph, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            name, version, architecture = fields["Package"], fields["Version"], fields["Architecture"]
            where = f"arch={architecture}&distro={system.get('ID', 'debian')}-{system.get('VERSION_ID', 'unknown')}"
            purl = f"{DEBIAN}{quote(name)}@{quote(version, safe='')}?{where}{_upstream(fields.get('Source', ''))}"
            found.append(Component(name, version, purl))
    return sorted(found)


def _upstream(source: str) -> str:
    """Of dpkg's field Source, which is there only where the source package has another name or version."""
    found = _SOURCE.fullmatch(source)
    if not found:
        return ""
    return f"&upstream={quote(found[1])}{quote(f'@{found[2]}', safe='') if found[2] else ''}"


def chart_images(values: Mapping[str, Any], *, version: str) -> list[Component]:
    """The images that the values of a chart name, once each. `version`: of the chart, which an empty tag means."""
    return sorted(set(_images_in(values, version)))


def _images_in(values: Mapping[str, Any], version: str) -> Iterator[Component]:
    """As `{repository, tag, digest}`, or in one word under `image`."""
    if "repository" in values:
        yield _image(str(values["repository"]), str(values.get("tag") or version), str(values.get("digest") or ""))
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _images_in(value, version)
        elif key == "image" and value:
            name, _, digest = str(value).partition("@")
            repository, _, tag = name.rpartition(":") if ":" in name.rpartition("/")[2] else (name, "", "latest")
            yield _image(repository, tag, digest)


def _image(repository: str, tag: str, digest: str) -> Component:
    """As https://github.com/package-url/purl-spec has images: the digest is the version, the tag a qualifier."""
    pinned = f"@{quote(digest, safe='')}" if digest else ""
    where = f"repository_url={quote(repository, safe='/')}&tag={quote(tag)}"
    return Component(
        repository, digest or tag, f"pkg:oci/{quote(repository.rpartition('/')[2].lower())}{pinned}?{where}"
    )


def of_image(archive: Path) -> list[Component]:
    """Debian's packages in an image, and PyPI's, of a tar of an OCI layout: for all processors that it is for.

    Raises:
        ReleaseError: no layer of it has such a list.

    """
    found: set[Component] = set()
    for layer in _layers(archive):
        texts: dict[str, bytes] = {}
        for member in layer:
            name = member.name.removeprefix("./")
            wanted = name in {DPKG_STATUS, OS_RELEASE} or _INSTALLED.fullmatch(name)
            if wanted and (file := layer.extractfile(member)):
                texts[name] = file.read()
        status, release = (texts.pop(name, b"").decode() for name in (DPKG_STATUS, OS_RELEASE))
        found.update(debian_packages(status, release=release))
        for described in map(email.message_from_bytes, texts.values()):
            found.add(_python_package(described["Name"], described["Version"]))
    if not any(one.purl.startswith(DEBIAN) for one in found):
        raise ReleaseError(f"cannot list the packages in {archive}: no layer of it has {DPKG_STATUS}")
    return sorted(found)


def _layers(archive: Path) -> Iterator[tarfile.TarFile]:
    with tarfile.open(archive) as layout:
        for member in layout:
            if member.isfile() and (blob := layout.extractfile(member)):
                content = blob.read()
                if content.startswith(_GZIP):
                    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(content))) as layer:
                        yield layer
