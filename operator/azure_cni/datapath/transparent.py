"""The `transparent` mode: what one sandbox looks like in the kernel when pods hang on the node by routes. Pure.

A sandbox is one interface of one container: a veth whose host end stays in the node's namespace and whose peer is the
pod's interface.

    pod's namespace                               node's namespace
    eth0  10.240.0.7/32                           acni0a1b2c3d4e5 (no address)
      169.254.1.1 on link, permanent neighbour      10.240.0.7/32 src PRIMARY
      default via 169.254.1.1                       10.240.0.7/32 metric 1
                                                    permanent neighbour 10.240.0.7

**No ARP.** The pod has its address as a /32, so nothing is its neighbour on the link but the gateway, a link-local
address that no interface has. Both ends know the other's MAC as a permanent neighbour. So the first packet needs no
round trip, a pod cannot answer for another one, and 250 pods do not press on the node's neighbour table (permanent
entries are outside its garbage collection).

**Two routes to a pod.** The node's route names the source of what the node itself sends, its primary address, so that
probes come from where network policies expect the node. The kernel drops each route whose source goes away:
systemd-networkd removes a leased address when it is restarted. The second route, without a source and less preferred,
keeps the pod's traffic until the first is put back.

**With IPv6** the pod has a second address, a /128, and all of the above once more, with two differences. The gateway is
fe80::1, link-local too, but of the link alone, so every interface of a pod can have the same. And there is one route to
the pod: it names no source, because the kernel chooses among the node's own IPv6 addresses, wherever they are; it has
the metric that no other route comes before.

    eth0  2001:db8::7/128                         acni0a1b2c3d4e5 (no address, not even a link-local one)
      default via fe80::1, permanent neighbour      2001:db8::7/128 metric 1, permanent neighbour

Nothing of it waits for the kernel: the address is there without a search for duplicates (the fabric gives each to one
NIC), and neither end makes up a link-local address, which that search would follow. The pod's end takes no router's
advertisements (`linux/pod_ipv6.py`).

**A further interface** of a pod (Multus' `net1`) must not take its way out, nor the gateway of its `eth0`. It has a
gateway of its own, and a policy rule leads what the pod sends from its address to a table with a default route by it.
In the pod's main table it has one only where nothing else has (`linux/further.py`).

**A link that the runtime moves.** Docker makes a container's namespace itself, moves the container's end there and sets
its address, routes and name. Neighbours do not survive the move, and nobody is there to set one afterwards. So both
ends have one MAC, and the container's has no ARP (`NOARP`): for such an interface the kernel takes its own MAC for that
of every neighbour, and here that is the node's end. Routes, neighbour and guards of the node's end are those of a pod.

**Names and MACs** are derived from what the runtime calls the sandbox (`names`), so nothing has to be remembered to
find it again. `node_end` and `pod_end` are all that a kernel has to hold of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface

from azure_cni.datapath import names
from azure_cni.datapath.interface import (
    ANYWHERE,
    ANYWHERE_IPV6,
    IPV4,
    Interface,
    Neighbour,
    Route,
    Wiring,
    network_of,
)
from azure_cni.datapath.policy import PolicyRule
from azure_cni.model.identity import ModeName
from azure_cni.model.nic import Address

GATEWAY = IPv4Address("169.254.1.1")
"""Next hop inside every pod; never leaves the veth. Calico and Azure's own plugin use the same."""

GATEWAY_IPV6 = IPv6Address("fe80::1")
"""The same for IPv6, on each of a pod's interfaces."""

_PREFERENCE = 1000
"""Of the rules in a pod: before main's (32766), after what a mesh may have put first."""
_POD_ROUTES = (Route(IPv4Network(GATEWAY)), Route(ANYWHERE, gateway=GATEWAY))
_FALLBACK_METRIC = 1
"""Any but 0, which the kernel prefers."""

_BEST_IPV6 = 1
"""The most preferred metric: 0 means that of most routes (IP6_RT_PRIO_USER), 1024."""
_DEFAULT_IPV6 = Route(ANYWHERE_IPV6, gateway=GATEWAY_IPV6, metric=1024)


@dataclass(frozen=True, slots=True)
class VethSpec:
    """All that is needed to wire one sandbox, and to check it later.

    `netns` is a path in the agent's mount namespace; `addresses` are one IPv4 address or more, then those of IPv6;
    `mtu` in bytes, the NIC's. `node_address` is the source of what
    the node itself sends to the pod (probes): its primary address. None leaves the choice to the kernel, which on a
    node with several interfaces may take another one's. `mode` says by which module it is wired (`modes`).
    """

    container_id: str
    ifname: str
    netns: str
    addresses: tuple[Address, ...]
    mtu: int
    node_address: IPv4Address | None = None
    mode: ModeName = ModeName.TRANSPARENT
    name: str = ""
    """Of a new node's end, where it is to have another name beside `host_ifname`."""

    @property
    def host_ifname(self) -> str:
        """The name by which the node's end is found: its only one, or an alternative one."""
        return names.host_ifname(self.container_id, self.ifname)

    @property
    def further(self) -> bool:
        """An interface beside the one by which Kubernetes knows the pod."""
        return self.ifname != names.POD_IFNAME

    @property
    def dual(self) -> bool:
        """It has IPv6 addresses too."""
        return any(address.version != IPV4 for address in self.addresses)


@dataclass(frozen=True, slots=True)
class WayBack:
    """How a pod answers by one family from a further interface: the route to everywhere, by the gateway, and which
    rules lead to the table that has it.
    """

    default: Route
    table: int
    rules: tuple[PolicyRule, ...]


def ways_back(spec: VethSpec) -> tuple[WayBack, ...]:
    """Of a further interface, one for each family that it has; none of the one that is the pod's own.

    The table's number is the first address: tables of the families are apart.
    """
    if not spec.further:
        return ()
    table = int(spec.addresses[0])
    defaults = (Route(ANYWHERE, gateway=_gateway(spec)), *((_DEFAULT_IPV6,) if spec.dual else ()))
    return tuple(
        WayBack(
            default,
            table,
            tuple(
                PolicyRule(_PREFERENCE, table, source=network_of(address), destination=default.destination)
                for address in spec.addresses
                if address.version == default.destination.version
            ),
        )
        for default in defaults
    )


def _gateway(spec: VethSpec) -> IPv4Address:
    return names.link_gateway(spec.container_id, spec.ifname) if spec.further else GATEWAY


def wiring(spec: VethSpec) -> Wiring:
    """Both ends."""
    return Wiring(node=node_ends(spec), pod=pod_end(spec))


def node_ends(spec: VethSpec) -> tuple[Interface, ...]:
    """What the node has of the sandbox."""
    return (node_end(spec),)


def offered(spec: VethSpec) -> Wiring:
    """Both ends for a runtime that moves the container's end itself, off and under a name of its own.

    The container's addresses and routes are for the runtime to set. A container may have several such links, in one
    routing table, so each has a gateway of its own.
    """
    container, gateway = pod_end(spec), names.link_gateway(spec.container_id, spec.ifname)
    name = names.offered_ifname(spec.container_id, spec.ifname)
    routes = (Route(IPv4Network(gateway)), Route(ANYWHERE, gateway=gateway))
    return Wiring(
        node=(replace(node_end(spec), mac=container.mac),),
        pod=replace(container, name=name, up=False, routes=routes, neighbours=()),
    )


def node_end(spec: VethSpec) -> Interface:
    """The end in the node's namespace: no address, but the routes to the pod."""
    return Interface(
        name=spec.host_ifname,
        mac=names.host_mac(spec.container_id, spec.ifname),
        mtu=spec.mtu,
        group=names.GROUP,
        routes=routes_to(spec),
        neighbours=neighbours_of(spec),
    )


def pod_end(spec: VethSpec, *, gateway_mac: str | None = None) -> Interface:
    """The pod's interface: its addresses, and everything else by way of the gateway, at the node's end if not said."""
    gateway = _gateway(spec)
    routes: tuple[Route, ...] = (Route(IPv4Network(gateway)),)
    if not spec.further:
        routes = (*_POD_ROUTES, _DEFAULT_IPV6) if spec.dual else _POD_ROUTES
    mac = gateway_mac or names.host_mac(spec.container_id, spec.ifname)
    return Interface(
        name=spec.ifname,
        mac=names.pod_mac(spec.container_id, spec.ifname),
        mtu=spec.mtu,
        addresses=tuple(map(_alone, spec.addresses)),
        routes=routes,
        neighbours=(Neighbour(gateway, mac), *((Neighbour(GATEWAY_IPV6, mac),) if spec.dual else ())),
    )


def routes_to(spec: VethSpec) -> tuple[Route, ...]:
    """What leads to the pod, by whichever interface of the node: two routes for each address, one of IPv6."""
    return tuple(route for address in spec.addresses for route in _routes_to(address, spec.node_address))


def neighbours_of(spec: VethSpec) -> tuple[Neighbour, ...]:
    """The pod as the node knows it on the link."""
    mac = names.pod_mac(spec.container_id, spec.ifname)
    return tuple(Neighbour(address, mac) for address in spec.addresses)


def _routes_to(address: Address, node_address: IPv4Address | None) -> tuple[Route, ...]:
    pod = network_of(address)
    if address.version != IPV4:
        return (Route(pod, metric=_BEST_IPV6),)
    fallback = () if node_address is None else (Route(pod, metric=_FALLBACK_METRIC),)
    return (Route(pod, source=node_address), *fallback)


def _alone(address: Address) -> IPv4Interface | IPv6Interface:
    """With nothing else on its link."""
    number = int(address)
    return IPv4Interface(number) if address.version == IPV4 else IPv6Interface(number)
