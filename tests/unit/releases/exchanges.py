"""What agents and controllers of other releases wrote, and how either side is played by it.

`record` wrote it down from the real ones. For a release that does not exist yet, each object has a field that nobody
knows: definitions, agents and controllers of one chart arrive one after the other, so that is what they meet first.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from fakes.cluster import FakeCluster

HERE: Final = Path(__file__).parent
RELEASES: Final = sorted(path.parent.name for path in HERE.glob("*/patches.jsonl"))
NEWER: Final = "a newer release"
UNKNOWN: Final = {"ofANewerRelease": {"some": ["thing"]}}


class Patch(NamedTuple):
    """Of a NodeIPPool's status, by its `agent` or the `controller`."""

    by: str
    status: dict[str, Any]


def patches(release: str) -> list[Patch]:
    """All of an exchange, in order."""
    recorded = RELEASES[-1] if release == NEWER else release
    lines = (json.loads(line) for line in (HERE / recorded / "patches.jsonl").read_text().splitlines())
    exchange = [Patch(**line) for line in lines]
    return [Patch(one.by, _newer(one.status)) for one in exchange] if release == NEWER else exchange


def _newer(value: Any) -> Any:
    """The same with a field more in each object."""
    match value:
        case dict():
            return {key: _newer(child) for key, child in value.items()} | UNKNOWN
        case list():
            return [_newer(child) for child in value]
    return value


class AgentOfThen:
    """Writes into its pool what the agent wrote, each as soon as the controller has answered what came before."""

    def __init__(self, cluster: FakeCluster, name: str, exchange: Sequence[Patch]) -> None:
        self._cluster, self._name = cluster, name
        self._steps = [one.status for one in exchange if one.by == "agent"]
        cluster.pool(name)

    async def live(self) -> None:
        """To the end of what was recorded."""
        for step in self._steps:
            self._cluster.pools.patch(self._name, {"status": self._attested(step)})
            while not self._answered():  # noqa: ASYNC110  # in simulated time, which costs nothing
                await asyncio.sleep(0.1)

    def _attested(self, step: dict[str, Any]) -> dict[str, Any]:
        """The document of then answered another challenge."""
        operation = step.get("nicOperation") or {}
        if not operation.get("document"):
            return step
        challenge = self._cluster.status(self._name)["nicOperationResult"]["challenge"]
        document = f"{challenge} {operation['document'].partition(' ')[2]}"
        return {**step, "nicOperation": {**operation, "document": document}}

    def _answered(self) -> bool:
        status = self._cluster.status(self._name)
        operation, result = (status.get(key) or {} for key in ("nicOperation", "nicOperationResult"))
        asks = status.get("writeIntent", "None") != "None"
        return operation.get("id") == result.get("id") and (not asks or status.get("grantedFor") == status["requestID"])


class ControllerOfThen:
    """Answers an agent as the controller answered its own: the same results in order, and its requests in full."""

    def __init__(self, cluster: FakeCluster, name: str, exchange: Sequence[Patch]) -> None:
        self._cluster, self._name = cluster, name
        results = [one.status["nicOperationResult"] for one in exchange if one.status.get("nicOperationResult")]
        self._results = {
            "identify": [one for one in results if one.get("challenge") or one.get("identity")],
            "vnet": [one for one in results if one.get("vnet")],
            "nic": [one for one in results if one.get("nic")],
        }
        self._grant = next(one.status for one in exchange if "grantedFor" in one.status and one.by == "controller")
        self.refused: list[str] = []
        """What an agent was told that went wrong."""
        cluster.pools.watchers.append(self._see)

    def _see(self, _: Any, after: Mapping[str, Any] | None) -> None:
        if after is not None:
            asyncio.get_running_loop().call_soon(self._answer)

    def _answer(self) -> None:
        status = self._cluster.status(self._name)
        operation, result = (status.get(key) or {} for key in ("nicOperation", "nicOperationResult"))
        answers: dict[str, Any] = {}
        if operation and operation["id"] != result.get("id"):
            answers["nicOperationResult"] = {**self._result_of(operation), "id": operation["id"]}
        if status.get("writeIntent", "None") != "None" and status.get("grantedFor") != status["requestID"]:
            answers |= self._grant | {"granted": status["requested"], "grantedFor": status["requestID"]}
        if answers:
            self._cluster.pools.patch(self._name, {"status": answers})

    def _result_of(self, operation: Mapping[str, Any]) -> dict[str, Any]:
        """The next one of its kind. A read shows the NIC as it was last shown; what is recorded of it is in order."""
        kind = operation["kind"] if operation["kind"] in self._results else "nic"
        recorded = self._results[kind]
        if kind == "nic" and operation["kind"] == "write":
            del recorded[: next(i for i, one in enumerate(recorded) if one["nic"]["etag"] != operation["etag"])]
        return recorded.pop(0) if kind == "identify" and len(recorded) > 1 else recorded[0]
