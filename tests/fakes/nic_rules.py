"""What Azure has free in a subnet for a NIC, and what a NIC's configurations may have attached. Pure."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from azure_cni.errors import CloudError, RequestRefused
from azure_cni.model.attachments import AttachedResource, AttachmentKind
from azure_cni.model.ipv6 import IPV6_BLOCK_LENGTH, IPV6_LENGTH, IPv6Configuration
from azure_cni.model.nic import BLOCK_SIZE, AttachmentChange, addresses_from, block_of

RESERVED_AT_THE_START = 4  # Azure keeps .0 to .3 and the last address of each subnet


def free_addresses(subnet: IPv4Network, *, used: Collection[IPv4Address]) -> Iterator[IPv4Address]:
    """Of the subnet, the lowest first."""
    for address in subnet:
        offset = int(address) - int(subnet.network_address)
        if RESERVED_AT_THE_START <= offset < subnet.num_addresses - 1 and address not in used:
            yield address


def free_blocks(subnet: IPv4Network, *, used: Collection[IPv4Address]) -> Iterator[IPv4Address]:
    """By their first addresses; aligned, and none with a reserved address."""
    free = set(free_addresses(subnet, used=used))
    first = block_of(subnet.network_address)
    for number in range(0, subnet.num_addresses, BLOCK_SIZE):
        if free.issuperset(addresses_from(first + number, BLOCK_SIZE)):
            yield first + number


def free_ipv6(space: IPv6Network | None, *, used: Sequence[IPv6Configuration], block: bool) -> IPv6Network:
    """The lowest block or address of the subnet that the NIC does not hold."""
    assert space is not None
    first, size = int(space.network_address), 1 << (IPV6_LENGTH - IPV6_BLOCK_LENGTH)
    held = {config.network for config in used}
    step, length = (size, IPV6_BLOCK_LENGTH) if block else (1, IPV6_LENGTH)
    networks = (IPv6Network((first + number * step, length)) for number in itertools.count(4))
    return next(network for network in networks if network not in held)


def attached_after(
    before: Mapping[str, frozenset[AttachedResource]],
    changes: Sequence[AttachmentChange],
    *,
    refused: Mapping[str, CloudError],
    nic: str,
) -> dict[str, frozenset[AttachedResource]]:
    """What each configuration has then, by its name. Azure takes all changes of a write or none, and a public IP
    address once; `refused` are errors by the ID of what has them.
    """
    after = dict(before)
    for change in changes:
        after[change.config] = after.get(change.config, frozenset()) - change.remove | change.add
        if moved := _public_ips(before, but=change.config) & change.add:
            raise RequestRefused(f"cannot write {nic}: {sorted(moved)} is another configuration's")
    for resource, count in Counter(resource for held in after.values() for resource in held).items():
        if error := refused.get(resource.id):
            raise error
        if count > 1 and resource.kind is AttachmentKind.PUBLIC_IP:
            raise RequestRefused(f"cannot write {nic}: {resource.id} is used twice")
    return after


def _public_ips(resources: Mapping[str, frozenset[AttachedResource]], *, but: str) -> set[AttachedResource]:
    return {
        held
        for name, attached in resources.items()
        for held in attached
        if name != but and held.kind is AttachmentKind.PUBLIC_IP
    }
