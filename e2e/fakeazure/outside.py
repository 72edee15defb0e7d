"""What other tools do to the network, without the product.

Another tool's own addresses in a subnet are entries without a NIC document: they fill the subnet and show in usages,
but not in the list of NICs.
"""

from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from itertools import islice
from typing import TYPE_CHECKING

from fakeazure.records import IpConfig, Nic
from fakeazure.subnets import BLOCK_SIZE, Subnet

if TYPE_CHECKING:
    from fakeazure.fake import FakeAzure

OWNER = "/another-tool/"


@dataclass(slots=True)
class Outside:
    """Other tools, operators, and Azure itself."""

    azure: "FakeAzure"
    _count: int = 0

    def touch(self, nic_name: str) -> Nic:
        """Write the NIC as another tool would, with nothing but a tag changed, finished at once: a new etag."""
        self._count += 1
        now = self.azure.settle()
        nic = self.azure.nic_record(nic_name)
        nic = nic.with_tags({"touched-by": f"another-tool-{self._count}"}, self.azure.names.etag())
        self.azure.network.put_nic(nic, at=now, cause="touched by another tool")
        return nic

    def write(self, nic_name: str, *, keeps_ours: bool) -> None:
        """A whole PUT of another tool, with an operation of its own, which cancels one that is under way.

        Its body has what the document shows, or (`keeps_ours` False) what it showed before the write under way.
        """
        self._count += 1
        now = self.azure.settle()
        nic = self.azure.nic_record(nic_name)
        nic = nic.with_tags({"written-by": f"another-tool-{self._count}"}, nic.etag)
        body = (nic if keeps_ours else replace(nic, configs=nic.settled)).document()
        draft = self.azure.nics.read(nic.id, body)
        self.azure.nics.write(draft, now=now, duration_s=self.azure.operation_duration_s)

    def appear(self, nic_name: str, *, count: int = 1, prefix: str = "outside-") -> tuple[str, ...]:
        """Addresses are on the NIC that the product never asked for; gives them."""
        now = self.azure.settle()
        nic = self.azure.nic_record(nic_name)
        subnet = self.azure.network.subnets[nic.subnet_id.lower()]
        addresses = tuple(islice(subnet.free_addresses(), count))
        if len(addresses) < count:
            raise ValueError(f"cannot put {count} addresses on {nic_name}: {subnet.free} free in {subnet.id}")
        new = tuple(
            IpConfig(f"{prefix}{self.azure.names.word(6)}", nic.subnet_id, address, "Dynamic", primary=False)
            for address in addresses
        )
        self.azure.nics.change_behind(nic, nic.settled + new, now=now, cause="appeared behind our back")
        return addresses

    def vanish(self, nic_name: str, *addresses: str, taken: bool = False) -> None:
        """These addresses are no longer on the NIC, and another tool has them at once if `taken`.

        Raises ValueError for one that is not there or is the primary.
        """
        now = self.azure.settle()
        nic = self.azure.nic_record(nic_name)
        there = {config.address for config in nic.settled if not config.primary}
        if missing := set(addresses) - there:
            raise ValueError(f"cannot take {sorted(missing)} off {nic_name}: not secondary addresses of it")
        left = tuple(config for config in nic.settled if config.address not in addresses)
        self.azure.nics.change_behind(nic, left, now=now, cause="vanished behind our back")
        for address in addresses if taken else ():
            self._count += 1
            self.azure.network.subnets[nic.subnet_id.lower()].take(address, f"{OWNER}{self._count}")

    def take(self, count: int, subnet: str = "") -> tuple[str, ...]:
        """Another tool takes addresses of a subnet, as many of `count` as there are; gives them."""
        self.azure.settle()
        target = self.azure.subnet(subnet)
        addresses = tuple(islice(target.free_addresses(), count))
        for address in addresses:
            self._count += 1
            target.take(address, f"{OWNER}{self._count}")
        return addresses

    def leave(self, count: int, subnet: str = "") -> tuple[str, ...]:
        """Take all but this many."""
        self.azure.settle()
        return self.take(max(0, self.azure.subnet(subnet).free - count), subnet)

    def fragment(self, subnet: str = "") -> tuple[str, ...]:
        """Take one address of each free block: single addresses are left, and no block."""
        self.azure.settle()
        target = self.azure.subnet(subnet)
        addresses = tuple(str(IPv4Network(block)[BLOCK_SIZE // 2]) for block in target.free_blocks())
        for address in addresses:
            self._count += 1
            target.take(address, f"{OWNER}{self._count}")
        return addresses

    def give_back(self, count: int | None = None, subnet: str = "") -> int:
        """Another tool frees its addresses, highest first; gives how many."""
        target = self.azure.subnet(subnet)
        texts = list(reversed(_taken_by_others(target)))[:count]
        target.release(texts)
        return len(texts)

    def taken(self, subnet: str = "") -> int:
        return len(_taken_by_others(self.azure.subnet(subnet)))


def _taken_by_others(subnet: Subnet) -> list[str]:
    base = int(subnet.prefix.network_address)
    return [
        str(subnet.prefix[address - base])
        for address, owner in sorted(subnet.owners.items())
        if owner.startswith(OWNER)
    ]
