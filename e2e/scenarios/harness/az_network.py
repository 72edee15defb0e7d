"""`az network` for the box: the commands that azure-cni names, carried out through Azure's own SDK by the fake Azure.

As with az, the login is that of the environment, and each command waits until Azure has done it.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from typing import Any, cast

from azure.identity import DefaultAzureCredential
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.network.models import NatGateway, PublicIPAddress, SecurityRule

from azure_cni.commands.azure_access import ENDPOINT

POLL_S = 0.5
SUBNET_PARTS = 11


def carry_out(words: Sequence[str]) -> None:
    """`az network WORDS`; argparse ends the process where azure-cni names no such command."""
    parser = argparse.ArgumentParser(prog="az network", allow_abbrev=False)
    groups = parser.add_subparsers(required=True)
    _command(
        _sub(groups, "nsg", "rule"),
        "create",
        create_rule,
        "nsg-name",
        "priority",
        "direction",
        "access",
        "protocol",
        "source-address-prefixes",
        "destination-address-prefixes",
        "destination-port-ranges",
    )
    _command(_sub(groups, "public-ip"), "create", create_address, "sku", "allocation-method", located=True)
    _command(_sub(groups, "nat", "gateway"), "create", create_gateway, "public-ip-addresses", located=True)
    update = _sub(groups, "vnet", "subnet").add_parser("update", allow_abbrev=False)
    update.add_argument("--ids", required=True)
    update.add_argument("--nat-gateway", required=True)
    update.set_defaults(work=update_subnet)
    _command(
        _sub(groups, "nic", "ip-config", "address-pool"),
        "remove",
        leave_pool,
        "nic-name",
        "ip-config-name",
        "address-pool",
        named=False,
    )
    asked = parser.parse_args(words)
    asked.work(asked)


def _sub(groups: Any, *words: str) -> Any:
    for word in words:
        groups = groups.add_parser(word).add_subparsers(required=True)
    return groups


def _command(
    groups: Any,
    name: str,
    work: Callable[[argparse.Namespace], None],
    *flags: str,
    located: bool = False,
    named: bool = True,
) -> None:
    made = groups.add_parser(name, allow_abbrev=False)
    made.add_argument("--subscription", required=True)
    made.add_argument("-g", dest="group", required=True)
    if named:
        made.add_argument("-n", dest="name", required=True)
    if located:
        made.add_argument("-l", dest="location", required=True)
    for flag in flags:
        made.add_argument(f"--{flag}", required=True)
    made.set_defaults(work=work)


def create_rule(asked: argparse.Namespace) -> None:
    """`az network nsg rule create`."""
    rule = SecurityRule(
        {
            "properties": {
                "priority": int(asked.priority),
                "direction": asked.direction,
                "access": asked.access,
                "protocol": asked.protocol,
                "sourceAddressPrefix": asked.source_address_prefixes,
                "sourcePortRange": "*",
                "destinationAddressPrefix": asked.destination_address_prefixes,
                "destinationPortRange": asked.destination_port_ranges,
            }
        }
    )
    rules = _client(asked.subscription).security_rules
    rules.begin_create_or_update(asked.group, asked.nsg_name, asked.name, rule).result()


def create_address(asked: argparse.Namespace) -> None:
    """`az network public-ip create`."""
    body = PublicIPAddress(
        {"location": asked.location, "sku": {"name": asked.sku},
         "properties": {"publicIPAllocationMethod": asked.allocation_method}}
    )  # fmt: skip
    addresses = _client(asked.subscription).public_ip_addresses
    addresses.begin_create_or_update(asked.group, asked.name, body).result()


def create_gateway(asked: argparse.Namespace) -> None:
    """`az network nat gateway create`."""
    client = _client(asked.subscription)
    address = client.public_ip_addresses.get(asked.group, asked.public_ip_addresses)
    body = NatGateway(
        {"location": asked.location, "sku": {"name": "Standard"},
         "properties": {"publicIpAddresses": [{"id": address.id}]}}
    )  # fmt: skip
    client.nat_gateways.begin_create_or_update(asked.group, asked.name, body).result()


def update_subnet(asked: argparse.Namespace) -> None:
    """`az network vnet subnet update --nat-gateway`: the subnet as it is, with the gateway of its group."""
    # "", subscriptions, S, resourceGroups, G, providers, Microsoft.Network, virtualNetworks, V, subnets, NAME
    parts = asked.ids.split("/")
    assert len(parts) == SUBNET_PARTS, asked.ids
    subscription, group, vnet, name = parts[2], parts[4], parts[8], parts[10]
    client = _client(subscription)
    subnet = client.subnets.get(group, vnet, name)
    gateway = client.nat_gateways.get(group, asked.nat_gateway)
    cast("Any", subnet)["properties"]["natGateway"] = {"id": gateway.id}
    client.subnets.begin_create_or_update(group, vnet, name, subnet).result()


def leave_pool(asked: argparse.Namespace) -> None:
    """`az network nic ip-config address-pool remove`: reads the NIC, and writes it whole."""
    nics = _client(asked.subscription).network_interfaces
    nic = nics.get(asked.group, asked.nic_name)
    document: Any = nic
    for config in document["properties"]["ipConfigurations"]:
        pools = config["properties"].get("loadBalancerBackendAddressPools") or []
        if config["name"] == asked.ip_config_name:
            left = [pool for pool in pools if pool["id"].lower() != asked.address_pool.lower()]
            assert left != pools, f"{asked.ip_config_name} is not in {asked.address_pool}"
            config["properties"]["loadBalancerBackendAddressPools"] = left
    nics.begin_create_or_update(asked.group, asked.nic_name, nic, headers={"If-Match": nic.etag}).result()


def _client(subscription: str) -> NetworkManagementClient:
    return NetworkManagementClient(
        DefaultAzureCredential(), subscription, base_url=os.environ[ENDPOINT], polling_interval=POLL_S
    )
