"""A thin client of the Kubernetes API server, for the few calls that kopf does not make.

Plain documents in and out, JSON merge patches, the service account's token and the API server's authority read again
whenever their files change, and the server's Status translated once into `azure_cni.errors`. No generated models: the
`kubernetes` package would cost each node more memory than the rest of this adapter. No retries: the caller knows
whether a retry makes sense.
kopf's watches go through a session made here too, so there is one way to the API server and one token.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlencode, urlsplit

import aiohttp
import msgspec

from azure_cni import __version__
from azure_cni.api import reading
from azure_cni.errors import ConfigInvalid, KubeDenied
from azure_cni.kube.authorities import Authorities
from azure_cni.kube.lean_answers import LeanResponse, uncompressed
from azure_cni.kube.status_errors import from_status, not_understood, unreachable, unreadable
from azure_cni.model.text import NOT_JSON, legible

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
MERGE_PATCH: Final = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH: Final = "application/strategic-merge-patch+json"
REQUEST_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class KubeEndpoint:
    """Where the API server is, how to authenticate to it, and how to verify it.

    `token_file` and `ca_file` are read again whenever they change (the kubelet renews them); `token` is for callers
    without a file.
    Without `ca_file` the system's authorities are trusted.
    """

    url: str
    token_file: Path | None = None
    token: str = ""
    ca_file: Path | None = None

    @classmethod
    def in_cluster(cls, environ: Mapping[str, str], *, directory: Path = SERVICE_ACCOUNT) -> KubeEndpoint:
        """For a pod: the address from the environment of every pod, the rest from the mounted service account.

        By address: with the node's own DNS the name `kubernetes.default.svc` means nothing.
        """
        host = environ.get("KUBERNETES_SERVICE_HOST", "")
        if not host:
            raise ConfigInvalid(
                "cannot start: KUBERNETES_SERVICE_HOST is not set; azure-cni runs as a pod of its chart"
            )
        literal = f"[{host}]" if ":" in host else host
        url = f"https://{literal}:{environ.get('KUBERNETES_SERVICE_PORT') or '443'}"
        return cls(url, token_file=directory / "token", ca_file=directory / "ca.crt")


def open_session(
    endpoint: KubeEndpoint,
    *middlewares: aiohttp.ClientMiddlewareType,
    timeout: aiohttp.ClientTimeout | None = None,
    connections: int = 0,
) -> aiohttp.ClientSession:
    """A session that carries the token as it is at each request. Belongs to the running loop; `connections` 0: any."""
    authorities = Authorities(endpoint.ca_file)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=authorities.context, limit=connections),
        timeout=timeout or aiohttp.ClientTimeout(),
        headers={"User-Agent": f"azure-cni/{__version__}"},
        cookie_jar=aiohttp.DummyCookieJar(),
        middlewares=(*middlewares, uncompressed, _Bearer(endpoint, authorities)),
        response_class=LeanResponse,
    )


_TOKEN: Final = re.compile(rb"[\x21-\x7e]*")


class KubeClient:
    """One session with the API server. Every method raises only KubeError."""

    def __init__(self, endpoint: KubeEndpoint, *, timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        self._endpoint = endpoint
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

    async def items(self, path: str, *, timeout_s: float | None = None, **query: str) -> AsyncIterator[dict[str, Any]]:
        """Every object of a collection; `query` as the API server knows it (`fieldSelector`, `limit`).

        With a `limit` the pages are fetched as they are consumed. A collection that changes too much meanwhile ends
        the iteration with KubeNotFound (the server's 410): the items until then are incomplete.
        """
        following, asked = "", set[str]()
        while True:
            parameters = urlencode({**query, **({"continue": following} if following else {})})
            page = await self._call("GET", f"{path}?{parameters}" if parameters else path, timeout_s=timeout_s)
            if "items" not in page:  # null is how Go writes an empty list
                raise not_understood("GET", path, url=self._endpoint.url, wanted="a list", said=", ".join(sorted(page)))
            for item in reading.mappings(page["items"]):
                yield dict(item)
            try:
                following = reading.next_page(reading.metadata_of(page).get("continue"), asked)
            except ValueError as error:
                wanted = "a list that ends"
                raise not_understood("GET", path, url=self._endpoint.url, wanted=wanted, said=str(error)) from error
            if not following:
                return

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """A new object in the collection at `path`; KubeConflict when it exists already."""
        return await self._call("POST", path, body)

    async def merge_patch(self, path: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        """Change an object (RFC 7386: None removes) and return it.

        A `metadata.resourceVersion` in the patch makes it a compare-and-swap: KubeConflict when the object changed.
        """
        return await self._call("PATCH", path, patch, content_type=MERGE_PATCH)

    async def strategic_merge_patch(self, path: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        """As `merge_patch`, for kinds of Kubernetes itself: items of a list are merged by their key (a condition's
        `type`), so that others' stay. A `metadata.uid` in the patch must be the object's: KubeInvalid otherwise.
        """
        return await self._call("PATCH", path, patch, content_type=STRATEGIC_MERGE_PATCH)

    async def delete(self, path: str, *, uid: str, version: str) -> None:
        """Remove an object that is still at that version; KubeConflict when it has changed."""
        preconditions = {"uid": uid, "resourceVersion": version}
        await self._call("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": preconditions})

    async def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        content_type: str = "application/json",
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        timeout = self._timeout if timeout_s is None else aiohttp.ClientTimeout(total=timeout_s)
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = content_type
        data = None if body is None else msgspec.json.encode(body)
        try:
            async with self._open().request(
                method, self._endpoint.url + path, data=data, headers=headers, allow_redirects=False, timeout=timeout
            ) as response:
                content = await response.read()
        except aiohttp.ClientPayloadError as error:
            raise unreadable(method, path, url=self._endpoint.url, error=error) from error
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise unreachable(method, path, url=self._endpoint.url, error=error) from error
        document = _document(content)
        if response.status >= 400:  # noqa: PLR2004  # HTTP: 4xx and 5xx
            raise from_status(method, path, status=response.status, body=document or {"message": _begin(content)})
        if document is None:
            raise not_understood(method, path, url=self._endpoint.url, wanted="an object", said=_begin(content))
        return document

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = open_session(self._endpoint, timeout=self._timeout, connections=8)
        return self._session


def _server_of(url: str) -> str:
    """Scheme, host and port, alike for each spelling: an IPv6 address has several, and the library chooses one."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    with suppress(ValueError):
        host = str(ip_address(host))
    return f"{parts.scheme}://{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


class _Bearer:
    """Adds the bearer token as it is now, and trusts the authority as it is: the kubelet replaces both files.

    Whoever is redirected elsewhere gets neither a token nor an answer: kopf follows redirects, and what another server
    says of the cluster's objects is not to be believed.
    """

    def __init__(self, endpoint: KubeEndpoint, authorities: Authorities) -> None:
        self._authorities = authorities
        self._server = _server_of(endpoint.url)
        self._path = endpoint.token_file
        self._value = endpoint.token
        self._stamp: tuple[int, int] | None = None

    async def __call__(self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        if (there := _server_of(str(request.url))) != self._server:
            raise aiohttp.ClientConnectionError(
                f"cannot follow the redirect of {self._server} to {legible(there)}: the token and the questions are "
                "for the API server alone; does a proxy answer in its place?"
            )
        self._authorities.refresh()
        if self._path is not None:
            self._refresh(self._path)
        if self._value:
            request.headers["Authorization"] = f"Bearer {self._value}"
        return await send(request)

    def _refresh(self, path: Path) -> None:
        try:
            stat = path.stat()
            if (stat.st_mtime_ns, stat.st_ino) != self._stamp:
                token = path.read_bytes().strip()
                if not _TOKEN.fullmatch(token):
                    raise KubeDenied(
                        f"cannot use the service account's token {path}: it is more than one word of ASCII"
                    )
                self._value = token.decode("ascii")
                self._stamp = (stat.st_mtime_ns, stat.st_ino)
        except OSError as error:
            raise KubeDenied(
                f"cannot read the service account's token {path}: {error.strerror}; "
                "is automountServiceAccountToken off for this pod?"
            ) from error


def _document(content: bytes) -> dict[str, Any] | None:
    """The body as a map; None where it is something else, such as a proxy's page."""
    try:
        document = msgspec.json.decode(content)
    except NOT_JSON:
        return None
    return document if isinstance(document, dict) else None


def _begin(content: bytes) -> str:
    """What a person would read first of a body that is no object."""
    return content[:200].decode(errors="replace").strip()
