"""How the command line reaches a cluster: its one port, and the adapter over the package `kubernetes`.

That package reads kubeconfig files as kubectl does, with certificates, tokens, exec plugins (kubelogin) and proxies.
Objects are read as plain JSON: its generated models take ten times the time, and drop fields that they do not know.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from azure_cni.commands.bounded import Meter, channels_of, finished_within
from azure_cni.commands.deferred_imports import deferred
from azure_cni.commands.http_access import HttpAccess, Keep
from azure_cni.commands.refusals import refused_exec
from azure_cni.errors import ConfigInvalid, KubeUnreachable
from azure_cni.model.text import legible

SYSTEM_NAMESPACE: Final = "kube-system"
"""Where docs/install.md installs the chart."""
TIMEOUT_S: Final = 30.0
EXEC_S: Final = 30.0
"""For the connection to an agent, whose handshake the node answers; and for its answer: some hundred kilobytes at most,
and the start of a process."""
MOST_ANSWER_BYTES: Final = 16 << 20
UNCONNECTED: Final = (
    "cannot {}: the API server did not connect to it within {:.0f} s, which it does through the node's kubelet; see "
    "whether kubectl exec gets there"
)
HARDLY_USED: Final = (
    "oauthlib",  # and the next two: to renew the token of an OIDC provider that the kubeconfig itself names
    "oauthlib.oauth2",
    "requests_oauthlib",
    "pydantic",  # and the next: the answers of the generated API, in whose place plain JSON is read
    "kubernetes.client.api_response",
    "kubernetes.dynamic",
    "kubernetes.informer",
    "kubernetes.leaderelection",
    "kubernetes.stream",  # only what runs something in a pod needs it
    "kubernetes.watch",
)
"""What `kubernetes` imports."""


class ClusterAccess(Protocol):
    """What commands need of a cluster. All methods raise KubeError, and may be called from several threads."""

    namespace: str
    """That of the context, for commands without `-n`."""
    system_namespace: str
    """That of azure-cni's own release. Who may start pods in others is nobody to believe."""

    def read_object(self, path: str) -> Mapping[str, Any]:
        """One object."""

    def list_objects(self, path: str, keep: Keep = dict, /, **query: str) -> Sequence[Any]:
        """What `keep` makes of each object of a collection, which is all that stays in memory of it.

        `query` as the API server has it (`labelSelector`, `fieldSelector`).
        """

    def patch_object(self, path: str, patch: Mapping[str, Any], *, dry_run: bool) -> Mapping[str, Any]:
        """The object with that merge patch (RFC 7386) applied. `dry_run`: tried with all checks, and not stored."""

    def create_object(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """A new object in a collection."""

    def delete_object(self, path: str) -> None:
        """Ask for its removal, which may take a while. KubeNotFound where it is not there."""

    def read_user(self) -> str:
        """Whom the API server takes this person for."""

    def read_text(self, path: str, **query: str) -> str:
        """What is no object: a pod's log."""

    def run_in_pod(self, namespace: str, pod: str, command: Sequence[str], *, container: str = "agent") -> bytes:
        """What that command prints in the container. KubeError with its words when it fails."""


NO_KUBECONFIG: Final = (AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What the package raises for YAML of another shape, and YAML's reader for what is nested too deeply."""


class KubernetesAccess(HttpAccess):
    """A cluster of a kubeconfig, or the one that this process runs in."""

    def __init__(self, *, kubeconfig: str | None = None, context: str | None = None) -> None:
        """ConfigInvalid where there is no such file or context."""
        import yaml

        with deferred(HARDLY_USED):
            from kubernetes import config
            from kubernetes.client import ApiClient, Configuration

        chosen = Configuration()
        self.namespace, self.system_namespace = "default", SYSTEM_NAMESPACE
        try:
            if kubeconfig is None and context is None and is_in_pod():
                config.load_incluster_config(client_configuration=chosen)
            else:
                config.load_kube_config(kubeconfig, context, client_configuration=chosen, persist_config=False)
                self.namespace = _namespace_of(config.list_kube_config_contexts(kubeconfig), context)
        except (config.ConfigException, OSError, yaml.YAMLError, *NO_KUBECONFIG) as error:
            why = str(error).rstrip(".")
            if isinstance(error, NO_KUBECONFIG):
                why = f"it is no kubeconfig ({type(error).__name__}: {legible(why)})"
            raise ConfigInvalid(
                f"cannot find the cluster: {why}; name a file with --kubeconfig or KUBECONFIG, and "
                "one of its contexts with --context"
            ) from error
        chosen.retries = False
        self._client, self.host = ApiClient(chosen), str(chosen.host)

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: Mapping[str, Any] | None) -> Any:
        import urllib3
        from kubernetes.client import ApiException

        try:
            return self._client.call_api(method, url, headers, body=body, _request_timeout=TIMEOUT_S).response
        except ApiException as error:
            raise urllib3.exceptions.HTTPError(error.reason) from error

    def _channels(self, path: str, query: Sequence[tuple[str, Any]], what: str) -> Mapping[int, bytes]:
        from kubernetes.client import ApiException
        from websocket import WebSocketException

        try:
            process = self._process(path, query, what)
            try:
                return channels_of(process.sock, Meter(what, most_bytes=MOST_ANSWER_BYTES, limit_s=EXEC_S))
            finally:
                process.sock.shutdown()
        except ApiException as error:
            raise refused_exec(what, str(error.reason)) from error
        except (OSError, WebSocketException) as error:
            raise KubeUnreachable(f"cannot {what}: the connection broke: {error}") from error

    def _process(self, path: str, query: Sequence[tuple[str, Any]], what: str) -> Any:
        """The open WebSocket of kubernetes. Its handshake is the node's to answer, so that it may never end."""
        from kubernetes.stream import ws_client

        url = f"{self.host}{path}"
        connect = functools.partial(
            ws_client.websocket_call,
            self._client.configuration,
            "get",
            url,
            query_params=query,
            headers=self._headers(url, "GET"),
            _preload_content=False,
            binary=True,
        )
        return finished_within(EXEC_S, connect, UNCONNECTED.format(what, EXEC_S))

    def _headers(self, url: str, method: str) -> dict[str, str]:
        """With the token of this moment: exec plugins renew theirs."""
        headers = {"Accept": "application/json", "User-Agent": "azure-cni"}
        self._client.update_params_for_auth(headers, [], ["BearerToken"], url, method, None)
        return headers


def is_in_pod() -> bool:
    """In a pod with an account, and nobody named another cluster."""
    known = os.environ.get("KUBECONFIG") or (Path.home() / ".kube" / "config").exists()
    return not known and bool(os.environ.get("KUBERNETES_SERVICE_HOST"))


def _namespace_of(listed: tuple[Sequence[Mapping[str, Any]], Mapping[str, Any]], name: str | None) -> str:
    contexts, current = listed
    chosen = next((one for one in contexts if one.get("name") == name), current) if name else current
    return str((chosen.get("context") or {}).get("namespace") or "default")
