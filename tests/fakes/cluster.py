"""The API server as a controller meets it, in memory: all pools, the quotas with their rule, and one lease."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeVar

from azure_cni.api import vnet_quota
from azure_cni.api.node_ip_pool import NodeIPPool, parse
from azure_cni.api.vnet_quota import Draft, Limits, VNetQuota
from azure_cni.errors import CloudError, CloudNotFound, DecodeFailed, KubeConflict, KubeInvalid, KubeNotFound
from azure_cni.model.nic import SubnetID, SubnetUsage, VNetID
from fakes.pools import merge_patch

VNET = VNetID("/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/vnet")
SUBNET = SubnetID(f"{VNET}/subnets/nodes")
NICS = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces"
T = TypeVar("T")
BOUNDED = ("spec", "status")
"""The parts of an object that its definition describes."""
GROUP_VERSION = "azure-cni.io/v1alpha1"


def refuse_over_limit(quota: Mapping[str, Any]) -> str:
    """The rule of the VNetQuota's definition, "" when it holds."""
    grants = (quota.get("status") or {}).get("grants") or {}
    if not isinstance(grants, dict) or not all(
        isinstance(entry, dict) and type(entry.get("count")) is int for entry in grants.values()
    ):
        return "status.grants: must be objects with a count"
    total, limit = sum(entry["count"] for entry in grants.values()), quota["spec"]["limit"]
    if type(limit) is not int:
        return "spec.limit: must be a whole number"
    if total > limit:
        return f"spec.limit: nodes would be granted {total} addresses together, but spec.limit is {limit}"
    over = sorted(node for node, entry in grants.items() if not 0 <= entry["count"] <= 250)
    return f"status.grants: count of {', '.join(over)} should be 0 to 250" if over else ""


def kept(part: Mapping[str, Any], value: Any) -> Any:
    """What is left of a value when the API server has dropped what its schema does not name."""
    match value:
        case dict() if "properties" in part:
            known = part["properties"]
            return {key: kept(known[key], child) for key, child in value.items() if key in known}
        case dict() if isinstance(part.get("additionalProperties"), dict):
            return {key: kept(part["additionalProperties"], child) for key, child in value.items()}
        case list() if "items" in part:
            return [kept(part["items"], child) for child in value]
    return value


class Store:
    """Objects by name, with versions as the API server gives them: a change that changes nothing makes none."""

    def __init__(self, versions: itertools.count[int]) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self._versions = versions
        self.watchers: list[Callable[[dict[str, Any] | None, dict[str, Any] | None], None]] = []
        """Told of each change: the object before and after it, None where there is none."""
        self.definition: dict[str, Any] | None = None
        """The schema of each part of an object; what it does not name is dropped. None keeps everything."""

    def get(self, name: str) -> dict[str, Any] | None:
        return copy.deepcopy(self.objects.get(name))

    def create(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        if name in self.objects:
            raise KubeConflict(f"cannot create {name}: it exists already")
        version = str(next(self._versions))
        given = {key: dict(value) for key, value in body.get("metadata", {}).items() if key == "annotations"}
        meta = {**given, "name": name, "uid": f"uid-{version}", "generation": 1, "resourceVersion": version}
        return self._put(name, {**copy.deepcopy(dict(body)), "metadata": meta})

    def patch(self, name: str, patch: Mapping[str, Any], *, version: str | None = None) -> dict[str, Any]:
        before = self.objects.get(name)
        if before is None:
            raise KubeNotFound(f"cannot patch {name}: not found")
        if version is not None and before["metadata"]["resourceVersion"] != version:
            raise KubeConflict(f"cannot patch {name}: it was modified")
        after = merge_patch(before, patch)
        if after == before:
            return copy.deepcopy(before)
        spec = after.get("spec")
        if isinstance(spec, dict) and "limit" in spec and (words := refuse_over_limit(after)):
            raise KubeInvalid(f"cannot patch {name}: {words}")
        meta = {**before["metadata"], "resourceVersion": str(next(self._versions))}
        if after.get("spec") != before.get("spec"):
            known = meta.get("generation")
            meta["generation"] = known + 1 if isinstance(known, int) else 1
        after["metadata"] = meta
        return self._put(name, after)

    def replace(self, name: str, body: Mapping[str, Any]) -> None:
        """The object becomes something that the definition would refuse: an older one was installed, or none."""
        meta = {**body["metadata"], "resourceVersion": str(next(self._versions))}
        self._put(name, {**copy.deepcopy(dict(body)), "metadata": meta})

    def delete(self, name: str) -> None:
        before = self.objects.pop(name)
        for notify in list(self.watchers):
            notify(copy.deepcopy(before), None)

    def _put(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        before = self.objects.get(name)
        if self.definition is not None:
            parts = ((key, self.definition.get(key)) for key in body)
            body = {key: kept(part, body[key]) if part and key in BOUNDED else body[key] for key, part in parts}
        self.objects[name] = body
        for notify in list(self.watchers):
            notify(copy.deepcopy(before), copy.deepcopy(body))
        return copy.deepcopy(body)


class FakeCluster:
    """Everything behind the ports. `fail` may raise before a call is carried out, or after it: a lost reply."""

    def __init__(self) -> None:
        versions = itertools.count(1)
        self.pools, self.quotas, self.leases = Store(versions), Store(versions), Store(versions)
        self.labels: dict[str, dict[str, str]] = {}
        """Those of the Node objects, by their names."""
        self.provider_ids: dict[str, str] = {}
        """What the Node objects show as `spec.providerID`, by their names."""
        self.silent: set[str] = set()
        """Nodes that Kubernetes has not heard from for a while."""
        self.calls: list[str] = []
        self.before_call: Callable[[str], None] = lambda _: None
        self.after_call: Callable[[str], None] = lambda _: None
        self.latency_s = 0.0

    async def call(self, what: str, action: Callable[[], T]) -> T:
        """One request and its answer, each of which may be the last that is seen of the caller."""
        self.calls.append(what)
        await asyncio.sleep(self.latency_s)
        self.before_call(what)
        answer = action()
        self.after_call(what)
        await asyncio.sleep(self.latency_s)
        return answer

    # What nodes and people do.

    def node(self, name: str, *, requested: int = 0, number: int = 1, nic: str = "", **status: Any) -> None:
        """A node's agent made its pool, if there is none, and asked. `nic` is a name, or an ID."""
        self.pool(name)
        self.pools.patch(name, {"status": {
            "vnetID": VNET, "subnetID": SUBNET, "nicID": nic if "/" in nic else f"{NICS}/{nic or f'{name}-nic'}",
            "requested": requested, "requestID": number,
            "writeIntent": "Grow", "allocated": 0, "free": 0, "waiting": 0, "assigned": 0, **status,
        }})  # fmt: skip

    def pool(self, name: str) -> dict[str, Any]:
        """A pool; its node's agent made it, if there was none."""
        if name not in self.pools.objects:
            self.pools.create(name, {"kind": "NodeIPPool", "spec": {}})
        return self.pools.objects[name]

    def status(self, name: str) -> dict[str, Any]:
        """A pool's status."""
        status: dict[str, Any] = self.pools.objects[name].get("status", {})
        return status

    def edit_quota(self, name: str = "vnet", **spec: Any) -> None:
        """`kubectl edit`."""
        self.quotas.patch(name, {"spec": spec})

    def quota(self, name: str = "vnet") -> VNetQuota:
        """As it is now."""
        return vnet_quota.parse(self.quotas.objects[name])

    def counts(self, name: str = "vnet") -> dict[str, int]:
        """The ledger."""
        return {key: entry.count for key, entry in self.quota(name).entries.items()}

    def granted_of(self, name: str) -> tuple[int, int]:
        """What one pool shows, whatever the others do."""
        status = self.pools.objects[name]["status"]
        return status.get("granted", 0), status.get("grantedFor", 0)

    def granted(self) -> dict[str, tuple[int, int]]:
        """What each pool shows: granted, and for which request."""
        return {
            name: (body["status"].get("granted", 0), body["status"].get("grantedFor", 0))
            for name, body in self.pools.objects.items()
        }


class FakeQuotas:
    """Implements `azure_cni.cluster.ports.Quotas`."""

    def __init__(self, cluster: FakeCluster) -> None:
        self._cluster = cluster

    async def list(self) -> tuple[VNetQuota, ...]:
        return await self._cluster.call(
            "quotas.list", lambda: tuple(vnet_quota.parse(body) for body in self._cluster.quotas.objects.values())
        )

    async def read(self, name: str) -> VNetQuota | None:
        body = await self._cluster.call("quotas.read", lambda: self._cluster.quotas.get(name))
        return None if body is None else vnet_quota.parse(body)

    async def create(self, name: str, *, vnet_id: VNetID, limits: Limits) -> VNetQuota:
        body = vnet_quota.new_body(name, vnet_id=vnet_id, limits=limits, api_version=GROUP_VERSION)
        return vnet_quota.parse(
            await self._cluster.call("quotas.create", lambda: self._cluster.quotas.create(name, body))
        )

    async def delete(self, seen: VNetQuota) -> None:
        def remove() -> None:
            body = self._cluster.quotas.get(seen.name)
            if body is None:
                raise KubeNotFound(f"cannot delete {seen.name}: not found")
            meta = body["metadata"]
            if (meta["uid"], meta["resourceVersion"]) != (seen.version.uid, seen.version.number):
                raise KubeConflict(f"cannot delete {seen.name}: it was modified")
            self._cluster.quotas.delete(seen.name)

        await self._cluster.call("quotas.delete", remove)

    async def write(self, seen: VNetQuota, draft: Draft) -> VNetQuota:
        patch = {"status": draft.status()}
        return vnet_quota.parse(
            await self._cluster.call(
                "quotas.write", lambda: self._cluster.quotas.patch(seen.name, patch, version=seen.version.number)
            )
        )


class FakeMemberPools:
    """Implements `azure_cni.cluster.ports.MemberPools`. All pages of a walk show the state at its beginning."""

    def __init__(self, cluster: FakeCluster, *, page_s: float = 0.0) -> None:
        self._cluster = cluster
        self._page_s = page_s

    async def walk(self) -> AsyncIterator[NodeIPPool]:
        pools = await self._cluster.call("pools.list", lambda: copy.deepcopy(self._cluster.pools.objects))
        for name in sorted(pools):
            await asyncio.sleep(self._page_s)
            yield parse(pools[name])

    async def read(self, name: str) -> NodeIPPool | None:
        body = await self._cluster.call("pools.read", lambda: self._cluster.pools.get(name))
        return None if body is None else parse(body)

    async def write(self, name: str, *, version: str, status: Mapping[str, Any]) -> NodeIPPool:
        return parse(
            await self._cluster.call(
                "pools.write", lambda: self._cluster.pools.patch(name, {"status": status}, version=version)
            )
        )


class FakeMemberNodes:
    """Implements `azure_cni.cluster.ports.Nodes`."""

    def __init__(self, cluster: FakeCluster) -> None:
        self._cluster = cluster

    async def provider_id(self, name: str) -> str:
        return await self._cluster.call("nodes.read", lambda: self._cluster.provider_ids.get(name, ""))

    async def labels(self, name: str) -> Mapping[str, str]:
        return await self._cluster.call("nodes.read", lambda: dict(self._cluster.labels.get(name, {})))

    async def is_silent(self, name: str) -> bool:
        return await self._cluster.call("nodes.read", lambda: name in self._cluster.silent)


class FakeLease:
    """Implements `azure_cni.cluster.ports.Leases`."""

    NAME = "azure-cni-controller"

    def __init__(self, cluster: FakeCluster) -> None:
        self._cluster = cluster

    async def read(self) -> Mapping[str, Any] | None:
        return await self._cluster.call("lease.read", lambda: self._cluster.leases.get(self.NAME))

    async def create(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        return await self._cluster.call(
            "lease.create", lambda: self._cluster.leases.create(self.NAME, {"spec": dict(spec)})
        )

    async def write(self, seen: Mapping[str, Any], spec: Mapping[str, Any]) -> Mapping[str, Any]:
        version = seen["metadata"]["resourceVersion"]
        return await self._cluster.call(
            "lease.write", lambda: self._cluster.leases.patch(self.NAME, {"spec": dict(spec)}, version=version)
        )


class FakeVNets:
    """Implements `azure_cni.cluster.ports.VNets`. `ours` by NIC's name; what is not in it is gone."""

    def __init__(self) -> None:
        self.others = 0
        """Addresses in use that are not of our nodes."""
        self.room = 65_531
        """Addresses that its one subnet has."""
        self.held: Callable[[], int] = lambda: 0
        """Those that are."""
        self.ours: dict[str, int] = {}
        self.vms: dict[str, str] = {}
        """The VMs that NICs are on, by the NIC's name."""
        self.vnets: set[str] | None = None
        """IDs of the VNets that there are; None for all that can be."""
        self.fail: CloudError | None = None
        self.delay_s = 0.0
        """How long it takes to answer."""
        self.asked: list[str] = []
        self.asked_ids: list[str] = []
        """Of the NICs whose addresses were asked for, whole."""

    async def usages(self, vnet_id: VNetID) -> tuple[SubnetUsage, ...]:
        self.asked.append("usages")
        await asyncio.sleep(self.delay_s)
        if self.fail:
            raise self.fail
        if not vnet_id.startswith("/subscriptions/"):
            raise DecodeFailed(f"cannot use {vnet_id!r}: it is no resource ID")
        if self.vnets is not None and vnet_id not in self.vnets:
            raise CloudNotFound(f"cannot read usages of {vnet_id}: not found")
        return (SubnetUsage(SUBNET, self.others + self.held(), self.room),)

    async def ours_on(self, nic_id: str) -> int | None:
        name = nic_id.rsplit("/", 1)[-1]
        self.asked.append(name)
        self.asked_ids.append(nic_id)
        await asyncio.sleep(self.delay_s)
        if self.fail:
            raise self.fail
        return self.ours.get(name)

    async def vm_of(self, nic_id: str) -> str:
        name = nic_id.rsplit("/", 1)[-1]
        self.asked.append(f"vm of {name}")
        await asyncio.sleep(self.delay_s)
        if self.fail:
            raise self.fail
        return self.vms.get(name, "")
