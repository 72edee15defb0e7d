"""How a pod of the project's image reaches its cluster: without the package `kubernetes`, which is in no image.

kopf loads that package wherever it is installed, so that each agent would pay for it. What the image has anyway is
enough in a pod, where nobody has a kubeconfig: urllib3 for objects, aiohttp for commands in pods, the service account's
token and authority. `helm test` runs `azure-cni test` in this way.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.client import responses
from typing import Any, Final

import aiohttp
import urllib3

from azure_cni.commands.access import EXEC_S, MOST_ANSWER_BYTES, SYSTEM_NAMESPACE, TIMEOUT_S, UNCONNECTED
from azure_cni.commands.bounded import Meter
from azure_cni.commands.http_access import HttpAccess
from azure_cni.commands.refusals import EXEC_RIGHTS, refused
from azure_cni.errors import ConfigInvalid, KubeDenied, KubeUnreachable
from azure_cni.kube import authorities
from azure_cni.kube.client import KubeEndpoint

PROTOCOLS: Final = ("v5.channel.k8s.io", "v4.channel.k8s.io")
CONNECTIONS: Final = 16
"""That are kept: as many as a command asks at a time."""


class PodAccess(HttpAccess):
    """The cluster that this process is a pod of. See `access.ClusterAccess`."""

    def __init__(self, endpoint: KubeEndpoint) -> None:
        """ConfigInvalid where the pod has no file of the cluster's authority."""
        self.namespace, self.system_namespace = "default", SYSTEM_NAMESPACE
        self.host = endpoint.url
        self._endpoint = endpoint
        try:
            self._trusted = authorities.context(endpoint.ca_file)
        except OSError as error:
            raise ConfigInvalid(
                f"cannot read the cluster's authority {endpoint.ca_file}: {error}; is automountServiceAccountToken off "
                "for this pod?"
            ) from error
        self._pool = urllib3.PoolManager(maxsize=CONNECTIONS, ssl_context=self._trusted)

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: Mapping[str, Any] | None) -> Any:
        return self._pool.request(
            method,
            url,
            headers=headers,
            body=None if body is None else json.dumps(body).encode(),
            preload_content=False,
            redirect=False,
            retries=False,
            timeout=TIMEOUT_S,
        )

    def _headers(self, url: str, method: str) -> dict[str, str]:
        """The kubelet renews the token's file. `url` and `method` make no difference."""
        del url, method
        token, file = self._endpoint.token, self._endpoint.token_file
        if file is not None:
            try:
                token = file.read_text(encoding="ascii").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise KubeDenied(
                    f"cannot read the service account's token {file}: {error}; is automountServiceAccountToken off for "
                    "this pod?"
                ) from error
        return {"Accept": "application/json", "User-Agent": "azure-cni", "Authorization": f"Bearer {token}"}

    def _channels(self, path: str, query: Sequence[tuple[str, Any]], what: str) -> Mapping[int, bytes]:
        try:
            return asyncio.run(self._run(path, query, what))
        except aiohttp.WSServerHandshakeError as error:
            said = f"{error.status} {responses.get(error.status, '')}".strip()  # aiohttp's words are the same for all
            rights = EXEC_RIGHTS if error.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN} else ""
            raise refused(error.status, f"cannot {what}: the API server refused it with {said}{rights}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise KubeUnreachable(f"cannot {what}: the connection broke: {error}") from error

    async def _run(self, path: str, query: Sequence[tuple[str, Any]], what: str) -> Mapping[int, bytes]:
        words = [(name, word) for name, value in query for word in ([value] if isinstance(value, str) else value)]
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self._trusted)) as session:
            connecting = session.ws_connect(
                self.host + path,
                params=words,
                headers=self._headers(path, "GET") | {"Accept": "*/*"},  # what comes is no JSON: else 406
                protocols=PROTOCOLS,
                max_msg_size=MOST_ANSWER_BYTES,
            )
            try:
                async with asyncio.timeout(EXEC_S):
                    socket = await connecting
            except TimeoutError as error:
                raise KubeUnreachable(UNCONNECTED.format(what, EXEC_S)) from error
            meter = Meter(what, most_bytes=MOST_ANSWER_BYTES, limit_s=EXEC_S)
            return await _channels_of(socket, meter, what)


async def _channels_of(socket: aiohttp.ClientWebSocketResponse, meter: Meter, what: str) -> Mapping[int, bytes]:
    """What came of each channel until the other side closed."""
    found: dict[int, bytearray] = defaultdict(bytearray)
    while True:
        try:
            message = await socket.receive(meter.left_s())
        except TimeoutError:
            meter.left_s()
            raise
        match message.type:
            case aiohttp.WSMsgType.BINARY:
                if message.data:
                    found[message.data[0]] += meter.add(message.data[1:])
            case aiohttp.WSMsgType.ERROR:
                raise KubeUnreachable(f"cannot {what}: the connection broke: {message.data}")
            case _:
                return {channel: bytes(content) for channel, content in found.items()}
