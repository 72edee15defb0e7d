"""What a mix of shapes wants, what wires the pods of its nodes, and when a run with blocks in it is over."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest

from azure_cni.datapath.node_table import NodeTable
from azure_cni.ipam.address_state import LinkParameters, Sandbox
from azure_cni.ipam.sizing import target
from azure_cni.node.ports import SandboxSpec
from azure_cni.windows.datapath import HcnDatapath
from simulation.data_planes import MTU, data_plane, require_wired
from simulation.history import Pool
from simulation.node import pool_policy
from simulation.observer import PER_NIC, Entry, Judge
from simulation.plan import PRESETS, Machine
from simulation.run import beside_azure, unused

MIX = replace(PRESETS["mixed"], nodes=6, demand=150, limit=1000, mix="vm,uniform,blocks")


def test_nodes_of_blocks_hold_whole_ones():
    assert [MIX.step_of(index) for index in range(6)] == [1, 1, 16, 1, 1, 16]
    assert [MIX.on_nic_of(index) for index in range(6)] == [25, 25, 32, 25, 25, 32]
    assert MIX.wanted == 164
    crowded = replace(MIX, demand=6 * 250, limit=16_000)
    assert [crowded.on_nic_of(index) for index in range(3)] == [PER_NIC, PER_NIC, 240]
    assert replace(MIX, limit=120).wanted == 120


@pytest.mark.parametrize("step", [1, 16])
@pytest.mark.parametrize("spare", [0, 15])
@pytest.mark.parametrize("pods", [1, 16, 25])
def test_a_pool_is_as_large_as_its_pods_need_in_one_write(step: int, spare: int, pods: int):
    policy = pool_policy(spare=spare, step=step)
    wanted = target(policy, assigned=0, waiting=pods, cooling=0)
    assert wanted == -(-(pods + spare) // step) * step
    assert policy.config_size == step


@pytest.mark.parametrize(
    ("granted", "short", "idle", "said"),
    [
        (100, [], 20, ""),
        (100, [1], 0, ""),
        (99, [1, 16], 0, "2 nodes wait while 1 addresses are left"),
        (85, [16], 0, ""),
        (84, [16], 0, "1 nodes wait while 16 addresses are left"),
        (100, [1], 1, "1 nodes wait while others hold 1 idle addresses"),
        (100, [16, 16], 15, ""),
        (100, [16], 16, "1 nodes wait while others hold 16 idle addresses"),
    ],
)
def test_what_a_node_that_waits_could_use_is_not_left(granted: int, short: list[int], idle: int, said: str):
    judge = Judge(limit=100, grace_s=1.0, writes_per_minute=30)
    judge.ledger_changed(0.0, {"a": Entry(granted, "g/a")}, limit=100)
    assert unused(replace(MIX, limit=100), judge, taken=0, short=short, idle=idle) == said


def test_what_others_took_is_not_left():
    judge = Judge(limit=100, grace_s=1.0, writes_per_minute=30)
    judge.ledger_changed(0.0, {"a": Entry(90, "g/a")}, limit=100)
    assert unused(replace(MIX, limit=100), judge, taken=10, short=[1], idle=0) == ""


@pytest.mark.parametrize("windows", [False, True])
async def test_a_pod_that_is_counted_is_wired_on_either_system(windows):
    machine = Machine("/vm", "guid", "00:0d:3a:00:00:0a", "10.128.0.4", "")
    plane = data_plane(machine, windows=windows, subnet_prefix=15)
    primary, address = IPv4Address(machine.primary_ip), IPv4Address("10.129.0.7")
    nobody: frozenset[IPv4Address] = frozenset()
    await plane.datapath.apply_node(
        NodeTable(machine.mac, primary, frozenset({address}), nobody, routable=frozenset(), imds_allowed=False)
    )
    netns = plane.netns("p1")
    assert plane.netns("p1") == netns, "a repeat"
    with pytest.raises(AssertionError, match=r"was given \['10.129.0.7'\], and \[\] lead to it"):
        require_wired(plane, netns, (address,))

    await plane.datapath.attach(
        SandboxSpec(Sandbox("azure-cni", "c1", "eth0"), netns, (address,), LinkParameters(MTU, primary))
    )

    require_wired(plane, netns, (address,))
    assert isinstance(plane.datapath, HcnDatapath) is windows
    await plane.close()


def test_nodes_with_windows_are_plain_vms_that_ask_for_single_addresses():
    mixed = PRESETS["mixed"]
    shapes = [mixed.shape_of(name)[0] for name in mixed.node_names]
    assert [shape.windows for shape in shapes[:5]] == [False, False, False, True, False]
    assert [shape.dual for shape in shapes[:6]] == [False, False, False, False, True, False]
    assert {(shape.step, shape.replaced) for shape in shapes if shape.windows} == {(1, True)}


def test_a_pod_of_a_node_with_both_families_has_one_address_of_each():
    machine = Machine("/vm", "guid", "00:0d:3a:00:00:0a", "10.128.0.4", "")
    plane = data_plane(machine, windows=False, subnet_prefix=15)
    one = (IPv4Address("10.129.0.7"),)
    with pytest.raises(AssertionError, match=r"given \['10.129.0.7'\], not one address of each of \[4, 6\]"):
        require_wired(plane, "/run/netns/p", one, families=[4, 6])
    with pytest.raises(AssertionError, match="and \\[\\] lead to it"):
        require_wired(plane, "/run/netns/p", (*one, IPv6Address("fd00::7")), families=[4, 6])


def test_a_node_with_both_families_is_not_done_before_its_nic_has_both():
    scenario, judge = replace(MIX, mix="dual"), Judge(limit=100, grace_s=1.0, writes_per_minute=30)
    nic, pool = scenario.nic_of("node-0001"), Pool(allocated=2, assigned=2)
    judge.nic_changed(1.0, nic, 2)
    judge.ipv6_changed(1.0, nic, appeared=["fd00::4"], vanished=[])
    said = "node-0001 has started 2 pods, and its NIC has 1 IPv6 addresses"
    assert beside_azure(scenario, judge, "node-0001", pool) == said
    judge.ipv6_changed(2.0, nic, appeared=["fd00::1:0/112"], vanished=[])
    assert beside_azure(scenario, judge, "node-0001", pool) == ""
    assert beside_azure(scenario, judge, "node-0001", replace(pool, allocated=3)).endswith("Azure says otherwise")
