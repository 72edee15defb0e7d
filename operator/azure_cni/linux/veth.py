"""Sandboxes as veth pairs in the kernel: wire one, disable one, compare and restore one, list them.

Everything here is synchronous and belongs to the thread that made the object: a thread of its own, in the node's
namespace (see `datapath`). What a sandbox should look like is decided in `azure_cni.datapath`, by its mode; in the mode
`bridge` the node's end is made as a port of the bridge, by the same request.

**Wiring** is atomic from outside: the link exists or it does not. Both ends are created in one request, each in its
own namespace and still down, because moving a finished link costs the kernel 27 ms. The pod's end is configured first,
through a socket that is opened inside its namespace (`netns`), then the node's end, whose routes come last: no packet
arrives at a pod that cannot answer. When any step fails, the link is deleted, and its peer with it. The pod's end has
its carrier from the moment that the node's end is on, but the kernel lets it send only once a worker of its own has
run, and drops what is sent before: asking for the interface makes that happen at once (`settle_carrier`). So it is with
a port, by which a bridge passes nothing until then, and with a bridge whose first port it is.

**A repeat** of an ADD must give the same result. A link of that name is compared thing by thing with what it should
be. An equal one stays, so that a running pod notices nothing; any other is deleted and wired again.

**Ending** is two steps, because the kernel takes 20-50 ms to remove a link and holds its lock meanwhile, and every ADD
would wait for that. Disabling (0.1 ms) turns the link off, by which the kernel drops its routes and neighbours, and
marks it as leaving by its group: from then on no packet passes, and a DEL can be answered. A later request removes all
that leave at once. The mark is in the kernel, so the next agent finishes what this one began.

**Restoring** puts back routes and neighbours that somebody removed, and nothing else: an interface that is off was
turned off by somebody, and a MAC or MTU that differs is reported by CHECK.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from azure_cni.datapath import names, policy, transparent
from azure_cni.datapath.interface import Interface, Missing, Neighbour, Route, Wiring, differences, missing
from azure_cni.datapath.modes import wiring
from azure_cni.datapath.names import BRIDGE, PREFIX
from azure_cni.datapath.transparent import VethSpec
from azure_cni.errors import DatapathError
from azure_cni.linux import bridge, further, link_messages, netns, pod_ipv6, rtnetlink, rules, switches
from azure_cni.linux import rtnetlink_format as rt
from azure_cni.linux.netlink import Netlink, NetlinkRequest

LEAVING = 0x636E69
"""The link group (`ip link show group 6516329`) of host ends that are disabled and wait for their removal. It is no
port's (mode bridge), whose group is an address of a pod: 0.0.0.0/8 is nobody's."""

_FRESH_S = 0.1
"""While much is being restored, removals by others may go unnoticed for this long, until the next comparison."""


class VethNetwork:
    """The sandboxes of the namespace that the calling thread is in. `sysctls` is where /proc/sys can be written."""

    def __init__(self, sysctls: Path = Path("/proc/sys")) -> None:
        self._sysctls = sysctls
        self._home = netns.own()
        self._kernel = Netlink()
        self._bridge: int | None = None
        """Its index when a pod last needed it: it was ours then."""
        self._shared: tuple[float, Interface] | None = None
        """The bridge as the last restoring left it, and when."""

    def close(self) -> None:
        """Give the socket and the namespace's descriptor back."""
        self._kernel.close()
        os.close(self._home)

    @property
    def port(self) -> int:
        """See `Netlink.port`."""
        return self._kernel.port

    def attach(self, spec: VethSpec) -> Wiring:
        """Wire a sandbox. One that is wired alike stays; one of that name that differs is wired again."""
        ends = wiring(spec)
        self._shared = None
        with netns.opened(spec.netns) as pod_netns:
            if (found := rtnetlink.own_link(self._kernel, spec.host_ifname)) is not None:
                if not self._differences(spec, ends, pod_netns):
                    return self._with_way_out(spec, ends.renamed(found.name), pod_netns)  # kept while the sandbox lives
                self._delete(spec.host_ifname)
            if spec.name:
                self._vacate(spec)
                ends = ends.renamed(spec.name)
            self._wire(spec, ends, pod_netns)
            return self._with_way_out(spec, ends, pod_netns)

    def _with_way_out(self, spec: VethSpec, ends: Wiring, pod_netns: int) -> Wiring:
        if not spec.further:
            return ends
        with netns.socket_in(pod_netns, home=self._home) as inside:
            return further.with_way_out(inside, spec, ends)

    def _vacate(self, spec: VethSpec) -> None:
        """Free a name that is the pod's and not the sandbox's: its former sandbox may still have it.

        DatapathError while that one is wired; the runtime ends it, and tries again.
        """
        found = rtnetlink.own_link(self._kernel, spec.name)
        if found and found.group != LEAVING and found.mac != names.host_mac(spec.container_id, spec.ifname):
            raise DatapathError(
                f"cannot attach {spec.host_ifname}: its pod's former sandbox still has the link {spec.name}, by which "
                "Calico knows the pod; it is tried again, and works once the runtime has ended that sandbox"
            )
        if found:
            self._delete(spec.name)

    def offer(self, spec: VethSpec) -> Wiring:
        """Wire the node's end; the container's stays in this namespace, for a runtime that moves it itself.

        A repeat before it was moved gives the same. DatapathError once it is in a container.
        """
        ends = transparent.offered(spec)
        host, container = ends.node[0], ends.pod
        self._shared = None
        there = rtnetlink.own_link(self._kernel, host.name)
        if there is not None and there.group != LEAVING and self._kernel.index(container.name) is None:
            raise DatapathError(f"cannot offer {container.name}: it has been moved into a container already")
        if there is not None:
            self._delete(host.name)
        rtnetlink.require_free(self._kernel, host.name)
        with ExitStack() as undo:
            self._kernel.change(link_messages.create_offered(host, container))
            undo.callback(self._delete, host.name)
            self._kernel.change(*self._configured(host, rtnetlink.index_of(self._kernel, host.name)))
            undo.pop_all()
        return ends

    def disable(self, host_ifname: str, *, pod_mac: str = "") -> bool:
        """After this no packet reaches the sandbox or comes from it. False when there was no such link.

        The kernel takes a link away with the pod's namespace, but not what leads to the pod by a bridge: that is found
        by the pod's MAC.
        """
        self._shared = None
        own = rtnetlink.own_link(self._kernel, host_ifname)
        if own is None:
            if pod_mac:
                self._kernel.change(*bridge.leftovers(self._kernel, pod_mac))
            return False
        beside = bridge.withdrawals(self._kernel, host_ifname, pod_mac=pod_mac)
        self._kernel.change(link_messages.set_down(host_ifname, own.index, group=LEAVING), *beside)
        return True

    def remove_leaving(self) -> None:
        """Remove every link that is disabled; waits for the kernel."""
        self._kernel.change(link_messages.delete_group(LEAVING))

    def check(self, spec: VethSpec) -> tuple[str, ...]:
        """How a sandbox differs from what it should be, as words."""
        try:
            with netns.opened(spec.netns) as pod_netns:
                return (*self._differences(spec, wiring(spec), pod_netns), *self._diversions(spec))
        except DatapathError as error:
            return (str(error),)

    def restore_routes(self, spec: VethSpec) -> tuple[str, ...]:
        """Put back what the node's end or the bridge lacks for a sandbox, and say what.

        DatapathError where the kernel refuses, or the bridge is another program's.

        A link that is off is somebody's will (the kernel drops its routes with that), and is left as it is. A bridge is
        put right with the node (`host`); here only what leads to the sandbox is.
        """
        words: list[str] = []
        for wanted in wiring(spec).node:
            observed = self._take_shared(spec) if wanted.shared else bridge.interface(self._kernel, wanted.name)
            if observed is None or not observed.up:
                break
            lacking = missing(wanted, observed)
            if lacking:
                index = rtnetlink.index_of(self._kernel, wanted.name)
                place = self._place(wanted, index) if lacking.port else []
                self._kernel.change(*place, *rtnetlink.add_routes(wanted.name, index, lacking))
            if lacking and wanted.shared:
                self._keep_shared(observed, lacking)
            words += lacking.words()
        return tuple(words)

    def _take_shared(self, spec: VethSpec) -> Interface | None:
        """The bridge with all that hangs on it; made where it is missing.

        Where it was deleted, what led to 250 pods is put back for one after the other. So what was read for a pod that
        had lost something serves for the next one too.
        """
        shared, self._shared = self._shared, None
        if shared is not None and time.monotonic() - shared[0] < _FRESH_S:
            return shared[1]
        self._require_bridge(spec.mtu)
        return bridge.interface(self._kernel, BRIDGE)

    def _keep_shared(self, observed: Interface, added: Missing) -> None:
        routes, neighbours = (*observed.routes, *added.routes), (*observed.neighbours, *added.neighbours)
        self._shared = time.monotonic(), replace(observed, routes=routes, neighbours=neighbours)

    def list(self) -> list[tuple[str, tuple[Interface, ...]]]:
        """Of every host end that is azure-cni's: by which name it is found, the end, and what leads to it by a bridge.

        What leads to sandboxes that are gone is removed.
        """
        links = rtnetlink.links(self._kernel)
        routes: defaultdict[int, list[Route]] = defaultdict(list)
        for index, route in rtnetlink.routes_of_both(self._kernel):
            routes[index].append(route)
        neighbours: defaultdict[int, list[Neighbour]] = defaultdict(list)
        for index, neighbour in rtnetlink.neighbours_of_both(self._kernel):
            neighbours[index].append(neighbour)
        shared = bridge.observe(self._kernel, links, routes, neighbours)
        ours = [link for link in links if link.name.startswith(PREFIX)]
        if shared is not None:
            self._kernel.change(*shared.sweep(ours))
        return [
            (names.derived(link.name, link.aliases), bridge.ends_of(link, routes, neighbours, shared)) for link in ours
        ]

    def _wire(self, spec: VethSpec, ends: Wiring, pod_netns: int) -> None:
        (host, *beside), pod = ends.node, ends.pod
        for name in {host.name, spec.host_ifname}:
            rtnetlink.require_free(self._kernel, name)
        with ExitStack() as undo:
            self._create(spec, ends, pod_netns)
            undo.callback(self._delete, host.name)
            with netns.socket_in(pod_netns, home=self._home) as inside:
                in_pod, on_node = rtnetlink.index_of(inside, pod.name), rtnetlink.index_of(self._kernel, host.name)
                if host.name != spec.host_ifname:
                    self._kernel.change(link_messages.add_alias(host.name, on_node, spec.host_ifname))
                if spec.dual:
                    pod_ipv6.configure(self._sysctls, pod_netns, inside, pod, in_pod, home=self._home)
                else:
                    inside.change(*rtnetlink.configure(pod, in_pod))
                further.lead_back(inside, spec, in_pod)
                self._kernel.change(*self._configured(host, on_node))
                if host.port is not None:
                    rtnetlink.settle_carrier(self._kernel, host.name, on_node)
                for shared in beside:
                    index = rtnetlink.index_of(self._kernel, shared.name)
                    rtnetlink.settle_carrier(self._kernel, shared.name, index)
                    lacking = missing(shared, replace(shared, routes=(), neighbours=()))
                    self._kernel.change(*rtnetlink.add_routes(shared.name, index, lacking))
                rtnetlink.settle_carrier(inside, pod.name, in_pod)
                pod_ipv6.settle(inside, pod)
            undo.pop_all()

    def _configured(self, host: Interface, index: int) -> Sequence[NetlinkRequest]:
        """Requests that turn the node's end on. Of a port the bridge's switches hold."""
        if host.port is None:
            return [switches.ready_for_pod(host.name, index), *rtnetlink.configure(host, index)]
        return [*bridge.settle(host, index, master=0, placed=True), *rtnetlink.configure(host, index)]

    def _place(self, host: Interface, index: int) -> Sequence[NetlinkRequest]:
        return bridge.settle(host, index, master=self._require_bridge(host.mtu), placed=False)

    def _require_bridge(self, mtu: int) -> int:
        self._bridge = bridge.require(self._kernel, mtu=mtu, known=self._bridge)
        return self._bridge

    def _create(self, spec: VethSpec, ends: Wiring, pod_netns: int) -> None:
        host = ends.node[0]
        master = self._require_bridge(spec.mtu) if host.port else 0
        request = link_messages.create_veth(host, ends.pod, netns=pod_netns, master=master)
        # The host end's name is free: where one is taken, it is the pod's, maybe by a link that is leaving.
        if self._kernel.make(request):
            return
        self.remove_leaving()
        if not self._kernel.make(request):
            raise DatapathError(
                f"cannot attach {spec.host_ifname}: {spec.netns} has an interface {spec.ifname} already, made by "
                "another program or for a container that was not deleted; remove that one first"
            )

    def _delete(self, name: str) -> None:
        index = self._kernel.index(name)
        if index is not None:
            beside = bridge.withdrawals(self._kernel, name)
            self._kernel.change(link_messages.delete_link(name, index), *beside)

    def _differences(self, spec: VethSpec, ends: Wiring, pod_netns: int) -> tuple[str, ...]:
        found = [
            words
            for wanted in ends.node
            for words in differences(wanted, bridge.interface(self._kernel, wanted.name), where="node")
        ]
        with netns.socket_in(pod_netns, home=self._home) as inside:
            found += differences(ends.pod, rtnetlink.interface(inside, ends.pod.name), where="pod")
            return (*found, *further.differences(inside, spec))

    def _diversions(self, spec: VethSpec) -> tuple[str, ...]:
        present = rules.read(self._kernel)
        if present is None:
            return ()
        if spec.dual:
            present |= rules.read(self._kernel, rt.AF_INET6) or frozenset()
        return tuple(f"node: {words}" for words in policy.diversions(present, spec.addresses))
