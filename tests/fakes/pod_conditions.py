"""The `PodConditions` port in memory."""

from __future__ import annotations

from collections.abc import Mapping

from azure_cni.api.pod_annotations import PodCondition
from azure_cni.errors import KubeError


class FakePodConditions:
    """Keeps what was written last, by the pod's name. `fail_next` is raised by the next write, then forgotten;
    `refused`, by the pod's name, by each write of that pod.
    """

    def __init__(self) -> None:
        self.written: dict[str, PodCondition] = {}
        self.writes = 0
        self.tries = 0
        self.fail_next: KubeError | None = None
        self.refused: dict[str, KubeError] = {}

    async def write(self, pod: Mapping[str, str], condition: PodCondition) -> None:
        self.tries += 1
        error, self.fail_next = self.fail_next or self.refused.get(pod["name"]), None
        if error is not None:
            raise error
        self.writes += 1
        self.written[pod["name"]] = condition
