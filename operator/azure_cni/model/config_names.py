"""The names of ipConfigurations that this product makes. By them it knows its own on a NIC, and nothing else. Pure.

    azure-cni-1abcdefg              one address, which Azure chose
    azure-cni-1abcdefg-28           a block of 16 addresses
    azure-cni-1abcdefg-static       one that pods lost to another tool, and that was asked for by its address
    azure-cni-1abcdefg-28-static    a block of which that is so
    azure-cni-1abcdefg-112          a block of 65,536 IPv6 addresses, of which a NIC has one
    azure-cni-1abcdefg-v6           one IPv6 address

A name outlives what it names: in the ledger it says whose an address was that is on the NIC no more, and how it came.
"""

from __future__ import annotations

import re
import string
from ipaddress import IPv4Address
from typing import Final, NewType

ConfigName = NewType("ConfigName", str)

LONGEST_CONFIG_NAME: Final = 80
"""Characters of an ipConfiguration's name (Azure's naming rules); all of them ASCII."""

OUR_PREFIX: Final = "azure-cni-"
OUR_ALPHABETS: Final = (string.digits, *(7 * (string.ascii_lowercase + string.digits,)))
"""Of each character after the prefix. A digit comes first, as in no word by which a person would name one."""
STATIC_SUFFIX: Final = "-static"
"""Ends the names of those that this product makes Static: what pods lost to another tool, and get back."""
BLOCK_SUFFIX: Final = "-28"
"""Behind the eight characters in the name of a block: so it is known what it was when only its name is left."""
IPV6_BLOCK_SUFFIX: Final = "-112"
IPV6_SUFFIX: Final = "-v6"
_OUR_NAME: Final = re.compile(
    OUR_PREFIX
    + "".join(f"[{alphabet}]" for alphabet in OUR_ALPHABETS)
    + f"(?:(?P<ipv6>{IPV6_BLOCK_SUFFIX}|{IPV6_SUFFIX})|(?P<block>{BLOCK_SUFFIX})?(?:{STATIC_SUFFIX})?)"
)


def is_our_name(name: str) -> bool:
    """Whether this product makes names like that. `azure-cni-frontend` is a person's."""
    return _OUR_NAME.fullmatch(name) is not None


def is_block_name(name: str) -> bool:
    """Whether this product gives such a name to a block of BLOCK_SIZE addresses."""
    found = _OUR_NAME.fullmatch(name)
    return found is not None and found["block"] is not None


def is_ipv6_name(name: str) -> bool:
    """Whether this product gives such a name to what it makes of IPv6."""
    found = _OUR_NAME.fullmatch(name)
    return found is not None and found["ipv6"] is not None


def is_ipv6_block_name(name: str) -> bool:
    """Whether it gives it to a block of IPv6."""
    return is_ipv6_name(name) and name.endswith(IPV6_BLOCK_SUFFIX)


def made_here(name: str, *, static: bool) -> bool:
    """Whether this product made a configuration of that name, and may delete it. One that it made Dynamic and that is
    Static now somebody wants to keep.
    """
    return is_our_name(name) and (not static or name.endswith(STATIC_SUFFIX))


def static_name(name: ConfigName) -> ConfigName:
    """Of what had that name, once it is asked for by its address."""
    return name if name.endswith(STATIC_SUFFIX) else ConfigName(name + STATIC_SUFFIX)


def name_by(address: IPv4Address, *, block: bool = False) -> ConfigName:
    """One of ours, for something static, that no other address of the subnet has. For one of two that had a name in
    turns: a tool that puts an old copy of the NIC back gives it to another address, and Azure refuses a NIC with a name
    twice.
    """
    suffix = BLOCK_SUFFIX if block else ""
    return ConfigName(f"{OUR_PREFIX}0{int(address) & 0xFFF_FFFF:07x}{suffix}{STATIC_SUFFIX}")
