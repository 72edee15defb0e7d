"""Nodes that give idle addresses, and those whose pods wait for them."""

from __future__ import annotations

from typing import Any

from azure_cni.api import vnet_quota
from azure_cni.api.node_ip_pool import parse
from azure_cni.api.vnet_quota import VNetQuota
from azure_cni.quota.node_record import NodeRecord, node_record
from fakes.cluster import NICS, VNET

NUMBER = 1000


def rich(name: str, held: int, idle: int, **status: Any) -> NodeRecord:
    """A node at rest, with idle addresses."""
    asked = {"requested": held, "allocated": held, "granted": held, "free": idle, "releasable": idle, "target": held}
    return record(name, **{"assigned": held - idle, "writeIntent": "None", **asked, **status})


def starving(name: str, held: int, waiting: int, **status: Any) -> NodeRecord:
    """A node that was told that there is no room for the pods that wait on it."""
    asked = {"requested": held + waiting + 8, "allocated": held, "granted": held, "free": 0}
    return record(name, **{"assigned": held, "waiting": waiting, "writeIntent": "Grow", **asked, **status})


def record(name: str, **status: Any) -> NodeRecord:
    told = {"requestID": 5, "grantedFor": 5, "vnetID": VNET, "nicID": f"{NICS}/{name}-nic", **status}
    return node_record(parse({"metadata": {"name": name, "uid": "u"}, "status": told}), now_s=0.0)


def ledger(*nodes: NodeRecord, limit: int | None = None, per_node: int = 250, decided: int = 5) -> VNetQuota:
    """What these nodes were granted, by default as many as may be, for the requests up to the number `decided`."""
    grants = {
        node.name: {
            "count": node.view.granted,
            "requestID": decided if node.view.request.number > 5 else 5,
            "nic": node.nic,
        }
        for node in nodes
    }
    most = sum(node.view.granted for node in nodes) if limit is None else limit
    spec = {"vnetID": VNET, "limit": most, "perNodeLimit": per_node, "writesPerMinute": 100, "reserved": 0}
    return vnet_quota.parse({"metadata": {"name": "vnet"}, "spec": spec, "status": {"grants": grants}})
