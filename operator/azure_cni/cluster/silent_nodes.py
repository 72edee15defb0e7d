"""Which nodes' pods do not really wait: those of nodes that Kubernetes has not heard from for a while.

A NodeIPPool goes on saying that pods wait when its node is down, and idle addresses of other nodes would be taken back
for nobody. So the Node of each one for which addresses are taken back is looked at: once the kubelet has been silent
for some 40 seconds, Kubernetes makes its condition Ready Unknown. (False is no sign of that: a kubelet says it of
itself, also because a pod gets no address.) What such a node was granted stays in the ledger, because what is on its
NIC is not known; only its pods count no more, until it is heard from again.

The API server is asked beside the rounds of grants, once in a while for each such node.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Final

from azure_cni.cluster.ports import ClusterPorts
from azure_cni.errors import AzureCniError
from azure_cni.faults import Faults
from azure_cni.quota.node_record import NodeRecord

log = logging.getLogger(__name__)

AGAIN_S: Final = 20.0
"""How often the Node of one of them is read."""
SPACING_S: Final = 0.1
"""Between two of them."""
LOOK_S: Final = 2.0


class SilentNodes:
    """Of one VNet. `starving` says for which nodes addresses are taken back; `found` is called when one turns."""

    def __init__(
        self, *, ports: ClusterPorts, starving: Callable[[], Collection[str]], found: Callable[[], None]
    ) -> None:
        self._ports = ports
        self._starving = starving
        self._found = found
        self._faults = Faults(ports.observer.internal_error)
        self._silent: set[str] = set()
        self._looked_s: dict[str, float] = {}
        """When each was last looked at."""

    def without_their_pods(self, nodes: Iterable[NodeRecord]) -> list[NodeRecord]:
        """The nodes, those that are silent without pods that wait."""
        return [replace(node, waiting=0) if node.name in self._silent else node for node in nodes]

    async def run(self) -> None:
        """Until cancelled: look at one after another."""
        while True:
            for name in self._due():
                await self._look_at(name)
                await asyncio.sleep(SPACING_S)
            await asyncio.sleep(LOOK_S)

    def _due(self) -> list[str]:
        now_s, wanted = self._ports.clock.monotonic_s(), self._silent.union(self._starving())
        self._looked_s = {name: at_s for name, at_s in self._looked_s.items() if name in wanted}
        return sorted(name for name in wanted if now_s >= self._looked_s.get(name, float("-inf")) + AGAIN_S)

    async def _look_at(self, name: str) -> None:
        self._looked_s[name] = self._ports.clock.monotonic_s()
        try:
            with self._faults.guard("node", about=name):
                silent = await self._ports.nodes.is_silent(name)
        except AzureCniError as error:  # what was found before still counts
            log.info("cannot find out whether a node is silent", extra={"node": name, "error": str(error)})
            return
        if silent == (name in self._silent):
            return
        if silent:
            self._silent.add(name)
            log.warning("a node is silent: nothing is taken back for its pods", extra={"node": name})
        else:
            self._silent.remove(name)
            log.info("a node is heard from again", extra={"node": name})
        self._found()
