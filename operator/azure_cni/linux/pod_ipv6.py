"""What a pod's interface needs for IPv6 beyond its address: switches that only its /proc/sys has, and to be reached at
once.

**Switches.** No router's advertisement is taken, from whomever: addresses (`autoconf`) and routes by it would come
beside those that the pod was given. And IPv6 is turned on where the runtime, or the default of new interfaces, has it
off, as the reference plugins do. That it is off is seen by the kernel's refusal: each file that is opened in a new
namespace takes a noticeable part of an ADD. Netlink has no message for either.

**At once.** An address without duplicate detection can be sent from immediately. But the kernel takes in what is sent
to it only once a worker of its own has added the address to the table `local`: some hundredths of a millisecond later,
and milliseconds on a busy machine. Until then the first answer to a pod would be lost. So the same route is added here,
less preferred, for a few seconds. Where a kernel refuses that, an ADD waits for the worker.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv6Interface
from pathlib import Path
from typing import Final

from azure_cni.datapath.interface import IPV4, Interface
from azure_cni.linux import netns, rtnetlink, switches
from azure_cni.linux import rtnetlink_format as rt
from azure_cni.linux.netlink import Netlink, NetlinkRequest, Refused, attribute
from azure_cni.model.nic import Address

_EXPIRES_S: Final = 10
_UNKNOWN: Final = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENODEV)
_LOOK_S: Final = 0.0002
_PATIENCE_S: Final = 0.1
"""A kernel that takes longer has been seen by nobody; the address comes then, too."""


def configure(directory: Path, pod_netns: int, inside: Netlink, pod: Interface, index: int, *, home: int) -> None:
    """Give a pod's new interface all that it is to have; `inside` is a socket of its namespace, `pod_netns`.

    `directory` is where /proc/sys can be written. The thread is back in `home` afterwards.
    """
    _switch_off(directory, pod_netns, pod.name, "accept_ra", home=home)
    try:
        inside.change(*_requests(pod, index))
    except Refused as refused:
        if refused.errno != errno.EACCES:
            raise
        _switch_off(directory, pod_netns, pod.name, "disable_ipv6", home=home)
        inside.change(*_requests(_of_ipv6(pod), index))


def _requests(pod: Interface, index: int) -> list[NetlinkRequest]:
    return [*rtnetlink.configure(pod, index), *(_take_in(pod.name, index, address) for address in _ipv6(pod))]


def _take_in(name: str, index: int, address: Address) -> NetlinkRequest:
    """Until it expires, and the kernel's own route is all that is left, what is sent to the address is for this pod."""
    head = (rt.AF_INET6, address.max_prefixlen, 0, 0, rt.RT_TABLE_LOCAL, rt.RTPROT_STATIC, 0, rt.RTN_LOCAL, 0)
    body = rt.RTMSG.pack(*head) + attribute(rt.RTA_DST, address.packed) + attribute(rt.RTA_OIF, rt.U32.pack(index))
    body += attribute(rt.RTA_PRIORITY, rt.U32.pack(1)) + attribute(rt.RTA_EXPIRES, rt.U32.pack(_EXPIRES_S))
    what = f"have {name} take in what is sent to {address}"
    return NetlinkRequest(what, rt.RTM_NEWROUTE, rt.CREATE_OR_REPLACE, body, forgiven=_UNKNOWN)


def _switch_off(directory: Path, pod_netns: int, name: str, switch: str, *, home: int) -> None:
    netns.enter(pod_netns)
    try:
        switches.write_sysctl(directory, f"net/ipv6/conf/{name}/{switch}", "0")
    finally:
        netns.enter(home)


def _of_ipv6(pod: Interface) -> Interface:
    """What the kernel refused while it had no IPv6 there."""
    return replace(
        pod,
        addresses=tuple(one for one in pod.addresses if one.version != IPV4),
        routes=tuple(one for one in pod.routes if one.destination.version != IPV4),
        neighbours=tuple(one for one in pod.neighbours if one.address.version != IPV4),
    )


def settle(inside: Netlink, pod: Interface) -> None:
    """Wait until what is sent to the pod's IPv6 addresses is taken in; mostly it is. `inside` is of its namespace."""
    end_s = time.monotonic() + _PATIENCE_S
    for address in _ipv6(pod):
        while not _is_local(inside, address) and time.monotonic() < end_s:
            time.sleep(_LOOK_S)


def _ipv6(pod: Interface) -> Iterable[Address]:
    return (one.ip for one in pod.addresses if isinstance(one, IPv6Interface))


def _is_local(inside: Netlink, address: Address) -> bool:
    body = rt.RTMSG.pack(rt.AF_INET6, address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    body += attribute(rt.RTA_DST, address.packed)
    found = inside.get(f"look up the route to {address}", kind=rt.RTM_GETROUTE, body=body)
    return found is not None and rt.RTMSG.unpack_from(found)[7] == rt.RTN_LOCAL
