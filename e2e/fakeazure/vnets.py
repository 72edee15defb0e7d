"""Reading virtual networks: the documents, their usages, and whether an address is free.

Usages have one entry per subnet (Azure REST specification, VirtualNetworkListUsage). Chosen where nothing is known: a
block of sixteen counts as sixteen there; a page holds `page_size` entries.
"""

from ipaddress import AddressValueError, IPv4Address
from itertools import islice

from fakeazure import errors
from fakeazure.names import leaf
from fakeazure.network import Network
from fakeazure.records import Document, VNet
from fakeazure.subnets import Subnet

MANY_CONFIGS = 1_000  # beyond, a subnet no longer lists them (cilium pull request 36379: "null though in use")
SUGGESTIONS = 5


def vnet_document(network: Network, vnet: VNet) -> Document:
    return {
        "name": leaf(vnet.id),
        "id": vnet.id,
        "etag": vnet.etag,
        "type": "Microsoft.Network/virtualNetworks",
        "location": vnet.location,
        "properties": {
            "provisioningState": "Succeeded",
            "resourceGuid": vnet.guid,
            "addressSpace": {"addressPrefixes": vnet.address_space},
            "privateEndpointVNetPolicies": "Disabled",
            "subnets": [subnet_document(subnet) for subnet in network.subnets_of(vnet)],
            "virtualNetworkPeerings": [_peering(network, vnet, peer_id) for peer_id in vnet.peered_vnet_ids],
            "enableDdosProtection": False,
        },
    }


def subnet_document(subnet: Subnet) -> Document:
    listed: Document = {}
    if 0 < subnet.entries <= MANY_CONFIGS:
        owners = dict.fromkeys((*subnet.owners.values(), *(subnet.ipv6.owners.values() if subnet.ipv6 else ())))
        listed["ipConfigurations"] = [{"id": owner} for owner in owners]
    return {
        "name": leaf(subnet.id),
        "id": subnet.id,
        "etag": subnet.etag,
        "properties": {
            "provisioningState": "Succeeded",
            **subnet_properties(subnet),
            **listed,
            "delegations": [],
            "privateEndpointNetworkPolicies": "Disabled",
            "privateLinkServiceNetworkPolicies": "Enabled",
        },
        "type": "Microsoft.Network/virtualNetworks/subnets",
    }


def subnet_properties(subnet: Subnet) -> Document:
    """What of a subnet's document a PUT may change."""
    linked = {
        "networkSecurityGroup": subnet.security_group_id,
        "routeTable": subnet.route_table_id,
        "natGateway": subnet.nat_gateway_id,
    }
    endpoints = [
        {"service": service, "provisioningState": "Succeeded", "locations": ["*"]}
        for service in subnet.service_endpoints
    ]
    prefix = str(subnet.prefix)
    return {
        **({"addressPrefixes": [prefix, str(subnet.ipv6.prefix)]} if subnet.ipv6 else {"addressPrefix": prefix}),
        **{key: {"id": value} for key, value in linked.items() if value},
        **({"serviceEndpoints": endpoints} if endpoints else {}),
        **({} if subnet.default_outbound else {"defaultOutboundAccess": False}),
    }


def _peering(network: Network, vnet: VNet, peer_id: str) -> Document:
    name = f"to-{leaf(peer_id)}"
    peer = network.vnets[peer_id.lower()]
    return {
        "name": name,
        "id": f"{vnet.id}/virtualNetworkPeerings/{name}",
        "etag": vnet.etag,
        "type": "Microsoft.Network/virtualNetworks/virtualNetworkPeerings",
        "properties": {
            "provisioningState": "Succeeded",
            "peeringState": "Connected",
            "peeringSyncLevel": "FullyInSync",
            "remoteVirtualNetwork": {"id": peer.id},
            "allowVirtualNetworkAccess": True,
            "allowForwardedTraffic": True,
            "remoteAddressSpace": {"addressPrefixes": peer.address_space},
            "remoteVirtualNetworkAddressSpace": {"addressPrefixes": peer.address_space},
        },
    }


def usage(subnet: Subnet) -> Document:
    """How full a subnet is; a gateway's subnet shows -1."""
    hidden = leaf(subnet.id) == "GatewaySubnet"
    return {
        "currentValue": -1.0 if hidden else float(len(subnet.owners)),
        "id": subnet.id,
        "limit": -1.0 if hidden else float(subnet.capacity),
        "name": {"localizedValue": "Subnet size and usage", "value": "SubnetSpace"},
        "unit": "Count",
    }


def availability(network: Network, vnet: VNet, text: str) -> Document:
    """Whether an address is free, and up to five free ones of its subnet when it is not; raises ArmError."""
    try:
        address = str(IPv4Address(text))
    except AddressValueError as error:
        raise errors.invalid_format(f"ipAddress '{text}': {error}") from error
    subnet = next((subnet for subnet in network.subnets_of(vnet) if subnet.contains(address)), None)
    if subnet is None:
        prefixes = ", ".join(vnet.prefixes)
        raise errors.address_not_in_subnet(vnet.id, address=address, prefix=prefixes)
    if subnet.holder(address) is None and not subnet.is_reserved(address):
        return {"available": True, "availableIPAddresses": []}
    suggestions = list(islice(subnet.free_addresses(), SUGGESTIONS))
    reserved = {"isPlatformReserved": True} if subnet.is_reserved(address) else {}
    return {"available": False, "availableIPAddresses": suggestions, **reserved}
