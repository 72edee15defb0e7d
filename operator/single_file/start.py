"""What runs first in the one file (as its `__main__.py`): the packages are unpacked once, and the command line begins.

Compiled modules cannot be loaded from an archive, so all packages go to a directory of the user's cache, named by a
hash of what is in it: another file has another directory. It appears under its name only when it is whole, belongs to
the user, and may be deleted at any time. Where there is no such place, the packages last as long as the command.

It has to say in words what is wrong also on a Python that is too old, so nothing here is newer than Python 3.7.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import sys
import tempfile
import zipfile
import zipimport
from importlib.machinery import EXTENSION_SUFFIXES

BUILD = "build.json"
PACKAGES = "packages"
COMPLETION = "kubectl_complete-"
"""So begins the name by which kubectl asks what to complete."""
HANDED_OVER = "AZURE_CNI_HANDED_OVER"
"""Set for the Python that another one found, which looks for no third one."""


def compiled_for() -> str:
    """For which Python, system and processor modules are compiled that load here."""
    machine = os.uname().machine if hasattr(os, "uname") else os.environ.get("PROCESSOR_ARCHITECTURE", "")
    return f"{EXTENSION_SUFFIXES[0]} {machine}"


def main() -> None:
    """Unpack where needed, and run."""
    archive = os.path.dirname(os.path.abspath(__file__))
    build = json.loads(zipimport.zipimporter(archive).get_data(os.path.join(archive, BUILD)).decode())
    if build["compiledFor"] != compiled_for():
        hand_over(archive, build)
    sys.path[0] = os.path.join(unpacked(archive, build["digest"]), PACKAGES)
    from azure_cni.entrypoints import cli

    if os.path.basename(sys.argv[0]).startswith(COMPLETION):
        cli.complete_for_kubectl()
    else:
        cli.main()


def hand_over(archive: str, build: dict[str, str]) -> None:
    """To the Python that the file was built for, where this machine has it. Ends the process."""
    name = f"python{build['python']}"
    other = shutil.which(name)
    if other and not os.environ.get(HANDED_OVER):
        os.environ[HANDED_OVER] = "1"
        os.execv(other, [other, archive, *sys.argv[1:]])  # noqa: S606
    sys.stderr.write(
        f"azure-cni: cannot start: this file is for Python {build['python']} ({build['compiledFor']}), and "
        f"{sys.executable} is {sys.version.split()[0]} ({compiled_for()}); install {name}, or the wheel\n"
    )
    sys.exit(2)


def unpacked(archive: str, digest: str) -> str:
    """The directory with what is in the archive."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    root = os.path.join(home, "azure-cni")
    target = os.path.join(root, digest)
    sys.dont_write_bytecode = False  # here is what PYTHONDONTWRITEBYTECODE protects others from: a cache
    if _is_own(root) and _is_own(target):
        return target
    try:
        os.makedirs(root, mode=0o700, exist_ok=True)
        if not _is_own(root):
            raise PermissionError(root)
        partial = tempfile.mkdtemp(prefix=".partial-", dir=root)
    except OSError:
        return _extracted(archive, _for_now())
    try:
        _extracted(archive, partial)
        os.rename(partial, target)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if not (isinstance(error, OSError) and _is_own(target)):  # else another command was first
            raise
    return target


def _for_now() -> str:
    """A directory that goes with the process."""
    directory = tempfile.mkdtemp(prefix="azure-cni-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


def _is_own(directory: str) -> bool:
    """Whoever else could write there could have this user run anything."""
    with contextlib.suppress(OSError):
        found = os.lstat(directory)
        return os.path.isdir(directory) and found.st_uid == os.geteuid() and not found.st_mode & 0o022
    return False


def _extracted(archive: str, directory: str) -> str:
    if sys.stderr.isatty():
        sys.stderr.write(f"azure-cni: unpacking, this once, to {os.path.dirname(directory)}\n")
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(directory, [name for name in packed.namelist() if name.startswith(f"{PACKAGES}/")])
    return directory


if __name__ == "__main__":
    main()
