"""The rules of a NIC write: what a body asks for, whether it may, and which addresses it gets.

A write replaces the whole: what the body leaves out goes back to its default, an IP configuration that is not in the
list is deleted. Sources: Azure documentation ("Azure virtual network limits", "IP address prefixes for NICs", "Private
IP addresses") and errors quoted in public issue trackers. Chosen where nothing is known: a dynamic configuration keeps
its address whatever the body says; the primary flag cannot move to another configuration.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

from fakeazure import errors, ipv6, ipv6rules
from fakeazure.records import Document, IpConfig, Nic
from fakeazure.subnets import BLOCK_LENGTH, BLOCK_SIZE, Subnet, addresses_of

CONFIGS_PER_NIC = 256  # Azure documentation, virtual network limits: "private IP addresses per network interface"
ADDRESSES_PER_VNET = 65_536  # the same page

DEFAULT_SETTINGS: Mapping[str, Any] = {
    "enableAcceleratedNetworking": False,
    "vnetEncryptionSupported": False,
    "enableIPForwarding": False,
    "disableTcpStateTracking": False,
    "nicType": "Standard",
    "auxiliaryMode": "None",
    "auxiliarySku": "None",
}
SERVER_OWNED = {
    "provisioningState", "resourceGuid", "ipConfigurations", "macAddress", "primary", "virtualMachine",
    "hostedWorkloads", "tapConfigurations", "vnetEncryptionSupported", "allowPort25Out", "privateEndpoint",
    "defaultOutboundConnectivityEnabled", "dscpConfiguration", "privateLinkService",
}  # fmt: skip
READ_APART = {
    "provisioningState", "privateIPAddress", "privateIPAddressPrefixLength", "privateIPAllocationMethod", "subnet",
    "primary", "privateIPAddressVersion", "privateLinkConnectionProperties",
}  # fmt: skip
REFERENCES = {"publicIPAddress", "networkSecurityGroup", "gatewayLoadBalancer"}
REFERENCE_LISTS = {
    "loadBalancerBackendAddressPools",
    "loadBalancerInboundNatRules",
    "applicationGatewayBackendAddressPools",
    "applicationSecurityGroups",
}


def read_settings(properties: Document, *, dns_suffix: str) -> Document:
    """The NIC's own properties after a write of `properties`: the caller's over the defaults."""
    given = {key: _reference(key, value) for key, value in properties.items() if key not in SERVER_OWNED}
    dns = {key: value for key, value in (given.pop("dnsSettings", None) or {}).items() if value is not None}
    dns = {"dnsServers": [], "appliedDnsServers": [], **dns, "internalDomainNameSuffix": dns_suffix}
    return {"dnsSettings": dns, **DEFAULT_SETTINGS, **{key: value for key, value in given.items() if value is not None}}


def read_configs(properties: Document, *, nic_id: str, existing: Nic | None) -> tuple[IpConfig, ...]:
    """The IP configurations that a body asks for, new dynamic ones without an address yet; raises ArmError."""
    items = properties.get("ipConfigurations")
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        raise errors.invalid_format(f"Network interface {nic_id} must have at least one IP configuration")
    old = {config.name: config for config in existing.configs} if existing else {}
    inherited = _subnet_of(items)
    configs = tuple(_read_config(item, nic_id=nic_id, old=old, inherited=inherited) for item in items)
    if len(configs) == 1:
        configs = (replace(configs[0], primary=True),)
    _check_whole(configs, nic_id=nic_id, existing=existing)
    ipv6rules.check_blocks(configs, nic_id=nic_id)
    return configs


def _read_config(item: Document, *, nic_id: str, old: Mapping[str, IpConfig], inherited: str) -> IpConfig:
    name, properties = item.get("name"), item.get("properties") or {}
    if not isinstance(name, str) or not name:
        raise errors.invalid_format(f"an IP configuration of {nic_id} has no name")
    subnet_id = (properties.get("subnet") or {}).get("id") or inherited
    if not subnet_id:
        raise errors.subnet_required(f"{nic_id}/ipConfigurations/{name}")
    method = properties.get("privateIPAllocationMethod") or "Dynamic"
    address = properties.get("privateIPAddress") or ""
    if method == "Dynamic":
        address = old[name].address if name in old else ""
    rest = {key: _reference(key, value) for key, value in properties.items() if key not in READ_APART}
    config = IpConfig(
        name=name,
        subnet_id=subnet_id,
        address=address,
        method=method,
        primary=bool(properties.get("primary")),
        prefix_length=properties.get("privateIPAddressPrefixLength"),
        rest={key: value for key, value in rest.items() if value not in (None, [])},
        ipv6=_is_ipv6(properties, config_id=f"{nic_id}/ipConfigurations/{name}"),
    )
    _check_config(config, config_id=f"{nic_id}/ipConfigurations/{name}")
    return config


def _is_ipv6(properties: Document, *, config_id: str) -> bool:
    version = properties.get("privateIPAddressVersion") or "IPv4"
    if version not in {"IPv4", "IPv6"}:
        raise errors.invalid_format(f"privateIPAddressVersion '{version}' of {config_id} is not known")
    return version == "IPv6"


def _check_config(config: IpConfig, *, config_id: str) -> None:
    if config.method not in {"Dynamic", "Static"}:
        raise errors.invalid_format(f"privateIPAllocationMethod '{config.method}' of {config_id} is not known")
    if config.ipv6 and config.primary:
        raise ipv6rules.primary_must_be_ipv4(config_id)
    if config.method == "Static":
        if not config.address:
            raise errors.invalid_format(f"{config_id} is Static and names no privateIPAddress")
        try:
            (ipv6.span_of if config.ipv6 else addresses_of)(config.address)
        except ValueError as error:
            raise errors.invalid_format(f"privateIPAddress '{config.address}' of {config_id}: {error}") from error
    if config.prefix_length is not None:
        _check_block(config, config_id=config_id)
    elif "/" in config.address:
        raise errors.bad_prefix_config(config_id, "an address prefix needs privateIPAddressPrefixLength")


def _check_block(config: IpConfig, *, config_id: str) -> None:
    length = ipv6.BLOCK_LENGTH if config.ipv6 else BLOCK_LENGTH
    if config.prefix_length != length:
        raise errors.bad_prefix_config(config_id, f"prefix length {config.prefix_length} is not {length}")
    if config.primary:
        raise errors.bad_prefix_config(config_id, "the primary IP configuration cannot hold an address prefix")
    if config.public_ip_id:
        raise errors.bad_prefix_config(config_id, "an address prefix cannot have a public IP address")
    if config.address and ip_network(config.address).prefixlen != length:
        raise errors.bad_prefix_config(config_id, f"{config.address} is not a /{length}")


def _check_whole(configs: tuple[IpConfig, ...], *, nic_id: str, existing: Nic | None) -> None:
    names = [config.name for config in configs]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice:
        raise errors.duplicate_name(nic_id, twice)
    if existing and existing.primary.name not in names:
        raise errors.primary_lost(existing.primary.name)
    if sum(config.primary for config in configs) != 1:
        raise errors.not_one_primary(nic_id)
    if existing and next(config.name for config in configs if config.primary) != existing.primary.name:
        raise errors.primary_lost(existing.primary.name)
    if len({config.subnet_id.lower() for config in configs}) > 1:
        raise errors.different_subnets(nic_id)
    odd = next((one for one in configs if _groups(one) != _groups(configs[0])), None)
    if odd:
        raise errors.different_groups(
            nic_id, one=(configs[0].name, _groups(configs[0])), other=(odd.name, _groups(odd))
        )
    if len(configs) > CONFIGS_PER_NIC:
        raise errors.too_many_configs(nic_id, count=len(configs), limit=CONFIGS_PER_NIC)


def check_vm(beside: Iterable[Nic], configs: tuple[IpConfig, ...], *, nic_id: str) -> None:
    """The limit is the VM's, too: "private IP addresses per virtual machine" (virtual network limits). ArmError."""
    count = len(configs) + sum(len(nic.configs) for nic in beside)
    if count > CONFIGS_PER_NIC:
        raise errors.too_many_configs(nic_id, count=count, limit=CONFIGS_PER_NIC)


def _groups(config: IpConfig) -> list[str]:
    return sorted(map(str.lower, config.group_ids))


def allocate(
    configs: tuple[IpConfig, ...], *, nic_id: str, subnet: Subnet, vnet_room: int, vnet_id: str
) -> tuple[IpConfig, ...]:
    """Give each configuration without an address one, lowest first; nothing is taken yet. Raises ArmError.

    `vnet_room` is how many more entries the VNet may hold. Static addresses are settled before dynamic ones. A block
    is aligned and wholly free (Azure documentation, "Assign private IP address prefixes to VMs"; the examples of
    Azure/azure-rest-api-specs, NetworkInterfaceCreate.json, show 172.20.2.16/28). What Azure says of a subnet whose
    free addresses hold none is not documented: here it is full, as for addresses.
    """
    configs = ipv6rules.allocate(configs, nic_id=nic_id, subnet=subnet)
    claimed: set[int] = set()
    for config in configs:
        if config.address and not config.ipv6:
            _check_claim(config, config_id=f"{nic_id}/ipConfigurations/{config.name}", subnet=subnet, claimed=claimed)
            claimed.update(addresses_of(config.address))
    new = sum(1 for config in configs if not config.address or subnet.holder(config.address) is None)
    if new > vnet_room:
        raise errors.vnet_full(vnet_id, limit=ADDRESSES_PER_VNET)
    blocks, singles = subnet.free_blocks(), subnet.free_addresses()
    allocated = []
    for config in configs:
        if config.address:
            allocated.append(config)
            continue
        address = _next_unclaimed(singles if config.prefix_length is None else blocks, claimed)
        if address is None:
            asked = sum(1 if one.prefix_length is None else BLOCK_SIZE for one in configs if not one.address)
            raise errors.subnet_is_full(subnet.id, prefix=str(subnet.prefix), count=asked)
        claimed.update(addresses_of(address))
        allocated.append(replace(config, address=address))
    return tuple(allocated)


def _check_claim(config: IpConfig, *, config_id: str, subnet: Subnet, claimed: set[int]) -> None:
    holder = subnet.holder(config.address)
    if holder is not None and holder.lower() == config_id.lower():
        return
    if not subnet.contains(config.address):
        raise errors.address_not_in_subnet(config_id, address=config.address, prefix=str(subnet.prefix))
    if subnet.is_reserved(config.address):
        raise errors.address_reserved(config_id, address=config.address, prefix=str(subnet.prefix))
    if holder is None and not claimed.isdisjoint(addresses_of(config.address)):
        holder = "another IP configuration of this request"
    if holder is not None:
        raise errors.address_is_allocated(config_id, address=config.address, owner_id=holder)


def _next_unclaimed(candidates: Iterator[str], claimed: set[int]) -> str | None:
    return next((address for address in candidates if claimed.isdisjoint(addresses_of(address))), None)


JOINED = {
    "applicationSecurityGroups": "applicationSecurityGroups/joinIpConfiguration/action",
    "loadBalancerInboundNatRules": "loadBalancers/inboundNatRules/join/action",
    "applicationGatewayBackendAddressPools": "applicationGateways/backendAddressPools/join/action",
}
"""What an ipConfiguration refers to, and the action on it that a writer must be allowed."""


def references(configs: tuple[IpConfig, ...], settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every (action, id) that a writer of this NIC must be allowed to join, each once."""
    seen: set[tuple[str, str]] = set()
    group = settings.get("networkSecurityGroup")
    wanted = [("Microsoft.Network/networkSecurityGroups/join/action", group["id"])] if group else []
    for config in configs:
        wanted.append(("Microsoft.Network/virtualNetworks/subnets/join/action", config.subnet_id))
        if config.public_ip_id:
            wanted.append(("Microsoft.Network/publicIPAddresses/join/action", config.public_ip_id))
        wanted += [
            ("Microsoft.Network/loadBalancers/backendAddressPools/join/action", pool) for pool in config.pool_ids
        ]
        wanted += [
            (f"Microsoft.Network/{action}", item["id"])
            for key, action in JOINED.items()
            for item in config.rest.get(key) or ()
        ]
    for pair in wanted:
        if pair not in seen:
            seen.add(pair)
            yield pair


def _subnet_of(items: list[Document]) -> str:
    """The subnet of the first configuration that names one: a block's configuration may leave it out."""
    named = ((item.get("properties") or {}).get("subnet") or {} for item in items)
    return next((subnet["id"] for subnet in named if subnet.get("id")), "")


def _reference(key: str, value: Any) -> Any:
    """A reference comes back as its id alone, however much of the resource the caller sent."""
    if key in REFERENCES and isinstance(value, dict) and "id" in value:
        return {"id": value["id"]}
    if key in REFERENCE_LISTS and isinstance(value, list):
        return [{"id": item["id"]} for item in value]
    return value
