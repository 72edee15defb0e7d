"""How the command line asks Azure: its one port, and the adapter over the package `azure-mgmt-network`.

The credential is whatever the person has: `DefaultAzureCredential` takes variables of the environment, an identity of
the machine, or the login of `az`, in that order; AZURE_TOKEN_CREDENTIALS narrows it. AZURE_CLOUD names another cloud,
as chosen here: the packages themselves know that variable by another name, and not for logins.
Only reads are made. Answers are taken as plain documents, as everywhere.

Loading these packages takes about a second, so that no command loads this module unless it asks Azure.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlencode, urlsplit

from azure_cni.api.reading import mappings, next_page
from azure_cni.errors import AccessDenied, AzureCniError, CloudError, CloudNotFound, CloudUnreachable, ConfigInvalid
from azure_cni.model.text import legible

if TYPE_CHECKING:
    from azure.core import AzureClouds
    from azure.core.credentials import TokenCredential
    from azure.mgmt.network import NetworkManagementClient

ENDPOINT: Final = "AZURE_CNI_RESOURCE_MANAGER"
"""The variable for a private cloud's Resource Manager; a public one needs none."""
CLOUD: Final = "AZURE_CLOUD"
AUTHORITY: Final = "AZURE_AUTHORITY_HOST"
"""The packages' own variable for where tokens come from; it wins over what follows from the cloud."""
LOGINS: Final = {
    "AZURE_PUBLIC_CLOUD": "login.microsoftonline.com",
    "AZURE_US_GOVERNMENT": "login.microsoftonline.us",
    "AZURE_CHINA_CLOUD": "login.chinacloudapi.cn",
}
"""Public clouds, and the host that each has for logins."""
NETWORK_API: Final = "2025-05-01"
"""As agents ask; the package would take the newest, which clouds of governments do not have for months."""
COMPUTE_API: Final = "2025-04-01"
CONNECT_S, READ_S = 10, 30
RETRIES: Final = 2
READERS: Final = {
    "networkinterfaces": "network_interfaces",
    "virtualnetworks": "virtual_networks",
    "networksecuritygroups": "network_security_groups",
    "routetables": "route_tables",
    "natgateways": "nat_gateways",
    "loadbalancers": "load_balancers",
}
"""Types of Microsoft.Network (lower case), and the package's name for what reads them."""
FORBIDDEN, MISSING, UNKNOWN_TOKEN = 403, 404, 401
HTTPS: Final = 443
ROLES_API: Final = "2022-04-01"
_GROUP: Final = re.compile(r"/subscriptions/([\w-]+)/resourceGroups/([\w.()-]+)", re.IGNORECASE)
_RESOURCE: Final = re.compile(rf"{_GROUP.pattern}/providers/([\w.]+)/(\w+)/([\w.-]+)", re.IGNORECASE)
_ROLE: Final = re.compile(
    r"(?:/subscriptions/([\w-]+))?/providers/Microsoft\.Authorization/roleDefinitions/[\w-]+", re.IGNORECASE
)
_PRINCIPAL: Final = re.compile(r"[0-9a-f-]{36}", re.IGNORECASE)
"""IDs. Some are words of others (a Node's providerID, a pool's status), and what is asked for gets a token with it."""


class AzureAccess(Protocol):
    """What commands need of Azure. All methods raise CloudError, and may be called from several threads."""

    def read(self, resource_id: str) -> Mapping[str, Any]:
        """A document of Microsoft.Network or Microsoft.Compute, by its ID."""

    def list_nics(self, group_id: str) -> Sequence[Mapping[str, Any]]:
        """All NICs of a resource group, by the group's ID."""

    def list_vms(self, group_id: str) -> Sequence[Mapping[str, Any]]:
        """All VMs of a resource group; instances of Uniform scale sets are none."""

    def list_assignments(self, group_id: str, principal: str) -> Sequence[Mapping[str, Any]]:
        """The role assignments of a principal (object ID) that hold in a resource group or for a part of it."""

    def read_role(self, role_id: str, subscription_of: str) -> Mapping[str, Any]:
        """A roleDefinitions document, by its ID, asked for in the subscription of that other ID."""


class SdkAccess:
    """The person's own access."""

    def __init__(self, *, credential: TokenCredential | None = None, endpoint: str = "", **options: Any) -> None:
        """`options` are those of the package's client. ConfigInvalid where there is no such cloud."""
        self._cloud = _chosen_cloud()
        self._credential = credential or _own_credential(self._cloud)
        self._endpoint = (endpoint or os.environ.get(ENDPOINT, "")).rstrip("/")
        self._options = {
            "connection_timeout": CONNECT_S, "read_timeout": READ_S, "retry_total": RETRIES,
            "retry_backoff_max": CONNECT_S, "raw_request_hook": self._refuse_elsewhere, **options,
        }  # fmt: skip
        self._clients: dict[str, NetworkManagementClient] = {}

    def read(self, resource_id: str) -> Mapping[str, Any]:
        """See `AzureAccess`."""
        subscription, group, provider, kind, name = _parts(_RESOURCE, resource_id)
        with _translated(f"read {resource_id}"):
            client = self._client(subscription)
            if provider.lower() == "microsoft.network" and kind.lower() in READERS:
                found = getattr(client, READERS[kind.lower()]).get(group, name, api_version=NETWORK_API)
                return dict(found.as_dict())
            return self._get(client, f"{resource_id}?api-version={COMPUTE_API}")

    def list_nics(self, group_id: str) -> Sequence[Mapping[str, Any]]:
        """See `AzureAccess`."""
        subscription, group = _parts(_GROUP, group_id)
        with _translated(f"list the NICs of {group_id}"):
            pages: Any = self._client(subscription).network_interfaces.list(group, api_version=NETWORK_API).by_page()
            found, asked = list[Mapping[str, Any]](), set[str]()
            for page in pages:
                found += [one.as_dict() for one in page]
                next_page(pages.continuation_token, asked)
            return found

    def list_vms(self, group_id: str) -> Sequence[Mapping[str, Any]]:
        """See `AzureAccess`."""
        subscription, _ = _parts(_GROUP, group_id)
        path = f"{group_id}/providers/Microsoft.Compute/virtualMachines?api-version={COMPUTE_API}"
        with _translated(f"list the VMs of {group_id}"):
            return self._list(self._client(subscription), path)

    def list_assignments(self, group_id: str, principal: str) -> Sequence[Mapping[str, Any]]:
        """See `AzureAccess`."""
        subscription, _ = _parts(_GROUP, group_id)
        _parts(_PRINCIPAL, principal)
        query = urlencode({"api-version": ROLES_API, "$filter": f"assignedTo('{principal}')"})
        path = f"{group_id}/providers/Microsoft.Authorization/roleAssignments?{query}"
        with _translated(f"list the role assignments of {principal} in {group_id}"):
            return self._list(self._client(subscription), path)

    def read_role(self, role_id: str, subscription_of: str) -> Mapping[str, Any]:
        """See `AzureAccess`."""
        _parts(_ROLE, role_id)
        subscription, _ = _parts(_GROUP, subscription_of)
        with _translated(f"read {role_id}"):
            return self._get(self._client(subscription), f"{role_id}?api-version={ROLES_API}")

    def _list(self, client: NetworkManagementClient, path: str) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        asked = {path}
        while path:
            page = self._get(client, path)
            if not isinstance(page.get("value"), list):  # none at all would say that there is nothing
                raise TypeError("it is no list")
            found += mappings(page.get("value"))
            path = next_page(page.get("nextLink"), asked)
        return found

    def _get(self, client: NetworkManagementClient, path: str) -> Mapping[str, Any]:
        """What the package has no method for, through its own pipeline."""
        from azure.core.rest import HttpRequest

        answer = client.send_request(HttpRequest("GET", path))
        answer.raise_for_status()
        document = answer.json()
        if not isinstance(document, dict):
            raise TypeError("it is no object")
        return document

    def _refuse_elsewhere(self, request: Any) -> None:
        """Before each request is sent, as an answer names its next page by a whole URL. CloudError."""
        from azure.mgmt.core.tools import get_arm_endpoints

        own = self._endpoint or get_arm_endpoints(self._cloud)["resource_manager"]
        asked, known = urlsplit(request.http_request.url), urlsplit(own)
        if (asked.scheme, asked.hostname, asked.port or HTTPS) != (known.scheme, known.hostname, known.port or HTTPS):
            where = legible(asked.netloc)
            raise CloudError(f"cannot go on at {where}: an answer of {own} points there, and only {own} gets the token")

    def _client(self, subscription: str) -> NetworkManagementClient:
        from azure.mgmt.network import NetworkManagementClient

        known = self._clients.get(subscription)
        if known is None:
            endpoint = self._endpoint or None
            known = NetworkManagementClient(
                self._credential, subscription, base_url=endpoint, cloud_setting=self._cloud, **self._options
            )
            self._clients[subscription] = known
        return known


def _parts(form: re.Pattern[str], given: str) -> tuple[str, ...]:
    found = form.fullmatch(given)
    if found is None:
        raise ConfigInvalid(f"cannot read {legible(given)!r} from Azure: it is no ID of a resource")
    return found.groups()


def _chosen_cloud() -> AzureClouds:
    from azure.core import AzureClouds

    name = os.environ.get(CLOUD) or AzureClouds.AZURE_PUBLIC_CLOUD.name
    if name not in LOGINS:
        raise ConfigInvalid(f"cannot ask Azure: {CLOUD} is {legible(name)!r}; it may be {', '.join(LOGINS)}")
    return AzureClouds[name]


def _own_credential(cloud: AzureClouds) -> TokenCredential:
    from azure.identity import DefaultAzureCredential

    login = os.environ.get(AUTHORITY) or LOGINS[cloud.name]
    return DefaultAzureCredential(authority=login, exclude_interactive_browser_credential=True)


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    """The package's errors as our own, in words."""
    from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

    try:
        yield
    except ClientAuthenticationError as error:
        why = legible(" ".join(str(error.message).split()))
        raise AccessDenied(f"cannot {what}: no credential of Azure works: {why}; run az login") from error
    except HttpResponseError as error:
        raise _of_answer(what, error) from error
    except AzureError as error:
        raise CloudUnreachable(f"cannot {what}: Azure does not answer: {legible(str(error))}") from error
    except AzureCniError:
        raise
    except Exception as error:  # the package reads an answer of another shape without looking at it
        why = f"{type(error).__name__}: {legible(str(error))}"
        raise CloudUnreachable(
            f"cannot {what}: the answer cannot be used: {why}; does a proxy answer in Azure's place?"
        ) from error


def _of_answer(what: str, error: Any) -> CloudError:
    code = str(getattr(error.error, "code", "") or "")
    words = legible(" ".join(str(getattr(error.error, "message", "") or error.message).split()))
    said = f"cannot {what}: {code or error.status_code}: {words}"
    if error.status_code == FORBIDDEN:
        return AccessDenied(said, azure_code=code)
    return CloudNotFound(said, azure_code=code) if error.status_code == MISSING else CloudError(said, azure_code=code)
