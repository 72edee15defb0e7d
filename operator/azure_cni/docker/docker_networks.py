"""Docker networks on the VNet: what may be asked of one, and which there are.

Every network that Docker makes here is the same VNet by another name: its containers get addresses of the one NIC. What
cannot be so (an internal network, a pool of one's own, IPv6, a swarm) is refused when the network is made, with the
reason, and not when its first container fails. Docker remembers its networks across reboots and does not tell the
driver about them again, so they are written down in a file that outlives reboots, too.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Final

import msgspec

from azure_cni.docker.plugin_codec import (
    ENABLE_IPV4,
    ENABLE_IPV6,
    INTERNAL,
    LOCAL_SPACE,
    SWARM_SPACE,
    USER_OPTIONS,
    CreateNetwork,
    RequestPool,
    is_on,
)
from azure_cni.docker.ports import StateFile
from azure_cni.errors import ConfigInvalid
from azure_cni.model.text import NOT_JSON, few, legible

GATEWAY: Final = IPv4Address("169.254.1.1")
"""What Docker shows as the gateway of a network. Each container has a next hop of its own, on its link."""
ANY_POOL: Final = IPv4Network("0.0.0.0/0")
"""The pool of a network without `--subnet`: whatever the NIC has. Docker looks for overlaps with any other."""
CREATE: Final = "docker network create -d azure-cni --ipam-driver azure-cni NAME"

_POOL_PREFIX: Final = "azure-cni/"


def pool_for(request: RequestPool, *, primary: IPv4Address | None) -> IPv4Network:
    """The pool of a new network; `primary` is the NIC's primary address, None while it is not known. ConfigInvalid."""
    if request.address_space == SWARM_SPACE:
        raise ConfigInvalid(NO_SWARM)
    if request.v6:
        raise ConfigInvalid("cannot give a network IPv6 addresses: azure-cni has IPv4 only; leave --ipv6 out")
    if request.sub_pool:
        raise ConfigInvalid(
            f"cannot use --ip-range {legible(request.sub_pool)}: containers get the addresses that Azure has given to "
            "this VM's NIC, from anywhere in its subnet; leave it out"
        )
    if not request.pool:
        return ANY_POOL
    try:
        pool = IPv4Network(request.pool)
    except ValueError as error:
        raise ConfigInvalid(
            f"cannot use --subnet {legible(request.pool)}: it must be an IPv4 prefix ({error})"
        ) from None
    if primary is not None and primary not in pool:
        raise ConfigInvalid(
            f"cannot use --subnet {pool}: this VM's NIC is in another one (its primary address is {primary}); give the "
            "prefix of the NIC's subnet, or leave --subnet out"
        )
    return pool


def pool_id(pool: IPv4Network) -> str:
    """By which Docker names it. All that is to be known of a pool is in its ID: nothing has to be kept."""
    return f"{_POOL_PREFIX}{pool}"


def pool_of(named: str) -> IPv4Network:
    """The pool of that ID. ConfigInvalid for one that `pool_id` did not make."""
    try:
        return IPv4Network(named.removeprefix(_POOL_PREFIX) if named.startswith(_POOL_PREFIX) else "")
    except ValueError:
        raise ConfigInvalid(f"cannot find the pool {legible(named)!r}: azure-cni gave no pool of this name") from None


def require_possible(network: CreateNetwork) -> IPv4Network:
    """The pool of a network that can be had; ConfigInvalid with the first reason why it cannot."""
    options, cannot = network.options, f"cannot create network {network.network_id[:12]}"
    if is_on(options, INTERNAL):
        raise ConfigInvalid(
            f"{cannot}: --internal is not possible: an address of the VNet is reached from all of the VNet; deny what "
            "is unwanted by a network security group"
        )
    if network.ipv6_data or is_on(options, ENABLE_IPV6) or not is_on(options, ENABLE_IPV4, default=True):
        raise ConfigInvalid(f"{cannot}: azure-cni has IPv4, and IPv4 only; leave --ipv6 and --ipv4 out")
    given = options.get(USER_OPTIONS) if options else None
    if given:
        named = few(sorted(map(str, given))) if isinstance(given, dict) else str(given)
        raise ConfigInvalid(f"{cannot}: azure-cni takes no options (-o), and {legible(named)} was given; leave it out")
    pools = network.ipv4_data or []
    if len(pools) != 1:
        raise ConfigInvalid(f"{cannot}: it must have one IPv4 pool, and has {len(pools)}")
    data = pools[0]
    if data.address_space != LOCAL_SPACE:
        raise ConfigInvalid(
            f"{cannot}: its addresses ({legible(data.pool)}) are another IPAM driver's and not the VNet's; name both "
            f"drivers: {CREATE}"
        )
    if data.aux_addresses:
        raise ConfigInvalid(f"{cannot}: --aux-address is not possible: what the NIC holds is for containers")
    return _pool_in(data.pool, cannot)


def require_gateway(address: str) -> None:
    """ConfigInvalid when a person wants another gateway."""
    if address not in {"", str(GATEWAY)}:
        raise ConfigInvalid(
            f"cannot use --gateway {legible(address)}: each container has its next hop on its own link, whatever its "
            "network; leave --gateway out"
        )


NO_SWARM: Final = (
    "cannot serve a swarm: a network of azure-cni is one VM's, and containers on all VMs of the VNet reach one another "
    "without it; create the network on each VM, without --scope swarm"
)


VERSION: Final = 1
"""Of the file. A change of its shape raises it."""


class _Version(msgspec.Struct):
    """What a file of any version has."""

    version: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = VERSION


class _Written(msgspec.Struct):
    networks: dict[str, str]
    version: int = VERSION


class DockerNetworks:
    """Which networks there are: their IDs and pools."""

    def __init__(self, file: StateFile) -> None:
        self._file = file
        self._pools = self._load()

    @property
    def ids(self) -> tuple[str, ...]:
        """All of them, in order."""
        return tuple(sorted(self._pools))

    def add(self, network: CreateNetwork) -> None:
        """Remember a network that can be had; a repeat changes nothing. ConfigInvalid, or AzureCniError of the file."""
        self._keep(self._pools | {network.network_id: require_possible(network)})

    def remove(self, network_id: str) -> None:
        """Forget it; one that is not known is forgotten already."""
        self._keep({known: pool for known, pool in self._pools.items() if known != network_id})

    def require(self, network_id: str) -> None:
        """ConfigInvalid when there is no such network."""
        if network_id not in self._pools:
            raise ConfigInvalid(
                f"cannot find network {network_id[:12]}: azure-cni does not know it; was its state directory emptied? "
                f"Remove the network and create it again: docker network rm NAME; {CREATE}"
            )

    def _keep(self, pools: dict[str, IPv4Network]) -> None:
        if pools != self._pools:
            written = _Written({network: str(pool) for network, pool in pools.items()})
            self._file.write(msgspec.json.encode(written))
            self._pools = pools

    def _load(self) -> dict[str, IPv4Network]:
        content = self._file.read()
        if content is None:
            return {}
        try:
            written = msgspec.json.decode(content, type=_Version)
            pools = self._pools_in(content) if written.version <= VERSION else {}
        except (*NOT_JSON, ValueError) as error:
            raise ConfigInvalid(
                f"cannot read the list of Docker networks in {self._file.name}: {legible(str(error))}; remove the "
                "file, start again, and remove and create these networks in Docker"
            ) from error
        if written.version > VERSION:
            raise ConfigInvalid(
                f"cannot read the list of Docker networks in {self._file.name}: a newer azure-cni wrote it (version "
                f"{written.version}, known here {VERSION}); install it again"
            )
        return pools

    @staticmethod
    def _pools_in(content: bytes) -> dict[str, IPv4Network]:
        written = msgspec.json.decode(content, type=_Written)
        return {network: IPv4Network(pool) for network, pool in written.networks.items()}


def _pool_in(text: str, cannot: str) -> IPv4Network:
    try:
        return IPv4Network(text)
    except ValueError as error:
        raise ConfigInvalid(f"{cannot}: its pool {legible(text)!r} is no IPv4 prefix ({error})") from None
