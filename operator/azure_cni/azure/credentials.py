"""Who the agent is to Azure: one kind of identity, chosen by name, never guessed.

A managed identity's token comes from the instance metadata service, which must not be called through a proxy. The SDK's
credential reads the environment first: variables of other hosts, of the workload identity webhook and of the old pod
identity turn it into another credential, or send it to another address. Only the settings decide here, so these
variables are removed from the process's environment, and the metadata service's address is set in it.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from azure.core.credentials import AccessToken, AccessTokenInfo, TokenRequestOptions
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError, ClientAuthenticationError
from azure.identity.aio import ManagedIdentityCredential, WorkloadIdentityCredential

from azure_cni.azure.endpoints import AzureCloud
from azure_cni.azure.imds import DEFAULT_URL
from azure_cni.azure.transport import open_transport

log = logging.getLogger(__name__)

T = TypeVar("T")

CONNECT_S: Final = 10.0
METADATA_CONNECT_S: Final = 2.0
"""As the SDK has it for the metadata service, which is on the host."""
ANSWER_S: Final = 30.0
"""How long a token service may take; the SDK tries again within the time of the call."""
RENEWED_S: Final = 60.0
"""A token service must not be asked for each request that Azure refuses."""
TOKENS_AT: Final = "AZURE_POD_IDENTITY_AUTHORITY_HOST"
"""Where the SDK looks for the metadata service, at each request for a token."""
MISLEADING: Final = (
    "IDENTITY_ENDPOINT",  # App Service, Azure Arc, Service Fabric
    "IDENTITY_HEADER",
    "IDENTITY_SERVER_THUMBPRINT",
    "IMDS_ENDPOINT",
    "MSI_ENDPOINT",  # Cloud Shell, Azure ML
    "MSI_SECRET",
    "AZURE_FEDERATED_TOKEN_FILE",  # workload identity's webhook
    TOKENS_AT,
)
"""What azure-identity 1.27 reads before it takes the metadata service (ManagedIdentityCredential, its source)."""


def managed_identity(*, client_id: str = "", imds_url: str = DEFAULT_URL) -> AsyncTokenCredential:
    """The VM's system-assigned identity, or the user-assigned one of that client ID, whatever the environment says."""
    ignored = [name for name in MISLEADING if os.environ.pop(name, "")]
    if ignored:
        log.warning("variables that would change the identity are ignored", extra={"variables": ", ".join(ignored)})
    os.environ[TOKENS_AT] = imds_url

    def make() -> ManagedIdentityCredential:
        transport = open_transport(ca_file=None, connect_s=METADATA_CONNECT_S, answer_s=ANSWER_S)
        return ManagedIdentityCredential(client_id=client_id or None, use_env_settings=False, transport=transport)

    return _Guarded(make)


def workload_identity(
    cloud: AzureCloud,
    *,
    tenant_id: str,
    client_id: str,
    token_file: Path,
    ca_file: Path | None = None,
    proxy: str | None = None,
) -> AsyncTokenCredential:
    """An application that trusts the cluster's service account tokens; `token_file` is re-read by the SDK."""

    def make() -> WorkloadIdentityCredential:
        return WorkloadIdentityCredential(
            tenant_id=tenant_id,
            client_id=client_id,
            token_file_path=str(token_file),
            authority=cloud.authority,
            transport=open_transport(ca_file=ca_file, connect_s=CONNECT_S, answer_s=ANSWER_S, proxy=proxy),
            disable_instance_discovery=True,  # one request less, and none to a host that a private cloud does not have
        )

    return _Guarded(make)


class _Guarded(AsyncTokenCredential):
    """A credential of the SDK that fails with the SDK's own exceptions only, and forgets what was refused.

    The SDK reads what a token service answers without looking at its shape: `expires_in: null` is a TypeError there. It
    keeps a token for as long as this machine's clock says that it is good, whatever Azure says: after that clock was
    set back, a token that has expired; and one of an identity that was made again. Only a new credential has none.
    """

    def __init__(self, make: Callable[[], ManagedIdentityCredential | WorkloadIdentityCredential]) -> None:
        self._make = make
        self._credential = make()
        self._refused = False
        self._renewed_s = float("-inf")

    def forget(self) -> None:
        """Azure has refused the token: the next one is to be another, at most once in RENEWED_S."""
        self._refused = True

    async def get_token(self, *scopes: str, claims: str | None = None, **options: Any) -> AccessToken:
        """As the SDK's; ClientAuthenticationError for an answer that it does not understand."""
        await self._renew()
        return await _read(self._credential.get_token(*scopes, claims=claims, **options))

    async def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        """The same with the time at which it should be renewed; the SDK prefers this one."""
        await self._renew()
        return await _read(self._credential.get_token_info(*scopes, options=options))

    async def _renew(self) -> None:
        now_s = time.monotonic()
        if not self._refused or now_s < self._renewed_s + RENEWED_S:
            return
        former, self._credential = self._credential, self._make()
        self._refused, self._renewed_s = False, now_s
        await former.close()

    async def close(self) -> None:
        """Close its connections."""
        await self._credential.close()

    async def __aexit__(self, *_: object) -> None:
        """The same."""
        await self.close()


async def _read(token: Awaitable[T]) -> T:
    try:
        return await token
    except (AzureError, OSError):
        raise
    except Exception as error:
        text = f"its answer is not a token ({type(error).__name__}: {error})"
        raise ClientAuthenticationError(text) from error
