"""What the fabric may let through: the network as Azure has programmed it, not as someone asked for it.

The network interface that the API shows is a wish until its operation has Succeeded; these values are what holds on
the wire at this instant. An address appears here when its operation Succeeded and is gone from the moment its removal
is accepted. Each value is frozen, and an unchanged NIC keeps its identity, so a listener may compare with `is`.
Resource ids are full ARM ids in the spelling of their creation; ids are compared without regard to case.
"""

from dataclasses import dataclass

from fakeazure.effectivebalancing import EffectiveLoadBalancer
from fakeazure.effectivefilters import EffectiveRouteTable, EffectiveSecurityGroup, EffectiveStorage


@dataclass(frozen=True, slots=True)
class EffectiveAddress:
    """One IP configuration of a NIC, at work.

    `address` is "10.240.0.5", or "10.240.0.16/28" for a block, which admits all its 16 addresses.
    `public_ip` is the literal public address of this configuration, `load_balancer_pools` the ids of its backend pools.
    """

    address: str
    primary: bool
    public_ip: str | None
    load_balancer_pools: tuple[str, ...]
    application_security_groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EffectiveNic:
    """A NIC with what may pass it; `mac` is "00:0d:3a:1b:c7:21", `vm_name` None when no VM has it.

    `is_primary` is of the VM's NICs, `security_group_id` is of this NIC itself and not of its subnet. `addresses` are
    of IPv4; `ipv6` are the others, in the same two forms: "fd00::5", or "fd00::1:0/112" for a block.
    """

    nic_id: str
    name: str
    vm_name: str | None
    mac: str
    ip_forwarding: bool
    subnet_id: str
    addresses: tuple[EffectiveAddress, ...]
    security_group_id: str | None = None
    is_primary: bool = True
    ipv6: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EffectiveSubnet:
    """A subnet; `default_outbound` says whether its VMs reach the internet without a public IP or gateway.

    `nat_addresses` are the public addresses of its NAT gateway, none when it has none.
    """

    subnet_id: str
    prefix: str
    default_outbound: bool
    security_group_id: str | None = None
    nat_addresses: tuple[str, ...] = ()
    route_table_id: str | None = None
    service_endpoints: tuple[str, ...] = ()
    ipv6: str | None = None


@dataclass(frozen=True, slots=True)
class EffectiveVNet:
    """A VNet; `peered_vnet_ids` are those that it reaches, its own direction of each peering."""

    vnet_id: str
    prefixes: tuple[str, ...]
    subnets: tuple[EffectiveSubnet, ...]
    peered_vnet_ids: tuple[str, ...]
    ipv6_prefixes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EffectiveNetwork:
    """Everything at one instant. A NIC that no VM ever had is not in it: it has no MAC yet."""

    vnets: tuple[EffectiveVNet, ...]
    nics: tuple[EffectiveNic, ...]
    load_balancers: tuple[EffectiveLoadBalancer, ...] = ()
    security_groups: tuple[EffectiveSecurityGroup, ...] = ()
    route_tables: tuple[EffectiveRouteTable, ...] = ()
    storage: tuple[EffectiveStorage, ...] = ()
