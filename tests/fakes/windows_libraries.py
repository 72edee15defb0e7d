"""The libraries of a Windows node in this process: the registry, the console, the clock, the list of adapters.

Structures are laid out by the offsets of the documentation, not by the product's own types.
"""

from __future__ import annotations

import ctypes
import struct
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from typing import Any, Final

from azure_cni.windows.adapters import Adapter
from azure_cni.windows.libraries import NodeLibraries
from fakehns.service import FakeHns
from windows.library import stand_in_hcn

ACCESS_DENIED: Final = 5
OVERFLOW: Final = 111
ADAPTER_BYTES: Final = 448
"""Of one whole IP_ADAPTER_ADDRESSES_LH, which has more than what is read of it."""


class StandInRegistry:
    """advapi32.dll. `volatile` are the keys that a reboot clears, all others stay."""

    def __init__(self) -> None:
        self.volatile: set[str] = set()
        self.denied = False
        self.open = 0
        """Keys that were opened and not closed."""

    def RegOpenKeyExW(self, root: Any, name: Any, options: int, access: int, key: Any) -> int:  # noqa: N802
        """winreg.h."""
        assert (root.value, options, access) == (0x8000_0002, 0, 0x2_0019)
        if self.denied:
            return ACCESS_DENIED
        return self._hand_out(key) if name.value in self.volatile else 2

    def RegCreateKeyExW(  # noqa: N802
        self, root: Any, name: Any, zero: int, kind: None, options: int, access: int, who: None, key: Any, done: None
    ) -> int:
        """winreg.h."""
        assert (root.value, zero, kind, options, access, who, done) == (0x8000_0002, 0, None, 1, 0x2_0006, None, None)
        if self.denied:
            return ACCESS_DENIED
        self.volatile.add(name.value)
        return self._hand_out(key)

    def RegCloseKey(self, key: Any) -> int:  # noqa: N802
        """winreg.h."""
        assert key.value == 0x1234
        self.open -= 1
        return 0

    def _hand_out(self, key: Any) -> int:
        ctypes.cast(key, ctypes.POINTER(ctypes.c_void_p))[0] = 0x1234
        self.open += 1
        return 0


class StandInKernel:
    """kernel32.dll. `send` does what the runtime does to a process that it stops."""

    def __init__(self) -> None:
        self.handlers: list[Callable[[int], int]] = []
        self.refuses = False

    def GetTickCount64(self) -> int:  # noqa: N802
        """sysinfoapi.h."""
        return int(time.monotonic() * 1000)

    def SetConsoleCtrlHandler(self, handler: Callable[[int], int], add: int) -> int:  # noqa: N802
        """consoleapi.h."""
        assert add == 1
        if not self.refuses:
            self.handlers.append(handler)
        return int(not self.refuses)

    def send(self, event: int) -> int:
        """The handler that was set last is asked first; returns what it says."""
        return self.handlers[-1](event)


class StandInAddressList:
    """iphlpapi.dll. `grows` is how often adapters come between the question for the size and the answer."""

    def __init__(self, adapters: Sequence[Adapter]) -> None:
        self._adapters = adapters
        self._kept: list[object] = []
        self.grows = 0
        self.fails = 0
        self.without_length: IPv4Address | None = None
        """An address of which Windows knows no length of a prefix."""

    def GetAdaptersAddresses(self, family: int, flags: int, reserved: None, memory: Any, size: Any) -> int:  # noqa: N802
        """iphlpapi.h."""
        assert (family, flags, reserved) == (2, 0x8E, None)
        given = ctypes.cast(size, ctypes.POINTER(ctypes.c_uint32))
        needed = ADAPTER_BYTES * max(1, len(self._adapters))
        if self.fails:
            return self.fails
        if self.grows or given[0] < needed:
            self.grows = max(0, self.grows - 1)
            given[0] = max(needed, given[0] + 1)
            return OVERFLOW
        if not self._adapters:
            return 232
        start = ctypes.addressof(memory)
        for number, adapter in enumerate(self._adapters):
            last = number == len(self._adapters) - 1
            following = 0 if last else start + (number + 1) * ADAPTER_BYTES
            content = self._adapter(adapter, following)
            ctypes.memmove(start + number * ADAPTER_BYTES, content, len(content))
        return 0

    def _adapter(self, one: Adapter, following: int) -> bytes:
        unicast = 0
        for address in reversed(one.addresses):
            length = 255 if address.ip == self.without_length else address.network.prefixlen
            tail = struct.pack("<3i3IB7x", 3, 3, 4, 0, 0, 0, length)
            unicast = self._keep(struct.pack("<QQQiI", 64, unicast, self._sockaddr(address.ip), 16, 0) + tail)
        gateway = 0
        if one.gateway is not None:
            gateway = self._keep(struct.pack("<QQQiI", 32, 0, self._sockaddr(one.gateway), 16, 0))
        octets = bytes.fromhex(one.mac.replace(":", ""))
        return struct.pack(
            "<IIQQQ24xQQQ8sIIIIII64xQQQQQ",
            ADAPTER_BYTES,
            one.index,
            following,
            self._keep(b"{0F8C6F3E-1D2B-4C5A-9E7F-A1B2C3D4E5F6}\0"),
            unicast,
            self._text(""),
            self._text("Microsoft Hyper-V Network Adapter"),
            self._text(one.name),
            octets,
            len(octets),
            0x1C5,
            one.mtu,
            6,
            1,
            one.index,
            0,
            10**10,
            10**10,
            0,
            gateway,
        )

    def _sockaddr(self, address: Any) -> int:
        return self._keep(struct.pack("<HH4s8x", 2, 0, address.packed))

    def _text(self, text: str) -> int:
        return self._remember(ctypes.create_unicode_buffer(text))

    def _keep(self, content: bytes) -> int:
        return self._remember(ctypes.create_string_buffer(content, len(content)))

    def _remember(self, buffer: Any) -> int:
        self._kept.append(buffer)
        return ctypes.addressof(buffer)


class StandInNode:
    """What outlives an agent there: HNS, and the libraries. `reboot` clears what a reboot does."""

    def __init__(self) -> None:
        self.hns = FakeHns()
        self.registry, self.kernel = StandInRegistry(), StandInKernel()

    def libraries(self) -> NodeLibraries:
        """For the next agent."""
        return NodeLibraries(
            hcn=stand_in_hcn(self.hns),
            iphlpapi=StandInAddressList(()),
            advapi32=self.registry,
            kernel32=self.kernel,
        )

    def reboot(self) -> None:
        """Files stay; networks, endpoints, namespaces and volatile keys are gone."""
        self.hns.restart()
        self.registry.volatile.clear()
