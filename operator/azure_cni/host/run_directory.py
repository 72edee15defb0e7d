"""The agent's directory under /run: who may open it, and what the CNI binary and the agent leave each other there.

The kubelet makes it with mode 0755, and releases before this one left files in it that everybody could read. Who can
open the ledger can also lock it, and a locked ledger keeps the next agent from starting. So every start sets the modes.

The binary records each DEL that came while no agent answered in a file of its own, and the agent carries it out later.
A record is the body of the unanswered DEL, named by its sandbox. A malformed one is moved aside, or stays where it is
if that fails: it must neither disappear silently nor block others.

The agent leaves a mark that it has served pods since the node booted: an empty file beside the socket. The binary looks
for it when no agent answers a STATUS (plugin.go): an agent that restarts must not make the node NotReady. A reboot
clears the directory; where it does not, the first agent after the boot removes the mark.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Final

from azure_cni.cni.wire import Delete, decode
from azure_cni.errors import AzureCniError, DecodeFailed, RequestError
from azure_cni.host.files import open_file
from azure_cni.ipam.address_state import Sandbox
from azure_cni.node.recorded_deletes import Record, Records

DIRECTORY_MODE: Final = 0o700
FILE_MODE: Final = 0o600
RECORDS: Final = "released"
"""The directory of recorded DELs; its files are made with mode 0600 by the binary."""
MARK: Final = "served"
OURS: Final = ("ledger.sqlite*", "pool.json", "cni.sock", "netns.sock", RECORDS, MARK)
"""What the agent and the plugin of Docker keep there, by patterns of names."""


def make_private(directory: Path) -> None:
    """Make it if need be, and take it and what is ours in it from everybody but root. AzureCniError.

    Other files are left alone: somebody may have named a directory that is not ours only.
    """
    try:
        directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        directory.chmod(DIRECTORY_MODE)  # first: from here on nobody else reaches what is in it
        for path in directory.iterdir():
            if any(fnmatchcase(path.name, name) for name in OURS):
                _restrict(path)
        records = directory / RECORDS
        if not records.is_symlink():
            _restrict(records / "bad")
    except OSError as error:
        raise AzureCniError(
            f"cannot set the mode of {error.filename or directory}: {error.strerror}; is {directory} the node's, and "
            "does the agent run as root?"
        ) from error


def forget_pods(directory: Path) -> None:
    """Remove what says something about pods, before anything in it is opened. AzureCniError.

    For a directory that outlives a reboot, which no pod does. What fails halfway is done by the next agent.
    """
    try:
        for path in directory.glob("ledger.sqlite*"):
            path.unlink(missing_ok=True)
        for path in (directory / RECORDS).glob("*.json"):
            path.unlink(missing_ok=True)
        (directory / MARK).unlink(missing_ok=True)
    except OSError as error:
        raise AzureCniError(
            f"cannot remove {error.filename or directory}, which is of before the reboot: {error.strerror}; does "
            "another agent run, or another program have it open?"
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


_BAD: Final = "bad"
_MAX_NAMES: Final = 20_000
"""Of one look. The binary keeps to 4096; an older one wrote without a limit."""
_MAX_BYTES: Final = 1 << 20  # of a body; a DEL is about one thousand

_FNV_OFFSET: Final = 0x6C62272E07BB014262B821756295C58D
_FNV_PRIME: Final = (1 << 88) + 0x13B
_FNV_MASK: Final = (1 << 128) - 1


class Released:
    """The directory of records. AzureCniError when it cannot be read or changed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def names(self) -> tuple[str, ...]:
        """The names of the records, sorted; none where the directory does not exist (yet). At most `_MAX_NAMES`."""
        try:
            with os.scandir(self._directory) as entries:
                found = (entry.name for entry in entries)
                records = (name for name in found if name.endswith(".json") and not name.startswith("."))
                return tuple(sorted(islice(records, _MAX_NAMES)))
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise AzureCniError(
                f"cannot read the releases in {self._directory}: {error.strerror}; pods that end while no agent "
                "answers cannot end until this is a directory that root can read and write"
            ) from error

    def read(self, names: Sequence[str]) -> Records:
        """The records of those names, in their order."""
        pending: list[Record] = []
        bad: list[str] = []
        for path in (self._directory / name for name in names):
            try:
                pending.append(_record(path))
            except FileNotFoundError:  # a repeated DEL replaced it, or another hand removed it
                continue
            except RequestError as error:
                bad.append(self._set_aside(path, error))
            except OSError as error:
                bad.append(f"cannot read the release {path}: {error.strerror}; it stays and is retried")
        return Records(tuple(pending), tuple(bad))

    def name_of(self, sandbox: Sandbox) -> str:
        """As the binary names it (record.go): the FNV-1a hash, 128 bits, of what names the sandbox."""
        network, container_id, ifname = sandbox
        digest = _FNV_OFFSET
        for byte in f"{network}/{container_id}/{ifname}".encode():
            digest = (digest ^ byte) * _FNV_PRIME & _FNV_MASK
        return f"{digest:032x}.json"

    def has(self, name: str) -> bool:
        """See `ReleasedRecords`."""
        return os.path.lexists(f"{self._directory}/{name}")

    def acknowledge(self, record: Record) -> None:
        """The sandbox is detached: forget the record. Never before that, or a crash would leak its address."""
        try:
            (self._directory / record.name).unlink(missing_ok=True)
        except OSError as error:
            raise AzureCniError(f"cannot remove the release {record.name}: {error}") from error

    def _set_aside(self, path: Path, error: RequestError) -> str:
        aside = self._directory / _BAD / path.name
        try:
            if aside.parent.is_symlink():  # what it leads to is somebody else's
                raise NotADirectoryError(errno.ENOTDIR, "it is a link")
            aside.parent.mkdir(mode=0o700, exist_ok=True)
            path.replace(aside)
        except OSError as refused:
            return f"cannot carry out the release {path}: {error} (nor move it to {aside.parent}: {refused.strerror})"
        return f"cannot carry out the release {path.name}, moved to {aside}: {error}"


def _record(path: Path) -> Record:
    if not stat.S_ISREG(path.stat().st_mode):
        raise DecodeFailed("cannot read the del request: it is not a file")
    with open_file(path) as file:  # what stands there now may be another thing than a moment ago
        body = file.read(_MAX_BYTES + 1)
    if len(body) > _MAX_BYTES:
        raise DecodeFailed(f"cannot read the del request: it has more than {_MAX_BYTES} bytes")
    request = decode("del", body)
    if not isinstance(request, Delete):
        raise TypeError(f"a del request was read as {request}")
    return Record(request.sandbox, path.name)


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
