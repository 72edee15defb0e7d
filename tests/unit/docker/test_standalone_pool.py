"""A pool and its grants without Kubernetes: the reconciler over the file and Azure's count of the VNet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from azure_cni.docker.standalone_pool import LoggedEvents, NobodysPods, NoReleases, StandaloneNode, StandalonePool
from azure_cni.docker.usage_granter import StandaloneQuota, UsageGranter
from azure_cni.errors import AccessDenied, CloudError, KubeConflict
from azure_cni.ipam.address_state import Holder, Sandbox
from azure_cni.ipam.sizing import Policy
from azure_cni.node.assembly import Node
from azure_cni.node.node_settings import NodePorts, NodeSettings
from azure_cni.node.pool.reservation_request import ControllerGrants
from fakes import waiting
from fakes.clocks import LoopClock
from fakes.cloud import FakeCloud
from fakes.docker import FakeStateFile, FakeUsage
from fakes.ledger_store import FakeLedgerStore
from fakes.nic import FakeNic
from fakes.observer import RecordingObserver
from simulation.datapath import FakeDatapath

pytestmark = pytest.mark.looptime
NODE = {"metadata": {"name": "vm1", "uid": "machine"}}


class Standalone:
    """A VM without Kubernetes."""

    def __init__(
        self, used: int | CloudError = 0, *, quota: StandaloneQuota | None = None, file: bytes | None = None
    ) -> None:
        self.file, self.nic = FakeStateFile(file), FakeNic()
        self.usage = FakeUsage(used, ours=lambda: self.held)
        self.pool, self.clock = StandalonePool(self.file), LoopClock()
        ports = NodePorts(
            cloud=FakeCloud(),
            nic_of=lambda _: self.nic,
            grants=ControllerGrants(),
            pools=self.pool,
            node=StandaloneNode("vm1", uid="machine"),
            pods=NobodysPods(),
            pod_conditions=NobodysPods(),
            events=LoggedEvents(),
            datapath=FakeDatapath(),
            store=FakeLedgerStore(),
            released=NoReleases(),
            clock=self.clock,
            observer=RecordingObserver(),
        )
        self.node = Node(ports, NodeSettings(defaults=Policy()))
        self.granter = UsageGranter(
            self.pool,
            self.usage,
            quota=quota or StandaloneQuota(),
            show=self.node.pool_seen,
            clock=self.clock,
            faults=self.node.faults,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(work) for work in (self.node.reconciler.run(), self.granter.run())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def held(self) -> int:
        return self.node.stored.ledger.counts().allocated

    async def until_held(self, count: int, *, within_s: float = 60.0) -> None:
        await waiting.until(lambda: self.held == count, within_s=within_s, say=lambda: str(self.pool.shown.status))

    async def fill(self, count: int) -> None:
        for number in range(count):
            await self.node.sandboxes.add(Holder(Sandbox("net1", f"ep{number}", "eth"), f"/s{number}"))


async def test_it_grows_with_need_and_reads_the_usage_before_each_growth() -> None:
    vm = Standalone(used=100)
    async with vm.running():
        await vm.until_held(16)
        assert vm.usage.reads == 1
        await vm.fill(9)
        await vm.until_held(32)
        assert vm.usage.reads == 2


async def test_a_growth_that_would_pass_the_limit_is_refused_with_the_numbers() -> None:
    vm = Standalone(used=1000, quota=StandaloneQuota(limit=1200, reserved=190))
    async with vm.running():
        await vm.until_held(10)
        await waiting.until(lambda: vm.pool.shown.grant_reason == "QuotaExceeded", within_s=60, say=str)
        await vm.fill(10)
        await asyncio.sleep(120)
        assert vm.held == 10
        assert vm.node.state.forecast.reason == "QuotaExceeded"
        message = vm.node.state.forecast.message
        assert "may have 1200 (quota.limit), 1010 are in use, 190 are reserved (quota.reserved)" in message
        conditions = {one["type"]: one["status"] for one in vm.pool.shown.status["conditions"]}
        assert conditions["QuotaExceeded"] == "True"
        vm.usage.others = 900
        await vm.until_held(32, within_s=120)


async def test_while_azure_does_not_say_nothing_is_added() -> None:
    vm = Standalone(used=AccessDenied("cannot read usages of VNet v: AuthorizationFailed", action="x"))
    async with vm.running():
        await waiting.until(lambda: vm.pool.shown.grant_reason == "AccessDenied", within_s=60, say=str)
        await asyncio.sleep(600)
        assert vm.held == 0
        assert 8 <= vm.usage.reads <= 14
        assert "nothing is added before that is known" in vm.pool.shown.grant_message
        vm.usage.others = 0
        await vm.until_held(16, within_s=120)


async def test_a_hundred_requests_within_a_refusal_are_not_a_hundred_reads() -> None:
    vm = Standalone(used=16_000)
    async with vm.running():
        await waiting.until(lambda: vm.pool.shown.grant_reason == "QuotaExceeded", within_s=60, say=str)
        reads = vm.usage.reads
        for number in range(100):
            vm.node.demand.observe_pod(
                {"metadata": {"namespace": "d", "name": f"p{number}", "uid": f"u{number}"}, "spec": {}, "status": {}}
            )
            vm.node.reconciler.wake()
            await asyncio.sleep(0.1)
        assert vm.usage.reads - reads <= 2


async def test_the_pool_outlives_the_process_and_a_damaged_file_is_made_again() -> None:
    file = FakeStateFile()
    pool = StandalonePool(file)
    assert await pool.read() is None
    made = await pool.create(NODE)
    written = await pool.patch_status(made, {"requested": 16, "macAddress": "00:0d:3a:00:00:01"}, guarded=True)
    assert (await pool.patch_status(written, {"macAddress": None})).status == {"requested": 16}
    assert StandalonePool(file).shown.status == {"requested": 16}
    for content in (b"", b"[]", b"{}", b"\xff"):
        assert await StandalonePool(FakeStateFile(content)).read() is None


@pytest.mark.parametrize("number", ["40", "9" * 30, "9" * 5000, "-1", "1e999"])
async def test_a_process_that_follows_another_still_grows(number: str) -> None:
    """Its writes are newer than those that it found, or it would take each of its own for an old one."""
    metadata = f'{{"name":"vm1","uid":"machine","generation":1,"resourceVersion":"{number}"}}'
    vm = Standalone(file=f'{{"metadata":{metadata},"spec":{{}},"status":{{}}}}'.encode())
    async with vm.running():
        await vm.until_held(16)


async def test_a_write_on_an_old_version_is_refused() -> None:
    pool = StandalonePool(FakeStateFile())
    made = await pool.create(NODE)
    assert await pool.create(NODE) == made
    pool.grant({"granted": 3})
    with pytest.raises(KubeConflict):
        await pool.patch_status(made, {"requested": 16}, guarded=True)
