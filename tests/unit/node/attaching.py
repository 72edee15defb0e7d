"""Pods with annotations for load balancer pools and a public IP address, on a simulated node."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address
from typing import Any

from azure_cni.ipam.sizing import Policy
from azure_cni.model.attachments import Allowance, AttachedResource
from azure_cni.quota.pool_updates import GRANT_EXPLANATION_DELAY_S
from fakes.simulated_node import SimulatedNode, pod_body

GROUP = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network"
POOLS = "azure-cni.io/load-balancer-pools"
PUBLIC_IP = "azure-cni.io/public-ip"


def resource(path: str) -> AttachedResource:
    found = AttachedResource.parse(f"{GROUP}/{path}")
    assert found is not None
    return found


WEB = resource("loadBalancers/lb/backendAddressPools/web")
WEB2 = resource("loadBalancers/lb/backendAddressPools/web2")
OTHERS = resource("loadBalancers/lb/backendAddressPools/others")
ADDRESS = resource("publicIPAddresses/shop")
ALLOWED = (Allowance(frozenset({"default"}), frozenset({WEB, WEB2, ADDRESS})),)
NONE: frozenset[AttachedResource] = frozenset()


def node(**options: Any) -> SimulatedNode:
    options.setdefault("attachable", ALLOWED)
    options.setdefault("policy", Policy(min_free=2, max_free=8, batch=4))
    built = SimulatedNode(**options)
    built.demand.replace([])
    return built


def show(on: SimulatedNode, name: str, *, ip: str = "10.0.0.1", ending: bool = False, **annotations: str) -> None:
    """The watch shows the pod."""
    written = {POOLS: annotations.get("pools", ""), PUBLIC_IP: annotations.get("public_ip", "")}
    gone = {"deletionTimestamp": "2026-11-28T12:00:00Z"} if ending else {}
    on.demand.observe_pod(pod_body(name, phase="Running", ip=ip, annotations=written, **gone))
    on.reconciler.wake()


async def started(on: SimulatedNode, name: str, **annotations: str) -> IPv4Address:
    """A pod that runs, and that the watch has shown."""
    show(on, name, ip="", **annotations)
    await on.until(lambda: on.counts.free > 0)
    address = (await on.add(name)).addresses[0]
    show(on, name, **annotations)
    return address


async def ended(on: SimulatedNode, name: str, **annotations: str) -> None:
    show(on, name, ending=True, **annotations)
    await on.delete(name)
    on.demand.forget_pod(f"uid-{name}")
    on.reconciler.wake()


async def answering(on: SimulatedNode, *, most: int = 250, delay_s: float = 1.0) -> None:
    """A controller that grants up to `most`, and says why it is not more."""
    while True:
        await asyncio.sleep(delay_s)
        status = on.status
        if status.get("requestID", 0) == status.get("grantedFor", 0):
            continue
        count = min(status["requested"], most)
        short = count < status["requested"]
        fields = {
            "granted": count,
            "grantedFor": status["requestID"],
            "grantReason": "QuotaExceeded" if short else None,
        }
        on.reconciler.pool_seen(await on.pools.patch_status(on.pools.shown(), fields))


async def busy(on: SimulatedNode, *, most: int) -> None:
    """A controller whose budget is used up: what allows no write it answers at once, all else it puts off."""
    asked, since_s = 0, 0.0
    while True:
        await asyncio.sleep(1.0)
        status, now_s = on.status, on.clock.boottime_s()
        if status.get("requestID", 0) == status.get("grantedFor", 0):
            continue
        if status["requestID"] != asked:
            asked, since_s = status["requestID"], now_s
        if status["writeIntent"] == "Grow":
            fields = {"granted": most, "grantedFor": asked, "grantReason": "QuotaExceeded"}
        elif now_s - since_s >= GRANT_EXPLANATION_DELAY_S and status.get("grantReason") != "WriteBudget":
            fields = {"grantReason": "WriteBudget"}
        else:
            continue
        on.reconciler.pool_seen(await on.pools.patch_status(on.pools.shown(), fields))


async def fails(node: SimulatedNode) -> None:
    """Somebody writes the NIC, and the operation ends badly."""
    node.nic.elsewhere_fail()
    node.pools.annotate(**{"azure-cni.io/read-now": str(node.clock.boottime_s())})
    node.reconciler.pool_seen(node.pools.shown())
    await asyncio.sleep(0)
