"""An agent that delegates: numbers across restarts, waits that end, and what it makes of each result."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from azure_cni.api.nic_operation import Challenge
from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.api.operation_result_codec import result_document
from azure_cni.errors import CloudUnreachable, KubeUnreachable, NotAttested
from azure_cni.kube.delegated_nic import DelegatedCloud, DelegatedNic, OperationClient
from azure_cni.model.identity import IdentityClaim, NodeIdentity
from azure_cni.model.nic import ConfigName, NicView
from fakes.cloud import IDENTITY, FakeCloud
from fakes.nic import FakeNic
from fakes.pools import FakePools

pytestmark = pytest.mark.looptime

CLAIM = IdentityClaim(IDENTITY.vm_id, IDENTITY.vm_resource_id, macs=(IDENTITY.mac,))


class Told:
    """Implements `azure_cni.kube.delegated_nic.Claims`."""

    async def claim(self) -> IdentityClaim:
        return CLAIM

    async def document(self, nonce: str) -> str:
        return f"{nonce} of this VM"


@pytest.fixture
async def pools() -> FakePools:
    made = FakePools()
    await made.create(made.node)
    return made


def status(pools: FakePools) -> dict[str, Any]:
    assert pools.pool is not None
    found: dict[str, Any] = pools.pool.get("status", {})
    return found


async def answer(
    pools: FakePools, post: OperationClient | None, result: Any, *, after_s: float = 1.0
) -> dict[str, Any]:
    """A controller that says this to the operation it finds; without `post` the agent's watch shows nothing."""
    await asyncio.sleep(after_s)
    operation = dict(status(pools)["nicOperation"])
    pools._change({"status": {"nicOperationResult": result_document(operation["id"], result)}})
    if post is not None:
        post.see(pools.shown())
    return operation


async def test_who_am_i_is_an_operation_that_names_the_machine(pools: FakePools) -> None:
    post = OperationClient(pools)
    answering = asyncio.create_task(answer(pools, post, IDENTITY))
    assert await DelegatedCloud(Told(), post).identify() == IDENTITY
    operation = await answering
    assert (operation["kind"], operation["vm"], operation["vmID"]) == ("identify", CLAIM.vm_resource_id, CLAIM.vm_id)


async def test_the_vnet_is_an_operation(pools: FakePools) -> None:
    post, view = OperationClient(pools), await FakeCloud().vnet(IDENTITY)
    answering = asyncio.create_task(answer(pools, post, view))
    assert await DelegatedCloud(Told(), post).vnet(IDENTITY) == view
    assert (await answering)["vnet"] == IDENTITY.vnet_id


async def test_a_write_names_what_was_seen_and_what_allows_it(pools: FakePools) -> None:
    post = OperationClient(pools)
    pools._change({"status": {"requestID": 7}})
    view = await FakeNic(ours=["10.240.0.9"]).read()
    answering = asyncio.create_task(answer(pools, post, view))
    name = view.secondaries[0].name
    assert await DelegatedNic(IDENTITY, post).write(view, add=3, remove=[name]) == view
    operation = await answering
    assert (operation["etag"], operation["add"], list(operation["remove"]), operation["grantNumber"]) == (
        view.etag,
        3,
        [name],
        7,
    )


class OfAnotherVersion(FakePools):
    """Of which the definition knows no changes of attachments, and drops them."""

    async def patch_status(self, pool: NodeIPPool, status: Any, *, guarded: bool = False) -> NodeIPPool:
        operation = {name: value for name, value in status["nicOperation"].items() if name != "attach"}
        return await super().patch_status(pool, {"nicOperation": operation}, guarded=guarded)


async def test_an_operation_of_which_the_api_server_drops_a_part_is_not_waited_for() -> None:
    """The controller would do something else, and the node take it for what it asked for."""
    pools = OfAnotherVersion()
    await pools.create(pools.node)
    with pytest.raises(CloudUnreachable, match="does not keep attach of the NIC operation") as raised:
        await DelegatedCloud(Told(), OperationClient(pools)).identify()
    assert raised.value.azure_code == "OperationNotKept"


async def test_numbers_rise_across_agents(pools: FakePools) -> None:
    for expected in (1, 2):
        post = OperationClient(pools)
        answering = asyncio.create_task(answer(pools, post, IDENTITY))
        await DelegatedCloud(Told(), post).identify()
        assert (await answering)["id"] == expected
    pools._change({"status": {"nicOperation": {"id": 40}}})
    post = OperationClient(pools)
    answering = asyncio.create_task(answer(pools, post, IDENTITY))
    await DelegatedCloud(Told(), post).identify()
    assert (await answering)["id"] == 41


async def test_an_answer_to_an_older_operation_is_none(pools: FakePools) -> None:
    post = OperationClient(pools, read_s=20)
    pools._change({"status": {"nicOperation": {"id": 4}}})
    asking = asyncio.create_task(DelegatedCloud(Told(), post).identify())
    await asyncio.sleep(1)
    pools._change({"status": {"nicOperationResult": result_document(4, IDENTITY)}})
    post.see(pools.shown())
    await asyncio.sleep(1)
    assert not asking.done()
    await answer(pools, post, replace(IDENTITY, mac="other"))
    assert (await asking).mac == "other"


async def test_without_a_controller_the_wait_ends_and_says_where_to_look(pools: FakePools) -> None:
    began_s = asyncio.get_running_loop().time()
    with pytest.raises(CloudUnreachable, match=r"operation 1 within 60 s.*app.kubernetes.io/component=controller"):
        await DelegatedCloud(Told(), OperationClient(pools)).identify()
    assert asyncio.get_running_loop().time() - began_s == pytest.approx(60)


async def test_a_write_is_waited_for_as_long_as_azure_may_take(pools: FakePools) -> None:
    post, view = OperationClient(pools), await FakeNic().read()
    answering = asyncio.create_task(answer(pools, post, view, after_s=650))
    assert await DelegatedNic(IDENTITY, post).write(view, add=1)
    await answering


async def test_an_answer_that_the_watch_missed_is_found(pools: FakePools) -> None:
    asking = asyncio.create_task(DelegatedCloud(Told(), OperationClient(pools)).identify())
    await answer(pools, None, IDENTITY)
    assert await asking == IDENTITY


async def test_silence_of_the_api_server_is_reported_as_silence_of_the_cloud(pools: FakePools) -> None:
    pools.fail_next = KubeUnreachable("cannot read: no answer")
    with pytest.raises(CloudUnreachable, match="the NIC operation cannot be written: cannot read"):
        await DelegatedCloud(Told(), OperationClient(pools)).identify()


async def test_an_operation_is_written_again_when_the_pool_has_changed(pools: FakePools) -> None:
    races = iter(range(2))
    original = pools.patch_status

    async def raced(*args: Any, **options: Any) -> NodeIPPool:
        if next(races, None) is not None:
            pools._change({"status": {"free": next(free)}})
        return await original(*args, **options)

    free = iter(range(1, 9))
    pools.patch_status = raced  # type: ignore[method-assign]
    post = OperationClient(pools)
    asking = asyncio.create_task(DelegatedCloud(Told(), post).identify())
    await answer(pools, post, IDENTITY)
    assert await asking == IDENTITY


async def test_a_late_operation_of_an_agent_that_is_gone_displaces_nothing(pools: FakePools) -> None:
    original, held = pools.patch_status, asyncio.Event()

    async def late(*args: Any, **options: Any) -> NodeIPPool:
        pools.patch_status = original  # type: ignore[method-assign]
        await held.wait()
        return await original(*args, **options)

    pools.patch_status = late  # type: ignore[method-assign]
    dead = asyncio.create_task(DelegatedCloud(Told(), OperationClient(pools, read_s=5)).vnet(IDENTITY))
    await asyncio.sleep(1)
    alive = asyncio.create_task(DelegatedCloud(Told(), OperationClient(pools)).identify())
    await asyncio.sleep(1)
    shown = status(pools)["nicOperation"]
    held.set()
    pools.read = _gone  # type: ignore[method-assign]  # the agent is gone: it does not try again
    await asyncio.gather(dead, return_exceptions=True)
    assert status(pools)["nicOperation"] == shown
    alive.cancel()


async def _gone() -> None:
    return None


async def test_without_a_pool_there_is_no_operation(pools: FakePools) -> None:
    pools.pool = None
    with pytest.raises(CloudUnreachable, match="go through the NodeIPPool, and it is gone"):
        await DelegatedCloud(Told(), OperationClient(pools)).identify()


async def test_an_answer_of_another_kind_is_reported(pools: FakePools) -> None:
    post = OperationClient(pools)
    asking = asyncio.create_task(post_identify(post))
    await answer(pools, post, await FakeNic().read())
    with pytest.raises(CloudUnreachable, match="another version"):
        await asking


async def post_identify(post: OperationClient) -> NodeIdentity:
    return await DelegatedCloud(Told(), post).identify()


async def test_what_worked_before_an_operation_is_remembered(pools: FakePools) -> None:
    """The controller may be another than the one that saw it working."""
    post = OperationClient(pools)
    nic, view = DelegatedNic(IDENTITY, post), await FakeNic(adopted=["10.240.0.5"]).read()
    await asyncio.gather(nic.read(), answer(pools, post, view))
    coming = replace(view.secondaries[0], name=ConfigName("azure-cni-new"), ready=False)
    updating = replace(view, configs=(*(replace(it, ready=False) for it in view.configs), coming), settled=False)
    shown: NicView = (await asyncio.gather(nic.read(), answer(pools, post, updating)))[0]
    assert [config.ready for config in shown.configs] == [True, True, False]


# When the controller wants to know first which VM this is.


async def test_a_challenge_is_met_and_the_operation_goes_out_once_more(pools: FakePools) -> None:
    post, view = OperationClient(pools, attest=Told().document), await FakeNic().read()
    asking = asyncio.create_task(DelegatedNic(IDENTITY, post).read())
    first = await answer(pools, post, Challenge("0123456789", "prove it"))
    second = await answer(pools, post, IDENTITY)
    third = await answer(pools, post, view)
    assert await asking == view
    assert [operation["kind"] for operation in (first, second, third)] == ["read", "identify", "read"]
    assert (first["document"], second["document"], third["document"]) == ("", "0123456789 of this VM", "")
    assert second["vmID"] == IDENTITY.vm_id


async def test_who_am_i_is_answered_by_the_document(pools: FakePools) -> None:
    post = OperationClient(pools, attest=Told().document)
    asking = asyncio.create_task(DelegatedCloud(Told(), post).identify())
    await answer(pools, post, Challenge("1", "prove it"))
    assert (await answer(pools, post, IDENTITY))["document"] == "1 of this VM"
    assert await asking == IDENTITY


@pytest.mark.parametrize("kind", ["identify", "read"])
async def test_challenges_without_end_are_reported_as_the_controller_words_them(pools: FakePools, kind: str) -> None:
    post = OperationClient(pools, attest=Told().document)
    cloud, nic = DelegatedCloud(Told(), post), DelegatedNic(IDENTITY, post)
    asking = asyncio.create_task(cloud.identify() if kind == "identify" else nic.read())
    for challenge in ("1", "2", "3")[: 2 if kind == "identify" else 3]:
        await answer(pools, post, Challenge(challenge, "prove it"))
    with pytest.raises(NotAttested, match=r"^cannot (identify this node|read the NIC): prove it$"):
        await asking


async def test_a_document_that_is_refused_ends_the_operation(pools: FakePools) -> None:
    post = OperationClient(pools, attest=Told().document)
    asking = asyncio.create_task(DelegatedNic(IDENTITY, post).read())
    await answer(pools, post, Challenge("1", "prove it"))
    await answer(pools, post, NotAttested("cannot: the attested document is of yesterday"))
    with pytest.raises(NotAttested, match="of yesterday"):
        await asking


async def test_a_metadata_service_that_is_silent_ends_the_operation(pools: FakePools) -> None:
    async def silent(_: str) -> str:
        raise CloudUnreachable("cannot read the attested document: no answer")

    post = OperationClient(pools, attest=silent)
    asking = asyncio.create_task(DelegatedCloud(Told(), post).identify())
    await answer(pools, post, Challenge("1", "prove it"))
    with pytest.raises(CloudUnreachable, match="cannot read the attested document"):
        await asking
