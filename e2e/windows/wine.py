"""Wine: what runs programs for Windows here. Which packages bring it, how they are called, and what a path is there.

All that a node has is in a directory of its own, the prefix: the registry and drive C:. Its programs talk by one
process, the wineserver, which also holds what is in memory alone: keys of the registry that a reboot clears, and pipes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

PACKAGES: Final = {"wine": "wine", "wineserver": "wine64", "x86_64-w64-mingw32-gcc": "gcc-mingw-w64-x86-64"}
"""By command. Of Debian; only amd64 has them."""

RUN: Final = ("setarch", "--addr-no-randomize", "wine")
"""Begins the command of each program. Linux puts a program's heap somewhere in the gigabyte after it; where that is
address 0x7ffe0000, which Windows has for itself, Wine 8 cannot start: about once in thousands of calls.
"""

ERRORS: Final = "-all,err+all"
"""A value of WINEDEBUG: Wine says what failed in it. Otherwise it says nothing."""

_NOT_LOADED: Final = "mscoree=;mshtml=;winemenubuilder.exe="
"""What Wine would ask to download, and what would put entries into menus."""

_FROM_HERE: Final = ("PATH", "LANG", "TMPDIR")


def environment(prefix: Path, **more: str) -> Mapping[str, str]:
    """For programs of that prefix. Nothing else of this process' environment reaches them."""
    kept = {name: os.environ[name] for name in _FROM_HERE if name in os.environ}
    return kept | {
        "HOME": str(prefix),
        "WINEPREFIX": str(prefix),
        "WINEARCH": "win64",
        "WINEDEBUG": "-all",
        "WINEDLLOVERRIDES": _NOT_LOADED,
        **more,
    }


def windows_path(path: Path) -> str:
    """Of a file of this machine, as programs for Windows name it: Wine shows them `/` as drive Z:."""
    return "Z:" + str(path.resolve()).replace("/", "\\")


def file_of(prefix: Path, name: str) -> Path:
    """The file that programs of a prefix call `name`, which is on drive C:."""
    drive, _, rest = name.partition("\\")
    if drive != "C:":
        raise ValueError(f"cannot find {name}: it is not on drive C:")
    return prefix / "drive_c" / rest.replace("\\", "/")
