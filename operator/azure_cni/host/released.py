"""DELs that came while no agent answered: the binary wrote each as a file, the agent carries them out when it is back.

A record is the body of the DEL that was not answered, named by its sandbox. One that makes no sense is moved aside,
and stays where it is if that fails, too: it must neither be lost in silence nor stand in the way of others.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from azure_cni.cni.wire import Delete, decode
from azure_cni.errors import AzureCniError, DecodeFailed, RequestError
from azure_cni.node.ports import Record, Records

_BAD: Final = "bad"
_MAX_NAMES: Final = 20_000
"""Of one look. The binary keeps to 4096; an older one wrote without a limit."""
_MAX_BYTES: Final = 1 << 20  # of a body; a DEL is about one thousand


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
                bad.append(f"cannot read the release {path}: {error.strerror}; it stays, and is tried again")
        return Records(tuple(pending), tuple(bad))

    def acknowledge(self, record: Record) -> None:
        """The sandbox is detached: forget the record. Never before that, or a crash would leak its address."""
        try:
            (self._directory / record.name).unlink(missing_ok=True)
        except OSError as error:
            raise AzureCniError(f"cannot remove the release {record.name}: {error}") from error

    def _set_aside(self, path: Path, error: RequestError) -> str:
        aside = self._directory / _BAD / path.name
        try:
            aside.parent.mkdir(mode=0o700, exist_ok=True)
            path.replace(aside)
        except OSError as refused:
            return f"cannot carry out the release {path}: {error} (nor move it to {aside.parent}: {refused.strerror})"
        return f"cannot carry out the release {path.name}, moved to {aside}: {error}"


def _record(path: Path) -> Record:
    if not stat.S_ISREG(path.stat().st_mode):
        raise DecodeFailed("cannot read the del request: it is not a file")
    with path.open("rb") as file:
        body = file.read(_MAX_BYTES + 1)
    if len(body) > _MAX_BYTES:
        raise DecodeFailed(f"cannot read the del request: it has more than {_MAX_BYTES} bytes")
    request = decode("del", body)
    if not isinstance(request, Delete):
        raise TypeError(f"a del request was read as {request}")
    return Record(request.sandbox, path.name)
