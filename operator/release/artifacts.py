"""What a release consists of, each built from a directory of sources into a folder, alike at any time and place.

All times in what is built are SOURCE_DATE_EPOCH. What the tools would not build alike is put right here: helm stamps
the files of a chart with the time of the day. What a build depends on beside the sources is in the provenance: the
versions of Python, Go, zlib and helm.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import yaml

from release import artifact_hub, changelog
from release.sources import EPOCH
from release.versions import ReleaseError

SUMS: Final = "SHA256SUMS"
SIGN_KEY: Final = "operator/release/sign-key.yaml"
"""Where whoever signs charts writes the `fingerprint` and the `url` of their public key; it is part of the sources, so
that a rebuild has it."""
CNI_TARGETS: Final = (("linux", "amd64"), ("linux", "arm64"))


def run(source: Path, at: int, *command: str | Path, **variables: str) -> str:
    """Run a program of the sources, in their directory and with their modules; what it prints.

    Raises:
        ReleaseError: it failed.

    """
    path = os.pathsep.join(str(source / name) for name in ("operator", "e2e"))
    environment = os.environ | {EPOCH: str(at), "PYTHONPATH": path, "PYTHONHASHSEED": "0"} | variables
    words = list(map(str, command))
    done = subprocess.run(words, cwd=source, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReleaseError(f"cannot release: {' '.join(words)} failed:\n{done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def wheel(source: Path, target: Path, at: int, *, offline: bool = False) -> None:
    """The command line as a wheel. hatchling itself goes by SOURCE_DATE_EPOCH."""
    uv = Path(sysconfig.get_path("scripts")) / "uv"
    pinned = ("--build-constraints", "requirements/build.txt", "--require-hashes")
    run(source, at, uv, "build", "-q", "--wheel", *(["--offline"] if offline else pinned), "-o", target, ".")
    (target / ".gitignore").unlink(missing_ok=True)


def zipapp(source: Path, target: Path, at: int) -> None:
    """The command line as one file, for this machine's Python and processor."""
    run(source, at, sys.executable, "-m", "single_file.build", target)
    for link in target.iterdir():
        if link.is_symlink():
            link.unlink()  # for who builds it for themselves


def plugin(source: Path, target: Path, at: int, version: str) -> None:
    """The CNI binary for each kind of processor."""
    flags = ("-trimpath", "-buildvcs=false", "-ldflags", f"-s -w -X main.version={version}")
    for system, processor in CNI_TARGETS:
        made = target / f"azure-cni-plugin-{system}-{processor}"
        words = ("-C", "operator/cni-plugin", "build", *flags, "-o", str(made), ".")
        setting = {"CGO_ENABLED": "0", "GOOS": system, "GOARCH": processor}
        run(source, at, sys.executable, "-m", "azurebox", "go", *words, **setting)


def chart(source: Path, target: Path, at: int) -> None:
    """The chart's package: as helm makes it, but with one time in it, and Artifact Hub's annotations."""
    key = source / SIGN_KEY
    with tempfile.TemporaryDirectory() as work:
        described = Path(work) / "azure-cni"
        shutil.copytree(source / "charts" / "azure-cni", described)
        file = described / "Chart.yaml"
        definitions = [yaml.safe_load(one.read_text()) for one in sorted((described / "files" / "crds").iterdir())]
        added = artifact_hub.hub_annotations(
            section=changelog.newest((source / "CHANGELOG.md").read_text()),
            chart=yaml.safe_load(file.read_text()),
            values=yaml.safe_load((described / "values.yaml").read_text()),
            definitions=definitions,
            key=yaml.safe_load(key.read_text()) if key.exists() else None,
        )
        file.write_text(artifact_hub.annotated(file.read_text(), added))
        words = ("helm", "package", described, "--destination", work)
        run(source, at, sys.executable, "-m", "azurebox", *words)
        (made,) = Path(work).glob("*.tgz")
        (target / made.name).write_bytes(timeless(made.read_bytes(), at))


def timeless(packed: bytes, at: int) -> bytes:
    """A .tgz with the same files, in order of their names, all of one time and owner."""
    unpacked, repacked = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as old:
        files = sorted(((one.name, one, old.extractfile(one)) for one in old if one.isfile()), key=lambda one: one[0])
        with tarfile.open(fileobj=unpacked, mode="w", format=tarfile.USTAR_FORMAT) as new:
            for name, member, content in files:
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode, entry.mtime = member.size, 0o644, at
                new.addfile(entry, content)
    with gzip.GzipFile(fileobj=repacked, mode="wb", mtime=at, filename="") as whole:
        whole.write(unpacked.getvalue())
    return repacked.getvalue()


def debian_package(source: Path, target: Path, at: int) -> None:
    """The Debian package of `azure-cni docker`, for this machine's processor."""
    run(
        source, at, sys.executable, "-m", "debian_package.build", "--output", target, "--work", source / "build" / "deb"
    )


def archive(source: Path, target: Path, at: int, version: str) -> None:
    """The sources themselves, as they are in the commit."""
    prefix = f"azure-cni-{version}"
    made = target / f"{prefix}-source.tar"
    run(source, at, "git", "archive", "--format=tar", f"--prefix={prefix}/", "--output", made, "HEAD")
    made.with_suffix(".tar.gz").write_bytes(gzip.compress(made.read_bytes(), mtime=at))
    made.unlink()


def sums(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file of a folder by its path there, in order; without the list itself."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != SUMS)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def write_sums(folder: Path) -> None:
    """The list, for `sha256sum --check`."""
    (folder / SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in sums(folder).items()))


def differing(listed: str, folder: Path, *, apart: Callable[[str], bool] = lambda _: False) -> list[str]:
    """The names of files that a folder has otherwise than a list's text says, or that only one of the two has.

    `apart`: of a file that need not be listed.
    """
    wanted = dict(line.split("  ", 1)[::-1] for line in listed.splitlines())
    found = {name: digest for name, digest in sums(folder).items() if name in wanted or not apart(name)}
    return sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))


def build(target: Path, steps: Mapping[str, Callable[[Path], None]], say: Callable[[str], None]) -> None:
    """Take these steps, each of which puts something into the folder; it appears under its name when it is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.parent / f".{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    partial.chmod(0o755)
    for name, step in steps.items():
        say(name)
        step(partial)
    write_sums(partial)
    partial.replace(target)
