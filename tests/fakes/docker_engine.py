"""Docker's engine as its own API shows it, in memory: containers, networks, and who is on them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

from azure_cni.errors import AzureCniError

ODD_ANSWERS = (b"", b"null", b"{}", b"[1]", b'[{"Id": 7}]', b"<html>", b"[" * 5000, b'[{"Id": "c1", "Names": {}}]')


def docker_id(name: str) -> str:
    """As Docker's IDs of networks and endpoints look, and the same for the same name."""
    return hashlib.sha256(name.encode()).hexdigest()


NET1: Final = docker_id("net1")


@dataclass
class EngineContainer:
    """`endpoint` is "" without one. Its settings name it only while the container runs; the network does from then on
    that it has been made, by the container's name, and by its ID once it has joined.
    """

    name: str
    network: str = NET1
    endpoint: str = ""
    joined: bool = False
    running: bool = False


class FakeEngine:
    """Implements `azure_cni.docker.ports.Engine`."""

    def __init__(self) -> None:
        self.networks = {NET1: "vnet", "bridge-id": "bridge"}
        self.containers: dict[str, EngineContainer] = {}
        self.silent = False
        """No daemon listens."""
        self.says: bytes | None = None
        """The answer to whatever is asked, instead of the true one."""
        self.asked: list[str] = []

    async def get(self, path: str) -> bytes:
        self.asked.append(path)
        if self.silent:
            raise AzureCniError(f"cannot ask Docker for {path}: Connection refused")
        if self.says is not None:
            return self.says
        return json.dumps(self._answer(path)).encode()

    def _answer(self, path: str) -> Any:
        if path == "/containers/json?all=1":
            return [self._container(identifier, one) for identifier, one in self.containers.items()]
        if path == "/networks":
            return [{"Id": identifier, "Name": name, "Driver": "x"} for identifier, name in self.networks.items()]
        network = path.removeprefix("/networks/")
        if network not in self.networks:
            raise AzureCniError(f"cannot ask Docker for {path}: it answers 404: no such network")
        places = {
            (identifier if one.joined else f"ep-{one.endpoint}"): {"Name": one.name, "EndpointID": one.endpoint}
            for identifier, one in self.containers.items()
            if one.network == network and one.endpoint
        }
        return {"Id": network, "Name": self.networks[network], "Containers": places}

    def _container(self, identifier: str, one: EngineContainer) -> dict[str, Any]:
        attached = {"NetworkID": one.network, "EndpointID": one.endpoint if one.running else "", "IPAddress": ""}
        return {
            "Id": identifier,
            "Names": [f"/other/{one.name}-link", f"/{one.name}"],
            "State": "running" if one.running else "created",
            "NetworkSettings": {"Networks": {self.networks.get(one.network, one.network): attached}},
        }
