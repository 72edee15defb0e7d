"""Making the node's container runtime use us: the binary first, the conflist last.

A conflist is a promise: with it the node turns Ready and pods are sent to the binary. So it is written once all else
stands. Both files are replaced whole; the runtime may read at any moment.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from stat import S_IMODE
from typing import Final

from azure_cni.cni.config import PLUGIN
from azure_cni.errors import AzureCniError
from azure_cni.host.files import replace_file, sync_directory

CONFLIST: Final = "10-azure-cni.conflist"
"""Runtimes take the first configuration in the order of names."""

_CONFIG_ENDINGS: Final = frozenset({".conf", ".conflist", ".json"})  # libcni, ConfFiles
_BINARY_MODE: Final = 0o755
_CONFLIST_MODE: Final = 0o644
_MAX_LINKS: Final = 40  # as many as Linux follows (path_resolution(7))


@dataclass(frozen=True, slots=True)
class HostPlugin:
    """Where the node keeps plugins and their configurations, as paths in the agent's mounts.

    `source` is the binary in our image. AzureCniError from every method, with the path and what to look at.
    """

    source: Path
    bin_dir: Path
    conf_dir: Path
    conf_name: str = CONFLIST

    @property
    def binary(self) -> Path:
        """The binary on the node."""
        return self.bin_dir / PLUGIN

    @property
    def conflist(self) -> Path:
        """Our conflist on the node."""
        return self.conf_dir / self.conf_name

    def install_binary(self) -> bool:
        """Put the binary in place, also over one that runs right now. False when it was there already."""
        with _told("install the plugin binary", self.binary, "is the node's directory mounted for writing?"):
            return _put(self.binary, self.source.read_bytes(), mode=_BINARY_MODE)

    def activate(self, text: str) -> bool:
        """Write the conflist: from here on pods come. False when it was there already."""
        with _told("write the conflist", self.conflist, "is the node's directory mounted for writing?"):
            return _put(self.conflist, text.encode(), mode=_CONFLIST_MODE)

    @property
    def alone(self) -> bool:
        """Whether the node has no configuration but ours, or none. OSError."""
        return not self.conf_dir.exists() or set(self._configurations()) <= {self.conf_name}

    def withdraw(self) -> bool:
        """Remove the conflist: no pods until it is written again. False when there is none, and where it must stay.

        It stays where others lie beside it: the runtime would wire pods by the next one of them.
        """
        with _told("remove the conflist", self.conflist, "is the node's directory mounted for writing?"):
            if not self.conflist.exists() or self._configurations() != [self.conf_name]:
                return False
            self.conflist.unlink()
            sync_directory(self.conf_dir)
        return True

    def missing(self, plugin: str) -> str:
        """Words about another plugin that our conflist names and the node has not; "" when it is there.

        Also "" where a link leads out of the directory (`unseen`): what nobody here can see is not called missing.
        """
        path = self.bin_dir / plugin
        with _told("look for", path, "is the node's directory mounted, and root's?"):
            found = self._followed(path)
            if found is None or found.is_file():
                return ""
        return (
            f"the plugin {plugin} is missing in {self.bin_dir} and no pod can start without it: install the reference "
            f"CNI plugins (Debian and Ubuntu: containernetworking-plugins), or set cni.chainPortmap to false"
        )

    def unseen(self, plugin: str) -> str:
        """Words about a plugin that is a link to where the agent cannot look; "" when it is none, or is not there."""
        path = self.bin_dir / plugin
        with _told("look for", path, "is the node's directory mounted, and root's?"):
            if self._followed(path) is not None:
                return ""
            return (
                f"cannot see whether the plugin {plugin} is there: {path} is a link to {path.readlink()}, outside of "
                f"what the agent sees of the node; if it leads nowhere, the events of pods say that {plugin} is missing"
            )

    def signature(self, plugins: Sequence[str]) -> tuple[object, ...]:
        """A value that changes when somebody changes our files, one of these plugins, or the list of configurations.

        Cheap enough for every other second, and never fails: what cannot be read is part of it.
        """
        files = (self.binary, self.conflist, *(self.bin_dir / plugin for plugin in plugins))
        try:
            configurations = tuple(self._configurations())
        except OSError:
            configurations = ()
        return (configurations, *map(_identity, files))

    def identity(self, plugin: str) -> tuple[int, ...] | None:
        """What tells the program of this name, at the end of its links, from another; None when it is not there."""
        return _identity((self.bin_dir / plugin).resolve())

    def _followed(self, path: Path) -> Path | None:
        """Where a link in bin_dir ends; None when it leaves bin_dir, which is all that is mounted. OSError.

        k3s and RKE2 link plugins into their data directory.
        """
        for _ in range(_MAX_LINKS):
            if not path.is_symlink():
                return path
            path = Path(os.path.normpath(path.parent / path.readlink()))
            if path.parent != self.bin_dir:
                return None
        return path

    def rivals(self) -> tuple[str, ...]:
        """Configurations that sort before ours, so that the runtime uses them and not us."""
        with _told("list", self.conf_dir, "is the node's directory mounted?"):
            return tuple(name for name in self._configurations() if name < self.conf_name)

    def warning(self) -> str:
        """Words about the configurations before ours; "" when there is none."""
        rivals = self.rivals()
        if not rivals:
            return ""
        return (
            f"the container runtime uses {self.conf_dir / rivals[0]} and not {self.conf_name}: its name sorts first; "
            f"pods get no address of ours until {' and '.join(rivals)} {'is' if len(rivals) == 1 else 'are'} removed"
        )

    def _configurations(self) -> list[str]:
        """What a runtime sees in the directory, in its order."""
        return sorted(path.name for path in self.conf_dir.iterdir() if path.suffix in _CONFIG_ENDINGS)


def _identity(path: Path) -> tuple[int, ...] | None:
    """What tells a file, or the link that it is, from another one of its name."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _put(path: Path, content: bytes, *, mode: int) -> bool:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    _sweep(path)
    if (
        path.is_file()
        and not path.is_symlink()
        and S_IMODE(path.stat().st_mode) == mode
        and path.read_bytes() == content
    ):
        return False
    replace_file(path, content, mode=mode)
    return True


def _sweep(path: Path) -> None:
    """Remove what an agent left that was killed while it wrote."""
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        leftover.unlink(missing_ok=True)


@contextmanager
def _told(what: str, path: Path, advice: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = f"{error.strerror} ({error.filename})" if error.filename not in {None, str(path)} else error.strerror
        raise AzureCniError(f"cannot {what} {path}: {why}; {advice}") from error
