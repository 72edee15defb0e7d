"""The controller: any number of processes, of which one leads and works, on one event loop and in one task group.

Several may work at one time all the same (a lease that was forged, a process that slept): each write is a
compare-and-swap that the API server checks, so they only get in each other's way.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import time
from contextlib import AsyncExitStack

from azure_cni import __version__
from azure_cni.azure.machines import ArmMachines
from azure_cni.azure.vnets import ArmVNets
from azure_cni.cluster.election import Election
from azure_cni.cluster.leader import Leader
from azure_cni.cluster.orders import OrderDesk
from azure_cni.cluster.ports import Clock
from azure_cni.cluster.world import ClusterWorld
from azure_cni.entrypoints import cluster_watch, web
from azure_cni.entrypoints.azure_wiring import open_arm
from azure_cni.entrypoints.controller_metrics import ControllerMetrics
from azure_cni.entrypoints.controller_settings import ControllerSettings
from azure_cni.entrypoints.running import stop_on_signals, until_stopped
from azure_cni.entrypoints.watch import Watches
from azure_cni.faults import Faults
from azure_cni.kube.client import KubeClient, KubeEndpoint
from azure_cni.kube.lease import KubeLease
from azure_cni.kube.member_nodes import KubeMemberNodes
from azure_cni.kube.member_pools import KubeMemberPools
from azure_cni.kube.pools import COLLECTION
from azure_cni.kube.quotas import QUOTAS, KubeQuotas

log = logging.getLogger(__name__)

STALLED_S = 300.0
"""A look at all pools ends within seconds, and within minutes while the API server is silent."""


class SystemClock:
    """Implements `azure_cni.cluster.ports.Clock` on a real machine."""

    def monotonic_s(self) -> float:
        """Seconds since some beginning."""
        return time.monotonic()

    def utc_s(self) -> float:
        """Seconds since 1970."""
        return time.time()


class Controller:
    """All parts of one controller. `run` ends when asked to stop, or raises what went wrong.

    A run at another speed brings a `clock` and a loop that agree; elsewhere than in a pod, an `endpoint`.
    """

    def __init__(
        self, settings: ControllerSettings, *, endpoint: KubeEndpoint | None = None, clock: Clock | None = None
    ) -> None:
        self._settings = settings
        self._api_server = endpoint or KubeEndpoint.in_cluster(os.environ)
        self._clock = clock or SystemClock()
        self._metrics = ControllerMetrics()
        self._faults = Faults(self._metrics.internal_error)
        self._leader: Leader | None = None
        self._stop = asyncio.Event()
        self._closing = AsyncExitStack()

    async def run(self) -> None:
        """Start, work, stop."""
        stop_on_signals(self._stop)
        facts = {"pod": self._settings.pod_name}
        async with self._closing:
            self._build()
            log.info("controller started", extra=facts | {"version": __version__})
            works = {"web": self._serve_web(), "election": self._election.run(self._lead)}
            await until_stopped(works, stop=self._stop, words="stopping", facts=facts)

    def _build(self) -> None:
        kube = KubeClient(self._api_server)
        self._closing.push_async_callback(kube.close)
        arm = open_arm(self._settings.azure, meter=self._metrics, closing=self._closing)
        self._machines = ArmMachines(arm, chance=random.SystemRandom(), adopt=self._settings.azure.adopt)
        self._nodes = KubeMemberNodes(kube)
        self._world = ClusterWorld(
            quotas=KubeQuotas(kube),
            pools=KubeMemberPools(kube),
            vnets=ArmVNets(arm),
            clock=self._clock,
            observer=self._metrics,
        )
        lease = KubeLease(kube, namespace=self._settings.namespace, name=self._settings.lease_name)
        # A pod that starts again has its name still: the rest tells its lives apart.
        identity = f"{self._settings.pod_name}_{secrets.token_hex(4)}"
        self._metrics.watch_quotas(leads=lambda: self._election.leads, leader=lambda: self._leader)
        self._election = Election(lease, identity=identity, clock=self._clock, faults=self._faults)

    async def _lead(self) -> None:
        """One term of leadership."""
        desk = OrderDesk(pools=self._world.pools, nodes=self._nodes, machines=self._machines, faults=self._faults)
        orders = desk if self._settings.orders else None
        self._leader = leader = Leader(world=self._world, settings=self._settings.cluster, orders=orders)
        watches = Watches(
            self._api_server,
            registry=lambda post: cluster_watch.registry_for(leader, post),
            settings=cluster_watch.settings,
            needs=(f"{COLLECTION}?limit=1", f"{QUOTAS}?limit=1"),
            relisted=lambda path: leader.relisted() if path == COLLECTION else None,
            faults=self._faults,
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(watches.run(), name="watches")
                tasks.create_task(leader.run(), name="leader")
        finally:
            self._leader = None

    async def _serve_web(self) -> None:
        # A standby is as ready as a leader: it takes over when it must.
        await web.serve(self._settings.web, registry=self._metrics.registry, healthy=self._unhealthy, ready=lambda: "")

    def _unhealthy(self) -> str:
        silent_s = self._clock.monotonic_s() - self._leader.breathed_s if self._leader else 0.0
        return f"no look at the pools has ended for {silent_s:.0f} s" if silent_s > STALLED_S else ""
