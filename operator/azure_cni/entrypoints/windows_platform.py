"""An agent's node on Windows: HNS, a named pipe, events of the console. Built and tested against a stand-in, not yet
tried on Windows.

The agent runs in a HostProcess container, which sees the node's own directories, so none of them can be replaced
without its seeing that. Its files outlive a reboot, and pods do not: `windows.boot` says how the first agent after one
knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from azure_cni.cni.systems import WINDOWS
from azure_cni.entrypoints.host_settings import HostSettings
from azure_cni.entrypoints.runtime_pipe import NamedPipe, OpenPipe
from azure_cni.host.run_directory import forget_pods, make_private
from azure_cni.windows.adapter_list import AdapterList
from azure_cni.windows.adapters import Adapters
from azure_cni.windows.boot import BootKey, TickClock
from azure_cni.windows.datapath import HcnDatapath
from azure_cni.windows.libraries import NodeLibraries
from azure_cni.windows.stop import StopEvents


class WindowsPlatform:
    """Implements `AgentPlatform`. `adapters` and `open_pipe`: others than the libraries' and the event loop's."""

    def __init__(
        self,
        host: HostSettings,
        libraries: NodeLibraries,
        *,
        adapters: Adapters | None = None,
        open_pipe: OpenPipe | None = None,
    ) -> None:
        self._host = host
        self._libraries = libraries
        self._boot = BootKey(libraries.advapi32)
        self._clock = TickClock(libraries.kernel32.GetTickCount64)
        nics = adapters or AdapterList(libraries.iphlpapi)
        self._datapath = HcnDatapath(libraries.hcn, nics, services=host.services)
        self._door = NamedPipe(WINDOWS.default_socket, open_pipe=open_pipe)
        self._events: StopEvents | None = None

    @property
    def clock(self) -> TickClock:
        """See `AgentPlatform`."""
        return self._clock

    @property
    def datapath(self) -> HcnDatapath:
        """See `AgentPlatform`."""
        return self._datapath

    @property
    def door(self) -> NamedPipe:
        """See `AgentPlatform`."""
        return self._door

    def prepare(self) -> None:
        """See `AgentPlatform`."""
        make_private(self._host.run_dir)
        if not self._boot.exists():
            forget_pods(self._host.run_dir)
            self._boot.make()

    def directories(self, seen: Sequence[Path]) -> _NodesOwn:
        """See `AgentPlatform`."""
        del seen
        return _NodesOwn()

    def stop_on_request(self, stop: asyncio.Event) -> None:
        """See `AgentPlatform`."""
        loop = asyncio.get_running_loop()
        self._events = StopEvents(self._libraries.kernel32, lambda: loop.call_soon_threadsafe(stop.set))

    def ended(self) -> None:
        """See `AgentPlatform`."""
        if self._events is not None:
            self._events.ended()


class _NodesOwn:
    """Directories that the process sees as the node does."""

    @staticmethod
    def replaced() -> str:
        """None is."""
        return ""
