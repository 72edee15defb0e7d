"""Who holds which address of a subnet: lowest free first, first four and last reserved, blocks of sixteen aligned.

Azure documentation, "Private IP addresses": the service takes the first available address; x.x.x.0 to x.x.x.3 and the
last are its own. Whether Azure holds back a freed address is not known: here it is free at once. What is of IPv6 is in
`ipv6`: what is said here of addresses and counts is of IPv4, but a holder may have either.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from fakeazure.ipv6 import IPv6Space

RESERVED_FIRST = 4
RESERVED_LAST = 1
BLOCK_LENGTH = 28  # Azure documentation: the only prefix length that a NIC may hold
BLOCK_SIZE = 16


def addresses_of(text: str) -> range:
    """The integers that "10.0.0.5" or "10.0.0.16/28" stands for."""
    if "/" not in text:
        first = int(IPv4Address(text))
        return range(first, first + 1)
    network = IPv4Network(text)
    return range(int(network.network_address), int(network.broadcast_address) + 1)


def is_ipv6(text: str) -> bool:
    """Whether an address, or a block, is written as one of IPv6."""
    return ":" in text


@dataclass(slots=True)
class Subnet:
    """A subnet and its holders; `owners` maps an address (int) to the id of the IP configuration that has it."""

    id: str
    prefix: IPv4Network
    etag: str
    guid: str
    default_outbound: bool = True
    nat_gateway_id: str = ""
    security_group_id: str = ""
    route_table_id: str = ""
    service_endpoints: tuple[str, ...] = ()
    ipv6: IPv6Space | None = None
    owners: dict[int, str] = field(default_factory=dict)
    entries: int = 0  # held addresses, a block counted once: Azure's way against the limit of a VNet
    _taken: bytearray = field(init=False)

    def __post_init__(self) -> None:
        self.resize(self.prefix)

    @property
    def capacity(self) -> int:
        """Addresses that can be held at most."""
        return self.prefix.num_addresses - RESERVED_FIRST - RESERVED_LAST

    @property
    def free(self) -> int:
        return self.capacity - len(self.owners)

    def contains(self, text: str) -> bool:
        span = addresses_of(text)
        base = int(self.prefix.network_address)
        return base <= span.start and span.stop <= base + self.prefix.num_addresses

    def is_reserved(self, text: str) -> bool:
        span = addresses_of(text)
        base = int(self.prefix.network_address)
        return span.start < base + RESERVED_FIRST or span.stop > base + self.prefix.num_addresses - RESERVED_LAST

    def holder(self, text: str) -> str | None:
        """The id of who holds the address, or any address of the block."""
        if is_ipv6(text):
            return self.ipv6.holder(text) if self.ipv6 else None
        return next((self.owners[address] for address in addresses_of(text) if address in self.owners), None)

    def held_by(self, owner_id: str) -> str | None:
        """The first address that this owner has."""
        key = owner_id.lower()
        return next((str(IPv4Address(at)) for at, owner in self.owners.items() if owner.lower() == key), None)

    def free_addresses(self) -> Iterator[str]:
        """Free single addresses, lowest first; the subnet must not change while this is read."""
        base, at = int(self.prefix.network_address), -1
        while (at := self._taken.find(0, at + 1)) >= 0:
            yield str(IPv4Address(base + at))

    def free_blocks(self) -> Iterator[str]:
        """Free aligned /28 blocks, lowest first."""
        base, empty = int(self.prefix.network_address), bytes(BLOCK_SIZE)
        for at in range(-base % BLOCK_SIZE, self.prefix.num_addresses - BLOCK_SIZE + 1, BLOCK_SIZE):
            if self._taken[at : at + BLOCK_SIZE] == empty:
                yield f"{IPv4Address(base + at)}/{BLOCK_LENGTH}"

    def take(self, text: str, owner_id: str) -> None:
        if not is_ipv6(text):
            self._take_ipv4(text, owner_id)
        elif self.ipv6 is None:
            raise ValueError(f"cannot take {text} for {owner_id}: subnet {self.id} has no IPv6 prefix")
        else:
            self.ipv6.take(text, owner_id)
        self.entries += 1

    def _take_ipv4(self, text: str, owner_id: str) -> None:
        base = int(self.prefix.network_address)
        for address in addresses_of(text):
            if address in self.owners:
                raise ValueError(f"cannot take {text} for {owner_id}: {self.owners[address]} holds it")
            self.owners[address] = owner_id
            self._taken[address - base] = 1

    def release(self, texts: Iterable[str]) -> None:
        """Free each address; freeing a free one does nothing."""
        base = int(self.prefix.network_address)
        for text in texts:
            if is_ipv6(text):
                self.entries -= self.ipv6 is not None and self.ipv6.release(text)
                continue
            held = [address for address in addresses_of(text) if self.owners.pop(address, None) is not None]
            for address in held:
                self._taken[address - base] = 0
            self.entries -= bool(held)

    def resize(self, prefix: IPv4Network) -> None:
        """Change the prefix; raises ValueError when an address in use would fall outside or into the reserve."""
        base, size = int(prefix.network_address), prefix.num_addresses
        first, last = base + RESERVED_FIRST, base + size - RESERVED_LAST
        for address, owner in self.owners.items():
            if not first <= address < last:
                raise ValueError(
                    f"cannot make subnet {self.id} {prefix}: {owner} holds {IPv4Address(address)}, which falls outside"
                )
        self.prefix = prefix
        self._taken = bytearray(size)
        self._taken[:RESERVED_FIRST] = b"\1" * RESERVED_FIRST
        self._taken[size - RESERVED_LAST :] = b"\1" * RESERVED_LAST
        for address in self.owners:
            self._taken[address - base] = 1
