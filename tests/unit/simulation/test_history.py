"""What the observer reads of a pool's versions."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from fakeazure import FakeAzure
from fakeazure.changelog import Call
from simulation.history import History, Pool
from simulation.observer import Judge
from simulation.pace import Pace
from simulation.plan import PRESETS

ASKED = {"requested": 4, "requestID": 7, "writeIntent": "Grow", "granted": 0, "grantedFor": 6}


@pytest.mark.parametrize("write_intent", ["Grow", "Shrink", "Rewrite"])
def test_an_answer_to_a_request_for_a_write_is_one_grant(write_intent: str):
    pool = Pool()
    asked = ASKED | {"writeIntent": write_intent}
    assert not pool.see(1.0, asked)
    assert pool.see(2.0, asked | {"granted": 2, "grantedFor": 7})
    assert not pool.see(3.0, asked | {"granted": 4, "grantedFor": 7})  # more, and no further write
    assert not pool.see(4.0, asked | {"requestID": 8, "granted": 4, "grantedFor": 7})
    assert pool.see(5.0, asked | {"requestID": 8, "granted": 4, "grantedFor": 8})


def test_a_pool_whose_subnet_is_full_is_settled_with_less_and_says_so():
    pool, answered = Pool(), ASKED | {"granted": 4, "grantedFor": 7, "allocated": 2}
    pool.see(1.0, answered)
    assert (pool.settled, pool.reason) == (False, "")
    pool.see(2.0, answered | {"conditions": [{"type": "SubnetFull", "status": "True"}]})
    assert (pool.settled, pool.reason) == (True, "SubnetFull")
    pool.see(3.0, answered | {"conditions": [{"type": "SubnetFull", "status": "False"}], "allocated": 4})
    assert (pool.settled, pool.reason) == (True, "")


def test_an_answer_to_a_request_for_none_is_no_grant():
    assert not Pool().see(1.0, ASKED | {"writeIntent": "None", "grantedFor": 7})
    assert not Pool().see(1.0, {})


async def test_writes_are_read_once_each_from_azures_side(tmp_path: Path):
    azure, pace = FakeAzure(seed=1), Pace.starting_now(1.0)
    azure.add_vnet(subnets={"nodes": "10.240.0.0/27"})
    azure.add_vm("vm1")
    history = History(pace, Judge(limit=10, grace_s=1.0, writes_per_minute=30))
    history.judge.write_granted(0.0, "vm1-nic")
    socket = tmp_path / "admin.sock"
    async with (
        azure.serve(admin_socket=socket),
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(socket))) as session,
    ):
        for status in (200, 400):
            azure.history.record(Call(pace.origin_utc_s + 5.0, "nic.put", "vm1-nic", "", status))
            azure.history.record(Call(pace.origin_utc_s + 5.0, "nic.get", "vm1-nic", "", 200))
            await history._read_azure(session)
            await history._read_azure(session)
    assert history.writes == 2
    history.judge.look(60.0)
    assert [str(one) for one in history.judge.violations] == [
        "at 5.0 s: a grant for each write: write 2 of vm1-nic, with 1 grants"
    ]


async def test_each_machine_of_a_mix_is_known_by_the_names_that_azure_and_the_ledger_have(tmp_path: Path):
    """What a pool, the ledger and Azure say of one NIC is about the same one, and writes of instances are judged."""
    azure, pace = FakeAzure(seed=1), Pace.starting_now(1.0)
    azure.add_vnet(subnets={"nodes": "10.240.0.0/27"})
    mix = replace(PRESETS["mixed"], nodes=4)
    machines = {}
    for name in mix.node_names:
        shape, index = mix.shape_of(name)
        machines[name] = shape.make(azure, name, index)
    assert [azure.vm(mix.vm_of(name)) for name in mix.node_names] == list(machines.values())
    history = History(pace, Judge(limit=100, grace_s=1.0, writes_per_minute=100))
    for name, vm in machines.items():
        azure.outside.appear(vm.nic, count=3)
        history._object_changed(_event("nodeippools", name, {**ASKED, "grantedFor": 7, "nicID": vm.nic_ids[0]}))
        put = "instance.put" if vm.scale_set else "nic.put"
        for _ in range(13 if name == mix.node_names[1] else 1):
            azure.history.record(Call(pace.origin_utc_s + 5.0, put, vm.name if vm.scale_set else vm.nic, "", 200))
    socket = tmp_path / "admin.sock"
    async with (
        azure.serve(admin_socket=socket),
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(socket))) as session,
    ):
        await history._read_azure(session)
    assert [history.judge.held_by(mix.nic_of(name)) for name in mix.node_names] == [3, 3, 3, 3]
    history.judge.look(60.0)
    found = [one for one in history.judge.violations if one.rule != "reserve before write"]  # there is no ledger here
    assert {one.rule for one in found} == {"Azure's limit of an instance", "a grant for each write"}
    assert all("nodes_1" in one.what for one in found)


async def test_a_block_is_sixteen_addresses_and_one_ipconfiguration(tmp_path: Path):
    """Else 15 of 16 addresses of such nodes would not be judged."""
    azure, pace = FakeAzure(seed=1), Pace.starting_now(1.0)
    azure.add_vnet(subnets={"nodes": "10.240.0.0/24"})
    vm = azure.add_vm("vm1")
    document = azure.nic(vm.nic)
    block = {"name": "block", "properties": {"privateIPAddressPrefixLength": 28}}
    document["properties"]["ipConfigurations"].append(block)
    azure.nics.write(azure.nics.read(vm.nic_ids[0], document), now=azure.now(), duration_s=0)
    history = History(pace, Judge(limit=15, grace_s=1.0, writes_per_minute=100))
    socket = tmp_path / "admin.sock"
    async with (
        azure.serve(admin_socket=socket),
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(socket))) as session,
    ):
        await history._read_azure(session)
    assert history.judge.on_nics == 16
    assert [one.rule for one in history.judge.violations] == ["the VNet's limit"]
    assert azure.changes[-1].allocated_after == 2


def _event(kind: str, name: str, status: dict[str, object]) -> dict[str, object]:
    """As etcd shows a new version of an object."""
    key, value = (base64.b64encode(text.encode()).decode() for text in (
        f"/registry/azure-cni.io/{kind}/{name}", json.dumps({"status": status}),
    ))  # fmt: skip
    return {"kv": {"key": key, "value": value}}
