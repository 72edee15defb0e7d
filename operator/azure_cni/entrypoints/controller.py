"""The controller: any number of processes, of which one leads and works, on one event loop and in one task group.

Several may still work at the same time (a forged lease, a process that was suspended). Each write is a compare-and-swap
that the API server checks, so they only slow each other down.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
from contextlib import AsyncExitStack

from azure_cni import __version__
from azure_cni.azure.delegated import DelegatedAzure
from azure_cni.azure.vnets import ArmVNets
from azure_cni.cluster.election import Election
from azure_cni.cluster.leader import Leader
from azure_cni.cluster.operation_executor import OperationExecutor
from azure_cni.cluster.pod_subnet_claims import PodSubnetClaims
from azure_cni.cluster.ports import ClusterPorts, ControllerClock
from azure_cni.cluster.quota_cache import KnownReservations
from azure_cni.cluster.vm_claims import VMClaims
from azure_cni.entrypoints import web
from azure_cni.entrypoints.azure_wiring import open_arm
from azure_cni.entrypoints.controller_metrics import ControllerMetrics
from azure_cni.entrypoints.controller_settings import ControllerSettings
from azure_cni.entrypoints.running import run_until_stopped, stop_on_signals
from azure_cni.faults import Faults
from azure_cni.kube.client import KubeClient, KubeEndpoint
from azure_cni.kube.events import KubeEvents
from azure_cni.kube.lease import KubeLease
from azure_cni.kube.nodes import KubeMemberNodes
from azure_cni.kube.pools import COLLECTION, KubeMemberPools
from azure_cni.kube.quotas import QUOTAS, KubeQuotas
from azure_cni.linux.clock import SystemClock
from azure_cni.model.attachments import all_allowed
from azure_cni.model.nic import NicWriter
from azure_cni.model.text import time_text
from azure_cni.watch import cluster_watch
from azure_cni.watch.kopf_runner import Watches

log = logging.getLogger(__name__)

STALLED_S = 300.0
"""A pass over all pools takes seconds, and minutes while the API server is silent."""


class Controller:
    """All parts of one controller. `run` ends when asked to stop, or raises what went wrong.

    A simulation passes a `clock` that agrees with its loop; outside a pod an `endpoint` is needed.
    """

    def __init__(
        self,
        settings: ControllerSettings,
        *,
        endpoint: KubeEndpoint | None = None,
        clock: ControllerClock | None = None,
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
            await run_until_stopped(works, stop=self._stop, message="stopping", facts=facts)

    def _build(self) -> None:
        kube = KubeClient(self._api_server)
        self._closing.push_async_callback(kube.close)
        arm = open_arm(self._settings.azure, meter=self._metrics, closing=self._closing)
        azure = self._settings.azure
        self._machines = DelegatedAzure(
            arm, chance=random.SystemRandom(), adopt=azure.adopt, shrink_scale_sets=azure.shrink_scale_sets
        )
        self._ports = ClusterPorts(
            quotas=KubeQuotas(kube),
            pools=KubeMemberPools(kube),
            nodes=KubeMemberNodes(kube),
            vnets=ArmVNets(arm),
            events=KubeEvents(kube, node_name=self._settings.pod_name, utc=lambda: time_text(self._clock.utc_s())),
            clock=self._clock,
            observer=self._metrics,
        )
        lease = KubeLease(kube, namespace=self._settings.namespace, name=self._settings.lease_name)
        # A pod that restarts keeps its name: the random part distinguishes its lives.
        identity = f"{self._settings.pod_name}_{secrets.token_hex(4)}"
        self._metrics.watch_quotas(leads=lambda: self._election.leads, leader=lambda: self._leader)
        self._election = Election(lease, identity=identity, clock=self._clock, faults=self._faults)

    async def _lead(self) -> None:
        """One term of leadership."""
        operations = self._executor() if self._settings.nic_writer is NicWriter.CONTROLLER else None
        self._leader = leader = Leader(ports=self._ports, settings=self._settings.cluster, operations=operations)
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

    def _executor(self) -> OperationExecutor:
        # Imported only here: a controller that executes no NIC operations need not load what verifies documents.
        from azure_cni.azure.attestations import AttestedDocuments, PublishedCertificates

        settings = self._settings.attestation
        attestations = AttestedDocuments(
            cloud=self._settings.azure.cloud,
            bundle=settings.bundle,
            certificates=PublishedCertificates(),
            utc_s=self._clock.utc_s,
        )
        claims = VMClaims(
            nodes=self._ports.nodes, machines=self._machines, attestations=attestations, required=settings.required
        )
        reservations = KnownReservations(
            self._ports.quotas, known=lambda vnet_id: self._leader.quota_of(vnet_id) if self._leader else None
        )
        return OperationExecutor(
            pools=self._ports.pools,
            reservations=reservations,
            machines=self._machines,
            claims=claims,
            pod_subnets=PodSubnetClaims(nodes=self._ports.nodes, rules=self._settings.pod_subnets),
            faults=self._faults,
            attachable=all_allowed(self._settings.attachable),
        )

    async def _serve_web(self) -> None:
        # A standby is as ready as a leader: it takes over when it must.
        shown = web.Shown(registry=self._metrics.registry, healthy=self._unhealthy, ready=lambda: "")
        await web.serve_in_cluster(self._settings.web, shown, self._api_server, faults=self._faults)

    def _unhealthy(self) -> str:
        silent_s = self._clock.monotonic_s() - self._leader.last_progress_s if self._leader else 0.0
        return f"no look at the pools has ended for {silent_s:.0f} s" if silent_s > STALLED_S else ""
