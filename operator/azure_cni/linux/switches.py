"""Switches of the network: IPv4's of interfaces (net.ipv4.conf.NAME...) over netlink (linux/if_link.h, linux/ip.h), and
those that only /proc/sys has.

A container's /proc/sys may be read-only, and a file for each of 250 links takes longer than the one message that the
kernel has for all. But it has none for the switches of IPv6, nor for those of the whole namespace. Under net/ everybody
sees the switches of the namespace that the calling thread is in, wherever /proc/sys is mounted.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path

from azure_cni.datapath.uplink import Link
from azure_cni.errors import DatapathError
from azure_cni.linux import rtnetlink_format as rt
from azure_cni.linux.netlink import NetlinkRequest, attribute

_PROMOTE_SECONDARIES, _SRC_VALID_MARK = 20, 24


@dataclass(frozen=True, slots=True)
class Switch:
    """By its name in net.ipv4.conf and its number (IPV4_DEVCONF_...), and what it has to be on a pod's link."""

    name: str
    number: int
    wanted: int


OF_PODS = (Switch("forwarding", 1, 1), Switch("accept_source_route", 9, 0), Switch("arp_ignore", 19, 8))
"""Each link has its own, whatever those of new links are (`conf.default`).

- What comes in by a link is forwarded if that link's switch is on.
- A packet with a source route passes the forward chain under the address of its next stop: a way round the guards.
- No ARP request of a pod is answered (8). It needs no answer, for its neighbours are permanent; and the kernel
  remembers who asked. A pod that asks for the node from a thousand invented addresses (the rights of any container are
  enough) would fill the neighbour table, and then the node and all its pods find nobody new.
"""


def promote_secondaries(name: str, index: int) -> NetlinkRequest:
    """Removing an address shall not take others of its subnet along."""
    return _set(f"let {name} promote secondary addresses", index, (_PROMOTE_SECONDARIES, 1))


def asks_with_mark(link: Link) -> bool:
    """Whether its reverse path filter asks the policy rules with a packet's mark (src_valid_mark)."""
    return link.switches[_SRC_VALID_MARK - 1 : _SRC_VALID_MARK] == (1,)


def ask_with_mark(name: str, index: int) -> NetlinkRequest:
    """Let it do so."""
    return _set(f"set src_valid_mark of {name}", index, (_SRC_VALID_MARK, 1))


def ready_for_pod(name: str, index: int) -> NetlinkRequest:
    """Give a pod's link its switches."""
    return _set(f"set the switches of {name}", index, *((switch.number, switch.wanted) for switch in OF_PODS))


def unready(link: Link, *, but: str = "") -> dict[Switch, int]:
    """What an interface has otherwise than a pod's link should, apart from the switch named `but`.

    -1 for a switch that the kernel does not have; nothing for an interface without IPv4.
    """
    if not link.switches:
        return {}
    values = {switch: link.switches[switch.number - 1 : switch.number] for switch in OF_PODS if switch.name != but}
    return {switch: (value or (-1,))[0] for switch, value in values.items() if value != (switch.wanted,)}


def _set(what: str, index: int, *values: tuple[int, int]) -> NetlinkRequest:
    conf = attribute(rt.IFLA_INET_CONF, b"".join(attribute(number, rt.U32.pack(value)) for number, value in values))
    body = rt.IFINFO.pack(0, 0, index, 0, 0) + attribute(rt.IFLA_AF_SPEC, attribute(rt.AF_INET, conf))
    return NetlinkRequest(what, rt.RTM_NEWLINK, 0, body, forgiven=(errno.ENODEV,))


def read_sysctl(directory: Path, name: str) -> str:
    """A switch by its path below /proc/sys. DatapathError, also where the kernel does not have it."""
    try:
        return (directory / name).read_text(encoding="ascii").strip()
    except OSError as error:
        raise DatapathError(f"cannot read sysctl {dotted(name)}: {error.strerror} ({error.filename})") from error


def turn_on(directory: Path, name: str) -> bool:
    """Set a switch to 1; False when it was."""
    return put_sysctl(directory, name, "1")


def was_off(name: str) -> str:
    """What `turn_on` has put right."""
    return f"sysctl {dotted(name)} was 0: set to 1"


def put_sysctl(directory: Path, name: str, value: str) -> bool:
    """Give a switch a value; False when it had it. Nothing is written then, so it may be where nothing can be."""
    try:
        if (directory / name).read_text(encoding="ascii").strip() == value:
            return False
    except OSError as error:
        raise _refusal(name, value, error) from error
    write_sysctl(directory, name, value)
    return True


def write_sysctl(directory: Path, name: str, value: str) -> None:
    """Give a switch a value, whatever it has."""
    try:
        (directory / name).write_text(value, encoding="ascii")
    except OSError as error:
        raise _refusal(name, value, error) from error


def _refusal(name: str, value: str, error: OSError) -> DatapathError:
    doing = f"turn on sysctl {dotted(name)}" if value == "1" else f"set sysctl {dotted(name)} to {value}"
    return DatapathError(f"cannot {doing}: {error.strerror} ({error.filename}); set it to {value} on the node")


def dotted(name: str) -> str:
    """As sysctl(8) writes it."""
    return name.replace("/", ".")
