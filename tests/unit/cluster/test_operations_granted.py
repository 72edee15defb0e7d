"""What a node with one agent's token may have a controller do to its NIC: what a token paid for, and no more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from azure_cni.api.nic_operation import ReadNic, SetSecurityGroups, WriteNic
from azure_cni.api.nic_operation_codec import operation_document
from azure_cni.api.node_ip_pool import WriteIntent
from azure_cni.api.vnet_quota import LedgerEntry, Limits, nic_label
from azure_cni.cluster.node_allowance import OPERATION_PACE
from azure_cni.errors import AccessDenied, CloudUnreachable, KubeUnreachable, RequestRefused
from azure_cni.kube.delegated_nic import OperationClient
from azure_cni.model.identity import IdentityClaim
from azure_cni.model.nic import ConfigName, NicView
from fakes.cluster import FakeCluster
from fakes.delegation import executing, post_of, reserve
from fakes.machines import FakeMachines, identity_of
from fakes.nic import FakeNic
from unit.cluster.delegating_nodes import CLAIM, VM1, granted
from unit.cluster.worlds import SimulatedCluster

pytestmark = pytest.mark.looptime

NIC = nic_label(VM1.nic_id)
GROUPS = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/applicationSecurityGroups"


@pytest.fixture
def machines() -> FakeMachines:
    """The node's NIC holds three addresses of azure-cni and two of others."""
    made = FakeMachines("vm1", "vm2")
    made.nics["vm1"] = FakeNic(ours=["10.240.0.5", "10.240.0.6", "10.240.0.7"], adopted=["10.240.0.8", "10.240.0.9"])
    return made


async def write(
    post: OperationClient, machines: FakeMachines, *, add: int = 0, remove: tuple[str, ...] = ()
) -> NicView:
    etag = (await machines.read(VM1.nic_id)).etag
    names = tuple(ConfigName(name) for name in remove)
    operation = WriteNic(CLAIM, VM1.nic_id, etag, add=add, remove=names, grant_number=0)
    return await post.request(operation, NicView, what="change the NIC")


async def ours(machines: FakeMachines) -> list[str]:
    return [config.name for config in (await machines.read(VM1.nic_id)).secondaries if config.ours]


@pytest.mark.parametrize("paid", ["None", "Grow", "Shrink", "Rewrite"])
@pytest.mark.parametrize("does", ["Grow", "Shrink", "Rewrite"])
async def test_a_grant_allows_only_the_write_that_its_token_paid_for(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient, paid: str, does: str
) -> None:
    granted(cluster, write=paid, writeIntent=does)  # the pool says what suits the operation: any agent may write that
    what: dict[str, Any] = {"Grow": {"add": 1}, "Shrink": {"remove": (await ours(machines))[:1]}, "Rewrite": {}}[does]
    async with executing(cluster, machines):
        if paid == does:
            assert await write(post, machines, **what)
            return
        allowed = "no write" if paid == "None" else paid
        with pytest.raises(AccessDenied, match=f"grant 1 allows {allowed}, by its entry .* operation is to {does}"):
            await write(post, machines, **what)
    assert machines.nics["vm1"].writes == 0


async def test_what_azure_cni_did_not_make_is_removed_by_no_operation(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient
) -> None:
    view = await machines.read(VM1.nic_id)
    foreign = [config.name for config in view.configs if not config.ours]
    assert len(foreign) == 3  # the primary one too
    async with executing(cluster, machines):
        for number, name in enumerate(foreign, start=2):
            granted(cluster, number=number, write="Shrink")
            with pytest.raises(RequestRefused, match=f"did not make 1 ipConfiguration .* such as {name}"):
                await write(post, machines, remove=(*await ours(machines), name))
        assert machines.nics["vm1"].writes == 0
        left = await write(post, machines, remove=tuple(await ours(machines)))
    assert [config.name for config in left.secondaries] == [name for name in foreign if name != view.primary.name]


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (None, "the ledger of the NIC's VNet has none for this node"),
        (LedgerEntry(16, 2, NIC, WriteIntent.GROW), "has grant 2"),
        (LedgerEntry(16, 1, "g/vm2-nic", WriteIntent.GROW), "grant 1 is for g/vm2-nic, and its VM has .*/vm1-nic"),
        (LedgerEntry(5, 1, NIC, WriteIntent.GROW), "it would hold 6 addresses and may hold 5"),
    ],
)
async def test_what_the_pool_shows_is_not_enough(machines: FakeMachines, entry: LedgerEntry | None, why: str) -> None:
    cluster = FakeCluster()
    cluster.node("vm1", requested=16, granted=16, grantedFor=1, vmID="guid-of-vm1")
    if entry is not None:
        reserve(cluster, "vm1", entry)
    async with executing(cluster, machines):
        with pytest.raises(AccessDenied, match=why):
            await write(post_of(cluster, "vm1"), machines, add=1)
    assert machines.nics["vm1"].writes == 0


async def test_a_grant_of_another_vnets_quota_writes_no_nic_of_this_one(machines: FakeMachines) -> None:
    """Its limit would be passed: the node's addresses would be counted where there is room."""
    cluster, roomy = FakeCluster(), VM1.vnet_id + "-with-room"
    cluster.node("vm1", requested=16, granted=16, grantedFor=1, vmID="guid-of-vm1", vnetID=roomy)
    reserve(cluster, "vm1", LedgerEntry(16, 1, NIC, WriteIntent.GROW), vnet_id=roomy)
    async with executing(cluster, machines):
        with pytest.raises(AccessDenied, match="the ledger of the NIC's VNet has none for this node"):
            await write(post_of(cluster, "vm1"), machines, add=1)


async def test_a_grant_that_was_used_is_used_for_the_next_controller_too(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient
) -> None:
    async with executing(cluster, machines):
        await write(post, machines, add=1)
    async with executing(cluster, machines):
        with pytest.raises(AccessDenied, match="an earlier operation has already used grant 1"):
            await write(post, machines, add=1)
    assert machines.nics["vm1"].writes == 1


async def test_a_grant_that_was_used_is_used_for_a_new_pool_too(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient
) -> None:
    """An agent that has its pool collected as an orphan may create it again, with the numbers of before."""
    granted(cluster)
    async with executing(cluster, machines):
        assert await write(post, machines, add=1)
        cluster.pools.delete("vm1")
        granted(cluster)
        with pytest.raises(AccessDenied, match="an earlier operation has already used grant 1"):
            await write(post_of(cluster, "vm1"), machines, add=1)
    assert machines.nics["vm1"].writes == 1


async def test_a_new_pool_has_the_pace_of_the_one_before(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient
) -> None:
    granted(cluster)
    async with executing(cluster, machines, pace=OPERATION_PACE):
        for _ in range(OPERATION_PACE.burst + 1):
            await post.request(ReadNic(CLAIM, VM1.nic_id), NicView, what="read the NIC")
        cluster.pools.delete("vm1")
        granted(cluster)
        began_s = asyncio.get_running_loop().time()
        await post_of(cluster, "vm1").request(ReadNic(CLAIM, VM1.nic_id), NicView, what="read the NIC")
    assert asyncio.get_running_loop().time() - began_s > OPERATION_PACE.refill_s - OPERATION_PACE.spacing_s


async def test_an_operation_that_is_refused_uses_no_grant_up(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient
) -> None:
    async with executing(cluster, machines):
        with pytest.raises(AccessDenied, match="may hold 16"):
            await write(post, machines, add=17)
        assert await write(post, machines, add=1)


async def test_a_ledger_that_cannot_be_read_is_reported_and_holds_no_place(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient
) -> None:
    def fail(call: str) -> None:
        if call.startswith("quotas."):
            raise KubeUnreachable("no answer")

    cluster.before_call = fail
    async with executing(cluster, machines):
        with pytest.raises(CloudUnreachable, match="VNetQuota with its grant cannot be read: no answer"):
            await write(post, machines, add=1)


# With the grants of a leading controller.


def one_node() -> tuple[SimulatedCluster, FakeMachines]:
    """The node `x`, whose Node names its VM."""
    world = SimulatedCluster(limits=Limits(writes_per_minute=60))
    world.cluster.provider_ids["x"] = f"azure://{identity_of('x').vm_resource_id}"
    return world, FakeMachines("x")


async def asks(world: SimulatedCluster, number: int, **status: Any) -> None:
    """The node `x` asks, and is answered."""
    it = identity_of("x")
    facts = {"requested": 200, "vmID": it.vm_id, "nicID": it.nic_id, "vnetID": it.vnet_id, **status}
    world.cluster.node("x", number=number, **facts)
    await world.until(lambda: world.cluster.granted_of("x")[1] == number, within_s=120)


async def add_one(world: SimulatedCluster, machines: FakeMachines, number: int, *, grant_number: int) -> dict[str, Any]:
    """It has the controller add one address; returns the result."""
    it = identity_of("x")
    etag = (await machines.read(it.nic_id)).etag
    claim = IdentityClaim(it.vm_id, it.vm_resource_id, macs=(it.mac,))
    operation = WriteNic(claim, it.nic_id, etag, add=1, remove=(), grant_number=grant_number)
    says = {"writeIntent": "Grow", "allocated": 0, "nicOperation": operation_document(number, operation)}
    world.cluster.pools.patch("x", {"status": says})
    await world.until(lambda: world.cluster.status("x").get("nicOperationResult", {}).get("id") == number, within_s=60)
    answer: dict[str, Any] = world.cluster.status("x")["nicOperationResult"]
    return answer


@pytest.mark.parametrize(
    "free",
    [{"writeIntent": "None"}, {"writeIntent": "Grow", "allocated": 256}],
    ids=["intends no write", "says that it holds all it may"],
)
async def test_who_is_answered_without_a_token_writes_nothing(free: dict[str, Any]) -> None:
    world, machines = one_node()
    async with world.controller(machines=machines):
        for number in range(1, 11):
            await asks(world, number, **free)
            answer = await add_one(world, machines, number, grant_number=number)
            assert "allows no write" in answer["error"]["message"]
    assert machines.nics["x"].writes == 0


async def test_who_pays_writes_as_often_as_it_paid() -> None:
    world, machines = one_node()
    async with world.controller(machines=machines):
        for number in range(1, 11):
            await asks(world, number, writeIntent="Grow", allocated=0)
            for again in (0, 1):
                await add_one(world, machines, 2 * number + again, grant_number=number)
    assert machines.nics["x"].writes == 10


async def test_application_security_groups_are_those_of_the_pools_spec_or_none_are_set(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient
) -> None:
    """An agent may write its pool's status and not its spec."""
    web, db = (f"{GROUPS}/{name}" for name in ("web", "db"))
    granted(cluster, write="Rewrite", writeIntent="Rewrite")
    async with executing(cluster, machines):
        with pytest.raises(AccessDenied, match=r"are not those of spec.applicationSecurityGroups"):
            await regroup(post, machines, web)
        for wanted, asked in (([db], (web,)), ([web, db], (web,)), ([], (web,))):
            cluster.pools.patch("vm1", {"spec": {"applicationSecurityGroups": wanted}})
            with pytest.raises(AccessDenied, match=r"are not those of spec.applicationSecurityGroups"):
                await regroup(post, machines, *asked)
        cluster.pools.patch("vm1", {"spec": {"applicationSecurityGroups": ["web"]}})
        with pytest.raises(RequestRefused, match="it must be a list of resource IDs"):
            await regroup(post, machines, "web")
        assert machines.nics["vm1"].writes == 0
        cluster.pools.patch("vm1", {"spec": {"applicationSecurityGroups": [db, web]}})
        assert (await regroup(post, machines, web.upper(), db)).is_in([web, db])


async def test_application_security_groups_cost_a_grant_for_a_rewrite(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient
) -> None:
    web = f"{GROUPS}/web"
    granted(cluster, write="Grow", writeIntent="Rewrite")
    cluster.pools.patch("vm1", {"spec": {"applicationSecurityGroups": [web]}})
    async with executing(cluster, machines):
        with pytest.raises(AccessDenied, match=r"grant 1 allows Grow, by its entry .* operation is to Rewrite"):
            await regroup(post, machines, web)


async def regroup(post: OperationClient, machines: FakeMachines, *groups: str) -> NicView:
    etag = (await machines.read(VM1.nic_id)).etag
    operation = SetSecurityGroups(CLAIM, VM1.nic_id, etag, groups, grant_number=0)
    return await post.request(operation, NicView, what="change the NIC")
