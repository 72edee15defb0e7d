"""An agent that orders: numbers across its lives, waiting with an end, and what it makes of each answer."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from azure_cni.api.identity import MachineClaim, NodeIdentity
from azure_cni.api.nic import ConfigName, NicView
from azure_cni.api.order_documents import answer_document
from azure_cni.errors import CloudUnreachable, KubeUnreachable
from azure_cni.node.ordered import OrderedCloud, OrderedNic, OrderPost
from fakes.cloud import IDENTITY, FakeCloud
from fakes.nic import FakeNic
from fakes.pools import FakePools

pytestmark = pytest.mark.looptime

CLAIM = MachineClaim(IDENTITY.vm_id, IDENTITY.vm_resource_id, macs=(IDENTITY.mac,))


class Told:
    """Implements `azure_cni.node.ports.Claims`."""

    async def claim(self) -> MachineClaim:
        return CLAIM


@pytest.fixture
async def pools() -> FakePools:
    made = FakePools()
    await made.create(made.node)
    return made


def status(pools: FakePools) -> dict[str, Any]:
    assert pools.pool is not None
    found: dict[str, Any] = pools.pool.get("status", {})
    return found


async def answer(pools: FakePools, post: OrderPost | None, result: Any, *, after_s: float = 1.0) -> dict[str, Any]:
    """A controller that says this to the order it finds; without `post` the agent's watch shows nothing."""
    await asyncio.sleep(after_s)
    order = dict(status(pools)["order"])
    pools._change({"status": {"answer": answer_document(order["id"], result)}})
    if post is not None:
        post.see(await pools.read() or {})
    return order


async def test_who_am_i_is_an_order_that_names_the_machine(pools: FakePools) -> None:
    post = OrderPost(pools)
    answering = asyncio.create_task(answer(pools, post, IDENTITY))
    assert await OrderedCloud(Told(), post).identify() == IDENTITY
    order = await answering
    assert (order["verb"], order["vm"], order["vmID"]) == ("identify", CLAIM.vm_resource_id, CLAIM.vm_id)


async def test_the_vnet_is_an_order(pools: FakePools) -> None:
    post, view = OrderPost(pools), await FakeCloud().vnet(IDENTITY)
    answering = asyncio.create_task(answer(pools, post, view))
    assert await OrderedCloud(Told(), post).vnet(IDENTITY) == view
    assert (await answering)["vnet"] == IDENTITY.vnet_id


async def test_a_write_names_what_was_seen_and_what_allows_it(pools: FakePools) -> None:
    post = OrderPost(pools)
    pools._change({"status": {"requestID": 7}})
    view = await FakeNic(ours=["10.240.0.9"]).read()
    answering = asyncio.create_task(answer(pools, post, view))
    name = view.secondaries[0].name
    assert await OrderedNic(IDENTITY, post).write(view, add=3, remove=[name]) == view
    order = await answering
    assert (order["etag"], order["add"], list(order["remove"]), order["permit"]) == (view.etag, 3, [name], 7)


async def test_numbers_rise_across_agents(pools: FakePools) -> None:
    for expected in (1, 2):
        post = OrderPost(pools)
        answering = asyncio.create_task(answer(pools, post, IDENTITY))
        await OrderedCloud(Told(), post).identify()
        assert (await answering)["id"] == expected
    pools._change({"status": {"order": {"id": 40}}})
    post = OrderPost(pools)
    answering = asyncio.create_task(answer(pools, post, IDENTITY))
    await OrderedCloud(Told(), post).identify()
    assert (await answering)["id"] == 41


async def test_an_answer_to_an_older_order_is_none(pools: FakePools) -> None:
    post = OrderPost(pools, read_s=20)
    pools._change({"status": {"order": {"id": 4}}})
    asking = asyncio.create_task(OrderedCloud(Told(), post).identify())
    await asyncio.sleep(1)
    pools._change({"status": {"answer": answer_document(4, IDENTITY)}})
    post.see(await pools.read() or {})
    await asyncio.sleep(1)
    assert not asking.done()
    await answer(pools, post, replace(IDENTITY, mac="other"))
    assert (await asking).mac == "other"


async def test_without_a_controller_the_wait_ends_and_says_where_to_look(pools: FakePools) -> None:
    began_s = asyncio.get_running_loop().time()
    with pytest.raises(CloudUnreachable, match=r"order 1 within 60 s.*app.kubernetes.io/component=controller"):
        await OrderedCloud(Told(), OrderPost(pools)).identify()
    assert asyncio.get_running_loop().time() - began_s == pytest.approx(60)


async def test_a_write_is_waited_for_as_long_as_azure_may_take(pools: FakePools) -> None:
    post, view = OrderPost(pools), await FakeNic().read()
    answering = asyncio.create_task(answer(pools, post, view, after_s=650))
    assert await OrderedNic(IDENTITY, post).write(view, add=1)
    await answering


async def test_an_answer_that_the_watch_missed_is_found(pools: FakePools) -> None:
    asking = asyncio.create_task(OrderedCloud(Told(), OrderPost(pools)).identify())
    await answer(pools, None, IDENTITY)
    assert await asking == IDENTITY


async def test_silence_of_the_api_server_is_told_as_silence_of_the_cloud(pools: FakePools) -> None:
    pools.fail_next = KubeUnreachable("cannot read: no answer")
    with pytest.raises(CloudUnreachable, match="the order to the controller cannot be written: cannot read"):
        await OrderedCloud(Told(), OrderPost(pools)).identify()


async def test_an_order_is_written_anew_when_the_pool_has_changed(pools: FakePools) -> None:
    races = iter(range(2))
    original = pools.patch_status

    async def raced(*args: Any, **options: Any) -> dict[str, Any]:
        if next(races, None) is not None:
            pools._change({"status": {"free": next(free)}})
        return await original(*args, **options)

    free = iter(range(1, 9))
    pools.patch_status = raced  # type: ignore[method-assign]
    post = OrderPost(pools)
    asking = asyncio.create_task(OrderedCloud(Told(), post).identify())
    await answer(pools, post, IDENTITY)
    assert await asking == IDENTITY


async def test_a_late_order_of_an_agent_that_is_gone_displaces_nothing(pools: FakePools) -> None:
    original, held = pools.patch_status, asyncio.Event()

    async def late(*args: Any, **options: Any) -> dict[str, Any]:
        pools.patch_status = original  # type: ignore[method-assign]
        await held.wait()
        return await original(*args, **options)

    pools.patch_status = late  # type: ignore[method-assign]
    dead = asyncio.create_task(OrderedCloud(Told(), OrderPost(pools, read_s=5)).vnet(IDENTITY))
    await asyncio.sleep(1)
    alive = asyncio.create_task(OrderedCloud(Told(), OrderPost(pools)).identify())
    await asyncio.sleep(1)
    shown = status(pools)["order"]
    held.set()
    pools.read = _gone  # type: ignore[method-assign]  # the agent is gone: it does not try again
    await asyncio.gather(dead, return_exceptions=True)
    assert status(pools)["order"] == shown
    alive.cancel()


async def _gone() -> None:
    return None


async def test_without_a_pool_there_is_no_order(pools: FakePools) -> None:
    pools.pool = None
    with pytest.raises(CloudUnreachable, match="by way of the NodeIPPool, and it is gone"):
        await OrderedCloud(Told(), OrderPost(pools)).identify()


async def test_an_answer_of_another_kind_is_told(pools: FakePools) -> None:
    post = OrderPost(pools)
    asking = asyncio.create_task(post_identify(post))
    await answer(pools, post, await FakeNic().read())
    with pytest.raises(CloudUnreachable, match="another version"):
        await asking


async def post_identify(post: OrderPost) -> NodeIdentity:
    return await OrderedCloud(Told(), post).identify()


async def test_what_worked_before_an_operation_is_remembered(pools: FakePools) -> None:
    """The controller may be another than the one that saw it working."""
    post = OrderPost(pools)
    nic, view = OrderedNic(IDENTITY, post), await FakeNic(adopted=["10.240.0.5"]).read()
    await asyncio.gather(nic.read(), answer(pools, post, view))
    coming = replace(view.secondaries[0], name=ConfigName("azure-cni-new"), ready=False)
    updating = replace(view, configs=(*(replace(it, ready=False) for it in view.configs), coming), settled=False)
    shown: NicView = (await asyncio.gather(nic.read(), answer(pools, post, updating)))[0]
    assert [config.ready for config in shown.configs] == [True, True, False]
