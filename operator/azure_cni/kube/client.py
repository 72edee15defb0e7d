"""A thin client of the Kubernetes API server, for the few calls that kopf does not make.

Plain documents in and out, JSON merge patches, the service account's token read again whenever its file changes, and
the server's Status translated once into `azure_cni.errors`. No generated models: the `kubernetes` package would cost
each node more memory than the rest of this adapter. No retries: whoever asks knows whether asking again makes sense.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import msgspec

from azure_cni import __version__
from azure_cni.errors import KubeDenied
from azure_cni.kube import tls
from azure_cni.kube.errors_map import from_status, unreachable

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
MERGE_PATCH: Final = "application/merge-patch+json"
REQUEST_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class KubeEndpoint:
    """Where the API server is, and how to be known and sure there.

    `token_file` is read again whenever it changes (the kubelet renews it); `token` is for callers without a file.
    Without `ca_file` the system's authorities are trusted.
    """

    url: str
    token_file: Path | None = None
    token: str = ""
    ca_file: Path | None = None

    @classmethod
    def in_cluster(cls, host: str, port: str, *, directory: Path = SERVICE_ACCOUNT) -> KubeEndpoint:
        """For a pod: host and port as in KUBERNETES_SERVICE_HOST and _PORT, the rest from the mounted account."""
        literal = f"[{host}]" if ":" in host else host
        return cls(f"https://{literal}:{port}", token_file=directory / "token", ca_file=directory / "ca.crt")


class KubeClient:
    """One session with the API server. Every method raises only KubeError."""

    def __init__(self, endpoint: KubeEndpoint, *, timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        self._endpoint = endpoint
        self._token = _Token(endpoint)
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; the client is not used after it."""
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str) -> dict[str, Any]:
        """One object."""
        return await self._call("GET", path)

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """A new object in the collection at `path`; KubeConflict when it exists already."""
        return await self._call("POST", path, body)

    async def merge_patch(self, path: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        """Change an object (RFC 7386: None removes) and return it.

        A `metadata.resourceVersion` in the patch makes it a compare-and-swap: KubeConflict when the object changed.
        """
        return await self._call("PATCH", path, patch, content_type=MERGE_PATCH)

    async def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, content_type: str = "application/json"
    ) -> dict[str, Any]:
        headers = {"Accept": "application/json", **self._token.header()}
        if body is not None:
            headers["Content-Type"] = content_type
        data = None if body is None else msgspec.json.encode(body)
        try:
            async with self._open().request(
                method, self._endpoint.url + path, data=data, headers=headers, allow_redirects=False
            ) as response:
                content = await response.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise unreachable(method, path, url=self._endpoint.url, error=error) from error
        document = _document(content)
        if response.status >= 400:  # noqa: PLR2004  # HTTP: 4xx and 5xx
            raise from_status(method, path, status=response.status, body=document)
        return document

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=tls.context(self._endpoint.ca_file), limit=8),
                timeout=self._timeout,
                headers={"User-Agent": f"azure-cni/{__version__}"},
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


class _Token:
    """The bearer token as it is now: its file is read again when the kubelet has replaced it."""

    def __init__(self, endpoint: KubeEndpoint) -> None:
        self._path = endpoint.token_file
        self._value = endpoint.token
        self._seen: tuple[int, int] | None = None

    def header(self) -> dict[str, str]:
        if self._path is not None:
            self._refresh(self._path)
        return {"Authorization": f"Bearer {self._value}"} if self._value else {}

    def _refresh(self, path: Path) -> None:
        try:
            stat = path.stat()
            if (stat.st_mtime_ns, stat.st_ino) != self._seen:
                self._value = path.read_text().strip()
                self._seen = (stat.st_mtime_ns, stat.st_ino)
        except OSError as error:
            raise KubeDenied(
                f"cannot read the service account's token {path}: {error.strerror}; "
                "is automountServiceAccountToken off for this pod?"
            ) from error


def _document(content: bytes) -> dict[str, Any]:
    """The body as a map; a proxy's page or plain text becomes the message of a Status."""
    try:
        document = msgspec.json.decode(content)
    except msgspec.DecodeError:
        document = None
    if isinstance(document, dict):
        return document
    return {"kind": "Status", "message": content[:200].decode(errors="replace").strip()}
