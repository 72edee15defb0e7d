"""The places of the box: who lives where, with which address. All of it exists inside the box's namespaces only.

Documentation ranges stand for what is public (RFC 5737): 198.51.100.0/24 is Azure's, 203.0.113.0/24 everyone else's.
The addresses of IMDS and of the wireserver, and the MAC that answers ARP, are Azure's own.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import Final

FABRIC_MAC: Final = "12:34:56:78:9a:bc"  # what Azure answers to any ARP request
MTU: Final = 1500

ROUTER6: Final = IPv6Address("fe80::1234:5678:9abc")  # the router that every VM of a dual-stack subnet has, by that MAC
BLOCK6_LENGTH: Final = 112  # of the one block of IPv6 addresses that a NIC may have

IMDS: Final = IPv4Address("169.254.169.254")
WIRESERVER: Final = IPv4Address("168.63.129.16")
ARM: Final = IPv4Address("198.51.100.1")
PLATFORM: Final = (IMDS, WIRESERVER, ARM)  # live in the fabric's own namespace

STACK_SYSCTLS: Final = {
    "ipv4/ip_forward": "1",
    # What every later link inherits: ARP is answered for any address, and no source is thought impossible.
    "ipv4/conf/default/proxy_arp": "1",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/send_redirects": "0",
    "ipv4/conf/all/send_redirects": "0",
    "ipv6/conf/all/disable_ipv6": "1",
    "ipv6/conf/default/disable_ipv6": "1",
}

PUBLIC_ADDRESSES: Final = IPv4Network("198.51.100.0/24")
FIRST_DEFAULT_OUTBOUND: Final = IPv4Address("198.51.100.10")  # what Azure lends a VM without a public IP of its own


@dataclass(frozen=True, slots=True)
class Place:
    """A host beyond the VMs, in a namespace of its own; its name is also the last part of that namespace's name.

    `gateway` is any address of the host's own network: the fabric answers ARP for all. `public` is what the internet
    and ARM see of it, None for what is public itself. `ipv6` is there once the VNet has IPv6.
    """

    name: str
    address: IPv4Address
    gateway: IPv4Address
    mac: str
    public: IPv4Address | None
    ipv6: IPv6Address | None = None


PEER: Final = Place(
    "peer",
    IPv4Address("10.241.0.4"),
    gateway=IPv4Address("10.241.0.1"),
    mac="00:0d:3a:00:f0:01",
    public=IPv4Address("198.51.100.254"),
    ipv6=IPv6Address("fd00:241::4"),
)
ONPREM: Final = Place(
    "onprem",
    IPv4Address("192.168.50.10"),
    gateway=IPv4Address("192.168.50.1"),
    mac="00:0d:3a:00:f0:02",
    public=IPv4Address("192.0.2.10"),
    ipv6=IPv6Address("fd00:50::10"),
)
INTERNET_HOST: Final = Place(
    "internet",
    IPv4Address("203.0.113.10"),
    gateway=IPv4Address("203.0.113.1"),
    mac="00:0d:3a:00:f0:03",
    public=None,
)
STORAGE: Final = Place(
    "storage",
    IPv4Address("198.51.100.2"),
    gateway=IPv4Address("198.51.100.3"),
    mac="00:0d:3a:00:f0:04",
    public=None,
)
PLACES: Final = (PEER, ONPREM, INTERNET_HOST)  # storage is made only when there is an account

ONPREM_NETWORK: Final = IPv4Network("192.168.50.0/24")  # what the VNet's gateway knows of the on-prem site


def device_name(name: str) -> str:
    """Name of the fabric's end of the cable to a place or a VM (its name without the box's prefix)."""
    return f"p-{name}"
