"""The mark that an agent has served pods since the node booted: an empty file beside the socket.

The binary looks for it when no agent answers a STATUS (plugin.go): an agent that restarts must not make the node
NotReady. A reboot clears the directory; where it does not, the first agent after the boot removes the mark.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from azure_cni.errors import AzureCniError

MARK: Final = "served"


class ServedMark:
    """The mark in the agent's directory under /run. AzureCniError from both methods."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / MARK

    def set(self) -> None:
        """From here on the node stays Ready while its agent is away."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path.touch(mode=0o600)
        except OSError as error:
            raise AzureCniError(f"cannot write {self._path}: {error.strerror}; is it the node's?") from error

    def clear(self) -> None:
        """No pod can start here yet."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise AzureCniError(f"cannot remove {self._path}: {error.strerror}; is it the node's?") from error
