"""The paths among the settings of `azure-cni docker`: what a reboot empties, what it does not, and Docker's sockets."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from azure_cni.entrypoints.toml_values import TomlValues, only
from azure_cni.host.docker_engine import STANDARD_SOCKET

SUFFIX: Final = ".sock"
"""Docker looks for plugins by this ending."""
LONGEST_SOCKET_PATH: Final = 107
"""Bytes: `sun_path` of unix(7) without its end."""
OWN_PARTS: Final = 3
"""Of the path of a directory that is the plugin's alone, at least: /, run, azure-cni."""
SHARED: Final = {
    "/etc": "cni docker systemd",
    "/opt": "cni",
    "/run": "containerd crio dbus docker lock log netns podman systemd udev user",
    "/usr": "bin lib local sbin share",
    "/var": "cache lib lock log mail opt spool tmp",
    "/var/lib": "cni containerd containers docker dpkg kubelet systemd",
}
"""Directories that others use, and that one might name by mistake, by where they are."""
LASTING: Final = ("/boot", "/etc", "/home", "/opt", "/root", "/srv", "/usr", "/var")
"""What is below outlives a reboot. A ledger that does so names containers that are gone, by times of another boot."""
FLEETING: Final = ("/dev", "/run")
"""What is below does not, and Docker's networks, which do, would not be known any more."""


def directories(values: TomlValues) -> tuple[Path, Path]:
    """What a reboot empties, and what it does not."""
    run_dir = _own_directory(values, "docker.runDirectory", "/run/azure-cni")
    state_dir = _own_directory(values, "docker.stateDirectory", "/var/lib/azure-cni")
    if _is_below(run_dir, LASTING):
        values.fault("docker.runDirectory", "a reboot must empty it; write a directory below /run")
    if _is_below(state_dir, FLEETING):
        values.fault("docker.stateDirectory", "a reboot empties it; write one that lasts, such as /var/lib/azure-cni")
    if _plain(run_dir) == _plain(state_dir):
        values.fault("docker.stateDirectory", "it is docker.runDirectory, which a reboot empties; write another one")
    return run_dir, state_dir


def _is_below(path: Path, roots: Collection[str]) -> bool:
    return any(_plain(path).is_relative_to(root) for root in roots)


def _own_directory(values: TomlValues, name: str, default: str) -> Path:
    """One that the plugin may close to everybody but root."""
    path = values.path(name, default)
    plain = _plain(path)
    if len(plain.parts) < OWN_PARTS or plain.name in SHARED.get(str(plain.parent), "").split():
        values.fault(name, f"others use it; write a directory of the plugin's own, such as {default}")
    return path


def _plain(path: Path) -> Path:
    """Without the detours that a path may take: `..`, and the link /var/run."""
    text = os.path.normpath(path)
    return Path(text.removeprefix("/var") if text.startswith("/var/run/") or text == "/var/run" else text)


def plugin_socket(values: TomlValues, *, engine: Path | None, run_dir: Path) -> Path:
    """A place for it where Docker looks, and where nothing else is."""
    path = values.path("docker.socket", "/run/docker/plugins/azure-cni.sock")
    if _plain(path).suffix != SUFFIX or _plain(path).parent == _plain(run_dir):
        values.fault(
            "docker.socket", f"write the path of a file {SUFFIX} in a directory of sockets, /run/docker/plugins"
        )
    if len(bytes(path)) > LONGEST_SOCKET_PATH:
        values.fault("docker.socket", f"the kernel takes at most {LONGEST_SOCKET_PATH} bytes; write a shorter path")
    if _plain(path) in {_plain(one) for one in (engine, STANDARD_SOCKET) if one is not None}:
        values.fault("docker.socket", "Docker itself listens there; write a path of its own in /run/docker/plugins")
    return path


def file_path(values: TomlValues, name: str, default: str) -> str:
    """A path that may be left out."""

    def parse(value: Any) -> str:
        text: str = only(str)(value)
        if text and (not Path(text).is_absolute() or "\0" in text):
            raise ValueError
        return text

    return values.take(name, default, 'an absolute path, or "" for none', parse)
