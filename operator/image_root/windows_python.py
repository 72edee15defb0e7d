"""Unpacks a CPython for the image for Windows nodes, and leaves out what no agent loads.

`python3 windows_python.py FROM TO`: FROM is a directory of the Go module go-embed-python for one system. It has a list,
files.json, and the files, most of them compressed. They are builds of python-build-standalone.
"""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

LIST: Final = "files.json"
DIRECTORY_BIT: Final = 1 << 31
"""Of `perm`: fs.ModeDir of Go."""
LEFT_OUT: Final = frozenset({
    "ensurepip", "idlelib", "include", "lib2to3", "libs", "pip", "pydoc_data", "tcl", "test", "tests", "tkinter",
    "turtledemo",
})  # fmt: skip
"""Directories that no process of azure-cni loads anything of, wherever they are."""


def unpack(source: Path, target: Path) -> int:
    """The files of the list, but for those left out; returns how many. ValueError for a path that leads out."""
    count = 0
    for entry in _listed(json.loads((source / LIST).read_text())):
        path = PurePosixPath(entry["name"])
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"cannot unpack {source}: {path} leads out of it")
        if entry["perm"] & DIRECTORY_BIT or any(_is_left_out(part) for part in path.parts[:-1]):
            continue
        _write(source, target / path, entry)
        count += 1
    return count


def _listed(document: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    files: Sequence[Mapping[str, Any]] = document["files"]
    return files


def _is_left_out(part: str) -> bool:
    return part in LEFT_OUT or part.startswith("pip-")


def _write(source: Path, path: Path, entry: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if leads_to := entry.get("symlink"):
        if PurePosixPath(leads_to).name != leads_to:
            raise ValueError(f"cannot unpack {source}: {entry['name']} leads to {leads_to}, in another directory")
        path.symlink_to(leads_to)
        return
    if entry.get("compressed"):
        path.write_bytes(gzip.decompress((source / f"{entry['name']}.gz").read_bytes()))
    else:
        shutil.copyfile(source / entry["name"], path)
    path.chmod(0o755 if entry["perm"] & 0o100 else 0o644)


if __name__ == "__main__":
    taken = unpack(Path(sys.argv[1]), Path(sys.argv[2]))
    print(f"{sys.argv[2]}: {taken} files")
