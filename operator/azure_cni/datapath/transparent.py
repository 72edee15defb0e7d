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
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from azure_cni.datapath import names
from azure_cni.datapath.interface import ANYWHERE, Interface, Neighbour, Route, Wiring
from azure_cni.datapath.policy import PolicyRule
from azure_cni.model.identity import ModeName

GATEWAY = IPv4Address("169.254.1.1")
"""Next hop inside every pod; never leaves the veth. Calico and Azure's own plugin use the same."""

_PREFERENCE = 1000
"""Of the rules in a pod: before main's (32766), after what a mesh may have put first."""
_POD_ROUTES = (Route(IPv4Network(GATEWAY)), Route(ANYWHERE, gateway=GATEWAY))
_FALLBACK_METRIC = 1
"""Any but 0, which the kernel prefers."""


@dataclass(frozen=True, slots=True)
class VethSpec:
    """All that is needed to wire one sandbox, and to check it later.

    `netns` is a path in the agent's mount namespace; `mtu` in bytes, the NIC's. `node_address` is the source of what
    the node itself sends to the pod (probes): its primary address. None leaves the choice to the kernel, which on a
    node with several interfaces may take another one's. `mode` says by which module it is wired (`modes`).
    """

    container_id: str
    ifname: str
    netns: str
    addresses: tuple[IPv4Address, ...]
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


@dataclass(frozen=True, slots=True)
class WayBack:
    """How a pod answers from a further interface: the gateway, and which rules lead to the table with a route by it."""

    gateway: IPv4Address
    table: int
    rules: tuple[PolicyRule, ...]

    @property
    def default(self) -> Route:
        """The route to everywhere."""
        return Route(ANYWHERE, gateway=self.gateway)


def way_back(spec: VethSpec) -> WayBack | None:
    """Of a further interface; None of the one that is the pod's own. The table's number is the first address."""
    if not spec.further:
        return None
    table = int(spec.addresses[0])
    rules = (PolicyRule(_PREFERENCE, table, source=IPv4Network(int(address))) for address in spec.addresses)
    return WayBack(names.link_gateway(spec.container_id, spec.ifname), table, tuple(rules))


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
    way = way_back(spec)
    gateway = GATEWAY if way is None else way.gateway
    return Interface(
        name=spec.ifname,
        mac=names.pod_mac(spec.container_id, spec.ifname),
        mtu=spec.mtu,
        addresses=tuple(IPv4Interface(int(address)) for address in spec.addresses),
        routes=_POD_ROUTES if way is None else (Route(IPv4Network(gateway)),),
        neighbours=(Neighbour(gateway, gateway_mac or names.host_mac(spec.container_id, spec.ifname)),),
    )


def routes_to(spec: VethSpec) -> tuple[Route, ...]:
    """What leads to the pod, by whichever interface of the node: two routes for each address."""
    return tuple(route for address in spec.addresses for route in _routes_to(address, spec.node_address))


def neighbours_of(spec: VethSpec) -> tuple[Neighbour, ...]:
    """The pod as the node knows it on the link."""
    mac = names.pod_mac(spec.container_id, spec.ifname)
    return tuple(Neighbour(address, mac) for address in spec.addresses)


def _routes_to(address: IPv4Address, node_address: IPv4Address | None) -> tuple[Route, ...]:
    pod = IPv4Network(int(address))  # a text would be parsed, and each comparison builds the routes of all pods
    fallback = () if node_address is None else (Route(pod, metric=_FALLBACK_METRIC),)
    return (Route(pod, source=node_address), *fallback)
