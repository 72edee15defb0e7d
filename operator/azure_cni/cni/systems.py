"""What the operating systems of nodes call things that a runtime and a conflist name. Pure.

The rules are data, chosen by whoever wires the agent, and never by the system that this code runs on: so both are
tried everywhere, and a record that was written on one is read on the other.

A Linux runtime names a network namespace by a path. A Windows one names it by the GUID of a namespace of HNS, the
Windows service that networks containers. The agent's socket is a Unix socket there and a named pipe here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Naming:
    """How one kind of name must look: a pattern, the greatest length in bytes, and the rule as words."""

    pattern: re.Pattern[str]
    longest: int
    words: str

    def allows(self, name: str) -> bool:
        """Whether something may have this name."""
        return len(name.encode(errors="replace")) <= self.longest and self.pattern.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class NodeSystem:
    """One operating system. `socket`: where the agent listens; `default_socket`: unless the conflist says otherwise.
    `directory`: where agent and binary leave each other files.

    `bin_dir`, `conf_dir` and `run_dir` are where a node has plugins, conflists and those files, unless settings say
    otherwise, and `plugin` where the agent's image has the binary. `has_portmap`: the reference plugins run there, and
    portmap gives pods their host ports. `has_modes`: files keep who may read and run them as a mode. `capabilities`:
    what a runtime asks the plugin itself to do for a pod there, as CNI's conventions name it.
    """

    netns: Naming
    socket: Naming
    directory: Naming
    default_socket: str
    bin_dir: str
    conf_dir: str
    run_dir: str
    plugin: str
    has_portmap: bool
    has_modes: bool
    capabilities: tuple[str, ...]


_GUID = "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"

_ABSOLUTE = re.compile("/.*", re.DOTALL)

LINUX: Final = NodeSystem(
    netns=Naming(_ABSOLUTE, 4095, "it must be the path of a network namespace"),  # PATH_MAX - 1 (limits.h)
    socket=Naming(_ABSOLUTE, 107, "is not an absolute path of at most 107 bytes"),  # sun_path without its end (unix(7))
    directory=Naming(_ABSOLUTE, 4095, "is not an absolute path"),
    default_socket="/run/azure-cni/cni.sock",
    bin_dir="/opt/cni/bin",
    conf_dir="/etc/cni/net.d",
    run_dir="/run/azure-cni",
    plugin="/usr/libexec/azure-cni/azure-cni",
    has_portmap=True,
    has_modes=True,
    capabilities=(),
)

WINDOWS: Final = NodeSystem(
    netns=Naming(re.compile(_GUID), 36, "it must be the GUID of a network namespace"),
    # Microsoft documentation, CreateNamedPipe: 256 characters in all, and no backslash in the pipe's name. Those under
    # ProtectedPrefix\Administrators are the exception, and only administrators can make one there.
    socket=Naming(
        re.compile(r"\\\\\.\\pipe\\(?:ProtectedPrefix\\Administrators\\)?[^\\]+"),
        256,
        r"is not the name of a pipe (\\.\pipe\NAME) of at most 256 characters",
    ),
    # Microsoft documentation, "Maximum Path Length Limitation": a directory leaves room for the name of a file.
    directory=Naming(re.compile(r"[A-Za-z]:\\.*"), 247, "is not an absolute path of at most 247 characters"),
    default_socket=r"\\.\pipe\ProtectedPrefix\Administrators\azure-cni",
    # containerd's own defaults there (its documentation, cri/config.md).
    bin_dir=r"C:\Program Files\containerd\cni\bin",
    conf_dir=r"C:\Program Files\containerd\cni\conf",
    run_dir=r"C:\ProgramData\azure-cni",
    plugin=r"C:\hpc\azure-cni\azure-cni.exe",
    has_portmap=False,
    has_modes=False,
    capabilities=("dns", "portMappings"),
)
