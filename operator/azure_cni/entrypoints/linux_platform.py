"""An agent's node on Linux: the kernel by netlink, sockets in /run, signals, and directories that are mounted.

What is in /run is of this boot, so there is nothing to remove at the start; only who may open it is set right. The
container sees the node's directories by mounts, which stay on a directory when the node replaces it: see `host.files`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from azure_cni.entrypoints.cni_service import UnixSockets, directories_of
from azure_cni.entrypoints.host_settings import HostSettings
from azure_cni.entrypoints.running import stop_on_signals
from azure_cni.host.run_directory import make_private
from azure_cni.linux.clock import SystemClock
from azure_cni.linux.datapath import LinuxDatapath
from azure_cni.node.installation import Directories


class LinuxPlatform:
    """Implements `AgentPlatform`."""

    def __init__(self, host: HostSettings) -> None:
        self._host = host
        self._clock = SystemClock()
        self._datapath = LinuxDatapath(sysctls=host.sysctls, processes=host.processes, link_names=host.link_names)
        self._door = UnixSockets(host.run_dir)

    @property
    def clock(self) -> SystemClock:
        """See `AgentPlatform`."""
        return self._clock

    @property
    def datapath(self) -> LinuxDatapath:
        """See `AgentPlatform`."""
        return self._datapath

    @property
    def door(self) -> UnixSockets:
        """See `AgentPlatform`."""
        return self._door

    def prepare(self) -> None:
        """See `AgentPlatform`."""
        make_private(self._host.run_dir)

    def directories(self, seen: Sequence[Path]) -> Directories:
        """See `AgentPlatform`."""
        return directories_of(self._host, seen)

    def stop_on_request(self, stop: asyncio.Event) -> None:
        """See `AgentPlatform`."""
        stop_on_signals(stop)

    def ended(self) -> None:
        """Nobody waits to hear it: a runtime that has sent SIGTERM looks whether the process is there.

        It kills it when the pod's time is over.
        """
