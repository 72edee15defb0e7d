"""The roles of docs/azure-role*.json, assigned as docs/install.md has it: each suffices, and nothing less does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from random import Random

import pytest

from azure_cni.azure.arm import Arm
from azure_cni.azure.arm_nic import ArmNic
from azure_cni.azure.nics import nic_at
from azure_cni.azure.resources import Resource
from azure_cni.azure.vm_identity import ArmVmIdentity
from azure_cni.azure.vnets import ArmVNets
from azure_cni.errors import AccessDenied, OutcomeUnknown
from azure_cni.model.nic import Adopt, VNetID
from contract.role_world import AGENT, CONTROLLER, NETWORK, NETWORK_READER, SCALE_SETS, SHARED, TwoVms

POLLS = f"{NETWORK}/locations/operations/read"
READS_VM = "Microsoft.Compute/virtualMachines/read"
READS_NIC = f"{NETWORK}/networkInterfaces/read"


class Actor:
    """What agents and controllers do in Azure, by one identity."""

    def __init__(self, world: TwoVms, arm: Arm, cloud: ArmVmIdentity) -> None:
        self._world, self._arm, self._cloud = world, arm, cloud

    async def observe(self, vm: str = "vm1") -> None:
        """Who am I, what does the VNet have, what does the NIC hold?"""
        await self._cloud.vnet(await self._cloud.identify())
        await self._nic(vm).read()

    async def write(self, vm: str = "vm1") -> None:
        """Take addresses, and give some back."""
        nic = self._nic(vm)
        grown = await nic.write(await nic.read(), add=2)
        await nic.write(grown, remove=[config.name for config in grown.secondaries if config.ours][:1])

    async def count(self, vm: str = "vm1") -> None:
        """What the controller asks: how full is the VNet, and what is on a NIC?"""
        vnets = ArmVNets(self._arm)
        await vnets.used(VNetID(self._world.vnet_id))
        await vnets.ours_on(self._world.nic_id(vm))
        await vnets.vm_of(self._world.nic_id(vm))

    async def get(self, resource: str) -> None:
        """Any resource, as a compromised node might read it."""
        await self._arm.get(Resource.parse(resource))

    async def put_reference(self, rule: str, vm: str = "vm1") -> None:
        """Write the NIC as it is, with another inbound NAT rule: what a compromised node might."""
        nic = Resource.parse(self._world.nic_id(vm))
        body = await self._arm.get(nic)
        body["properties"]["ipConfigurations"][0]["properties"]["loadBalancerInboundNatRules"] = [{"id": rule}]
        await self._arm.put(nic, body, if_match=body["etag"])

    def _nic(self, vm: str) -> ArmNic:
        return ArmNic(self._arm, self._world.nic_id(vm), chance=Random(7))


Step = Callable[[Actor], Awaitable[None]]
SHAPES: Mapping[str, tuple[tuple[str, ...], tuple[Step, ...]]] = {
    "azure-role": (SHARED, (Actor.observe, Actor.write, Actor.count)),
    "azure-role-controller": (CONTROLLER, (Actor.count,)),
}
"""The roles that are assigned at the group, and what is done with each."""


@pytest.fixture
def world() -> TwoVms:
    return TwoVms()


async def carry_out(world: TwoVms, *steps: Step) -> None:
    async with world.adapters("vm1") as (arm, cloud):
        actor = Actor(world, arm, cloud)
        for step in steps:
            await step(actor)


@pytest.mark.parametrize("shape", sorted(SHAPES))
async def test_a_role_at_the_group_suffices(world: TwoVms, shape: str) -> None:
    actions, steps = SHAPES[shape]
    world.assign("vm1", (actions, world.group))
    await carry_out(world, *steps)


@pytest.mark.parametrize(
    ("shape", "action"), [(shape, action) for shape in sorted(SHAPES) for action in SHAPES[shape][0]]
)
async def test_each_action_of_a_role_is_needed(world: TwoVms, shape: str, action: str) -> None:
    actions, steps = SHAPES[shape]
    world.assign("vm1", (tuple(one for one in actions if one != action), world.group))
    with pytest.raises((AccessDenied, OutcomeUnknown), match=action):
        await carry_out(world, *steps)


JOINS_SUBNET = f"{NETWORK}/virtualNetworks/subnets/join/action"
READS_VNET = f"{NETWORK}/virtualNetworks/read"
OF_INSTANCE = (READS_VNET, f"{NETWORK}/virtualNetworks/usages/read", JOINS_SUBNET)
"""Of the role for all, what is needed for an instance of a Uniform scale set whose NIC refers to nothing else."""


async def of_instance(world: TwoVms, actions: tuple[str, ...]) -> None:
    """Everything, by the identity of an instance of a Uniform scale set, which has these rights at the group."""
    (vm,) = world.azure.uniform.add("pool")
    world.azure.identity.assign(actions, scope=world.group, principal=vm.principal_id)
    async with world.adapters("pool_0") as (arm, cloud):
        identity = await cloud.identify()
        await cloud.vnet(identity)
        nic = nic_at(arm, identity.nic_id, chance=Random(7), adopt=Adopt.PLAIN, shrink_scale_sets=True)
        grown = await nic.write(await nic.read(), add=2)
        await nic.write(grown, remove=[config.name for config in grown.secondaries if config.ours][:1])
        vnets = ArmVNets(arm)
        await vnets.used(VNetID(world.vnet_id))
        await vnets.ours_on(identity.nic_id)
        await vnets.vm_of(identity.nic_id)


async def test_the_role_for_scale_sets_and_that_for_all_suffice_an_instance(world: TwoVms) -> None:
    await of_instance(world, (*SHARED, *SCALE_SETS))


@pytest.mark.parametrize("action", [*SCALE_SETS, *OF_INSTANCE])
async def test_each_action_is_needed_for_an_instance(world: TwoVms, action: str) -> None:
    with pytest.raises((AccessDenied, OutcomeUnknown), match=action):
        await of_instance(world, tuple(one for one in (*OF_INSTANCE, *SCALE_SETS) if one != action))


async def test_an_instance_needs_nothing_else(world: TwoVms) -> None:
    await of_instance(world, (*OF_INSTANCE, *SCALE_SETS))


async def test_the_controllers_role_writes_nothing(world: TwoVms) -> None:
    world.assign("vm1", (CONTROLLER, world.group))
    with pytest.raises(AccessDenied, match="networkInterfaces/write"):
        await carry_out(world, Actor.write)


# An identity for each node.


def own(world: TwoVms, vm: str = "vm1") -> list[tuple[tuple[str, ...], str]]:
    """What docs/install.md assigns to the identity of one node."""
    narrow = [world.azure.vm(vm).id, world.nic_id(vm), *world.referred(vm)]
    return [*((AGENT, scope) for scope in narrow), (NETWORK_READER, world.group)]


async def test_a_node_with_an_identity_of_its_own_keeps_its_pool(world: TwoVms) -> None:
    world.assign("vm1", *own(world))
    await carry_out(world, Actor.observe, Actor.write)


async def test_a_further_nic_of_the_vm_that_it_may_not_read_keeps_it_from_nothing(world: TwoVms) -> None:
    """Azure answers 403 at each reading: the NIC counts as one ipConfiguration, and no pool can be on it."""
    world.azure.add_nic("vm1", subnet="nodes")
    world.assign("vm1", *own(world))
    async with world.adapters("vm1") as (arm, cloud):
        identity = await cloud.identify()
        (further,) = identity.beside
        with pytest.raises(AccessDenied):
            await arm.get(Resource.parse(further))
        nic = ArmNic(arm, identity.nic_id, chance=Random(7), beside=identity.beside)
        grown = await nic.write(await nic.read(), add=2)
        assert (len(grown.secondaries), grown.beside, (await nic.read()).beside) == (2, 1, 1)
        assert await cloud.other_subnets() == ()


async def test_it_reads_no_other_nodes_vm_or_nic(world: TwoVms) -> None:
    """A VM's unique ID and its NICs' MACs are what another node would need to claim to be it."""
    world.assign("vm1", *own(world))
    async with world.adapters("vm1") as (arm, cloud):
        actor = Actor(world, arm, cloud)
        for action, resource in ((READS_VM, world.azure.vm("vm2").id), (READS_NIC, world.nic_id("vm2"))):
            with pytest.raises(AccessDenied) as caught:
                await actor.get(resource)
            assert (caught.value.action, caught.value.scope) == (action, resource)


async def test_it_writes_no_other_nodes_nic_even_where_it_may_read_it(world: TwoVms) -> None:
    world.assign("vm1", *own(world), ((READS_NIC,), world.group))
    async with world.adapters("vm1") as (arm, cloud):
        actor = Actor(world, arm, cloud)
        with pytest.raises(AccessDenied) as caught:
            await actor.write("vm2")
    assert (caught.value.action, caught.value.scope) == (f"{NETWORK}/networkInterfaces/write", world.nic_id("vm2"))


async def test_it_puts_its_nic_into_nothing_that_it_is_not_in(world: TwoVms) -> None:
    """Another node's inbound NAT rule or public address, another subnet: its traffic would be the node's."""
    world.assign("vm1", *own(world))
    rule = next(one for one in world.referred("vm2") if "/inboundNatRules/" in one)
    async with world.adapters("vm1") as (arm, cloud):
        actor = Actor(world, arm, cloud)
        with pytest.raises(AccessDenied) as caught:
            await actor.put_reference(rule)
    assert (caught.value.action, caught.value.scope) == (f"{NETWORK}/loadBalancers/inboundNatRules/join/action", rule)


async def test_each_assignment_of_a_node_is_needed(world: TwoVms) -> None:
    assigned = own(world)
    assert len(assigned) == 9 + 1
    for left_out in range(len(assigned)):
        other = TwoVms()
        other.assign("vm1", *(one for index, one in enumerate(own(other)) if index != left_out))
        with pytest.raises(AccessDenied):
            await carry_out(other, Actor.observe, Actor.write)


@pytest.mark.parametrize("action", [*AGENT, *NETWORK_READER])
async def test_each_action_of_a_nodes_roles_is_needed(world: TwoVms, action: str) -> None:
    for actions, scope in own(world):
        world.assign("vm1", (tuple(one for one in actions if one != action), scope))
    with pytest.raises((AccessDenied, OutcomeUnknown), match=action):
        await carry_out(world, Actor.observe, Actor.write)


async def test_with_rights_at_the_nic_alone_no_write_is_followed_to_its_end(world: TwoVms) -> None:
    """Azure shows an operation to who has rights at the group: the write is made, and its end is not known."""
    narrow = [world.nic_id("vm1"), *world.referred("vm1"), world.azure.vm("vm1").id]
    world.assign("vm1", *(((*AGENT, *NETWORK_READER), scope) for scope in narrow))
    with pytest.raises(OutcomeUnknown, match=POLLS):
        await carry_out(world, Actor.write)
