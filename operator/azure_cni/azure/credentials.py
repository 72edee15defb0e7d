"""Who the agent is to Azure: one kind of identity, chosen by name, never guessed.

A managed identity's token comes from the instance metadata service, which must not be asked through a proxy. The SDK
finds that service's address in AZURE_POD_IDENTITY_AUTHORITY_HOST and takes the variables of other hosts
(IDENTITY_ENDPOINT, ...) for a hint that it runs there: on a node they are unset.
"""

from __future__ import annotations

from pathlib import Path

from azure.core.credentials_async import AsyncTokenCredential
from azure.identity.aio import ManagedIdentityCredential, WorkloadIdentityCredential

from azure_cni.azure.clouds import AzureCloud


def managed_identity(*, client_id: str = "") -> AsyncTokenCredential:
    """The VM's system-assigned identity, or the user-assigned one of that client ID."""
    return ManagedIdentityCredential(client_id=client_id or None, use_env_settings=False)


def workload_identity(
    cloud: AzureCloud, *, tenant_id: str, client_id: str, token_file: Path, ca_file: Path | None = None
) -> AsyncTokenCredential:
    """An application that trusts the cluster's service account tokens; `token_file` is re-read by the SDK."""
    return WorkloadIdentityCredential(
        tenant_id=tenant_id,
        client_id=client_id,
        token_file_path=str(token_file),
        authority=cloud.authority,
        connection_verify=str(ca_file) if ca_file else True,
        disable_instance_discovery=True,  # one request less, and none to a host that a private cloud does not have
    )
