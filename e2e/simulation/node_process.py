"""Many nodes in one process, on a loop of the run's pace, with one watch of the pools for all of them.

In the product each node has kopf watch its own pool, in a thread. A thousand threads would be a load of their own, so
here one plain watch is shared, and what it shows is handed to the node that it is about. Lines on standard input name
nodes that have gone away or come back; which of both a file says.
"""

import asyncio
import logging
import sys

import aiohttp
import msgspec

from azure_cni.api.node_ip_pool import parse
from azure_cni.entrypoints import logs
from azure_cni.kube.client import KubeEndpoint, open_session
from azure_cni.kube.pools import COLLECTION
from simulation.controller_process import patient_with_the_api_server
from simulation.node import SimulationNode
from simulation.plan import AzureFacts, Run, gone_file

log = logging.getLogger(__name__)

AGAIN_S = 5.0
LARGEST_OBJECT = 1 << 22


class _Meta(msgspec.Struct):
    name: str = ""
    resourceVersion: str = ""  # noqa: N815  # Kubernetes' name


class _Head(msgspec.Struct):
    metadata: _Meta


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _List(msgspec.Struct):
    metadata: _Meta
    items: list[msgspec.Raw]


class Nodes:
    """The nodes of this process."""

    def __init__(self, run: Run, share: int) -> None:
        self._run = run
        self._azure = AzureFacts.load(run.directory)
        scenario = run.scenario
        self._demands = {
            name: (scenario.demand_of(index), scenario.early_of(index))
            for index, name in enumerate(scenario.honest_names)
            if index % scenario.node_processes == share
        }
        self._nodes: dict[str, SimulationNode] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until the process is ended."""
        late = self._run.pace.elapsed_s() > self._run.scenario.start_s
        async with asyncio.TaskGroup() as tasks:
            for number, name in enumerate(self._demands):
                after_s = 0.0 if late else self._run.scenario.start_s * number / len(self._demands)
                self._look_at(name, tasks, after_s=after_s)
            tasks.create_task(self._watch())
            tasks.create_task(self._listen(tasks))

    def _look_at(self, name: str, tasks: asyncio.TaskGroup, *, after_s: float = 0.0) -> None:
        """Let the node live if there is one, and end what lived under its name before."""
        self._nodes.pop(name, None)
        if task := self._tasks.pop(name, None):
            task.cancel()
        if not gone_file(self._run.directory, name).exists():
            demand, early = self._demands[name]
            node = SimulationNode(self._run, self._azure, name=name, demand=demand, early=early)
            self._nodes[name] = node
            self._tasks[name] = tasks.create_task(node.run(after_s=after_s), name=name)

    async def _listen(self, tasks: asyncio.TaskGroup) -> None:
        """Names of nodes that go away or come back, one a line."""
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            name = line.decode().strip()
            if name in self._demands:
                self._look_at(name, tasks)

    async def _watch(self) -> None:
        """List, then watch, again and again."""
        endpoint = KubeEndpoint(self._run.api_url, token=self._run.token, ca_file=self._run.api_ca)
        async with open_session(endpoint) as session:
            while True:
                try:
                    await self._follow(session, await self._list(session))
                except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError) as error:
                    log.info("watch ended", extra={"error": str(error) or type(error).__name__})
                await asyncio.sleep(AGAIN_S)

    async def _list(self, session: aiohttp.ClientSession) -> str:
        url = f"{self._run.api_url}{COLLECTION}?resourceVersion=0"
        async with session.get(url, raise_for_status=True) as response:
            whole = msgspec.json.decode(await response.read(), type=_List)
        for item in whole.items:
            self._dispatch("MODIFIED", item)
        return whole.metadata.resourceVersion

    async def _follow(self, session: aiohttp.ClientSession, version: str) -> None:
        url = f"{self._run.api_url}{COLLECTION}?watch=1&resourceVersion={version}"
        async with session.get(url, raise_for_status=True, read_bufsize=LARGEST_OBJECT) as response:
            while line := await response.content.readline():
                event = msgspec.json.decode(line, type=_Event)
                if event.type == "ERROR":
                    return
                self._dispatch(event.type, event.object)

    def _dispatch(self, what: str, raw: msgspec.Raw) -> None:
        node = self._nodes.get(msgspec.json.decode(raw, type=_Head).metadata.name)
        if node is None:
            return
        if what == "DELETED":
            node.pool_gone()
        else:
            node.pool_seen(parse(msgspec.json.decode(raw)))


def main(path: str, share: str) -> None:
    """Run until ended."""
    run = Run.load(path)
    logs.set_up_logs(level="warning", style="text")
    patient_with_the_api_server(run)

    async def live() -> None:
        await Nodes(run, int(share)).run()

    run.pace.run(live)


if __name__ == "__main__":
    main(*sys.argv[1:])
