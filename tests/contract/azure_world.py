"""What the contract tests of the fake Azure share: a small subscription, served, and the real SDK pointed at it."""

import json
import re
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp
from azure.core.credentials import AccessToken
from azure.mgmt.compute.aio import ComputeManagementClient
from azure.mgmt.network.aio import NetworkManagementClient

from azure_cni.commands.azure_access import ENDPOINT
from fakeazure import Endpoints, FakeAzure, Vm
from fakeazure.identity import Principal

RECORDED = Path(__file__).parent / "recorded"
API = "2024-05-01"
GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def recorded(name: str) -> dict[str, Any]:
    """A recorded or documented exchange; `_provenance` in it says where from."""
    return json.loads((RECORDED / name).read_text())


class Token:
    """A credential of the SDK that asks nobody: the fake issues the token in the same process."""

    def __init__(self, azure: FakeAzure, name: str) -> None:
        self.azure, self.name = azure, name
        self.lifetime_s = 3599
        self.failure: Exception | None = None
        """What comes instead of a token."""

    def fresh(self) -> str:
        principal = self.azure.identity.find(self.name)
        assert principal is not None
        return self.azure.identity.issue(principal, audience="https://management.azure.com")[0]

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        if self.failure is not None:
            raise self.failure
        return AccessToken(self.fresh(), int(time.time()) + self.lifetime_s)

    async def close(self) -> None:
        """Nothing is held."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is held."""


class SyncToken(Token):
    """The same for the SDK's blocking clients."""

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:  # type: ignore[override]
        return AccessToken(self.fresh(), int(time.time()) + 3599)


@dataclass(frozen=True, slots=True)
class ServedAzure:
    """A served fake with one VM, the SDK's clients, and a plain http session for what the SDK hides."""

    azure: FakeAzure
    endpoints: Endpoints
    vm: Vm
    network: NetworkManagementClient
    compute: ComputeManagementClient
    http: aiohttp.ClientSession

    async def get(self, path: str, *, query: str = "", **headers: str) -> aiohttp.ClientResponse:
        """A bare GET to the resource manager with a good token."""
        return await self.request("GET", path, query=query, headers=headers)

    async def request(
        self, method: str, path: str, *, query: str = "", headers: dict[str, str] | None = None, body: Any = None
    ) -> aiohttp.ClientResponse:
        """A bare request to the resource manager with a good token; the body is read already."""
        url = f"{self.endpoints.arm}{path}?api-version={API}{query}"
        token = {"Authorization": f"Bearer {Token(self.azure, self.vm.name).fresh()}"}
        async with self.http.request(method, url, json=body, headers={**token, **(headers or {})}) as response:
            await response.read()
            return response

    async def imds(self, path: str, **headers: str) -> aiohttp.ClientResponse:
        async with self.http.get(f"{self.endpoints.imds}{path}", headers={"Metadata": "true", **headers}) as response:
            await response.read()
            return response


@asynccontextmanager
async def served(
    azure: FakeAzure, *, secondaries: int = 0, subnets: dict[str, str] | None = None
) -> AsyncIterator[ServedAzure]:
    """A fake with VNet `vnet`, VM `vm1` and its NIC `vm1-nic`, served on loopback."""
    azure.add_vnet(subnets=subnets)
    vm = azure.add_vm("vm1", secondaries=secondaries)
    azure.pin_caller("vm1")
    async with azure.serve() as endpoints:
        options: dict[str, Any] = {
            "base_url": endpoints.arm,
            "connection_verify": str(endpoints.ca_file),
            "retry_status": 0,
            "retry_connect": 0,
            "retry_read": 0,
        }
        token = Token(azure, "vm1")
        tls = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=endpoints.ca_file))
        async with (
            NetworkManagementClient(token, azure.subscription_id, **options) as network,
            ComputeManagementClient(token, azure.subscription_id, **options) as compute,
            aiohttp.ClientSession(connector=tls) as http,
        ):
            yield ServedAzure(azure, endpoints, vm, network, compute, http)


def login_of(person: Principal, world: ServedAzure, directory: Path) -> dict[str, str]:
    """The environment of a person, or a pipeline, who is logged in to this Azure."""
    token = directory / "token"
    token.write_text(world.azure.identity.assertion(person.name))
    return {
        ENDPOINT: world.endpoints.arm,
        "REQUESTS_CA_BUNDLE": str(world.endpoints.ca_file),
        "AZURE_AUTHORITY_HOST": world.endpoints.arm,
        "AZURE_TENANT_ID": world.azure.identity.tenant,
        "AZURE_CLIENT_ID": person.client_id,
        "AZURE_FEDERATED_TOKEN_FILE": str(token),
    }


def anonymous(value: Any) -> Any:
    """GUIDs, tokens and host names replaced, so that shapes can be compared."""
    if isinstance(value, dict):
        return {key: anonymous(item) for key, item in value.items()}
    if isinstance(value, list):
        return [anonymous(item) for item in value]
    return GUID.sub("GUID", value) if isinstance(value, str) else value
