"""A node of a cluster whose agent is a process under the filter of `effects`, on a real kernel.

Azure and the API server are in the node's network namespace, on a thread of their own, and outlive every agent.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final

from azure_cni.entrypoints import settings
from azure_cni.entrypoints.agent import run_agent
from azure_cni.entrypoints.logs import set_up_logs
from azure_cni.host.ledger_store import SqliteLedgerStore
from azure_cni.kube.client import KubeEndpoint
from azure_cni.linux import netns
from azure_cni.model.identity import ModeName
from datapath.agent_vm import environment
from datapath.docker_vm import PRIMARY
from datapath.effects import Child
from datapath.namespaces import Namespaces
from datapath.test_docker_process import Plugin
from fakeazure import Endpoints, FakeAzure
from fakes.kubeapi import NODES, PODS, POOLS, TOKEN, FakeKubeAPI
from fakes.waiting import LOOK_S, PATIENCE_S

CONFIG: Final = {"cniVersion": "1.1.0", "name": "azure-cni", "type": "azure-cni"}


class AgentGone(Exception):
    """Nobody answers a request, or no longer."""


class CrashNode:
    """The node, its surroundings, and one pod's namespace."""

    def __init__(self, namespaces: Namespaces, directory: Path, mode: ModeName) -> None:
        self.node, self.pod = namespaces.new("node"), namespaces.new("pod")
        self.directory, self.mode = directory, mode
        self.azure, self.api = FakeAzure(seed=7), FakeKubeAPI()
        self.azure.add_vnet()
        vm = self.azure.add_vm("vm1", address=PRIMARY)
        self.azure.pin_caller("vm1")
        self.api.put(NODES, "vm1")
        self.api.put(PODS, "web", spec={"nodeName": "vm1"}, status={"phase": "Running"})
        self.node.ip("link", "add", "eth0", "address", vm.mac.replace("-", ":"), "type", "bridge")
        self.node.ip("address", "add", f"{PRIMARY}/22", "dev", "eth0")
        self.node.ip("link", "set", "eth0", "up")
        (directory / "plugin").write_bytes(b"\x7fELF")
        self.agent: Child | None = None
        self._serving = threading.Event()
        self._endpoints: Endpoints | None = None
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._surround, daemon=True)
        self._thread.start()
        assert self._serving.wait(PATIENCE_S)

    def close(self) -> None:
        """The agent ends, then all around it."""
        self.kill()
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(PATIENCE_S)

    def _surround(self) -> None:
        with netns.opened(self.node.path) as there:
            netns.enter(there)
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        async with self.azure.serve() as endpoints, self.api.serve():
            self._endpoints = endpoints
            self._serving.set()
            await self._over.wait()

    # The agent.

    def start(self, *, burns_at: int | None = None) -> None:
        """The next one, whose effects count from its first if it is to be killed."""
        assert self._endpoints is not None
        given = environment(self.directory, self._endpoints, str(self.directory / "plugin"))
        values = {name: value for name, value in given.items() if "DOCKER" not in name}
        values[f"{settings.PREFIX}MODE"] = self.mode.value
        chosen = settings.read(values)

        def work() -> None:
            with netns.opened(self.node.path) as there:
                netns.enter(there)
            set_up_logs(level="info", style="text")
            asyncio.run(run_agent(chosen, api_server=KubeEndpoint(self.api.url, token=TOKEN)))

        self.agent = Child(work, self.directory / "log", armed=burns_at is not None, burns_at=burns_at)

    def kill(self) -> None:
        """With no word."""
        if self.agent is not None:
            self.agent.kill()

    def until(self, fact: Callable[[], bool]) -> None:
        """AgentGone when the agent ends before."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not fact():
            assert self.agent is not None
            if not self.agent.alive:
                raise AgentGone
            assert time.monotonic() < deadline_s, (self.directory / "log").read_text()[-4000:]
            time.sleep(LOOK_S)

    def ready(self) -> None:
        """Until it answers, and pods can start."""
        self.until(lambda: self._answers() and any((self.directory / "net.d").glob("*.conflist")))

    def _answers(self) -> bool:
        try:
            return self._ask("status", "")[0] == 200
        except AgentGone:
            return False

    # The runtime.

    def cni(self, verb: str, container: str = "c1", **config: Any) -> dict[str, Any]:
        """The result of a verb that succeeds; AgentGone where the agent dies in it."""
        code, answer = self._ask(verb, container, **config)
        assert code == 200, f"{verb}: {answer}"
        return answer

    def _ask(self, verb: str, container: str, **config: Any) -> tuple[int, dict[str, Any]]:
        args = {"K8S_POD_NAMESPACE": "default", "K8S_POD_NAME": "web"}
        body = {"containerID": container, "netns": self.pod.path, "ifname": "eth0", "args": args, "path": ""}
        try:
            agent = Plugin(self.directory / "run" / "cni.sock")
            agent.request("POST", f"/cni/v1/{verb}", body=json.dumps({**body, "config": CONFIG | config}))
            answer = agent.getresponse()
            content = answer.read()
        except (OSError, HTTPException) as error:
            raise AgentGone from error
        return answer.status, json.loads(content or b"{}")

    # What must be true.

    @property
    def status(self) -> dict[str, Any]:
        """The pool's."""
        status: dict[str, Any] = next((pool.get("status", {}) for pool in self.api.all(POOLS)), {})
        return status

    def on_nic(self) -> set[str]:
        """The addresses for pods that Azure has on the NIC."""
        configs = self.azure.nic("vm1-nic")["properties"]["ipConfigurations"]
        held = {config["properties"]["privateIPAddress"] for config in configs}
        return held - {PRIMARY}

    def links(self) -> set[str]:
        """Of pods."""
        return {name for name in self.node.links() if name.startswith("acni")}

    def require_whole(self, *, pods: dict[str, str]) -> None:
        """`pods`: the address of each container that runs. The agent is ended to read its ledger."""
        self.until(
            lambda: (self.status.get("assigned"), self.status.get("allocated")) == (len(pods), len(self.on_nic()))
        )
        self.until(lambda: len(self.links()) == len(pods))
        self.kill()
        with SqliteLedgerStore(self.directory / "run" / "ledger.sqlite") as store:
            slots = store.load()
        held = {slot.holder.sandbox.container_id: str(slot.address) for slot in slots if slot.holder}
        assert held == pods, "the ledger and the runtime differ"
        assert {str(slot.address) for slot in slots if slot.on_nic} == self.on_nic(), "ledger and NIC differ"
        assert not list((self.directory / "run" / "released").glob("*.json"))
