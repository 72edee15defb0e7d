"""What `azure-cni test` makes and removes, on a real API server and on the fake, also with the chart's role alone."""

from __future__ import annotations

import asyncio
import time
import uuid
from pathlib import Path

import pytest

from azure_cni.commands import reads
from azure_cni.commands.access import KubernetesAccess
from azure_cni.commands.lab_keeper import NAMESPACES, LabKeeper
from azure_cni.commands.network_run import DNS
from azure_cni.commands.pod_access import PodAccess
from azure_cni.diagnose.evidence import NodeFacts
from azure_cni.diagnose.network_lab import RUN
from azure_cni.errors import KubeConflict, KubeDenied, KubeNotFound
from azure_cni.kube.client import KubeClient, KubeEndpoint
from contract.kube_world import Place
from contract.person import kubeconfig
from contract.test_metrics_rights import ACCOUNTS, RBAC
from fakes.cluster_access import FakeClusterAccess
from unit.chart.helm import of_kind
from unit.chart.test_helm_test import NETWORK, of_the_network_test

NODES = (NodeFacts("vm1", ready=True), NodeFacts("vm2", ready=True))


def soon() -> float:
    return time.monotonic() + 30.0


async def make_account(admin: KubeClient, namespace: str) -> None:
    """The default one, which the controller manager would make, as soon as the namespace is there."""
    for _ in range(300):
        try:
            await admin.create(f"{NAMESPACES}/{namespace}/serviceaccounts", {"metadata": {"name": "default"}})
        except KubeNotFound:
            await asyncio.sleep(0.1)
        else:
            return
    raise AssertionError(f"no namespace {namespace}")


async def test_what_is_made_is_found_by_its_run_and_removed(apiserver: Place, tmp_path: Path) -> None:
    name = f"lab-{uuid.uuid4().hex[:8]}"
    async with apiserver.endpoint() as endpoint, KubeClient(endpoint) as admin:
        config = kubeconfig(tmp_path, url=endpoint.url, token=endpoint.token, ca_file=Path(str(endpoint.ca_file)))
        fake = FakeClusterAccess({NAMESPACES: [], "/api/v1/pods": [], "/api/v1/services": []})
        for access in (KubernetesAccess(kubeconfig=config), fake):
            keeper, other = LabKeeper(access, name, "run1"), LabKeeper(access, name, "run2")
            making = asyncio.create_task(asyncio.to_thread(keeper.make, NODES, image="none", until_s=soon()))
            if access is not fake:
                await make_account(admin, name)
            await making
            pods = await asyncio.to_thread(
                access.list_objects, f"{NAMESPACES}/{name}/pods", labelSelector=f"{RUN}=run1"
            )
            assert sorted(one["metadata"]["name"] for one in pods) == ["caller", "far", "near"]
            with pytest.raises(KubeConflict, match="another test runs there"):
                await asyncio.to_thread(other.make, NODES, image="none", until_s=soon())
            assert await asyncio.to_thread(other.remove) == ""
            there = await asyncio.to_thread(access.read_object, f"{NAMESPACES}/{name}")
            assert "deletionTimestamp" not in there["metadata"], "it is another run's"
            assert await asyncio.to_thread(keeper.remove) == ""
            try:
                left = await asyncio.to_thread(access.read_object, f"{NAMESPACES}/{name}")
            except KubeNotFound:
                continue
            assert left["metadata"]["deletionTimestamp"]


async def bound_account(admin: KubeClient, namespace: str) -> str:
    """The token of an account that has the chart's role in that namespace, and nothing else."""
    account = f"account-{uuid.uuid4().hex[:8]}"
    await admin.create(ACCOUNTS, {"metadata": {"name": account}})
    rules = of_kind("ClusterRole", name="azure-cni-test")["rules"]
    await admin.create(f"{RBAC}/clusterroles", {"metadata": {"name": account}, "rules": rules})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": account}
    subjects = [{"kind": "ServiceAccount", "name": account, "namespace": "default"}]
    binding = {"metadata": {"name": account}, "roleRef": reference, "subjects": subjects}
    await admin.create(f"{RBAC}/namespaces/{namespace}/rolebindings", binding)
    return str((await admin.create(f"{ACCOUNTS}/{account}/token", {"spec": {}}))["status"]["token"])


async def test_the_charts_role_is_enough_in_a_namespace_that_was_prepared(apiserver: Place, tmp_path: Path) -> None:
    name = f"lab-{uuid.uuid4().hex[:8]}"
    async with apiserver.endpoint() as endpoint, KubeClient(endpoint) as admin:
        await admin.create(NAMESPACES, {"metadata": {"name": name}})
        await make_account(admin, name)
        token = await bound_account(admin, name)
        config = kubeconfig(tmp_path, url=endpoint.url, token=token, ca_file=Path(str(endpoint.ca_file)))
        access = KubernetesAccess(kubeconfig=config)
        keeper = LabKeeper(access, name, "run1")
        await asyncio.to_thread(keeper.make, NODES, image="none", until_s=soon())
        assert await asyncio.to_thread(keeper.await_pods, until_s=0.0) == ({}, ["caller", "far", "near"])
        assert await asyncio.to_thread(keeper.service_address)
        assert await asyncio.to_thread(keeper.remove) == ""
        there = await asyncio.to_thread(access.read_object, f"{NAMESPACES}/{name}")
        assert "deletionTimestamp" not in there["metadata"]
        with pytest.raises(KubeDenied):
            await asyncio.to_thread(LabKeeper(access, "elsewhere", "r").make, NODES, image="none", until_s=soon())


COLLECTIONS = {
    "Namespace": NAMESPACES, "ServiceAccount": NAMESPACES, "ClusterRole": RBAC, "ClusterRoleBinding": RBAC,
    "Role": f"{RBAC}/namespaces", "RoleBinding": f"{RBAC}/namespaces", "Pod": "",
}  # fmt: skip


async def install(admin: KubeClient) -> str:
    """What helm makes before the second pod of `helm test`; the token of the pod."""
    for body in of_the_network_test():
        path = COLLECTIONS[body["kind"]]
        if namespace := body["metadata"].get("namespace"):
            path = f"{path}/{namespace}/{body['kind'].lower()}s"
        elif path == RBAC:
            path = f"{path}/{body['kind'].lower()}s"
        if body["kind"] != "Pod":
            await admin.create(path, body)
    rules = of_kind("ClusterRole", name="azure-cni-test")
    await admin.create(f"{RBAC}/clusterroles", {"metadata": {"name": "azure-cni-test"}, "rules": rules["rules"]})
    made = await admin.create(f"{NAMESPACES}/kube-system/serviceaccounts/{NETWORK}/token", {"spec": {}})
    return str(made["status"]["token"])


async def test_the_rights_of_helm_test_are_enough_for_it_and_for_nothing_else(apiserver: Place) -> None:
    async with apiserver.endpoint() as endpoint, KubeClient(endpoint) as admin:
        token = await install(admin)
        access = PodAccess(KubeEndpoint(endpoint.url, token=token, ca_file=endpoint.ca_file))
        evidence = await asyncio.to_thread(reads.read_cluster, access, pods=False)
        assert all(map(evidence.knows, ("nodes", "pools", "agents")))
        with pytest.raises(KubeNotFound):  # and not KubeDenied: whether there is DNS is known
            await asyncio.to_thread(access.read_object, DNS)
        await make_account(admin, NETWORK)
        keeper = LabKeeper(access, NETWORK, "run1")
        await asyncio.to_thread(keeper.make, NODES, image="none", until_s=soon())
        assert await asyncio.to_thread(keeper.await_pods, until_s=0.0) == ({}, ["caller", "far", "near"])
        assert await asyncio.to_thread(keeper.service_address)
        await asyncio.to_thread(reads.read_pod, access, NETWORK, "caller")
        assert await asyncio.to_thread(keeper.remove) == ""
        for namespace in ("kube-system", "default"):
            with pytest.raises(KubeDenied, match="pods/exec"):
                await asyncio.to_thread(access.run_in_pod, namespace, "any", ["true"])
            with pytest.raises(KubeDenied, match="cannot create"):
                await asyncio.to_thread(access.create_object, f"{NAMESPACES}/{namespace}/pods", {"metadata": {}})
            for kind in ("secrets", "configmaps", "services"):
                with pytest.raises(KubeDenied):
                    await asyncio.to_thread(access.list_objects, f"{NAMESPACES}/{namespace}/{kind}")
        with pytest.raises(KubeDenied):
            await asyncio.to_thread(access.create_object, NAMESPACES, {"metadata": {"name": "other"}})
