"""The state of the network: every resource by id. Only this module changes a NIC.

`put_nic` and `drop_nic` keep the books: addresses held in subnets, the log of changes, the index by primary address,
and whoever listens for what the fabric lets through.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from fakeazure import errors, filters
from fakeazure.changelog import Change, History
from fakeazure.effective import EffectiveAddress, EffectiveNetwork, EffectiveNic, EffectiveSubnet, EffectiveVNet
from fakeazure.lbeffective import effective_balancers
from fakeazure.lbmembers import has_child
from fakeazure.names import parent
from fakeazure.nicrules import ADDRESSES_PER_VNET
from fakeazure.records import IpConfig, Nic, Vm, VNet
from fakeazure.subnets import Subnet, addresses_of, is_ipv6

Listener = Callable[[EffectiveNetwork], None]


@dataclass(slots=True)
class Network:
    """All resources, keyed by lower-case id. `others` holds public IPs, security groups and the like as documents."""

    history: History
    groups: dict[str, str] = field(default_factory=dict)
    vnets: dict[str, VNet] = field(default_factory=dict)
    subnets: dict[str, Subnet] = field(default_factory=dict)
    nics: dict[str, Nic] = field(default_factory=dict)
    vms: dict[str, Vm] = field(default_factory=dict)
    others: dict[str, dict[str, Any]] = field(default_factory=dict)
    listeners: list[Listener] = field(default_factory=list)
    earlier: dict[str, Nic] = field(default_factory=dict)  # the version before, for stale reads
    rested: dict[str, Nic] = field(default_factory=dict)  # the last one before it that no operation worked on
    _by_primary_address: dict[str, str] = field(default_factory=dict)
    _shown: dict[str, EffectiveNic] = field(default_factory=dict)

    def exists(self, resource_id: str) -> bool:
        """Whether a reference to it holds; pools and rules live inside their load balancer or gateway."""
        key = resource_id.lower()
        if "/loadbalancers/" in key or "/applicationgateways/" in key:
            document = self.others.get("/".join(key.split("/")[:9]))
            return document is not None and has_child(document, resource_id)
        return key in self.subnets or key in self.others

    def vnet_of(self, subnet_id: str) -> VNet:
        return self.vnets[parent(subnet_id).lower()]

    def peer(self, vnet_id: str, other_id: str) -> None:
        """One direction of a peering."""
        vnet = self.vnets[vnet_id.lower()]
        self.vnets[vnet_id.lower()] = replace(vnet, peered_vnet_ids=(*vnet.peered_vnet_ids, other_id))

    def add_subnet(self, subnet: Subnet) -> None:
        """A subnet of a VNet that is there; one of that id is replaced."""
        vnet = self.vnet_of(subnet.id)
        self.subnets[subnet.id.lower()] = subnet
        if subnet.id.lower() not in map(str.lower, vnet.subnet_ids):
            self.vnets[vnet.id.lower()] = replace(vnet, subnet_ids=(*vnet.subnet_ids, subnet.id))

    def subnets_of(self, vnet: VNet) -> tuple[Subnet, ...]:
        return tuple(self.subnets[subnet_id.lower()] for subnet_id in vnet.subnet_ids)

    def room_in(self, vnet: VNet) -> int:
        """How many more addresses the VNet may hold."""
        return ADDRESSES_PER_VNET - sum(subnet.entries for subnet in self.subnets_of(vnet))

    def check_public_addresses(self, nic_id: str, configs: Iterable[IpConfig]) -> None:
        """A public IP address belongs to one configuration at a time; raises ArmError."""
        written: dict[str, str] = {}
        for config in configs:
            document = self.others.get((config.public_ip_id or "").lower())
            properties = document["properties"] if document else {}
            config_id = f"{nic_id}/ipConfigurations/{config.name}"
            first = written.setdefault(config.public_ip_id.lower(), config_id) if config.public_ip_id else config_id
            owner = (properties.get("ipConfiguration") or properties.get("natGateway") or {}).get("id", first)
            if document and owner and owner.lower() != config_id.lower():
                raise errors.public_address_in_use(document["id"], by=config_id, owner_id=owner)

    def nic_by_primary_address(self, address: str) -> Nic | None:
        nic_id = self._by_primary_address.get(address)
        return self.nics[nic_id] if nic_id else None

    def beside(self, nic: Nic | None) -> list[Nic]:
        """The further NICs of its VM; none for a NIC that has none."""
        vm = self.vms.get(nic.vm_id.lower()) if nic is not None and nic.vm_id else None
        others = [
            one.lower() for one in (vm.nic_ids if vm is not None else ()) if nic and one.lower() != nic.id.lower()
        ]
        return [self.nics[one] for one in others if one in self.nics]

    def put_nic(self, nic: Nic, *, at: float, cause: str, operation_id: str = "") -> None:
        """Store a NIC's new version; addresses that it newly holds are taken, those it no longer holds are freed."""
        before = self.nics.get(nic.id.lower())
        subnet = self.subnets[nic.subnet_id.lower()]
        held_before = set(before.held) if before else set()
        subnet.release(held_before.difference(nic.held))
        owners = {config.address: f"{nic.id}/ipConfigurations/{config.name}" for config in nic.configs}
        for address in nic.held:
            if address not in held_before:
                subnet.take(address, owners[address])
        if before:
            self.earlier[nic.id.lower()] = before
            if before.state == "Succeeded":
                self.rested[nic.id.lower()] = before
        self.nics[nic.id.lower()] = nic
        self._index(before, nic)
        self._own_public_addresses(before, nic)
        self._log(before, nic, at=at, cause=cause, operation_id=operation_id)
        effective = nic.effective_nic()
        if self._shown.get(nic.id.lower()) != effective:
            self._shown[nic.id.lower()] = effective
            self.notify()

    def drop_nic(self, nic: Nic, *, at: float, cause: str, operation_id: str = "") -> None:
        """Forget a NIC and free what it held."""
        del self.nics[nic.id.lower()]
        self.earlier.pop(nic.id.lower(), None)
        self.rested.pop(nic.id.lower(), None)
        self._shown.pop(nic.id.lower(), None)
        self.subnets[nic.subnet_id.lower()].release(nic.held)
        self._index(nic, None)
        self._own_public_addresses(nic, None)
        self._log(nic, None, at=at, cause=cause, operation_id=operation_id)
        self.notify()

    def notify(self) -> None:
        if self.listeners:
            effective = self.effective()
            for listener in self.listeners:
                listener(effective)

    def effective(self) -> EffectiveNetwork:
        return EffectiveNetwork(
            vnets=tuple(self._effective_vnet(vnet) for vnet in self.vnets.values()),
            nics=tuple(self._shown[key] for key, nic in self.nics.items() if nic.mac),
            load_balancers=effective_balancers(self.others, self._public_address),
            security_groups=filters.security_groups(self),
            route_tables=filters.route_tables(self),
            storage=filters.storage(self),
        )

    def programmed(
        self, configs: Iterable[IpConfig], before: tuple[EffectiveAddress, ...]
    ) -> tuple[EffectiveAddress, ...]:
        """What these configurations are on the wire; an unchanged one keeps its identity."""
        known = {address.address: address for address in before}
        result = []
        for config in configs:
            address = EffectiveAddress(
                config.address,
                config.primary,
                self._public_address(config.public_ip_id),
                config.pool_ids,
                config.group_ids,
            )
            old = known.get(config.address)
            result.append(old if old == address else address)
        return tuple(result)

    def _public_address(self, public_ip_id: str | None) -> str | None:
        document = self.others.get(public_ip_id.lower()) if public_ip_id else None
        return document["properties"].get("ipAddress") if document else None

    def _nat_addresses(self, subnet: Subnet) -> Iterator[str]:
        gateway = self.others.get(subnet.nat_gateway_id.lower())
        for reference in gateway["properties"]["publicIpAddresses"] if gateway else ():
            if address := self._public_address(reference["id"]):
                yield address

    def _effective_vnet(self, vnet: VNet) -> EffectiveVNet:
        subnets = self.subnets_of(vnet)
        return EffectiveVNet(
            vnet_id=vnet.id,
            prefixes=vnet.prefixes,
            subnets=tuple(
                EffectiveSubnet(
                    subnet.id,
                    str(subnet.prefix),
                    subnet.default_outbound,
                    subnet.security_group_id or None,
                    tuple(self._nat_addresses(subnet)),
                    subnet.route_table_id or None,
                    subnet.service_endpoints,
                    str(subnet.ipv6.prefix) if subnet.ipv6 else None,
                )
                for subnet in subnets
            ),
            peered_vnet_ids=vnet.peered_vnet_ids,
            ipv6_prefixes=vnet.ipv6_prefixes,
        )

    def _index(self, before: Nic | None, after: Nic | None) -> None:
        if before:
            self._by_primary_address.pop(before.primary.address, None)
        if after and after.vm_id and after.is_primary:
            self._by_primary_address[after.primary.address] = after.id.lower()

    def _own_public_addresses(self, before: Nic | None, after: Nic | None) -> None:
        """Write into the documents of public IP addresses which configuration has them."""
        for nic in filter(None, (before, after)):
            for config in nic.configs:
                document = self.others.get((config.public_ip_id or "").lower())
                if document and nic is after:
                    document["properties"]["ipConfiguration"] = {"id": f"{nic.id}/ipConfigurations/{config.name}"}
                elif document:
                    document["properties"].pop("ipConfiguration", None)

    def _log(self, before: Nic | None, after: Nic | None, *, at: float, cause: str, operation_id: str) -> None:
        held = (before.held if before else (), after.held if after else ())
        works = (before.effective if before else (), after.effective if after else ())
        if held[0] == held[1] and works[0] == works[1]:
            return
        old, new = ({address.address for address in addresses} for addresses in works)
        self.history.changes.append(
            Change(
                at=at,
                nic_id=(after or before).id,  # type: ignore[union-attr]
                vm_name=(after or before).vm_name,  # type: ignore[union-attr]
                operation_id=operation_id,
                cause=cause,
                allocated_before=len(held[0]),
                allocated_after=len(held[1]),
                addresses_before=_count(held[0]),
                addresses_after=_count(held[1]),
                effective_before=len(works[0]),
                effective_after=len(works[1]),
                appeared=tuple(address.address for address in works[1] if address.address not in old),
                vanished=tuple(address.address for address in works[0] if address.address not in new),
            )
        )


def _count(held: Iterable[str]) -> int:
    """IPv4 addresses, of a block each one."""
    return sum(len(addresses_of(text)) for text in held if not is_ipv6(text))
