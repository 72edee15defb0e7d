"""What became of what pods ask to have attached, shown on the pods: a condition for those that wait for it, and events.

A task of its own, for neither a pass of the pool task nor the status waits for an API server that is slow.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from azure_cni.api.conditions import LONGEST_SENTENCE
from azure_cni.api.pod_annotations import LOAD_BALANCER_ATTACHED, PodCondition
from azure_cni.errors import AzureCniError, KubeError, KubeInvalid, KubeNotFound
from azure_cni.faults import Faults
from azure_cni.ipam.attachment_outcome import Outcome, on_node_network
from azure_cni.model.text import shortened
from azure_cni.node.pods.demand import Pod
from azure_cni.node.pool.pod_attachments import PodAttachments
from azure_cni.node.pool.pool_state import NodeCore

log = logging.getLogger(__name__)

PERIOD_S: Final = 5.0
RETRY_S: Final = 10.0
"""After a condition that could not be written, or a look that failed."""
REST_S: Final = 0.5
"""After a look: a pod's owner may change its annotation as fast as the API server takes it."""
EVENT_PERIOD_S: Final = 600.0
"""How often the event of a problem that lasts is counted up; the API server keeps an event for an hour."""
SETTLES_S: Final = 10.0
"""How long the watch may take to show a condition that was written."""


@dataclass(frozen=True, slots=True)
class _Said:
    """The newest words about a pod, and the boot time at which they were written."""

    outcome: Outcome
    at_s: float


class PodReports:
    """Writes what pods' owners read. `wake` after whatever may have changed an outcome."""

    def __init__(self, core: NodeCore, *, pod_attachments: PodAttachments) -> None:
        self._core = core
        self._pod_attachments = pod_attachments
        self._woken = asyncio.Event()
        self._events: dict[str, _Said] = {}
        self._conditions: dict[str, _Said] = {}
        self._retry_at_s: dict[str, float] = {}
        """The pods, by UID, whose condition could not be written, and when it is tried again."""

    def wake(self) -> None:
        """Look soon."""
        self._woken.set()

    async def run(self, faults: Faults) -> None:
        """Until cancelled."""
        while True:
            await self._rest()
            try:
                with faults.guard("pod reports"):
                    await self.report()
            except AzureCniError as error:
                log.warning("pods not looked at", extra={"reason": error.reason, "error": str(error)})
                await asyncio.sleep(RETRY_S)
                self._woken.set()
            else:
                await asyncio.sleep(REST_S)

    async def _rest(self) -> None:
        """Until woken, or for a while: what the pool task waits for in Azure may take minutes."""
        try:
            async with asyncio.timeout(PERIOD_S):
                await self._woken.wait()
        except TimeoutError:
            pass
        self._woken.clear()

    async def report(self) -> None:
        """One look at all pods."""
        demand = self._core.demand
        concerned, in_vain = ([pod for pod in pods if pod.asks] for pods in (demand.pods, demand.asking_in_vain))
        uids = {pod.uid for pod in (*concerned, *in_vain)}
        self._events = {uid: said for uid, said in self._events.items() if uid in uids}
        self._conditions = {uid: said for uid, said in self._conditions.items() if uid in uids}
        self._retry_at_s = {uid: at_s for uid, at_s in self._retry_at_s.items() if uid in uids}
        alive = [pod for pod in concerned if not pod.ending]
        theirs = [(pod, on_node_network(gated=pod.gated)) for pod in in_vain if not pod.ending]
        for pod, result in (*self._pod_attachments.outcomes(alive), *theirs):
            await self._publish(pod, result)
            if pod.gated and self._core.settings.attachable:
                await self._write(pod, result)

    async def _publish(self, pod: Pod, result: Outcome) -> None:
        if not result.problem:
            self._events.pop(pod.uid, None)
            return
        said, now_s = self._events.get(pod.uid), self._now_s()
        if said is not None and said.outcome == result and now_s - said.at_s < EVENT_PERIOD_S:
            return
        self._events[pod.uid] = _Said(result, now_s)
        await self._core.ports.events.publish(
            pod.reference, kind="Warning", reason=result.reason, message=result.message
        )

    async def _write(self, pod: Pod, result: Outcome) -> None:
        """Set the condition, unless the pod has it, or it was set or refused a moment ago.

        What refuses one pod's (somebody else's policy) holds up no other's.
        """
        message = shortened(result.message, LONGEST_SENTENCE)
        wanted = PodCondition(LOAD_BALANCER_ATTACHED, result.done, result.reason, message)
        said, now_s = self._conditions.get(pod.uid), self._now_s()
        if pod.attached == wanted or (said is not None and said.outcome == result and now_s - said.at_s < SETTLES_S):
            return
        if now_s < self._retry_at_s.get(pod.uid, now_s):
            return
        self._conditions[pod.uid] = _Said(result, now_s)
        try:
            await self._core.ports.pod_conditions.write(pod.reference, wanted)
        except (KubeNotFound, KubeInvalid):
            return  # it is gone, and perhaps another has its name: the watch will show that
        except KubeError as error:
            del self._conditions[pod.uid]
            if pod.uid not in self._retry_at_s:
                facts = {"pod": f"{pod.namespace}/{pod.name}", "reason": error.reason, "error": str(error)}
                log.warning("condition of a pod not written", extra=facts)
            self._retry_at_s[pod.uid] = self._now_s() + RETRY_S
        else:
            self._retry_at_s.pop(pod.uid, None)

    def _now_s(self) -> float:
        return self._core.ports.clock.boottime_s()
