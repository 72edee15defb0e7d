"""The rules of a NIC write for its configurations of IPv6; all others are in `nicrules`."""

from collections.abc import Iterable
from dataclasses import replace

from fakeazure import errors
from fakeazure.errors import ArmError
from fakeazure.ipv6 import IPv6Space
from fakeazure.records import IpConfig
from fakeazure.subnets import Subnet


def check_blocks(configs: Iterable[IpConfig], *, nic_id: str) -> None:
    """A NIC can have one block; raises ArmError."""
    if sum(config.ipv6 and config.prefix_length is not None for config in configs) > 1:
        raise errors.bad_prefix_config(nic_id, "a network interface can have one IPv6 address prefix")


def allocate(configs: tuple[IpConfig, ...], *, nic_id: str, subnet: Subnet) -> tuple[IpConfig, ...]:
    """Give each configuration of IPv6 without an address one; nothing is taken yet. Raises ArmError.

    A /64 never runs out of what the NICs of a VNet can hold.
    """
    mine = [config for config in configs if config.ipv6]
    if mine and subnet.ipv6 is None:
        raise no_prefix_in_subnet(f"{nic_id}/ipConfigurations/{mine[0].name}", subnet_id=subnet.id)
    claimed: set[str] = set()
    for config in mine:
        if config.address:
            _check_claim(config, nic_id=nic_id, subnet=subnet, claimed=claimed)
            claimed.add(config.address)
    return tuple(
        _with_address(config, subnet.ipv6, claimed) if subnet.ipv6 and config.ipv6 and not config.address else config
        for config in configs
    )


def _with_address(config: IpConfig, space: IPv6Space, claimed: set[str]) -> IpConfig:
    address = space.next_free(block=config.prefix_length is not None, claimed=claimed)
    claimed.add(address)
    return replace(config, address=address)


def _check_claim(config: IpConfig, *, nic_id: str, subnet: Subnet, claimed: set[str]) -> None:
    config_id, space = f"{nic_id}/ipConfigurations/{config.name}", subnet.ipv6
    holder = subnet.holder(config.address)
    if space is None or (holder is not None and holder.lower() == config_id.lower()):
        return
    if not space.contains(config.address):
        raise errors.address_not_in_subnet(config_id, address=config.address, prefix=str(space.prefix))
    if space.is_reserved(config.address):
        raise errors.address_reserved(config_id, address=config.address, prefix=str(space.prefix))
    if holder is None and config.address in claimed:
        holder = "another IP configuration of this request"
    if holder is not None:
        raise errors.address_is_allocated(config_id, address=config.address, owner_id=holder)


def no_prefix_in_subnet(config_id: str, *, subnet_id: str) -> ArmError:
    """Our own code: that an IPv6 configuration needs a subnet with an IPv6 prefix is documented, the error is not."""
    text = f"IP configuration {config_id} is of IPv6, and subnet {subnet_id} has no IPv6 address prefix."
    return ArmError(400, "SubnetHasNoIPv6AddressPrefix", text, ())


def primary_must_be_ipv4(config_id: str) -> ArmError:
    """Our own code, as above: the primary IP configuration is of IPv4."""
    return ArmError(
        400, "PrimaryIpConfigurationMustBeIPv4", f"IP configuration {config_id}: the primary is of IPv4.", ()
    )
