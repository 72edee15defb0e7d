"""A further interface of a pod (Multus' `net1`) inside the pod: it is answered from, and is not the pod's way out.

What it needs beyond its own routes is a policy rule for its address and a table with a default route (`WayBack` in
`datapath.transparent`). Without the rule, what answers a caller at that address would leave by the pod's first
interface, whose guard drops it: a pod sends from its own address only, and by the link to which that belongs. Rule and
table are in the pod's namespace and go with it. Where the interface alone goes, the kernel takes the route, and the
rule stays: it leads to an empty table, which the kernel passes over.

Whether the pod has another way out is the pod's own matter, and may change: so a default route in its main table is
added where there is none, and nobody compares it later.
"""

from __future__ import annotations

from dataclasses import replace

from azure_cni.datapath.interface import Wiring
from azure_cni.datapath.transparent import VethSpec, WayBack, ways_back
from azure_cni.linux import rtnetlink, rules
from azure_cni.linux import rtnetlink_format as rt
from azure_cni.linux.netlink import Netlink


def lead_back(inside: Netlink, spec: VethSpec, index: int) -> None:
    """Have the pod answer by a further interface, and go out by it where it has no other way; nothing for its own.

    `inside` is a socket in the pod's namespace, `index` the interface's there.
    """
    for way in ways_back(spec):
        family, gateway = rt.family_of(way.default.destination), way.default.gateway
        if gateway is not None and rules.read(inside, family) is not None:
            inside.change(rtnetlink.add_default(index, gateway, table=way.table), *map(rules.add, way.rules))
        # Whatever made it: another plugin's interface, or another one of azure-cni's. `configure` of an `eth0` that
        # comes later replaces this one.
        if not rtnetlink.has_way_out(inside, family=family):
            inside.change(rtnetlink.add_way_out(spec.ifname, index, way.default))


def differences(inside: Netlink, spec: VethSpec) -> tuple[str, ...]:
    """What the pod lacks to answer by a further interface, as words."""
    ways = ways_back(spec)
    index = inside.index(spec.ifname) if ways else None
    return () if index is None else tuple(words for way in ways for words in _lacking(inside, way, index))


def _lacking(inside: Netlink, way: WayBack, index: int) -> list[str]:
    family = rt.family_of(way.default.destination)
    present = rules.read(inside, family)
    if present is None:
        return []
    found = [f"pod: lacks policy rule {rule}" for rule in way.rules if rule not in present]
    if (index, way.default.gateway) not in rtnetlink.default_routes(inside, way.table, family=family):
        found.append(f"pod: table {way.table} lacks route {way.default}")
    return found


def with_way_out(inside: Netlink, spec: VethSpec, ends: Wiring) -> Wiring:
    """The wiring with the default routes that a further interface has in the pod's main table, where it has them.

    The result of an ADD names them, as that of a repeat does for as long as it is so.
    """
    index = inside.index(spec.ifname)
    if index is None:
        return ends
    present = [route for _, route in rtnetlink.routes_of_both(inside, index)]
    out = [way.default for way in ways_back(spec) if way.default in present]
    return replace(ends, pod=replace(ends.pod, routes=(*ends.pod.routes, *out)))
