"""One node's use cases, wired together. Every process and test that runs a node builds it here, over its own ports.

Nothing runs and nothing has been asked of anybody when `Node` returns, but every part of it is whole: what runs, and in
which order, is up to the process (`entrypoints/agent.py` has reasons for its order; a simulated node needs less).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.faults import Faults
from azure_cni.node.node_settings import NodePorts, NodeSettings
from azure_cni.node.pods.deferred_deletes import DeferredDeletes
from azure_cni.node.pods.demand import Demand
from azure_cni.node.pods.host_watch import HostWatch
from azure_cni.node.pods.leaks import Leaks
from azure_cni.node.pods.liveness import RollCall
from azure_cni.node.pods.pod_egress import PodEgress
from azure_cni.node.pods.pod_resync import PodResync
from azure_cni.node.pods.repair import Repair
from azure_cni.node.pods.sandboxes import Sandboxes
from azure_cni.node.pool.pool_state import NodeCore
from azure_cni.node.pool.reconciler import Reconciler
from azure_cni.node.state import NodeState
from azure_cni.node.stored_ledger import StoredLedger


class Node:
    """All parts of one node. LedgerError when its ledger cannot be read.

    `engine`: the container engine whose containers have no pods, where it can list them.
    """

    def __init__(self, ports: NodePorts, settings: NodeSettings, *, engine: RollCall | None = None) -> None:
        self.faults = Faults(ports.observer.internal_error)
        self.state = NodeState()
        self.demand = Demand(has_pods=settings.in_cluster)
        self.stored = StoredLedger(
            store=ports.store,
            broadcast=self.state.broadcast,
            cooling_s=settings.cooling_s,
            dual=settings.defaults.ipv6,
            audit=ports.audit,
        )
        core = NodeCore(ports, settings, self.faults, self.state, self.demand, self.stored)
        self.reconciler = Reconciler(core)
        self.egress = PodEgress(
            stored=self.stored,
            demand=self.demand,
            events=ports.events,
            allowed=settings.egress,
            settle=self.reconciler.settle_egress,
        )
        self.sandboxes = Sandboxes(
            stored=self.stored,
            state=self.state,
            demand=self.demand,
            datapath=ports.datapath,
            egress=self.egress,
            events=ports.events,
            clock=ports.clock,
            observer=ports.observer,
            wake=self.reconciler.wake,
            named_addresses=not settings.in_cluster,
        )
        self.pod_resync = PodResync(pods=ports.pods, demand=self.demand, wake=self._pods_changed, faults=self.faults)
        self.repair = self._new_repair(ports, engine)
        self.host_watch = HostWatch(
            datapath=ports.datapath,
            repair=self.repair,
            restore_node=self.reconciler.restore_network,
            clock=ports.clock,
        )
        self.deferred_deletes = DeferredDeletes(records=ports.released, sandboxes=self.sandboxes)

    def _new_repair(self, ports: NodePorts, engine: RollCall | None) -> Repair:
        leaks = Leaks(
            stored=self.stored,
            demand=self.demand,
            datapath=ports.datapath,
            sandboxes=self.sandboxes,
            clock=ports.clock,
            observer=ports.observer,
            relist=self.pod_resync.request,
            engine=engine,
        )
        return Repair(
            stored=self.stored,
            datapath=ports.datapath,
            sandboxes=self.sandboxes,
            observer=ports.observer,
            leaks=leaks,
        )

    # What the watches show.

    def pool_seen(self, pool: NodeIPPool) -> None:
        """This node's NodeIPPool was listed, added or changed: its spec, or a grant in its status."""
        self.reconciler.pool_seen(pool)

    def pool_gone(self) -> None:
        """This node's NodeIPPool was deleted."""
        self.reconciler.pool_gone()

    def pod_seen(self, body: Mapping[str, Any]) -> None:
        """A pod of this node was listed, added or changed."""
        self.demand.observe_pod(body)
        self._pods_changed()

    def pod_gone(self, uid: str) -> None:
        """A pod of this node was deleted, or has ended."""
        self.demand.forget_pod(uid)
        self.reconciler.wake()

    def namespace_seen(self, body: Mapping[str, Any]) -> None:
        """A namespace was listed, added or changed."""
        self.egress.namespace_seen(body)

    def namespace_gone(self, name: str) -> None:
        """A namespace was deleted."""
        self.egress.namespace_gone(name)

    def _pods_changed(self) -> None:
        self.egress.pods_changed()
        self.reconciler.wake()
