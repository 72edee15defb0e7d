"""Ports of a node behind which there is nothing: no pods to list again, and no DEL that found no agent."""

from collections.abc import Mapping, Sequence
from typing import Any

from azure_cni.api.pod_annotations import PodCondition
from azure_cni.ipam.address_state import Sandbox
from azure_cni.node.recorded_deletes import Record, Records


class NoPods:
    """Implements `azure_cni.node.ports.PodList`: what the node knows of its pods, it was given directly."""

    async def list(self) -> Sequence[Mapping[str, Any]]:
        return ()


class NoPodConditions:
    """Implements `azure_cni.node.ports.PodConditions`: no pod asks for one."""

    async def write(self, pod: Mapping[str, str], condition: PodCondition) -> None:
        raise AssertionError(f"a condition for {pod['name']}: {condition}")


class NoRecords:
    """Implements `azure_cni.node.recorded_deletes.ReleasedRecords`: there is no binary that could write one."""

    def names(self) -> tuple[str, ...]:
        return ()

    def read(self, names: Sequence[str]) -> Records:  # noqa: ARG002  # the port's
        return Records()

    def name_of(self, sandbox: Sandbox) -> str:
        return str(sandbox)

    def has(self, name: str) -> bool:  # noqa: ARG002  # the port's
        return False

    def acknowledge(self, record: Record) -> None: ...
