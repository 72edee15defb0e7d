"""The agent's directory under /run, for root alone.

The kubelet makes it with mode 0755, and releases before this one left files in it that everybody could read. Who can
open the ledger can also lock it, and a locked ledger keeps the next agent from starting: so the modes are set at each
start, whatever they were.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final

from azure_cni.errors import AzureCniError

DIRECTORY_MODE: Final = 0o700
FILE_MODE: Final = 0o600
RECORDS: Final = "released"
"""The directory of recorded DELs; its files are made with mode 0600 by the binary."""


def make_private(directory: Path) -> None:
    """Make it if need be, and take it and what lies in it from everybody but root. AzureCniError."""
    try:
        directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        directory.chmod(DIRECTORY_MODE)  # first: from here on nobody else reaches what is in it
        for path in directory.iterdir():
            _restrict(path)
        for path in (directory / RECORDS, directory / RECORDS / "bad"):
            _restrict(path)
    except OSError as error:
        raise AzureCniError(
            f"cannot set the mode of {error.filename or directory}: {error.strerror}; is {directory} the node's, and "
            "does the agent run as root?"
        ) from error


def _restrict(path: Path) -> None:
    """A link is left alone: what it leads to is not ours."""
    try:
        kind = path.lstat().st_mode
        if stat.S_ISDIR(kind):
            path.chmod(DIRECTORY_MODE)
        elif stat.S_ISREG(kind) or stat.S_ISSOCK(kind):
            path.chmod(FILE_MODE)
    except (FileNotFoundError, NotADirectoryError):  # removed meanwhile, or a file in the place of `released`
        return
