"""What an agent has of the operating system of its node. Linux and Windows have a module each, and share no adapter.

Neither loads the other's, nor what that needs: pyroute2 and `fcntl` on Linux, the libraries of Windows there. Which one
an agent gets is decided here, once, by the system that it runs on. A test decides otherwise, and so runs the agent of a
Windows node, with a stand-in for HNS, on Linux.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from azure_cni.cni.systems import LINUX, WINDOWS, NodeSystem
from azure_cni.entrypoints.cni_service import RuntimeDoor
from azure_cni.entrypoints.host_settings import HostSettings
from azure_cni.node.installation import Directories
from azure_cni.node.ports import Clock, Datapath


class NodeDatapath(Datapath, Protocol):
    """The data plane as its process has it."""

    @property
    def busy_s(self) -> float:
        """For how long it has been at one thing; 0 while it is at none."""

    async def close(self) -> None:
        """End what it runs. Sandboxes stay as they are."""


class AgentPlatform(Protocol):
    """One node's. Built on the running loop."""

    @property
    def clock(self) -> Clock:
        """That of the node: it outlives the agent, and starts again with a reboot."""

    @property
    def datapath(self) -> NodeDatapath:
        """What wires sandboxes."""

    @property
    def door(self) -> RuntimeDoor:
        """Where the binary asks."""

    def prepare(self) -> None:
        """Have a directory for what is written down of pods, for nobody but administrators, and with nothing in it that
        is older than the boot. AzureCniError.
        """

    def directories(self, seen: Sequence[Path]) -> Directories:
        """Whether `seen`, and those where the runtime looks, are still the node's own."""

    def stop_on_request(self, stop: asyncio.Event) -> None:
        """Set `stop` when the process is asked to end."""

    def ended(self) -> None:
        """The process has ended in order, but for its last line."""


def this_system() -> NodeSystem:
    """The one that this process runs on."""
    return WINDOWS if sys.platform == "win32" else LINUX


def this_platform(host: HostSettings) -> AgentPlatform:
    """That of the node that this process runs on. AzureCniError where it lacks what an agent needs."""
    if this_system() is WINDOWS:
        from azure_cni.entrypoints.windows_platform import WindowsPlatform
        from azure_cni.windows.libraries import load_libraries

        return WindowsPlatform(host, load_libraries())
    from azure_cni.entrypoints.linux_platform import LinuxPlatform

    return LinuxPlatform(host)
