"""What only the NIC of an instance of a Uniform scale set meets: a model that is not the NIC, and what peers met."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from random import Random

import pytest

import fakeazure as faults
from azure_cni.azure.scale_set_nic import ScaleSetNic
from azure_cni.errors import (
    AccessDenied,
    CloudError,
    CloudNotFound,
    OperationFailed,
    OutcomeUnknown,
    PreconditionFailed,
    RequestRefused,
    ResourceBusy,
    SubnetFull,
    Throttled,
    WritesSpent,
)
from azure_cni.model.attachments import AttachedResource
from azure_cni.model.nic import AttachmentChange, ConfigName, NicID, NicView
from contract.nic_world import InstanceWorld, instance_world
from fakeazure.throttling import COMPUTE_UPDATE_VM
from fakeazure.uniform import SETS


@pytest.fixture
async def world() -> AsyncIterator[InstanceWorld]:
    async with instance_world(adopted=1) as opened:
        yield opened


def ours(view: NicView) -> list[ConfigName]:
    return [config.name for config in view.configs if config.ours]


def coming(view: NicView) -> list[ConfigName]:
    return [config.name for config in view.configs if config.address is None]


def on_nic(world: InstanceWorld) -> int:
    return len(world.azure.nic_record(world.nic_name).configs)


def in_model(world: InstanceWorld) -> int:
    return len(world.azure.uniform.of(world.vm_name).configs["pool-nic"])


async def test_without_shrink_nothing_leaves_the_nic(world: InstanceWorld) -> None:
    nic = world.restarted(shrink=False)
    view = await nic.write(await nic.read(), add=2)
    assert [config.removable for config in view.secondaries if config.ours] == [False, False]
    with pytest.raises(RequestRefused, match=r"unless scaleSets\.shrink is true"):
        await nic.write(view, remove=ours(view)[:1])
    assert (on_nic(world), in_model(world)) == (4, 4)
    with_shrink = await world.nic.read()
    assert all(config.removable for config in with_shrink.secondaries if config.ours)


@pytest.mark.parametrize("shrink", [False, True])
async def test_what_a_failed_operation_left_in_the_model_is_held_and_may_leave(
    world: InstanceWorld, *, shrink: bool
) -> None:
    nic = world.restarted(shrink=shrink)
    before = await nic.read()
    world.azure.faults.add(faults.FailOperation(leaves="previous"), operation="instance.put")
    with pytest.raises(OperationFailed):
        await nic.write(before, add=3)
    view = await nic.read()
    assert (on_nic(world), in_model(world)) == (2, 5)
    assert (view.held, len(coming(view)), view.failed, view.settled) == (before.held + 3, 3, True, True)
    assert [config.removable for config in view.configs if config.ours] == [True] * 3
    after = await nic.write(view, remove=coming(view))
    assert (after.held, after.failed) == (before.held, False)
    assert (on_nic(world), in_model(world)) == (2, 2)


async def test_a_write_as_it_is_brings_what_a_failed_operation_left_in_the_model(world: InstanceWorld) -> None:
    world.azure.faults.add(faults.FailOperation(leaves="half"), operation="instance.put")
    with pytest.raises(OperationFailed):
        await world.nic.write(await world.nic.read(), add=4)
    view = await world.nic.read()
    assert (len(coming(view)), view.failed) == (2, True)
    after = await world.nic.write(view)
    assert (after.held, coming(after), after.failed) == (5, [], False)
    assert all(config.ready for config in after.configs)


async def test_a_subnet_that_fills_up_meanwhile_leaves_its_change_in_the_model(world: InstanceWorld) -> None:
    world.azure.faults.add(faults.SubnetFull(late=True), operation="instance.put")
    with pytest.raises(SubnetFull):
        await world.nic.write(await world.nic.read(), add=2)
    view = await world.nic.read()
    after = await world.nic.write(view, remove=coming(view))
    assert (len(coming(view)), in_model(world), after.failed) == (2, 2, False)


async def test_a_write_that_succeeds_and_does_nothing_is_of_unknown_outcome(world: InstanceWorld) -> None:
    before = await world.nic.read()
    world.azure.faults.add(faults.NoEffect())
    with pytest.raises(OutcomeUnknown, match=r"says that it is done, and of the ipConfigurations on .* 2 are missing"):
        await world.nic.write(before, add=2)
    assert await world.nic.read() == before
    renewed = await world.nic.write(before)
    with pytest.raises(PreconditionFailed):
        await world.nic.write(before, add=2)
    assert (await world.nic.write(renewed, add=2)).held == before.held + 2


async def test_a_removal_that_does_not_reach_the_nic_is_of_unknown_outcome(world: InstanceWorld) -> None:
    view = await world.nic.write(await world.nic.read(), add=2)
    world.azure.faults.add(faults.NoEffect(model=True))
    with pytest.raises(OutcomeUnknown, match="and 1 should be gone"):
        await world.nic.write(view, remove=ours(view)[:1])
    assert (on_nic(world), in_model(world)) == (4, 3)
    still = await world.nic.read()
    assert (still.held, still.failed, ours(still)) == (view.held, True, ours(view))
    again = await world.nic.write(still)
    assert (in_model(world), again.failed) == (4, False)
    assert {config.name: config.address for config in again.configs} == {
        config.name: config.address for config in view.configs
    }


async def test_a_read_that_lags_is_no_difference(world: InstanceWorld) -> None:
    before = await world.nic.write(await world.nic.read(), add=2)
    world.azure.faults.add(faults.Stale(rested=True), operation="instance-nic.get")
    view = await world.nic.read()
    assert (view.failed, coming(view), view.held) == (False, [], before.held)


async def test_what_a_read_that_lags_shows_again_is_not_put_back(world: InstanceWorld) -> None:
    grown = await world.nic.write(await world.nic.read(), add=3)
    left = ours(grown)[0]
    view = await world.nic.write(grown, remove=[left])
    world.azure.faults.add(faults.Stale(rested=True), operation="instance-nic.get", times=3)
    after = await world.nic.write(view, add=1)
    assert left not in {config.name for config in after.configs}
    assert (after.held, on_nic(world), in_model(world)) == (view.held + 1, 5, 5)


@pytest.mark.parametrize("reset", ["reimage", "upgrade"])
async def test_the_model_of_the_set_comes_back(world: InstanceWorld, reset: str) -> None:
    before = await world.nic.read()
    grown = await world.nic.write(before, add=3)
    if reset == "upgrade":
        world.azure.uniform.change_set("pool")
    world.azure.uniform.reset("pool_0")
    view = await world.nic.read()
    assert (ours(view), view.held, view.failed) == ([], before.held, False)
    with pytest.raises(PreconditionFailed):
        await world.nic.write(grown, add=1)
    assert (await world.nic.write(view, add=3)).held == grown.held


async def test_an_instance_that_is_not_on_the_latest_model_grows_and_stays_there(world: InstanceWorld) -> None:
    world.azure.uniform.change_set("pool")
    view = await world.nic.write(await world.nic.read(), add=2)
    assert (view.held, world.azure.uniform.of("pool_0").latest) == (3, False)


def asked_by_another(world: InstanceWorld) -> None:
    """As the controller does: the instance's own identity goes with it."""
    world.azure.add_vm("vm1")
    world.token.name = "vm1"


async def test_an_instance_that_vanishes_is_not_found(world: InstanceWorld) -> None:
    asked_by_another(world)
    view = await world.nic.read()
    world.azure.uniform.vanish("pool_0")
    with pytest.raises(CloudNotFound, match="the scale set has no such instance"):
        await world.nic.read()
    with pytest.raises(CloudNotFound, match="the scale set has no such instance"):
        await world.nic.write(view, add=1)


async def test_an_instance_that_vanishes_under_a_write_ends_it(world: InstanceWorld) -> None:
    asked_by_another(world)
    view = await world.nic.read()
    world.on_sleep = lambda: world.azure.uniform.instances and world.azure.uniform.vanish("pool_0")
    with pytest.raises(CloudError) as caught:
        await world.nic.write(view, add=1)
    assert caught.value.accepted
    with pytest.raises(CloudNotFound):
        await world.nic.read()


async def test_a_wrong_number_is_not_found(world: InstanceWorld) -> None:
    other = NicID(world.nic_id.replace("/virtualMachines/0/", "/virtualMachines/7/"))
    with pytest.raises(CloudNotFound, match="instanceId 7 is not an active"):
        await ScaleSetNic(world.arm, other, chance=Random(1)).read()


async def test_a_node_that_writes_whenever_it_may_is_never_refused_by_azure(world: InstanceWorld) -> None:
    """Nothing is sent that Azure would refuse; and what it allows is used, but for a twentieth and the last of it."""
    world.azure.operation_duration_s = 0
    view, ends_s = await world.nic.read(), world.clock.now() + 600
    while world.clock.now() < ends_s:
        try:
            view = await world.nic.write(view)
        except WritesSpent as error:
            world.clock.advance(error.retry_after_s or 0)
    statuses = [write.status for write in world.azure.history.writes]
    assert set(statuses) == {200}
    assert 0.95 * 40 <= len(statuses) <= 40 + 4
    assert "429" not in world.meter.of("instance.get")


async def test_what_azure_would_refuse_costs_no_read_either(world: InstanceWorld) -> None:
    """It allows an instance 12 reads a minute, and a write that is sent takes two."""
    world.azure.operation_duration_s = 0
    view = await world.nic.read()
    for _ in range(3):
        view = await world.nic.write(view)
    asked = world.azure.calls["instance.get"]
    for attempt in (partial(world.nic.write, view), partial(world.nic.set_security_groups, view, ())):
        with pytest.raises(WritesSpent, match="Azure allows an instance of a scale set 4 writes a minute"):
            await attempt()
    assert world.azure.calls["instance.get"] == asked


async def test_writes_that_others_made_are_not_even_sent_until_azure_would_take_them(world: InstanceWorld) -> None:
    world.azure.operation_duration_s = 0
    view = await world.nic.write(await world.nic.read())
    instance = world.nic_id.rpartition("/networkInterfaces/")[0]
    for _ in range(int(COMPUTE_UPDATE_VM[0].size) - 1):
        world.azure.throttle.admit_compute("instance.put", instance, now=world.clock.now())
    sent = len(world.azure.history.writes)
    with pytest.raises(Throttled) as caught:
        await world.nic.write(view)
    with pytest.raises(Throttled):
        await world.nic.write(view)
    assert len(world.azure.history.writes) == sent + 1
    assert world.meter.of("instance.put")[-1] == "OperationNotAllowed"
    assert caught.value.retry_after_s is not None
    world.clock.advance(caught.value.retry_after_s)
    await world.nic.write(view)


async def test_an_unknown_state_of_the_instance_is_waited_for_and_reported_once(
    world: InstanceWorld, caplog: pytest.LogCaptureFixture
) -> None:
    found = world.azure.uniform.document(world.azure.uniform.of("pool_0"))
    found["properties"]["provisioningState"] = "Migrating"
    world.azure.faults.add(faults.OddBody(json.dumps(found).encode()), operation="instance.get", times=2)
    view = await world.nic.read()
    assert not view.settled
    with pytest.raises(ResourceBusy):
        await world.nic.write(view, add=1)
    assert (await world.nic.read()).settled
    assert [record.__dict__["state"] for record in caplog.records if "unknown state" in record.message] == ["migrating"]


async def test_nothing_is_attached(world: InstanceWorld) -> None:
    view = await world.nic.write(await world.nic.read(), add=1)
    pool = AttachedResource.parse(f"{world.azure.add_other('loadBalancers', 'lb')}/backendAddressPools/web")
    assert pool is not None
    with pytest.raises(RequestRefused, match="pods of a Uniform scale set get no load balancer pool"):
        await world.nic.write(view, attach=[AttachmentChange(ours(view)[0], add=frozenset({pool}))])


async def test_what_somebody_attached_to_is_for_no_pod(world: InstanceWorld) -> None:
    view = await world.nic.write(await world.nic.read(), add=2)
    assert not any(config.attachable for config in view.configs)
    pool = f"{world.azure.add_other('loadBalancers', 'lb')}/backendAddressPools/web"
    nic = world.azure.nic_record(world.nic_name)
    rest = {"loadBalancerBackendAddressPools": [{"id": pool}]}
    configs = tuple(replace(one, rest=rest) if one.name == ours(view)[0] else one for one in nic.configs)
    world.azure.network.put_nic(replace(nic, configs=configs, settled=configs), at=world.clock.now(), cause="attached")
    seen = await world.nic.read()
    assert [(it.name, it.size, bool(it.attached)) for it in seen.excluded] == [(ours(view)[0], 1, False)]
    assert (ours(seen), seen.held + seen.held_for_others) == (ours(view)[1:], view.held)
    with pytest.raises(RequestRefused):
        await world.nic.write(seen, remove=ours(view)[:1])


@pytest.mark.parametrize(
    "action",
    [
        f"{SETS}/virtualMachines/read",
        f"{SETS}/virtualMachines/networkInterfaces/read",
        f"{SETS}/virtualMachines/write",
        "Microsoft.Network/virtualNetworks/subnets/join/action",
        "Microsoft.Compute/locations/operations/read",
    ],
)
async def test_a_missing_permission_is_named(world: InstanceWorld, action: str) -> None:
    view = await world.nic.read()
    world.azure.identity.forbid(action)
    with pytest.raises(CloudError, match=action) as refused:
        await world.nic.write(view, add=1)
    assert "/operations/" not in str(refused.value).replace(action, "")  # no role can be assigned there
    assert action.endswith("operations/read") or on_nic(world) == 2
    if action.endswith("virtualMachines/read"):
        with pytest.raises(AccessDenied):
            await world.nic.read()
