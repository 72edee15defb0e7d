"""Make the node's container runtime use azure-cni: the binary first, the conflist last.

With the conflist the node becomes Ready and the runtime sends pods to the binary, so it is written when everything else
is in place. Both files are replaced atomically, because the runtime may read them at any moment.

Which versions of the CNI specification another plugin of the node supports is its own answer to VERSION. The program
runs in the agent's container. Whoever can replace it gains nothing by that: the runtime runs the same file on the node
for each pod, as root and with every capability.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from stat import S_IMODE
from typing import Final

import msgspec

from azure_cni.cni.config import NEWEST, PLUGIN
from azure_cni.cni.conflist import ChainedPlugin, delegates
from azure_cni.datapath.conflicts import Conflict, conflists_before
from azure_cni.errors import AzureCniError
from azure_cni.host.files import open_file, replace_file, sweep, sync_directory
from azure_cni.model.text import NOT_JSON

CONFLIST: Final = "10-azure-cni.conflist"
"""Runtimes take the first configuration in the order of names."""

_CONFLIST_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.conflist")


def conflist_name(value: object) -> str:
    """The name of a file in the runtime's directory, and no way out of it. ValueError."""
    if not isinstance(value, str) or not _CONFLIST_NAME.fullmatch(value):
        raise ValueError
    return value


_WINDOWS_ENDING: Final = ".exe"
_CONFIG_ENDINGS: Final = frozenset({".conf", ".conflist", ".json"})  # libcni, ConfFiles
_LARGEST_CONFIG: Final = 1 << 20
_BINARY_MODE: Final = 0o755
_CONFLIST_MODE: Final = 0o644
_MAX_LINKS: Final = 40  # as many as Linux follows (path_resolution(7))


@dataclass(frozen=True, slots=True)
class HostPlugin:
    """Where the node keeps plugins and their configurations, as paths in the agent's mounts.

    `source` is the binary in our image; `modes`: the node's files have modes, which Windows does not keep.
    AzureCniError from every method, with the path and what to look at.
    """

    source: Path
    bin_dir: Path
    conf_dir: Path
    conf_name: str = CONFLIST
    modes: bool = True

    @property
    def binary(self) -> Path:
        """The binary on the node, with the ending that a program of its system has."""
        return self.bin_dir / (PLUGIN + (_WINDOWS_ENDING if self.source.suffix == _WINDOWS_ENDING else ""))

    @property
    def conflist(self) -> Path:
        """Our conflist on the node."""
        return self.conf_dir / self.conf_name

    def install_binary(self) -> bool:
        """Put the binary in place, also over one that runs right now. False when it was there already."""
        with _as_cni_error("install the plugin binary", self.binary, "is the node's directory mounted for writing?"):
            return self._put(self.binary, self.source.read_bytes(), mode=_BINARY_MODE)

    def activate(self, text: str) -> bool:
        """Write the conflist: from here on pods come. False when it was there already."""
        with _as_cni_error("write the conflist", self.conflist, "is the node's directory mounted for writing?"):
            return self._put(self.conflist, text.encode(), mode=_CONFLIST_MODE)

    @property
    def alone(self) -> bool:
        """Whether the node has no configuration but ours, or none. OSError."""
        return not self.conf_dir.exists() or set(self._configurations()) <= {self.conf_name}

    def withdraw(self) -> bool:
        """Remove the conflist: no pods until it is written again. False when there is none, and when it must stay.

        It stays when there are other configurations: the runtime would wire pods with the next one.
        """
        with _as_cni_error("remove the conflist", self.conflist, "is the node's directory mounted for writing?"):
            if not self.conflist.exists() or self._configurations() != [self.conf_name]:
                return False
            self.conflist.unlink()
            sync_directory(self.conf_dir)
        return True

    def missing(self, plugin: ChainedPlugin) -> str:
        """The message about another plugin that our conflist names and the node lacks; "" when it is there.

        Also "" where a link leads out of the directory (`unseen`): the agent cannot see whether that is missing.
        """
        path = self.bin_dir / plugin.name
        with _as_cni_error("look for", path, "is the node's directory mounted, and root's?"):
            found = self._followed(path)
            if found is None or found.is_file():
                return ""
        return (
            f"the plugin {plugin.name} is missing in {self.bin_dir} and no pod can start without it: install "
            f"{plugin.origin}, or set {plugin.unchain}"
        )

    def unseen(self, plugin: str) -> str:
        """The message about a plugin that is a link to where the agent cannot look; "" for any other."""
        path = self.bin_dir / plugin
        with _as_cni_error("look for", path, "is the node's directory mounted, and root's?"):
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
        """What identifies the program of this name, with links followed; None when it is not there."""
        return _identity((self.bin_dir / plugin).resolve())

    async def versions_of(self, plugin: str) -> frozenset[str]:
        """Which versions of the CNI specification another plugin supports (`supported_versions`)."""
        return await supported_versions(self.bin_dir / plugin)

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
        """Configurations that sort before ours, so that the runtime uses them and not us. AzureCniError.

        Where Multus' is the first and delegates to us, pods get our addresses, whatever comes after it.
        """
        return self._rivals()[0]

    def _rivals(self) -> tuple[tuple[str, ...], bool]:
        """`rivals`, and whether Multus' configuration is the first of them."""
        with _as_cni_error("list", self.conf_dir, "is the node's directory mounted?"):
            before = tuple(name for name in self._configurations() if name < self.conf_name)
        to_us = self._delegates(before[0]) if before else None
        return () if to_us else before, to_us is not None

    def _delegates(self, name: str) -> bool | None:
        """Whether it is Multus', and delegates to us; None for any other, and where it cannot be read."""
        try:
            with open_file(self.conf_dir / name) as file:
                return delegates(file.read(_LARGEST_CONFIG), conf_name=self.conf_name)
        except OSError:
            return None

    def conflicts(self) -> tuple[Conflict, ...]:
        """The conflict with configurations that sort before ours; none when there are none. AzureCniError."""
        rivals, multus = self._rivals()
        return conflists_before(rivals, directory=str(self.conf_dir), ours=self.conf_name, multus=multus)

    def _put(self, path: Path, content: bytes, *, mode: int) -> bool:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        sweep(path)
        if (
            path.is_file()
            and not path.is_symlink()
            and (not self.modes or S_IMODE(path.stat().st_mode) == mode)
            and path.read_bytes() == content
        ):
            return False
        replace_file(path, content, mode=mode)
        return True

    def _configurations(self) -> list[str]:
        """What a runtime sees in the directory, in its order."""
        return sorted(path.name for path in self.conf_dir.iterdir() if path.suffix in _CONFIG_ENDINGS)


def _identity(path: Path) -> tuple[int, ...] | None:
    """What identifies a file, or a link itself, among successive files of one name."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@contextmanager
def _as_cni_error(what: str, path: Path, advice: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = f"{error.strerror} ({error.filename})" if error.filename not in {None, str(path)} else error.strerror
        raise AzureCniError(f"cannot {what} {path}: {why}; {advice}") from error


VERSION_ANSWER_S: Final = 5.0
"""VERSION reads nothing but its input; a reference plugin answers in milliseconds."""


class _Answer(msgspec.Struct):
    supportedVersions: frozenset[str]  # noqa: N815  # the specification's spelling


async def supported_versions(program: Path, *, answer_s: float = VERSION_ANSWER_S) -> frozenset[str]:
    """What the plugin answers to VERSION. AzureCniError when it cannot be run here, or does not answer in time."""
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={"CNI_COMMAND": "VERSION"},
        )
        try:
            async with asyncio.timeout(answer_s):
                output, _ = await process.communicate(msgspec.json.encode({"cniVersion": NEWEST}))
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    except TimeoutError:
        raise AzureCniError(f"cannot ask {program} for its versions: no answer within {answer_s:.0f} s") from None
    except OSError as error:
        raise AzureCniError(f"cannot ask {program} for its versions: {error.strerror}") from error
    return versions_in(output, program)


def versions_in(output: bytes, program: Path) -> frozenset[str]:
    """The versions in an answer to VERSION. AzureCniError when it is none."""
    try:
        return msgspec.json.decode(output, type=_Answer).supportedVersions
    except NOT_JSON as error:
        raise AzureCniError(f"cannot ask {program} for its versions: it answers {output[:80]!r} ({error})") from error
