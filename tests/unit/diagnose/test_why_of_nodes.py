"""`why` over what a real node says of its trouble: its pool's status, the pod's event and the agent's own answer.

A pod has the node's one address when the trouble begins. The next pod asks for another, waits, is asked about, and gets
its address when the trouble is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from azure_cni import errors
from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.cni.conflist import PORTMAP
from azure_cni.diagnose.causes import CAUSES, RAISE, UNCHAIN, in_words
from azure_cni.diagnose.evidence import ClusterEvidence, EventFacts, PodFacts, ProcessFacts
from azure_cni.diagnose.object_parsing import parse_pools
from azure_cni.diagnose.pauses import parse_pauses
from azure_cni.diagnose.pod_diagnosis import PodDiagnosis, explain_pod
from azure_cni.errors import AzureCniError, CloudError, KubeDenied
from azure_cni.ipam.sizing import Policy
from azure_cni.model.ipv6 import NO_IPV6, IPv6Growth
from azure_cni.model.nic import AttachmentChange, ConfigName, NicView
from azure_cni.model.text import seconds_of
from azure_cni.node.pool.reservation_request import ControllerGrants
from fakes.nic import FakeNic
from fakes.pools import FakePools
from fakes.simulated_node import SimulatedNode
from unit.node.test_reconciler_grants import answer, grown, unanswered

pytestmark = pytest.mark.looptime

WRITE = "Microsoft.Network/networkInterfaces/write"


class StubbornNic(FakeNic):
    """Each write of it is refused while `refusal` is there."""

    refusal: CloudError | None = None

    async def write(
        self,
        seen: NicView,
        *,
        add: int = 0,
        size: int = 1,
        remove: Collection[ConfigName] = (),
        attach: Sequence[AttachmentChange] = (),
        ipv6: IPv6Growth = NO_IPV6,
    ) -> NicView:
        self.fail_next = self.refusal
        return await super().write(seen, add=add, size=size, remove=remove, attach=attach, ipv6=ipv6)


class StubbornPools(FakePools):
    """The status cannot be written while `forbidden`."""

    forbidden = False

    async def patch_status(self, pool: NodeIPPool, status: Mapping[str, Any], *, guarded: bool = False) -> NodeIPPool:
        if self.forbidden:
            raise KubeDenied(f'cannot patch nodeippools "{pool.name}": forbidden')
        return await super().patch_status(pool, status, guarded=guarded)


class World:
    """One node, and what the command line reads of it."""

    def __init__(self, *, asks: bool = False) -> None:
        self.nic, self.pools = StubbornNic(), StubbornPools()
        grants = {"grants": ControllerGrants()} if asks else {}
        self.node = SimulatedNode(nic=self.nic, pools=self.pools, policy=Policy(size=1), **grants)
        self.controllers = (ProcessFacts("kube-system", "controller", "vm2", ready=True, state="Running"),)

    def edit(self, **spec: Any) -> None:
        """A person edits the pool, and its node's watch shows it."""
        self.pools.edit_spec(**spec)
        self.node.reconciler.pool_seen(self.pools.shown())

    async def why(self) -> PodDiagnosis:
        """Of the pod that waits."""
        assert self.pools.pool is not None
        now_s = seconds_of(self.node.clock.utc())
        assert now_s is not None
        agent = ProcessFacts("kube-system", "agent", "vm1", ready=True, state="Running")
        evidence = ClusterEvidence(
            pools=parse_pools([self.pools.pool]),
            agents=(agent,),
            controllers=self.controllers,
            pauses=parse_pauses([self.pools.pool]),
        )
        published = sorted(self.node.events.published, key=lambda one: one.newest, reverse=True)
        events = [
            EventFacts(one.reason, one.message, first_s=now_s, last_s=now_s - 0.001 * age)
            for age, one in enumerate(published)
            if one.regarding.get("name") == "web"
        ]
        pod = PodFacts("default", "web", "uid-web", node="vm1", phase="Pending", scheduled_s=now_s - 60.0)
        report = await self.node.reconciler.inspector.describe(node="vm1")
        return explain_pod(pod, evidence, events, now_s=now_s, report=report)

    async def asked(self, cause: str) -> PodDiagnosis:
        """Have the pod tried until the answer is that cause."""
        found = None
        for _ in range(60):
            with pytest.raises(AzureCniError):
                await self.node.add("web")
            await asyncio.sleep(1.0)
            found = await self.why()
            if found.cause == cause:
                return found
        raise AssertionError(found)

    async def started(self) -> None:
        """The pod is tried until it has its address."""
        for _ in range(200):
            try:
                await self.node.add("web")
            except AzureCniError:
                await asyncio.sleep(10.0)
            else:
                return
        raise AssertionError(await self.why())


@dataclass(frozen=True)
class Trouble:
    """What begins it and what ends it, the message's and the next step's part, and the command."""

    cause: str
    begin: Callable[[World], object]
    end: Callable[[World], object]
    said: str
    then: str
    command: str = "kubectl describe nodeippool vm1"


def refused(error: CloudError, said: str, **more: Any) -> Trouble:
    def begin(world: World) -> None:
        world.nic.refusal = error

    def end(world: World) -> None:
        world.nic.refusal = None

    return Trouble(error.reason, begin, end, said, "the agent's next try (grow) is at 20", **more)


def edited(
    cause: str, before: Mapping[str, Any], after: Mapping[str, Any], said: str, then: str, command: str
) -> Trouble:
    return Trouble(cause, lambda world: world.pools.edit_spec(**before), lambda world: world.pools.edit_spec(**after),
                   said, then, command)  # fmt: skip


LOGS = in_words(CAUSES["LedgerFailed"].command, node="vm1", system="kube-system")
READ_NOW = 'kubectl annotate nodeippool vm1 --overwrite azure-cni.io/read-now="$(date +%s)"'
DENIED = errors.AccessDenied("cannot write NIC vm1-nic: it lacks it", action=WRITE, scope="/subscriptions/s/nic")
TROUBLES = [
    refused(errors.SubnetFull("cannot write the NIC: no room"), "no room", command=READ_NOW),
    refused(errors.ResourceBusy("cannot write the NIC: another operation"), "another operation"),
    refused(DENIED, "az role assignment create --assignee OBJECT-ID", command=READ_NOW),
    refused(errors.RequestRefused("cannot write the NIC: locked"), "locked", command=READ_NOW),
    refused(errors.Throttled("cannot write the NIC: too many", retry_after_s=40.0), "too many"),
    refused(errors.CloudUnreachable("cannot write the NIC: no answer"), "no answer"),
    refused(errors.OutcomeUnknown("cannot write the NIC: cannot be followed"), "cannot be followed"),
    refused(errors.CloudNotFound("cannot write the NIC: not there"), "not there"),
    refused(errors.PreconditionFailed("cannot write the NIC: changed"), "changed"),
    refused(errors.OperationFailed("cannot write the NIC: it ended Failed"), "ended Failed"),
    edited("PoolPaused", {"paused": True, "size": 2}, {"paused": None}, "is paused (spec.paused)",
           "nothing while it is paused", "azure-cni resume vm1"),
    edited("NodeAtLimit", {"size": 1}, {"size": 2}, "raise spec.size of the NodeIPPool (kubectl edit nodeippool vm1)",
           "it starts when the limit is raised", "kubectl edit nodeippool vm1"),
    edited("InvalidConfig", {"size": 2, "minFree": 1}, {"minFree": None}, "holds 1 of at most 1 address",
           "nothing before the spec is corrected", "kubectl edit nodeippool vm1"),
]  # fmt: skip


def _break_ledger(world: World, *, broken: bool) -> None:
    world.node.store.broken = broken


def _remove_plugin(world: World, *, there: bool) -> None:
    """As the installation finds it."""
    world.node.state.obstacle = "" if there else "the plugin portmap is missing in /opt/cni/bin"
    world.node.reconciler.wake()
    world.edit(size=2 if there else 1)  # with an address, our part of the chain would succeed


TROUBLES += [
    Trouble("LedgerFailed", partial(_break_ledger, broken=True), partial(_break_ledger, broken=False),
            "cannot write the ledger", "the agent's next try (", LOGS),
    Trouble("PluginMissing", partial(_remove_plugin, there=False), partial(_remove_plugin, there=True),
            "the plugin portmap is missing", "the agent looks for it every ten seconds",
            in_words(UNCHAIN, system="kube-system", setting=PORTMAP.unchain)),
]  # fmt: skip


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.cause)
async def test_a_node_in_trouble_says_why_and_the_pod_starts_when_that_is_over(trouble: Trouble) -> None:
    world = World()
    async with world.node.running() as node:
        await node.until(lambda: node.counts.free == 1)
        await node.add("first")
        trouble.begin(world)
        if trouble.cause not in {"PoolPaused", "NodeAtLimit", "InvalidConfig", "PluginMissing"}:
            world.edit(size=2)
        found = await world.asked(trouble.cause)
        assert trouble.said in found.message
        assert trouble.then in found.next_step
        assert found.command == trouble.command
        assert (found.meaning, found.healthy) == (CAUSES[trouble.cause].meaning, False)
        assert found.since
        trouble.end(world)
        await world.started()


SAID = {
    "QuotaExceeded": ("the controller grants more as soon as the quota has it", RAISE),
    "NodeAtLimit": ("it starts when the limit is raised", "kubectl edit vnetquota QUOTA"),
    "WriteBudget": ("the controller answers the node in its turn", "kubectl get vnetquota QUOTA -o yaml"),
    "EntryRefused": ("the controller tries the entry again", "kubectl delete nodeippool vm1"),
    "VNetUnconfirmed": ("the controller asks Azure again each minute", "kubectl describe nodeippool vm1"),
    "NicChanged": ("the controller asks Azure again each minute", "kubectl describe nodeippool vm1"),
    "NicForeign": ("the controller asks Azure again each minute", "kubectl get node vm1 -o yaml"),
    "NicUnknown": ("nothing before the pool is made again", "kubectl delete nodeippool vm1"),
}
"""What the controller may say instead of granting, and what `why` makes of it."""


@pytest.mark.parametrize("reason", sorted(SAID))
async def test_a_controller_that_grants_nothing_is_quoted(reason: str) -> None:
    world = World(asks=True)
    async with world.node.running() as node:
        await grown(node, 1)
        await node.add("first")
        world.edit(size=2)
        await node.until(lambda: unanswered(node))
        await answer(node, count=1, reason=reason, message="because of it")
        found = await world.asked(reason)
        then, command = SAID[reason]
        assert found.message.endswith("because of it")
        assert found.next_step.startswith(then) or then in found.next_step
        assert found.command == command
        await answer(node)
        await world.started()


@pytest.mark.parametrize("controllers", [True, False])
async def test_without_an_answer_the_controller_is_asked_for_and_made_where_none_is(*, controllers: bool) -> None:
    world = World(asks=True)
    world.controllers = world.controllers if controllers else ()
    async with world.node.running() as node:
        await grown(node, 1)
        await node.add("first")
        world.edit(size=2)
        found = await world.asked("AwaitingGrant")
        assert "this node asked to hold 2 addresses and has no answer yet" in found.message
        assert found.command.startswith("kubectl -n kube-system get pods" if controllers else "kubectl scale -n kube-")
        await answer(node)
        await world.started()


async def test_a_node_that_may_not_write_its_request_does_not_wait_for_the_controller() -> None:
    """Its pool says what was so before: that its one address is taken."""
    world = World(asks=True)
    async with world.node.running() as node:
        await grown(node, 1)
        await node.add("first")
        await node.until(lambda: node.condition("Ready")["reason"] == "NodeAtLimit")
        world.pools.forbidden = True
        world.edit(size=2)
        found = await world.asked("KubernetesDenied")
        assert "forbidden" in found.message
        assert found.next_step.startswith("the agent's next try (")
        assert "forbidden" not in next(one.message for one in node.events.published if one.regarding["name"] == "web")
        world.pools.forbidden = False
        await node.until(lambda: unanswered(node))
        await answer(node)
        await world.started()


async def test_a_denial_counts_although_the_pod_has_an_older_event_of_an_unanswered_request() -> None:
    world = World(asks=True)
    async with world.node.running() as node:
        await grown(node, 1)
        await node.add("first")
        world.edit(size=2)
        await world.asked("AwaitingGrant")
        world.pools.forbidden = True
        world.edit(size=3)
        await world.asked("KubernetesDenied")
        assert {one.cause for one in node.events.published} >= {"AwaitingGrant", "KubernetesDenied"}


async def test_a_pod_that_waits_for_a_write_under_way_learns_so() -> None:
    world = World()
    async with world.node.running() as node:
        await node.until(lambda: node.counts.free == 1)
        await node.add("first")
        world.nic.hold()
        world.edit(size=2)
        found = await world.asked("PoolGrowing")
        assert "Azure is working on the NIC; the pool grows to 2 addresses" in found.message
        assert found.next_step.startswith("Azure is at a write of the NIC, and the kubelet tries the pod again")
        world.nic.finish()
        await world.started()
