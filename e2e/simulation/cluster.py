"""A real etcd and a real kube-apiserver on loopback, and nothing else of Kubernetes: no kubelet, no scheduler.

Whoever has the token may do anything; what others may, `authorization` says. etcd does not fsync. One control plane
serves many runs, one after the other; between them all objects are deleted.
"""

import asyncio
import json
import secrets
import ssl
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from azurebox import tools
from azurebox.facts import REPOSITORY
from azurebox.pki import Authority, signing_key
from simulation.children import Child
from simulation.ports import free_ports

READY_S = 90.0
GROUP = "/apis/azure-cni.io/v1alpha1"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
OURS = (f"{GROUP}/nodeippools", f"{GROUP}/vnetquotas", "/api/v1/nodes", "/api/v1/namespaces/default/events", LEASES)
AT_ONCE = 16
MEMORY = Path("/dev/shm")
"""Where etcd's files are, if there is such a place: a disk that others keep busy would be measured otherwise."""


def new_directory() -> Path:
    """A directory for a cluster; whoever asked removes it."""
    return Path(tempfile.mkdtemp(prefix="azure-cni-simulation-", dir=MEMORY if MEMORY.is_dir() else None))


class Cluster:
    """A control plane in `directory`. `authorization`: AlwaysAllow, or RBAC for all but whoever has its token."""

    def __init__(self, directory: Path, *, authorization: str = "AlwaysAllow") -> None:
        self.directory = directory
        self.token = secrets.token_hex(16)
        self.ca_file = directory / "authority" / "ca.crt"
        ports = free_ports(3)
        self.etcd_url, self.url = f"http://127.0.0.1:{ports[0]}", f"https://127.0.0.1:{ports[2]}"
        peers = f"http://127.0.0.1:{ports[1]}"
        self._write_credentials()
        self.etcd = Child(
            "etcd",
            ["etcd", f"--data-dir={directory}/etcd", "--unsafe-no-fsync", "--logger=zap", "--log-level=warn",
             f"--listen-client-urls={self.etcd_url}", f"--advertise-client-urls={self.etcd_url}",
             f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}",
             f"--initial-cluster=default={peers}", f"--quota-backend-bytes={8 << 30}"],
            directory / "etcd.log",
        )  # fmt: skip
        self.apiserver = Child(
            "kube-apiserver",
            [str(tools.path("kube-apiserver")), f"--etcd-servers={self.etcd_url}", f"--secure-port={ports[2]}",
             "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
             f"--tls-cert-file={directory}/server.crt", f"--tls-private-key-file={directory}/server.key",
             f"--client-ca-file={self.ca_file}", f"--token-auth-file={directory}/tokens.csv",
             f"--authorization-mode={authorization}", "--service-cluster-ip-range=10.97.0.0/24",
             "--service-account-issuer=https://kubernetes.default.svc",
             f"--service-account-key-file={directory}/sa.key",
             f"--service-account-signing-key-file={directory}/sa.key",
             "--disable-admission-plugins=ServiceAccount", f"--cert-dir={directory}",
             "--feature-gates=SizeBasedListCostEstimate=false"],
            directory / "kube-apiserver.log",
        )  # fmt: skip
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Bring it up, with our definitions."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(self.ca_file))),
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=aiohttp.ClientTimeout(total=60),
        )
        self.etcd.start()
        self.apiserver.start()
        await self.ready()
        for file in sorted((REPOSITORY / "crds").glob("*.yaml")):
            definition = yaml.safe_load(file.read_text())
            await self.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
        for path in OURS:
            await self._served(path)

    async def stop(self) -> None:
        """End both processes."""
        self.apiserver.kill()
        self.etcd.kill()
        if self._session is not None:
            await self._session.close()

    async def restart_apiserver(self) -> None:
        """Kill it and start it again."""
        self.apiserver.kill()
        self.apiserver.start()
        await self.ready()

    async def ready(self) -> None:
        """Wait until the API server says so."""
        async with asyncio.timeout(READY_S):
            while True:
                if not (self.apiserver.alive and self.etcd.alive):
                    raise RuntimeError(f"the control plane ended: see {self.apiserver.log} and {self.etcd.log}")
                with suppress(aiohttp.ClientError, OSError):
                    async with self.session.get(f"{self.url}/readyz") as response:
                        if response.ok:
                            return
                await asyncio.sleep(0.1)

    async def call(self, method: str, path: str, body: Any = None, *, kind: str = "application/json") -> Any:
        """One request; a refusal is an aiohttp.ClientResponseError."""
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": kind, "Accept": "application/json"}
        async with self.session.request(method, self.url + path, data=data, headers=headers) as response:
            content = await response.read()
            if response.status >= 400:
                raise aiohttp.ClientResponseError(
                    response.request_info, (), status=response.status, message=content[:300].decode()
                )
            return json.loads(content)

    async def clear(self) -> None:
        """Delete what a run leaves."""
        for path in OURS:
            await self.call("DELETE", path)

    async def add_nodes(self, names: Iterable[str]) -> None:
        """Make Node objects, as kubelets would."""
        places = asyncio.Semaphore(AT_ONCE)

        async def add(name: str) -> None:
            async with places:
                await self.call("POST", "/api/v1/nodes", {"metadata": {"name": name}})

        await asyncio.gather(*(add(name) for name in names))

    async def requests(self) -> dict[str, int]:
        """How many requests there were of each kind of object; watches count when they end, and so not here."""
        async with self.session.get(f"{self.url}/metrics") as response:
            text = await response.text()
        counts: dict[str, int] = {}
        for line in text.splitlines():
            if line.startswith("apiserver_request_total{") and 'verb="WATCH"' not in line:
                resource = line.partition('resource="')[2].partition('"')[0]
                counts[resource] = counts.get(resource, 0) + int(float(line.rpartition(" ")[2]))
        return counts

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the cluster has not been started")
        return self._session

    async def _served(self, path: str) -> None:
        async with asyncio.timeout(READY_S):
            while True:
                with suppress(aiohttp.ClientResponseError):
                    await self.call("GET", f"{path}?limit=1")
                    return
                await asyncio.sleep(0.1)

    def _write_credentials(self) -> None:
        pair = Authority(self.directory / "authority").issue(
            "kube-apiserver", names=("localhost",), addresses=(IPv4Address("127.0.0.1"),)
        )
        files = {"server.crt": pair.certificate, "server.key": pair.key, "sa.key": signing_key()}
        for name, content in (files | {"tokens.csv": f'{self.token},admin,admin,"system:masters"\n'}).items():
            (self.directory / name).touch(mode=0o600)
            (self.directory / name).write_text(content)
