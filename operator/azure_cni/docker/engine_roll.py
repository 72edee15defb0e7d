"""Asks Docker's engine from time to time which endpoints have a container: what crashes left is found by that.

`node.pods.leaks` does the rest, as for pods: an endpoint without a container is suspect, for a minute; then the list is
read once more; then, as long as its link is there, processes are looked for in its namespace. So it never rests on
Docker's word alone that a container is gone: an engine that has lost its state, or another engine at that socket, takes
nothing from containers that run.

The engine is not needed. Until it has answered once, an endpoint is given back when Docker says so, or when its link
has been gone for a minute. Once it has, its last answer stands for as long as it is silent.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Collection, Iterable
from typing import Final

from azure_cni.docker.container_endpoints import IFNAME
from azure_cni.docker.engine_view import (
    CONTAINERS_PATH,
    NETWORKS_PATH,
    EngineReport,
    EngineView,
    network_path,
    read_containers,
    read_networks,
    read_places,
    viewed,
)
from azure_cni.docker.ports import Engine
from azure_cni.errors import AzureCniError
from azure_cni.faults import Faults
from azure_cni.ipam.address_state import Holder
from azure_cni.node.pods.liveness import Presence
from azure_cni.node.ports import Clock

log = logging.getLogger(__name__)

ACTIVITY: Final = "docker_engine"
"""Its name where work is counted and logged."""

PERIOD_S: Final = 30.0
PAUSE_S: Final = 2.0
"""Between two readings at least, however often one is requested."""

_DOCKER_ID: Final = re.compile("[0-9a-f]{64}")
"""Of networks and endpoints; those of a swarm's networks are shorter, and refused."""


class EngineRoll:
    """Implements `azure_cni.node.pods.liveness.RollCall`. `learned` is called with each new view."""

    def __init__(self, engine: Engine, *, clock: Clock, learned: Callable[[EngineView], None] = lambda _: None) -> None:
        self._engine = engine
        self._clock = clock
        self._learned = learned
        self._view: EngineView | None = None
        self._wanted = asyncio.Event()
        self.lists_requested = 0
        self.lists_applied = 0
        self._answered_s: float | None = None
        self._error = ""

    @property
    def report(self) -> EngineReport:
        """As of now."""
        age_s = 0.0 if self._answered_s is None else max(0.0, self._clock.boottime_s() - self._answered_s)
        return EngineReport(self._view, age_s, self._error)

    def request(self) -> None:
        """See `RollCall`."""
        self._wanted.set()

    def presence(self, holder: Holder) -> Presence:
        """See `RollCall`. An address that is requested, or whose endpoint is deleted, is of no endpoint."""
        if self._view is None or not is_endpoint(holder):
            return Presence.NO_POD
        return Presence.HERE if holder.sandbox.container_id in self._view.containers else Presence.FORGOTTEN

    async def run(self, endpoints: Callable[[], Iterable[Holder]], faults: Faults) -> None:
        """Read until cancelled. `endpoints` are all holders of now: their networks are asked about."""
        while True:
            self._wanted.clear()
            await self._attempt({holder.sandbox.network for holder in endpoints() if is_endpoint(holder)}, faults)
            try:
                async with asyncio.timeout(PERIOD_S):
                    await self._wanted.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(PAUSE_S)

    async def _attempt(self, networks: Collection[str], faults: Faults) -> None:
        self.lists_requested = number = self.lists_requested + 1
        try:
            with faults.guard(ACTIVITY):
                view = await self._read(networks)
        except AzureCniError as error:
            if not self._error:
                log.warning("docker's containers cannot be listed", extra={"error": str(error)})
            self._error = str(error) or type(error).__name__
            return
        if self._error:
            log.info("docker's containers are listed again", extra={"containers": view.count})
        self._view, self._error, self.lists_applied = view, "", number
        self._answered_s = self._clock.boottime_s()
        self._learned(view)

    async def _read(self, networks: Collection[str]) -> EngineView:
        """A network that Docker does not have is on no list, and nobody is on it."""
        containers = read_containers(await self._engine.get(CONTAINERS_PATH))
        known = read_networks(await self._engine.get(NETWORKS_PATH))
        places = [
            read_places(await self._engine.get(network_path(one)), one) for one in sorted(networks & known.keys())
        ]
        return viewed(containers, known, places)


def is_endpoint(holder: Holder) -> bool:
    """Of Docker, and known to it: Docker draws both IDs at random.

    The name of the interface does not tell: any CNI runtime may give it to its own.
    """
    network, endpoint, ifname = holder.sandbox
    return (
        ifname == IFNAME
        and not holder.pod_name
        and all(_DOCKER_ID.fullmatch(identifier) is not None for identifier in (network, endpoint))
    )
