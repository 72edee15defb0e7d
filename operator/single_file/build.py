"""Builds the command line as one file: `python -m single_file.build DIRECTORY` makes `azure-cni` there.

The packages are those of the environment that runs it, which was installed from the lock file with hashes, so nothing
is fetched. The file is for this Python and this kind of machine, because some packages are compiled. The same packages
make the same file, byte by byte.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path, PurePath

from packaging.requirements import Requirement

from single_file.start import BUILD, COMPLETION, PACKAGES, compiled_for

REPOSITORY = Path(__file__).parents[2]
LOCK = REPOSITORY / "requirements" / "client.txt"
OF_THE_AGENT = ("azure-identity", "click", "msgspec")
"""What the commands share with the agent; all else they need is the extra `client`."""
UNUSED = frozenset({"aiohttp", "aiohttp-retry"})
"""What only `kubernetes.aio` needs."""
LEFT_OUT = re.compile(
    r"kubernetes/(aio/|client/(models|api)/(?!__init__\.py$))|azure/(mgmt/network|identity)/aio/(?!__init__\.py$)"
)
"""Of packages: second clients, and classes of objects, which the commands read as plain JSON. Half of the start."""
OF_THE_INSTALLER = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"})
"""In `*.dist-info`: how, where from and with which paths a package was installed. No two machines agree on that."""
LINKS = ("kubectl-azure_cni", f"{COMPLETION}azure_cni")
LONG_AGO = (1980, 1, 1, 0, 0, 0)


class BuildError(Exception):
    """What could not be built, and what to do."""


def main() -> None:
    """Build it, and say where it is."""
    if len(sys.argv) != 2:  # noqa: PLR2004
        sys.exit("usage: python -m single_file.build DIRECTORY")
    try:
        made = build(Path(sys.argv[1]))
    except BuildError as error:
        sys.exit(f"single_file: {error}")
    print(f"{made} ({made.stat().st_size / 2**20:.1f} MiB, {compiled_for()}); links to it: {', '.join(LINKS)}")


def build(directory: Path) -> Path:
    """The file in that directory, and links to it by the names that kubectl looks for."""
    packages = dict(sorted(_contents(closure(_wanted()))))
    start = REPOSITORY / "operator" / "single_file" / "start.py"
    digest = hashlib.sha256()
    for name, file in packages.items():
        digest.update(f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    about = {
        "digest": digest.hexdigest()[:16],
        "compiledFor": compiled_for(),
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
    }
    directory.mkdir(parents=True, exist_ok=True)
    made, partial = directory / "azure-cni", directory / ".azure-cni.partial"
    with partial.open("wb") as whole:
        whole.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
            _add(archive, "__main__.py", start.read_bytes())
            _add(archive, BUILD, json.dumps(about).encode())
            for name, source in packages.items():
                _add(archive, f"{PACKAGES}/{name}", source.read_bytes())
    partial.chmod(0o755)
    partial.replace(made)
    for name in LINKS:
        (directory / name).unlink(missing_ok=True)
        (directory / name).symlink_to(made.name)
    return made


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, LONG_AGO)
    entry.external_attr = 0o644 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, content)


def _wanted() -> list[Requirement]:
    """Of pyproject.toml: what the commands import themselves."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    shared = [one for one in map(Requirement, project["dependencies"]) if one.name in OF_THE_AGENT]
    return [*shared, *map(Requirement, project["optional-dependencies"]["client"])]


def closure(wanted: Iterable[Requirement]) -> dict[str, Distribution]:
    """These and all that they need here, as the lock file has them; BuildError where the environment has others."""
    pins = dict(re.findall(r"^([\w.-]+)==([^\s;\\]+)", LOCK.read_text(), re.MULTILINE))
    found: dict[str, Distribution] = {}
    waiting = list(wanted)
    while waiting:
        need = waiting.pop()
        name = re.sub(r"[-_.]+", "-", need.name).lower()
        if name in found or name in UNUSED:
            continue
        found[name] = one = distribution(name)
        if one.version != pins.get(name):
            raise BuildError(
                f"cannot build: {name} {one.version} is installed, and {LOCK.name} has {pins.get(name)}; run make venv"
            )
        extras = ("", *need.extras)
        waiting += [
            more
            for more in map(Requirement, one.requires or ())
            if more.marker is None or any(more.marker.evaluate({"extra": extra}) for extra in extras)
        ]
    return found


def _contents(distributions: dict[str, Distribution]) -> Iterator[tuple[str, Path]]:
    """Name in the archive, and file: the product's own modules, and those of the distributions with their licences."""
    own = REPOSITORY / "operator"
    yield from ((str(file.relative_to(own)), file) for file in (own / "azure_cni").rglob("*.py"))
    for name, one in distributions.items():
        for file in one.files or ():
            if ".." in file.parts or "__pycache__" in file.parts or file.suffix in {".pyc", ".pyi", ".pth"}:
                continue  # programs, and what Python makes or only a type checker reads
            if LEFT_OUT.match(file.as_posix()) or _is_of_the_installer(file):
                continue
            place = Path(str(one.locate_file(file)))
            if not place.is_file():
                raise BuildError(f"cannot build: {place} of {name} is missing; run make venv")
            yield str(file), place


def _is_of_the_installer(file: PurePath) -> bool:
    return file.parent.suffix == ".dist-info" and file.name in OF_THE_INSTALLER


if __name__ == "__main__":
    main()
