"""What a Windows node asks over the network: the fake Azure and an API server, served by a thread of this process.

Tests look at both from their own thread, between calls of the node.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import AsyncExitStack
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final, Self

from fakeazure import FakeAzure
from fakes.kubeapi import NODES, TOKEN, FakeKubeAPI
from windows.node import SERVICE_ACCOUNT, WindowsNode
from windows.wine import windows_path

NAME: Final = "vm1"
PRIMARY: Final = IPv4Address("10.240.0.4")
METRICS_PORT: Final = 9810
_START_S: Final = 60.0


class Surroundings:
    """Serves from `start` to `stop`. `directory` gets certificates."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.azure = FakeAzure(seed=7, operation_duration_s=0.05, throttling=False)
        self.azure.add_vnet()
        self.mac = self.azure.add_vm(NAME, address=str(PRIMARY)).mac.replace("-", ":").lower()
        self.azure.pin_caller(NAME)
        self.api = FakeKubeAPI()
        self.api.put(NODES, NAME)
        self._environ: dict[str, str] = {}
        self._started = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="surroundings")

    def settings_on(self, node: WindowsNode) -> dict[str, str]:
        """An agent's environment there, and the files of its service account in place."""
        place = node.file(SERVICE_ACCOUNT)
        (place / "token").write_text(TOKEN)
        (place / "ca.crt").write_bytes((self._directory / "ca.pem").read_bytes())
        return self._environ

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._started.wait(_START_S):
            raise TimeoutError(f"the fake Azure and the API server do not serve within {_START_S:.0f} s")
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and self._over is not None:
            self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        async with AsyncExitStack() as stack:
            azure = await stack.enter_async_context(self.azure.serve(directory=self._directory))
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            tls.load_cert_chain(self._directory / "server.pem")
            url = await stack.enter_async_context(self.api.serve(tls=tls))
            self._environ = {
                "KUBERNETES_SERVICE_HOST": "127.0.0.1",
                "KUBERNETES_SERVICE_PORT": url.rpartition(":")[2],
                "AZURE_CNI_NODE_NAME": NAME,
                "AZURE_CNI_METRICS_BIND": "loopback",
                "AZURE_CNI_METRICS_PORT": str(METRICS_PORT),
                "AZURE_CNI_ARM_ENDPOINT": azure.arm,
                "AZURE_CNI_IMDS_ENDPOINT": azure.imds,
                "AZURE_CNI_CA_FILE": windows_path(azure.ca_file),
                "AZURE_CNI_COOLING_S": "1",
                "AZURE_CNI_LOG_FORMAT": "text",
            }
            self._started.set()
            await self._over.wait()
