"""The NIC's adapter on the wire: what it sends back, what it makes of refusals, and how it waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

import fakeazure as faults
from azure_cni.azure.arm import Patience
from azure_cni.azure.polling import LONGEST_POLL_S, SHORTEST_POLL_S
from azure_cni.errors import (
    AccessDenied,
    CloudNotFound,
    CloudUnreachable,
    OutcomeUnknown,
    PreconditionFailed,
    RequestRefused,
    ResourceBusy,
    SubnetFull,
    Throttled,
)
from azure_cni.model.nic import NicView
from contract.nic_world import AzureWorld, azure_world, until_unsettled
from fakeazure.errors import ArmError


@pytest.fixture
async def world() -> AsyncIterator[AzureWorld]:
    async with azure_world(adopted=2) as opened:
        yield opened


def edit(world: AzureWorld, config: str = "", **rest: Any) -> None:
    """Give the NIC properties of its own, or one of its configurations."""
    nic = world.azure.nic_record("vm1-nic")
    configs = tuple(
        replace(one, rest={**one.rest, **rest}) if config in {one.name, "*"} else one for one in nic.configs
    )
    settings = {**nic.settings, **rest} if not config else nic.settings
    changed = replace(nic, configs=configs, settled=configs, settings=settings)
    world.azure.network.put_nic(changed, at=world.clock.now(), cause="edited by the test")


def properties(world: AzureWorld) -> dict[str, Any]:
    return world.azure.nic("vm1-nic")["properties"]


def configs(world: AzureWorld) -> dict[str, dict[str, Any]]:
    return {config["name"]: config["properties"] for config in properties(world)["ipConfigurations"]}


async def test_everything_goes_back_as_it_came(world: AzureWorld) -> None:
    group = world.azure.add_other("networkSecurityGroups", "nsg")
    public = world.azure.add_public_ip("secondary-ip", "198.51.100.9")
    edit(world, networkSecurityGroup={"id": group}, enableIPForwarding=True, somethingNewInAzure={"deep": [1, None]})
    edit(world, "secondary-1", publicIPAddress={"id": public}, anotherNewThing="kept")
    world.azure.outside.touch("vm1-nic")
    before, document = configs(world), world.azure.nic("vm1-nic")

    await world.nic.write(await world.nic.read(), add=2)

    after = world.azure.nic("vm1-nic")
    assert {name: configs(world)[name] for name in before} == before
    unlike = {key for key in document["properties"] if after["properties"][key] != document["properties"][key]}
    assert unlike == {"ipConfigurations"}
    assert after["tags"] == document["tags"]


async def test_new_configurations_are_like_the_primary_but_in_no_pool_of_it(world: AzureWorld) -> None:
    group = world.azure.add_other("applicationSecurityGroups", "pods")
    pool = world.azure.add_other("loadBalancers", "lb") + "/backendAddressPools/nodes"
    world.azure.network.others[pool.lower()] = {"id": pool}
    edit(world, "*", applicationSecurityGroups=[{"id": group}])
    edit(world, "ipconfig1", loadBalancerBackendAddressPools=[{"id": pool}])

    after = await world.nic.write(await world.nic.read(), add=1)

    primary, new = configs(world)["ipconfig1"], configs(world)[after.configs[-1].name]
    assert new["subnet"] == primary["subnet"]
    assert new["applicationSecurityGroups"] == [{"id": group}]
    assert new["privateIPAllocationMethod"] == "Dynamic"
    assert new["primary"] is False
    assert "loadBalancerBackendAddressPools" in primary
    assert "loadBalancerBackendAddressPools" not in new


async def test_what_serves_somebody_else_is_for_no_pod(world: AzureWorld) -> None:
    edit(world, "secondary-1", publicIPAddress={"id": world.azure.add_public_ip("ip", "198.51.100.9")})
    view = await world.nic.read()
    assert [config.name for config in view.secondaries] == ["secondary-2"]
    assert list(map(str, view.excluded)) == ["secondary-1 10.240.0.5: has the public IP address ip"]
    assert view.config_count == 3


async def test_what_somebody_attached_to_is_not_deleted(world: AzureWorld) -> None:
    grown = await world.nic.write(await world.nic.read(), add=1)
    ours = grown.secondaries[-1].name
    edit(world, ours, publicIPAddress={"id": world.azure.add_public_ip("ip", "198.51.100.9")})
    world.azure.outside.touch("vm1-nic")
    writes = world.writes
    with pytest.raises(PreconditionFailed):
        await world.nic.write(grown, remove=[ours])
    with pytest.raises(RequestRefused, match="was not made by azure-cni"):
        await world.nic.write(await world.nic.read(), remove=[ours])
    assert world.writes == writes


async def test_if_match_guards_the_moment_between_read_and_write(world: AzureWorld) -> None:
    seen = await world.nic.read()
    world.azure.faults.add(faults.TouchedMeanwhile())
    with pytest.raises(PreconditionFailed, match="cannot write NIC vm1-nic: somebody changed it"):
        await world.nic.write(seen, add=1)
    assert world.meter.of("nic.put") == ["PreconditionFailed"]
    assert len((await world.nic.write(await world.nic.read(), add=1)).secondaries) == 3


async def test_a_read_that_lags_behind_does_not_undo_what_others_did(world: AzureWorld) -> None:
    seen = await world.nic.read()
    world.azure.outside.appear("vm1-nic", count=1)
    world.azure.faults.add(faults.Stale())
    with pytest.raises(PreconditionFailed):
        await world.nic.write(seen, add=1)
    assert len(configs(world)) == 4


async def written_with_lag(world: AzureWorld, *, reads: int | None, **change: Any) -> NicView:
    """A write after whose operation that many reads still show the NIC as it was before."""
    seen = await world.nic.read()
    world.hold()
    writing = asyncio.create_task(world.nic.write(seen, **change))
    await until_unsettled(world)
    world.azure.faults.add(faults.Stale(rested=True), times=reads)
    world.finish()
    return await writing


async def test_a_read_that_lags_behind_is_not_the_outcome_of_a_write(world: AzureWorld) -> None:
    grown = await written_with_lag(world, reads=2, add=3)
    assert len(grown.secondaries) == 5
    assert all(config.ready for config in grown.configs)
    ours = [config.name for config in grown.secondaries if config.ours]
    assert len((await written_with_lag(world, reads=1, remove=ours)).secondaries) == 2


async def test_a_read_that_lags_for_long_leaves_the_outcome_open(world: AzureWorld) -> None:
    with pytest.raises(OutcomeUnknown, match="the resource is shown as it was before") as caught:
        await written_with_lag(world, reads=None, add=1)
    assert caught.value.accepted
    world.azure.faults.clear()
    assert len((await world.nic.read()).secondaries) == 3


async def test_a_subnet_may_turn_out_to_be_full_while_the_operation_runs(world: AzureWorld) -> None:
    seen = await world.nic.read()
    world.azure.faults.add(faults.SubnetFull(late=True))
    with pytest.raises(SubnetFull, match="does not have enough capacity for 5 IP addresses") as caught:
        await world.nic.write(seen, add=5)
    assert caught.value.azure_code == "SubnetIsFull"
    assert world.writes == 1


@pytest.mark.parametrize("keeps_ours", [True, False])
async def test_a_write_that_is_superseded_is_busy_not_failed(world: AzureWorld, *, keeps_ours: bool) -> None:
    seen = await world.nic.read()
    world.azure.faults.add(faults.Superseded(keeps_ours=keeps_ours))
    with pytest.raises(ResourceBusy, match="superseded by another operation"):
        await world.nic.write(seen, add=1)
    world.finish()
    assert len((await world.nic.read()).secondaries) == (3 if keeps_ours else 2)


async def test_a_throttled_write_closes_the_gate_for_writes_only(world: AzureWorld) -> None:
    seen = await world.nic.read()
    world.azure.faults.add(faults.Throttled(retry_after_s=30), operation="nic.put")
    with pytest.raises(Throttled) as caught:
        await world.nic.write(seen, add=1)
    assert caught.value.retry_after_s == 30
    world.clock.advance(10)
    with pytest.raises(Throttled, match="Azure throttles writes for another 20 s") as caught:
        await world.nic.write(seen, add=1)
    assert caught.value.retry_after_s == 20
    assert world.azure.calls["nic.put"] == 1  # the second was not even asked
    assert (await world.nic.read()).settled
    world.clock.advance(21)
    assert len((await world.nic.write(seen, add=1)).secondaries) == 3


async def test_a_throttled_read_closes_the_gate_for_reads(world: AzureWorld) -> None:
    world.azure.faults.add(faults.Throttled(retry_after_s=30), operation="nic.get")
    for _ in range(5):
        with pytest.raises(Throttled):
            await world.nic.read()
    assert world.azure.calls["nic.get"] == 1


async def test_a_busy_answer_is_no_throttling_though_it_is_a_429(world: AzureWorld) -> None:
    seen = await world.nic.read()
    world.azure.faults.add(faults.Busy(429))
    with pytest.raises(ResourceBusy) as caught:
        await world.nic.write(seen, add=1)
    assert caught.value.retry_after_s == 10
    assert len((await world.nic.write(seen, add=1)).secondaries) == 3


@pytest.mark.parametrize(
    "effect",
    [
        faults.Throttled(retry_after_s=7),
        faults.LostReply(),
        faults.Refuse(ArmError(503, "ServiceUnavailable", "later")),
        faults.Refuse(ArmError(500, "InternalServerError", "oops")),
    ],
    ids=["throttled", "lost", "503", "500"],
)
async def test_a_poll_that_is_not_answered_does_not_give_the_operation_up(
    world: AzureWorld, effect: faults.Throttled
) -> None:
    seen = await world.nic.read()
    world.azure.faults.add(effect, operation="operation.get", times=2)
    after = await world.nic.write(seen, add=1)
    assert len(after.secondaries) == 3
    assert world.meter.throttled_s == ([7, 7] if isinstance(effect, faults.Throttled) else [])


async def test_polls_keep_a_pace_of_their_own_whatever_azure_asks(world: AzureWorld) -> None:
    seen = await world.nic.read()
    for wish_s in ("1200", "0"):
        refusal = ArmError(503, "ServiceUnavailable", "later", headers={"Retry-After": wish_s})
        world.azure.faults.add(faults.Refuse(refusal), operation="operation.get")
    await world.nic.write(seen, add=1)
    assert world.slept_s[:2] == [LONGEST_POLL_S, SHORTEST_POLL_S]
    assert all(SHORTEST_POLL_S <= seconds <= LONGEST_POLL_S for seconds in world.slept_s)


@pytest.mark.parametrize("applied", [True, False])
async def test_a_write_whose_reply_is_lost_is_not_sent_again(world: AzureWorld, *, applied: bool) -> None:
    seen = await world.nic.read()
    world.azure.faults.add(faults.LostReply(applied=applied))
    with pytest.raises(CloudUnreachable, match="cannot write NIC vm1-nic: no answer"):
        await world.nic.write(seen, add=1)
    assert world.azure.calls["nic.put"] == 1
    world.finish()
    assert len((await world.nic.read()).secondaries) == (3 if applied else 2)


async def test_a_read_whose_reply_is_lost_once_is_answered_all_the_same(world: AzureWorld) -> None:
    world.azure.faults.add(faults.LostReply(), operation="nic.get")
    assert (await world.nic.read()).settled


async def test_an_operation_that_never_ends_is_left_to_azure(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with azure_world(patience=Patience(operation_s=0.1)) as world:
        seen = await world.nic.read()
        world.hold()
        with pytest.raises(ResourceBusy, match="Azure may still be working on it"):
            await world.nic.write(seen, add=1)
        assert not (await world.nic.read()).settled


async def test_a_call_that_takes_too_long_is_given_up_and_measured() -> None:
    async with azure_world(patience=Patience(call_s=0.1)) as world:
        world.azure.faults.add(faults.Silent(), operation="nic.get", times=None)
        with pytest.raises(CloudUnreachable, match=r"cannot read NIC vm1-nic: no answer within 0\.1 s"):
            await world.nic.read()
        assert world.meter.of("nic.get") == ["abandoned"]


async def test_a_connection_that_says_nothing_is_given_up() -> None:
    async with azure_world(patience=Patience(answer_s=0.1)) as world:
        world.azure.faults.add(faults.Silent(), operation="nic.get", times=None)
        with pytest.raises(CloudUnreachable, match=r"cannot read NIC vm1-nic: no answer from https://127\.0\.0\.1"):
            await world.nic.read()


async def test_a_broken_connection_is_reported_with_whom_was_asked() -> None:
    async with azure_world() as world:
        world.azure.faults.add(faults.LostReply(), operation="nic.get", times=None)
        with pytest.raises(CloudUnreachable, match=r"cannot read NIC vm1-nic: no answer from https://127\.0\.0\.1"):
            await world.nic.read()
        assert world.meter.of("nic.get") == ["unreachable"]


async def test_a_missing_permission_names_action_scope_and_identity(world: AzureWorld) -> None:
    seen = await world.nic.read()
    world.azure.identity.forbid("Microsoft.Network/networkInterfaces/write")
    with pytest.raises(AccessDenied) as caught:
        await world.nic.write(seen, add=1)
    assert caught.value.action == "Microsoft.Network/networkInterfaces/write"
    assert caught.value.scope == world.nic_id
    assert world.azure.vm("vm1").principal_id in str(caught.value)


async def test_a_missing_permission_to_join_names_the_subnet(world: AzureWorld) -> None:
    seen = await world.nic.read()
    world.azure.identity.forbid("Microsoft.Network/virtualNetworks/subnets/join/action")
    with pytest.raises(AccessDenied) as caught:
        await world.nic.write(seen, add=1)
    assert caught.value.action == "Microsoft.Network/virtualNetworks/subnets/join/action"
    assert caught.value.scope.endswith("/subnets/nodes")


async def test_a_nic_that_is_gone_is_not_found(world: AzureWorld) -> None:
    world.azure.network.drop_nic(world.azure.nic_record("vm1-nic"), at=world.clock.now(), cause="deleted")
    with pytest.raises(CloudNotFound, match="cannot read NIC vm1-nic: Azure does not find it"):
        await world.nic.read()


async def test_a_new_agent_believes_no_address_until_azure_has_settled(world: AzureWorld) -> None:
    before = await world.nic.read()
    world.hold()
    writing = asyncio.create_task(world.nic.write(before, add=1))
    await until_unsettled(world)
    newcomer = world.restarted()
    assert not any(config.ready for config in (await newcomer.read()).configs)
    world.finish()
    assert all(config.ready for config in (await newcomer.read()).configs)
    await writing


async def test_each_write_is_one_log_line_with_what_it_did(world: AzureWorld, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="azure_cni.azure.nic_changes")
    before = await world.nic.read()
    after = await world.nic.write(before, add=2)
    world.azure.faults.add(faults.SubnetFull())
    with pytest.raises(SubnetFull):
        await world.nic.write(after, add=1)
    done, refused = (record.__dict__ for record in caplog.records if record.name == "azure_cni.azure.nic_changes")
    assert (done["levelname"], done["msg"], done["nic"]) == ("INFO", "nic written", "vm1-nic")
    assert (done["configs_before"], done["configs"], done["add"], done["remove"]) == (3, 5, 2, 0)
    assert done["etag"] == after.etag
    assert (refused["levelname"], refused["msg"], refused["add"]) == ("WARNING", "nic write refused", 1)
    assert (refused["reason"], refused["azure_code"]) == ("SubnetFull", "SubnetIsFull")


async def test_a_refusal_is_logged_with_the_id_that_azures_support_asks_for(
    world: AzureWorld, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="azure_cni.azure.arm")
    seen = await world.nic.read()
    world.azure.faults.add(faults.SubnetFull())
    with pytest.raises(SubnetFull):
        await world.nic.write(seen, add=1)
    (record,) = (one.__dict__ for one in caplog.records if one.name == "azure_cni.azure.arm")
    assert (record["operation"], record["status"]) == ("nic.put", 400)
    assert len(record["request_id"]) == 36


async def test_the_meter_sees_every_call(world: AzureWorld) -> None:
    await world.nic.write(await world.nic.read(), add=1)
    assert world.meter.calls[:3] == [("nic.get", "200"), ("nic.get", "200"), ("nic.put", "200")]
    assert set(world.meter.calls[3:-1]) == {("operation.get", "200")}
    assert world.meter.calls[-1] == ("nic.get", "200")
    reported = {name: len(world.meter.of(name)) for name in ("nic.get", "nic.put", "operation.get")}
    assert reported == {name: world.azure.calls[name] for name in reported}


async def test_an_unknown_state_is_logged_once(world: AzureWorld, caplog: pytest.LogCaptureFixture) -> None:
    nic = replace(world.azure.nic_record("vm1-nic"), state="Repairing")
    world.azure.network.put_nic(nic, at=world.clock.now(), cause="edited by the test")
    for _ in range(3):
        assert not (await world.nic.read()).settled
    reported = [record.__dict__["state"] for record in caplog.records if "unknown state" in record.message]
    assert reported == ["repairing"]
