"""What each call of Docker does, and what it is answered: both drivers, which belong together.

The address that the IPAM half gives is the endpoint's in the network half, so neither is of use without the other. A
call that cannot be done raises an error of `azure_cni.errors`; the socket makes Docker's `Err` of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any, Final, assert_never

from azure_cni.datapath.interface import Interface
from azure_cni.docker import docker_networks, plugin_codec
from azure_cni.docker.container_endpoints import ContainerEndpoints
from azure_cni.docker.docker_networks import GATEWAY, DockerNetworks
from azure_cni.docker.plugin_codec import Call, Options
from azure_cni.errors import ConfigInvalid
from azure_cni.model.text import counted, few, legible
from azure_cni.node.state import NodeState

NEXT_HOP, CONNECTED = 0, 1
"""The route types of libnetwork: by a next hop, and on the link itself (libnetwork/types)."""

Reply = dict[str, Any]


class DockerPlugin:
    """Answers calls; one instance for each node."""

    def __init__(self, *, networks: DockerNetworks, endpoints: ContainerEndpoints, state: NodeState) -> None:
        self._networks = networks
        self._endpoints = endpoints
        self._state = state

    async def answer(self, call: Call) -> Reply:
        """Do it; the reply's fields are Go's."""
        match call:
            case plugin_codec.Activate():
                return {"Implements": ["NetworkDriver", "IpamDriver"]}
            case plugin_codec.NetworkCapabilities():
                # One host's networks, whose containers are reached from everywhere.
                return {"Scope": "local", "ConnectivityScope": "global"}
            case plugin_codec.Discovery() | plugin_codec.RevokeExternalConnectivity() | plugin_codec.ReleasePool():
                return {}
            case plugin_codec.SwarmNetwork():
                raise ConfigInvalid(docker_networks.NO_SWARM)
            case plugin_codec.CreateNetwork() | plugin_codec.DeleteNetwork():
                return self._change_network(call)
            case (
                plugin_codec.IpamCapabilities()
                | plugin_codec.AddressSpaces()
                | plugin_codec.RequestPool()
                | plugin_codec.RequestAddress()
                | plugin_codec.ReleaseAddress()
            ):
                return await self._manage_addresses(call)
            case _:
                return await self._change_endpoint(call)

    def _change_network(self, call: plugin_codec.CreateNetwork | plugin_codec.DeleteNetwork) -> Reply:
        if isinstance(call, plugin_codec.CreateNetwork):
            self._networks.add(call)
        elif there := self._endpoints.count(call.network_id):
            containers = counted(there, "container is", "containers are")
            raise ConfigInvalid(f"cannot delete network {call.network_id[:12]}: {containers} on it")
        else:
            self._networks.remove(call.network_id)
        return {}

    async def _manage_addresses(
        self,
        call: plugin_codec.IpamCapabilities
        | plugin_codec.AddressSpaces
        | plugin_codec.RequestPool
        | plugin_codec.RequestAddress
        | plugin_codec.ReleaseAddress,
    ) -> Reply:
        match call:
            case plugin_codec.IpamCapabilities():
                return {"RequiresMACAddress": False, "RequiresRequestReplay": False}
            case plugin_codec.AddressSpaces():
                return {
                    "LocalDefaultAddressSpace": plugin_codec.LOCAL_SPACE,
                    "GlobalDefaultAddressSpace": plugin_codec.SWARM_SPACE,
                }
            case plugin_codec.RequestPool():
                identity = self._state.identity
                pool = docker_networks.pool_for(call, primary=identity.primary_ip if identity else None)
                return {"PoolID": docker_networks.pool_id(pool), "Pool": str(pool), "Data": {}}
            case plugin_codec.RequestAddress():
                return {"Address": f"{await self._requested(call)}/32", "Data": {}}
            case plugin_codec.ReleaseAddress():
                address = _address(call.address)
                if address is not None and address != GATEWAY:
                    await self._endpoints.release(address)
                return {}
            case _:
                assert_never(call)

    async def _requested(self, call: plugin_codec.RequestAddress) -> IPv4Address:
        pool, options = docker_networks.pool_of(call.pool_id), call.options or {}
        if options.get(plugin_codec.REQUEST_KIND) == plugin_codec.OF_GATEWAY:
            docker_networks.require_gateway(call.address)
            return GATEWAY
        name = options.get(plugin_codec.CONTAINER_NAME, "")
        return await self._endpoints.request(pool, _address(call.address), name=name)

    async def _change_endpoint(
        self,
        call: plugin_codec.CreateEndpoint
        | plugin_codec.DeleteEndpoint
        | plugin_codec.EndpointInfo
        | plugin_codec.Join
        | plugin_codec.Leave
        | plugin_codec.ProgramExternalConnectivity,
    ) -> Reply:
        network_id, endpoint_id = call.network_id, call.endpoint_id
        match call:
            case plugin_codec.CreateEndpoint():
                return {"Interface": {"MacAddress": await self._created(call)}}
            case plugin_codec.DeleteEndpoint():
                await self._endpoints.remove(network_id, endpoint_id)
            case plugin_codec.EndpointInfo():
                self._endpoints.require(network_id, endpoint_id)
                return {"Value": {}}
            case plugin_codec.Join():
                self._networks.require(network_id)
                wiring = await self._endpoints.join(network_id, endpoint_id, netns=call.sandbox_key)
                return _joined(wiring.pod, self._state.routable)
            case plugin_codec.Leave():
                await self._endpoints.leave(network_id, endpoint_id)
            case plugin_codec.ProgramExternalConnectivity():
                _refuse_ports(call.options)
            case _:
                assert_never(call)
        return {}

    async def _created(self, call: plugin_codec.CreateEndpoint) -> str:
        """The MAC of the new endpoint."""
        self._networks.require(call.network_id)
        _refuse_ports(call.options)
        _refuse_driver_options(call.options)
        interface = call.interface or plugin_codec.EndpointInterface()
        if interface.mac_address:
            raise ConfigInvalid(
                f"cannot use --mac-address {legible(interface.mac_address)}: azure-cni derives the MAC from the "
                "endpoint; leave it out"
            )
        try:
            address = IPv4Interface(interface.address).ip
        except ValueError:
            raise ConfigInvalid(
                f"cannot create endpoint {call.endpoint_id[:12]}: Docker gave no IPv4 address for it "
                f"({legible(interface.address)!r})"
            ) from None
        return await self._endpoints.create(call.network_id, call.endpoint_id, address)


def _joined(end: Interface, routable: Iterable[IPv4Network]) -> Reply:
    """What Docker does with the interface: its name, and how everything is reached through it.

    `routable` networks are reached through it also where another network of Docker's has the default route.
    """
    on_link = [route.destination for route in end.routes if route.gateway is None]
    (gateway,) = (route.gateway for route in end.routes if route.is_default)
    return {
        "InterfaceName": {"SrcName": end.name, "DstPrefix": "eth"},
        "Gateway": str(gateway),
        "StaticRoutes": [
            *({"Destination": str(destination), "RouteType": CONNECTED} for destination in on_link),
            *({"Destination": str(it), "RouteType": NEXT_HOP, "NextHop": str(gateway)} for it in sorted(routable)),
        ],
    }


_PORT: Final = 20
"""Characters of what is named as a port."""


def _refuse_ports(options: Options | None) -> None:
    if published := (options or {}).get(plugin_codec.PUBLISHED):
        whole = published if isinstance(published, list) else []
        ports = [legible(str(one.get("Port", "?")), _PORT) for one in whole if isinstance(one, dict)] or ["?"]
        raise ConfigInvalid(
            f"cannot publish port {few(ports)}: a container on the VNet is reached at its own address, at every "
            "port that it listens on; leave -p and -P out, and allow the port in the network security group"
        )


def _refuse_driver_options(options: Options | None) -> None:
    """Of one container on one network. What has no effect is not passed over in silence."""
    given = [
        it for it in options or {} if it == plugin_codec.INTERFACE_NAME or not it.startswith(plugin_codec.DOCKERS_OWN)
    ]
    if given:
        raise ConfigInvalid(
            f"cannot use driver-opt {legible(few(sorted(given)))}: azure-cni takes no options of an endpoint, and "
            "Docker names its interface; leave it out"
        )


def _address(text: str) -> IPv4Address | None:
    """None for ""."""
    try:
        return IPv4Address(text) if text else None
    except ValueError:
        raise ConfigInvalid(f"cannot use the address {legible(text)!r}: it is no IPv4 address") from None
