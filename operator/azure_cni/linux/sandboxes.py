"""Sandboxes in the kernel: wire one, cut one off, compare and mend one, list them.

Everything here is synchronous and belongs to the thread that made the object: a thread of its own, in the node's
namespace (see `datapath`). What a sandbox should look like is decided in `azure_cni.datapath.sandbox`.

Cutting off and removing are two steps, because the kernel takes 20-50 ms to remove a link and holds its lock
meanwhile. Cutting off (0.1 ms) deletes the route, turns the link off and marks it as leaving by its group; a later
request removes all that leave at once. The mark is in the kernel, so the next agent finishes what this one began.
"""

from __future__ import annotations

import errno
import os
from collections import defaultdict
from collections.abc import Collection
from contextlib import ExitStack
from ipaddress import IPv4Network

from azure_cni.datapath import policy
from azure_cni.datapath.names import PREFIX
from azure_cni.datapath.sandbox import (
    Neighbour,
    Route,
    SandboxLinks,
    SandboxSpec,
    differences,
    links,
    lost,
    node_end,
    pod_end,
)
from azure_cni.datapath.uplink import Link
from azure_cni.errors import DatapathError
from azure_cni.linux import netns, rtnetlink, rules, switches
from azure_cni.linux.netlink import Netlink, Refused

LEAVING = 0x61636E69
"""The link group (`ip link show group 1633906281`) of host ends that are cut off and wait for their removal."""


class Sandboxes:
    """The sandboxes of the namespace that the calling thread is in."""

    def __init__(self) -> None:
        self._home = netns.own()
        self._kernel = Netlink()

    def close(self) -> None:
        """Give the socket and the namespace's descriptor back."""
        self._kernel.close()
        os.close(self._home)

    @property
    def port(self) -> int:
        """See `Netlink.port`."""
        return self._kernel.port

    def attach(self, spec: SandboxSpec) -> SandboxLinks:
        """Wire a sandbox. One that is wired alike stays; one of that name that differs is made anew."""
        with netns.opened(spec.netns) as pod_netns:
            if self._kernel.index(spec.host_ifname) is not None:
                if not self._differences(spec, pod_netns):
                    return links(spec)
                self._delete(spec.host_ifname)
            self._wire(spec, pod_netns)
        return links(spec)

    def cut_off(self, host_ifname: str, addresses: Collection[str]) -> bool:
        """After this no packet reaches the sandbox or comes from it. False when there was no such link."""
        index = self._kernel.index(host_ifname)
        if index is None:
            return False
        self._kernel.change(
            *(rtnetlink.delete_route(host_ifname, index, IPv4Network(address)) for address in addresses),
            rtnetlink.set_down(host_ifname, index, group=LEAVING),
        )
        return True

    def remove_leaving(self) -> None:
        """Remove every link that is cut off; waits for the kernel."""
        self._kernel.change(rtnetlink.delete_group(LEAVING))

    def check(self, spec: SandboxSpec) -> tuple[str, ...]:
        """How a sandbox differs from what it should be, as words."""
        try:
            with netns.opened(spec.netns) as pod_netns:
                return (*self._differences(spec, pod_netns), *self._diversions(spec))
        except DatapathError as error:
            return (str(error),)

    def mend(self, spec: SandboxSpec) -> tuple[str, ...]:
        """Put back what the node's end lost of routes and neighbours, and say what; Refused when the kernel will not.

        A link that is off is somebody's will (the kernel drops its routes with that), and is left as it is.
        """
        wanted, seen = node_end(spec), rtnetlink.interface(self._kernel, spec.host_ifname)
        if seen is None or not seen.up:
            return ()
        gap = lost(wanted, seen)
        if gap:
            self._kernel.change(*rtnetlink.lead(wanted.name, _index(self._kernel, wanted.name), gap))
        return gap.words()

    def list(self) -> list[tuple[Link, frozenset[Route], frozenset[Neighbour]]]:
        """Every host end of ours with its routes and permanent neighbours."""
        ours = [link for link in rtnetlink.links(self._kernel) if link.name.startswith(PREFIX)]
        routes: defaultdict[int, set[Route]] = defaultdict(set)
        for index, route in rtnetlink.routes(self._kernel):
            routes[index].add(route)
        neighbours: defaultdict[int, set[Neighbour]] = defaultdict(set)
        for index, neighbour in rtnetlink.permanent_neighbours(self._kernel):
            neighbours[index].add(neighbour)
        return [(link, frozenset(routes[link.index]), frozenset(neighbours[link.index])) for link in ours]

    def _wire(self, spec: SandboxSpec, pod_netns: int) -> None:
        host, pod = node_end(spec), pod_end(spec)
        with ExitStack() as undo:
            self._create(spec, pod_netns)
            undo.callback(self._delete, host.name)
            with netns.socket_in(pod_netns, home=self._home) as inside:
                inside.change(*rtnetlink.furnish(pod, _index(inside, pod.name)))
            index = _index(self._kernel, host.name)
            self._kernel.change(switches.ready_for_pod(host.name, index), *rtnetlink.furnish(host, index))
            undo.pop_all()

    def _create(self, spec: SandboxSpec, pod_netns: int) -> None:
        try:
            self._kernel.change(rtnetlink.create_veth(node_end(spec), pod_end(spec), netns=pod_netns))
        except Refused as refused:
            if refused.errno != errno.EEXIST:
                raise
            # The host end's name was free: it is the pod's that is taken.
            raise DatapathError(
                f"cannot attach {spec.host_ifname}: {spec.netns} has an interface {spec.ifname} already, "
                f"made by something else"
            ) from refused

    def _delete(self, name: str) -> None:
        index = self._kernel.index(name)
        if index is not None:
            self._kernel.change(rtnetlink.delete_link(name, index))

    def _differences(self, spec: SandboxSpec, pod_netns: int) -> tuple[str, ...]:
        found = differences(node_end(spec), rtnetlink.interface(self._kernel, spec.host_ifname), where="node")
        with netns.socket_in(pod_netns, home=self._home) as inside:
            return found + differences(pod_end(spec), rtnetlink.interface(inside, spec.ifname), where="pod")

    def _diversions(self, spec: SandboxSpec) -> tuple[str, ...]:
        known = rules.read(self._kernel)
        return () if known is None else tuple(f"node: {words}" for words in policy.diversions(known, spec.address))


def _index(kernel: Netlink, name: str) -> int:
    index = kernel.index(name)
    if index is None:
        raise DatapathError(f"cannot wire {name}: it vanished while it was being wired")
    return index
