"""`azure-cni docker`: one process for each VM, the same node as under Kubernetes behind Docker's socket.

It starts as the agent does: the ledger and the kernel first, then the socket, so that containers can end even while
Azure is away; the reconciler beside it. No API server is asked for anything: the pool's object is a file
(`docker.standalone_pool`), and growth is granted by how full Azure says the VNet is (`docker.usage_granter`).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from aiohttp.web import Application

from azure_cni import __version__
from azure_cni.docker.ports import VNetUsage
from azure_cni.docker.standalone_pool import LoggedEvents, NobodysPods, NoReleases, StandaloneNode, StandalonePool
from azure_cni.docker.usage_granter import UsageGranter
from azure_cni.entrypoints import web
from azure_cni.entrypoints.azure_wiring import AzurePorts, azure_ports
from azure_cni.entrypoints.cni_service import UnixSockets, installation_on, serve_cni
from azure_cni.entrypoints.docker_comparison import compare, engine_roll
from azure_cni.entrypoints.docker_service import docker_networks, pool_document, serve_docker
from azure_cni.entrypoints.docker_settings import DockerSettings
from azure_cni.entrypoints.introspection_routes import add_introspection
from azure_cni.entrypoints.metrics import Metrics
from azure_cni.entrypoints.running import attempt, kept_up, run_until_stopped, stop_on_signals, unhealthy
from azure_cni.errors import ConfigInvalid, LedgerError
from azure_cni.host.audit_files import FileAuditStore
from azure_cni.host.docker_engine import DockerEngine
from azure_cni.host.files import WholeFile
from azure_cni.host.ledger_store import SqliteLedgerStore
from azure_cni.host.run_directory import Released, make_private
from azure_cni.linux.clock import SystemClock
from azure_cni.linux.datapath import LinuxDatapath
from azure_cni.node.assembly import Node
from azure_cni.node.audit import AuditTrail
from azure_cni.node.node_settings import NodePorts
from azure_cni.node.pool.reservation_request import ControllerGrants
from azure_cni.node.stored_ledger import DAMAGED

log = logging.getLogger(__name__)


async def run_docker(settings: DockerSettings) -> None:
    """Serve Docker until asked to stop, or raise what went wrong."""
    async with AsyncExitStack() as closing:
        await DockerProcess(settings, closing=closing).run()


class DockerProcess:
    """The node over its adapters, and Docker's socket in front of it. Built on the running loop."""

    def __init__(self, settings: DockerSettings, *, closing: AsyncExitStack) -> None:
        self._settings = settings
        self._closing = closing
        self._stop = asyncio.Event()
        self._metrics = Metrics()
        self._clock = SystemClock()
        make_private(settings.run_dir)
        store = SqliteLedgerStore(settings.run_dir / "ledger.sqlite")
        closing.callback(store.close)
        self._datapath = LinuxDatapath(processes=Path("/proc"))
        closing.push_async_callback(self._datapath.close)
        self._pool = StandalonePool(WholeFile(settings.run_dir / "pool.json"))
        node_name = socket.gethostname()
        self._audit = (
            AuditTrail(FileAuditStore(settings.audit), clock=self._clock, node=node_name) if settings.audit else None
        )
        self._engine = (
            engine_roll(
                DockerEngine.at(settings.engine),
                clock=self._clock,
                audit=self._audit,
                registry=self._metrics.registry,
            )
            if settings.engine
            else None
        )
        azure = azure_ports(
            settings.azure, settings.nic_writer, pools=self._pool, observer=self._metrics, closing=closing
        )
        self._node = node = Node(self._ports(azure, store, node_name), settings.node, engine=self._engine)
        self._metrics.watch_pool(stored=node.stored, state=node.state, clock=self._clock)
        self._installation = (
            installation_on(
                settings.cni,
                state=node.state,
                stored=node.stored,
                wake=node.reconciler.wake,
                node=None,
                clock=self._clock,
            )
            if settings.cni
            else None
        )
        self._networks = docker_networks(settings.state_dir)
        self._granter = UsageGranter(
            self._pool,
            _usage(azure),
            quota=settings.quota,
            show=node.pool_seen,
            clock=self._clock,
            faults=node.faults,
        )

    def _ports(self, azure: AzurePorts, store: SqliteLedgerStore, node_name: str) -> NodePorts:
        return NodePorts(
            cloud=azure.cloud,
            nic_of=azure.nic_of,
            shown_addresses=azure.shown_addresses,
            grants=ControllerGrants(),
            pools=self._pool,
            node=StandaloneNode(node_name, uid=_machine_id()),
            pods=NobodysPods(),
            pod_conditions=NobodysPods(),
            events=LoggedEvents(),
            datapath=self._datapath,
            store=store,
            released=Released(self._settings.run_dir / "released") if self._settings.cni else NoReleases(),
            clock=self._clock,
            observer=self._metrics,
            audit=self._audit,
        )

    async def run(self) -> None:
        """Start, serve, stop."""
        stop_on_signals(self._stop)
        await attempt(self._node.deferred_deletes.carry_out_some, "deferred_deletes", self._node.faults)
        await self._node.repair.verify_ledger()
        if self._installation is not None:
            self._installation.begin()
        message = "stopping; containers keep their network"
        await run_until_stopped(self._works(), stop=self._stop, message=message, facts={"version": __version__})

    def _works(self) -> Mapping[str, Coroutine[Any, Any, None]]:
        faults = self._node.faults
        shown = web.Shown(registry=self._metrics.registry, healthy=self._unhealthy, ready=self._unready)
        return {
            "plugin": self._serve_docker(),
            "web": web.serve(self._settings.web, shown, faults=faults),
            "ledger": self._end_when_damaged(),
            "reconciler": self._node.reconciler.run(),
            "granter": self._granter.run(),
            "host_watch": kept_up(self._node.host_watch.run, "host_watch", faults),
            **({"docker_engine": compare(self._engine, self._node)} if self._engine else {}),
            **self._cni_works(),
            **({"audit": kept_up(self._audit.run, "audit", faults)} if self._audit else {}),
        }

    def _cni_works(self) -> Mapping[str, Coroutine[Any, Any, None]]:
        """What serves other runtimes, on the same node: none where they are not to be served."""
        if self._installation is None:
            return {}
        run_dir = self._settings.run_dir
        return {
            "cni": serve_cni(
                self._node,
                UnixSockets(run_dir),
                observer=self._metrics,
                closing=self._closing,
                extend=self._add_introspection,
                run_dir=str(run_dir),
            ),
            "install": kept_up(self._installation.run, "install", self._node.faults),
        }

    async def _serve_docker(self) -> None:
        await serve_docker(
            self._node,
            self._settings.socket,
            networks=self._networks,
            datapath=self._datapath,
            clock=self._clock,
            observer=self._metrics,
            status=lambda: pool_document(self._pool.shown, self._node, self._networks, self._engine),
            extend=self._add_introspection,
            closing=self._closing,
            wait_s=self._settings.wait_s,
            engine=self._engine,
        )

    def _add_introspection(self, app: Application) -> None:
        reconciler, faults = self._node.reconciler, self._node.faults
        add_introspection(
            app,
            reconciler.inspector,
            paths=reconciler.path_inspector,
            node_name=socket.gethostname(),
            faults=faults,
            audit=self._audit,
        )

    async def _end_when_damaged(self) -> None:
        """See `azure_cni.faults` for what else ends the process."""
        await self._node.stored.damaged.wait()
        raise LedgerError(DAMAGED)

    def _unhealthy(self) -> str:
        silent_s = self._clock.boottime_s() - self._node.reconciler.last_progress_s
        return unhealthy(silent_s=silent_s, busy_s=self._datapath.busy_s)

    def _unready(self) -> str:
        """A full node is at work."""
        state = self._node.state
        return "" if state.ready else state.forecast.message


def _usage(azure: AzurePorts) -> VNetUsage | None:
    if azure.arm is None:
        return None
    from azure_cni.azure.vnets import ArmVNets

    return ArmVNets(azure.arm)


def _machine_id(path: Path = Path("/etc/machine-id")) -> str:
    """By which the pool's object differs from one of another machine with this name."""
    try:
        return path.read_text().strip() or "unknown"
    except OSError as error:
        raise ConfigInvalid(f"cannot read {path}: {error.strerror}; systemd-machine-id-setup makes it") from error
