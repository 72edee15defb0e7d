"""Policy rules in the kernel: read all, add and delete ours (linux/fib_rules.h).

Ours are marked as the kernel's own (protocol `kernel`): systemd-networkd removes at its start every rule that it did
not make (systemd.network, ManageForeignRoutingPolicyRules, on by default) except those. Cilium marks its rules alike.
"""

from __future__ import annotations

import errno
import struct
from ipaddress import IPv4Network, IPv6Network

from azure_cni.datapath.interface import Network
from azure_cni.datapath.policy import LOCAL, PolicyRule
from azure_cni.linux import rtnetlink_format as rt
from azure_cni.linux.netlink import Netlink, NetlinkRequest, Refused, attribute, attributes

_RTM_NEWRULE, _RTM_DELRULE, _RTM_GETRULE = 32, 33, 34
_FR_ACT_TO_TBL, _REFUSALS = 1, {6, 7, 8}  # blackhole, unreachable, prohibit
_INVERT = 0x2
_PROTOCOL_KERNEL = 2
_HEADER = struct.Struct("=BBBBBxxBI")
_FRA_DST, _FRA_SRC, _FRA_PRIORITY, _FRA_TABLE, _FRA_PROTOCOL = 1, 2, 6, 15, 21
_FRA_MARK, _FRA_MASK = 10, 16
_FRA_SUPPRESS_GROUP, _FRA_SUPPRESS_PREFIX_LENGTH = 13, 14
_JUDGED = {_FRA_DST, _FRA_SRC, _FRA_PRIORITY, _FRA_TABLE, _FRA_PROTOCOL, 18}  # 18: padding
_JUDGED |= {_FRA_SUPPRESS_GROUP, _FRA_SUPPRESS_PREFIX_LENGTH}
_NONE = 0xFFFFFFFF


def read(kernel: Netlink, family: int = rt.AF_INET) -> frozenset[PolicyRule] | None:
    """Every rule of a family; None where this kernel has no policy routing: then nobody can divert anything."""
    body = _HEADER.pack(family, 0, 0, 0, 0, 0, 0)
    try:
        found = kernel.dump("list policy rules", kind=_RTM_GETRULE, body=body)
        return frozenset(_rule(payload) for payload in found if payload[0] == family)
    except Refused as refused:
        if refused.errno in {errno.EOPNOTSUPP, errno.EAFNOSUPPORT}:
            return None
        raise


def add(rule: PolicyRule) -> NetlinkRequest:
    """A rule of ours, one that leads to a table; that it is there already is no error."""
    return NetlinkRequest(f"add policy rule {rule}", _RTM_NEWRULE, rt.CREATE_NEW, _body(rule), forgiven=(errno.EEXIST,))


def delete(rule: PolicyRule) -> NetlinkRequest:
    """Remove one; that it is gone already is no error."""
    return NetlinkRequest(f"delete policy rule {rule}", _RTM_DELRULE, 0, _body(rule), forgiven=(errno.ENOENT,))


def _body(rule: PolicyRule) -> bytes:
    small = rule.table if rule.table <= LOCAL else 0  # the octet is of the time before the attribute
    lengths = rule.destination.prefixlen, rule.source.prefixlen
    body = _HEADER.pack(rt.family_of(rule.source), *lengths, 0, small, _FR_ACT_TO_TBL, 0)
    addresses = ((_FRA_DST, rule.destination), (_FRA_SRC, rule.source))
    body += b"".join(attribute(kind, one.network_address.packed) for kind, one in addresses if one.prefixlen)
    numbers = [(_FRA_PRIORITY, rule.preference), (_FRA_TABLE, rule.table)]
    if rule.suppress_prefix_length is not None:
        numbers.append((_FRA_SUPPRESS_PREFIX_LENGTH, rule.suppress_prefix_length))
    if rule.suppress_group is not None:
        numbers.append((_FRA_SUPPRESS_GROUP, rule.suppress_group))
    if rule.mark != (0, 0):
        numbers += zip((_FRA_MARK, _FRA_MASK), rule.mark, strict=True)
    body += b"".join(attribute(kind, rt.U32.pack(number)) for kind, number in numbers)
    return body + attribute(_FRA_PROTOCOL, bytes([_PROTOCOL_KERNEL]))


def _rule(payload: bytes) -> PolicyRule:
    family, destination_length, source_length, service, table, action, flags = _HEADER.unpack_from(payload)
    values = attributes(payload[_HEADER.size :])
    jumps = action != _FR_ACT_TO_TBL and action not in _REFUSALS
    return PolicyRule(
        preference=_number(values, _FRA_PRIORITY) or 0,
        table=(_number(values, _FRA_TABLE) or table) if action == _FR_ACT_TO_TBL else 0,
        source=_prefix(family, values.get(_FRA_SRC), source_length),
        destination=_prefix(family, values.get(_FRA_DST), destination_length),
        suppress_prefix_length=_number(values, _FRA_SUPPRESS_PREFIX_LENGTH),
        suppress_group=_number(values, _FRA_SUPPRESS_GROUP),
        mark=(rt.number(values, _FRA_MARK), rt.number(values, _FRA_MASK)),
        narrowed=bool(service or flags & _INVERT or jumps or values.keys() - _JUDGED),
    )


def _prefix(family: int, address: bytes | None, length: int) -> Network:
    """The kernel keeps what a program gave it, bits beyond the prefix too, and compares without them."""
    if family == rt.AF_INET:
        return IPv4Network((address or bytes(4), length), strict=False)
    return IPv6Network((address or bytes(16), length), strict=False)


def _number(values: dict[int, bytes], kind: int) -> int | None:
    if kind not in values:
        return None
    (number,) = rt.U32.unpack(values[kind])
    return None if number == _NONE else int(number)
