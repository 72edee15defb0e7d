"""`azure-cni docker`: one process for each VM, the same node as under Kubernetes behind Docker's socket.

It starts as the agent does: the ledger and the kernel first, then the socket, so that containers can end even while
Azure is away; the reconciler beside it. No API server is asked for anything: the pool's object is a file
(`docker.standalone_pool`), and growth is granted by how full Azure says the VNet is (`docker.usage_granter`).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from aiohttp.web import Application, AppRunner

from azure_cni import __version__
from azure_cni.docker import plugin_status
from azure_cni.docker.container_endpoints import ContainerEndpoints
from azure_cni.docker.docker_networks import DockerNetworks
from azure_cni.docker.plugin_methods import DockerPlugin
from azure_cni.docker.ports import VNetUsage
from azure_cni.docker.standalone_pool import LoggedEvents, NobodysPods, NoReleases, StandaloneNode, StandalonePool
from azure_cni.docker.usage_granter import UsageGranter
from azure_cni.entrypoints import web
from azure_cni.entrypoints.azure_wiring import AzurePorts, azure_ports
from azure_cni.entrypoints.cni_listener import RequestBounds, serve_socket
from azure_cni.entrypoints.docker_comparison import compare, engine_roll
from azure_cni.entrypoints.docker_settings import DockerSettings
from azure_cni.entrypoints.docker_socket import ACTIVITY, DockerSocket
from azure_cni.entrypoints.introspection_routes import add_introspection
from azure_cni.entrypoints.metrics import Metrics
from azure_cni.entrypoints.running import kept_up, run_until_stopped, stop_on_signals, unhealthy
from azure_cni.errors import AzureCniError, ConfigInvalid, LedgerError
from azure_cni.host.audit_files import FileAuditStore
from azure_cni.host.files import WholeFile
from azure_cni.host.ledger_store import SqliteLedgerStore
from azure_cni.host.run_directory import make_private
from azure_cni.linux.clock import SystemClock
from azure_cni.linux.datapath import LinuxDatapath
from azure_cni.linux.docker_firewall import DockerFirewall
from azure_cni.node.assembly import Node
from azure_cni.node.audit import AuditTrail
from azure_cni.node.node_settings import NodePorts
from azure_cni.node.pool.reservation_request import ControllerGrants
from azure_cni.node.stored_ledger import DAMAGED

log = logging.getLogger(__name__)

ID_BYTES: Final = 8
"""Of the names of addresses that were requested for nobody yet: no two of a VM are alike."""


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
        self._engine = engine_roll(
            settings.engine, clock=self._clock, audit=self._audit, registry=self._metrics.registry
        )
        azure = azure_ports(
            settings.azure, settings.nic_writer, pools=self._pool, observer=self._metrics, closing=closing
        )
        self._node = node = Node(self._ports(azure, store, node_name), settings.node, engine=self._engine)
        self._metrics.watch_pool(stored=node.stored, state=node.state, clock=self._clock)
        self._networks = DockerNetworks(WholeFile(settings.state_dir / "docker-networks.json"))
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
            grants=ControllerGrants(),
            pools=self._pool,
            node=StandaloneNode(node_name, uid=_machine_id()),
            pods=NobodysPods(),
            pod_conditions=NobodysPods(),
            events=LoggedEvents(),
            datapath=self._datapath,
            store=store,
            released=NoReleases(),
            clock=self._clock,
            observer=self._metrics,
            audit=self._audit,
        )

    async def run(self) -> None:
        """Start, serve, stop."""
        stop_on_signals(self._stop)
        await self._node.repair.verify_ledger()
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
            **({"audit": kept_up(self._audit.run, "audit", faults)} if self._audit else {}),
        }

    async def _serve_docker(self) -> None:
        settings, node = self._settings, self._node
        endpoints = ContainerEndpoints(
            node,
            datapath=self._datapath,
            handover=self._datapath,
            forwarding=DockerFirewall(),
            clock=self._clock,
            new_id=lambda: secrets.token_hex(ID_BYTES),
            wait_s=settings.wait_s,
            joined=self._engine.request if self._engine else lambda: None,
        )
        plugin = DockerPlugin(networks=self._networks, endpoints=endpoints, state=node.state)
        server = DockerSocket(
            plugin,
            status=self._status,
            faults=node.faults,
            observer=self._metrics,
            extend=self._add_introspection,
            bounds=RequestBounds(answer_s=RequestBounds().answer_s + settings.wait_s),
        )
        runner = AppRunner(server.application(), access_log=None, handle_signals=False)
        await runner.setup()
        self._closing.push_async_callback(runner.cleanup)
        _make_parent(settings.socket)
        await serve_socket(runner, settings.socket, requests=server.requests, faults=node.faults, activity=ACTIVITY)
        self._closing.callback(settings.socket.unlink, missing_ok=True)
        log.info("serving docker", extra={"socket": str(settings.socket), "version": __version__})
        await asyncio.Event().wait()

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

    def _status(self) -> dict[str, Any]:
        return plugin_status.document(
            self._pool.shown,
            self._node.stored.ledger,
            self._node.state,
            networks=self._networks.ids,
            unready="" if self._node.state.can_take_a_pod else self._node.state.forecast.message,
            engine=self._engine.report if self._engine else None,
        )

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


def _make_parent(path: Path) -> None:
    """Docker itself makes /run/docker/plugins only when it starts, and may start after us."""
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise AzureCniError(f"cannot make {path.parent} for the plugin's socket: {error.strerror}") from error
