"""The node's network adapters as Windows lists them (GetAdaptersAddresses), by ctypes.

Windows writes a chain of structures into memory of the caller's, with pointers between them. Layouts and constants:
Microsoft documentation and headers, iptypes.h, of a 64-bit system. Only IPv4 is asked for. The function is given, not
loaded here, so that the layout is tried everywhere.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Interface
from typing import Any, Final

from azure_cni.errors import DatapathError
from azure_cni.windows.adapters import Adapter

_AF_INET: Final = 2
_FLAGS: Final = 0x0002 | 0x0004 | 0x0008 | 0x0080
"""GAA_FLAG_SKIP_ANYCAST, _MULTICAST and _DNS_SERVER, and GAA_FLAG_INCLUDE_GATEWAYS."""
_OVERFLOW: Final = 111
"""ERROR_BUFFER_OVERFLOW: adapters have come since the size was asked."""
_NONE: Final = 232
"""ERROR_NO_DATA: no adapter has an address."""
_LONGEST_PREFIX: Final = 32
"""A greater length, as 255, means that there is none (netioapi.h): of an adapter that is not connected, say."""
_FIRST_BYTES: Final = 15_000  # as the function's documentation advises
_ATTEMPTS: Final = 5


class SocketAddress(ctypes.Structure):
    """SOCKET_ADDRESS: `sockaddr` leads to a sockaddr_in, whose last four bytes here are the address."""

    _fields_ = (("sockaddr", ctypes.POINTER(ctypes.c_ubyte * 8)), ("length", ctypes.c_int))


class GatewayAddress(ctypes.Structure):
    """IP_ADAPTER_GATEWAY_ADDRESS_LH."""


GatewayAddress._fields_ = (  # how ctypes has a structure point to its own kind
    ("alignment", ctypes.c_uint64),
    ("next", ctypes.POINTER(GatewayAddress)),
    ("address", SocketAddress),
)


class UnicastAddress(ctypes.Structure):
    """IP_ADAPTER_UNICAST_ADDRESS_LH."""


UnicastAddress._fields_ = (
    ("alignment", ctypes.c_uint64),
    ("next", ctypes.POINTER(UnicastAddress)),
    ("address", SocketAddress),
    ("origins_and_state", ctypes.c_int * 3),
    ("lifetimes_s", ctypes.c_uint32 * 3),
    ("prefix_length", ctypes.c_uint8),
)


class AdapterAddresses(ctypes.Structure):
    """IP_ADAPTER_ADDRESSES_LH, up to the gateways."""


AdapterAddresses._fields_ = (
    ("length", ctypes.c_uint32),
    ("index", ctypes.c_uint32),
    ("next", ctypes.POINTER(AdapterAddresses)),
    ("guid", ctypes.c_char_p),
    ("unicast", ctypes.POINTER(UnicastAddress)),
    ("anycast_multicast_dns", ctypes.c_void_p * 3),
    ("dns_suffix", ctypes.c_wchar_p),
    ("description", ctypes.c_wchar_p),
    ("name", ctypes.c_wchar_p),
    ("mac", ctypes.c_ubyte * 8),
    ("mac_length", ctypes.c_uint32),
    ("flags", ctypes.c_uint32),
    ("mtu", ctypes.c_uint32),
    ("kind", ctypes.c_uint32),
    ("state", ctypes.c_uint32),
    ("index_of_ipv6", ctypes.c_uint32),
    ("zones", ctypes.c_uint32 * 16),
    ("prefixes", ctypes.c_void_p),
    ("speeds", ctypes.c_uint64 * 2),
    ("wins", ctypes.c_void_p),
    ("gateways", ctypes.POINTER(GatewayAddress)),
)


class AdapterList:
    """Implements `Adapters`. `library` is iphlpapi.dll: it has GetAdaptersAddresses as an attribute."""

    def __init__(self, library: Any) -> None:
        self._function: Callable[..., int] = library.GetAdaptersAddresses

    def read(self) -> list[Adapter]:
        """All that have IPv4, in Windows' order. DatapathError."""
        size = ctypes.c_uint32(_FIRST_BYTES)
        for _ in range(_ATTEMPTS):
            memory = ctypes.create_string_buffer(size.value)
            result = self._function(_AF_INET, _FLAGS, None, memory, ctypes.byref(size))
            if result == _NONE:
                return []
            if not result:
                first = ctypes.cast(memory, ctypes.POINTER(AdapterAddresses))
                return [_adapter(one) for one in _chain(first)]
            if result != _OVERFLOW:
                break
        raise DatapathError(f"cannot list the network adapters: GetAdaptersAddresses fails with error {result}")


def _chain(first: Any) -> Iterator[Any]:
    """What a pointer leads to, and so on."""
    while first:
        yield first.contents
        first = first.contents.next


def _adapter(found: Any) -> Adapter:
    complete = (one for one in _chain(found.unicast) if one.prefix_length <= _LONGEST_PREFIX)
    addresses = (IPv4Interface((_address(one), one.prefix_length)) for one in complete)
    gateways = (_address(one) for one in _chain(found.gateways))
    return Adapter(
        index=found.index,
        name=found.name or "",
        mac=":".join(f"{octet:02x}" for octet in found.mac[: found.mac_length]),
        mtu=found.mtu,
        addresses=tuple(addresses),
        gateway=next(gateways, None),
    )


def _address(one: Any) -> IPv4Address:
    """Of a sockaddr_in: two bytes of family, two of port, four of address."""
    return IPv4Address(bytes(one.address.sockaddr.contents[4:8]))
