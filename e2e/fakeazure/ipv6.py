"""Who holds which IPv6 address of a subnet: single ones lowest first, and blocks of 65,536.

Azure documentation, "What is IPv6 for Azure Virtual Network": a subnet has both families or IPv4 alone, and its IPv6
prefix is a /64. The one length of a block on a NIC is 112, as an engineer of AKS wrote (AKS issue 5722). Chosen where
nothing is known: the first four addresses are Azure's, as in IPv4, and so the first block is never given out.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, IPv6Network

SUBNET_LENGTH = 64
BLOCK_LENGTH = 112
RESERVED_FIRST = 4


def span_of(text: str) -> range:
    """The integers that "fd00::5" or "fd00::1:0/112" stands for."""
    network = IPv6Network(text)
    return range(int(network.network_address), int(network.broadcast_address) + 1)


@dataclass(slots=True)
class IPv6Space:
    """The IPv6 prefix of a subnet; `owners` maps what is held, as it is written, to the ipConfiguration that has it."""

    prefix: IPv6Network
    owners: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.prefix.prefixlen != SUBNET_LENGTH:
            raise ValueError(f"cannot give a subnet {self.prefix}: in Azure that of a subnet is a /{SUBNET_LENGTH}")

    def contains(self, text: str) -> bool:
        return IPv6Network(text).subnet_of(self.prefix)

    def is_reserved(self, text: str) -> bool:
        return span_of(text).start < int(self.prefix.network_address) + RESERVED_FIRST

    def holder(self, text: str) -> str | None:
        """The id of who holds any address of it."""
        wanted = IPv6Network(text)
        return next((owner for held, owner in self.owners.items() if wanted.overlaps(IPv6Network(held))), None)

    def next_free(self, *, block: bool, claimed: Iterable[str] = ()) -> str:
        """The lowest address, or the lowest aligned block, that nobody holds and that is not `claimed`."""
        size = 1 << (128 - BLOCK_LENGTH) if block else 1
        first = int(self.prefix.network_address)
        at = first + (size if block else RESERVED_FIRST)
        for span in sorted(map(span_of, {*self.owners, *claimed}), key=lambda span: span.start):
            if span.start >= at + size:
                break
            if span.stop > at:
                at = -(-span.stop // size) * size
        return f"{IPv6Address(at)}/{BLOCK_LENGTH}" if block else str(IPv6Address(at))

    def take(self, text: str, owner_id: str) -> None:
        if owner := self.holder(text):
            raise ValueError(f"cannot take {text} for {owner_id}: {owner} holds it")
        self.owners[text] = owner_id

    def release(self, text: str) -> bool:
        """Free what is written so; says whether it was held."""
        return self.owners.pop(text, None) is not None
