"""The endpoints of an Azure cloud: its resource manager, the scope of its tokens and the authority that issues them.

The values of the three public clouds come from the SDK. A private cloud, or a test's, sets its own endpoint and keeps
the rest. Names are those that the instance metadata service reports as `azEnvironment`.

The SDK is imported here; `environments`, which holds the names alone, is read by processes that must not load it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from azure.core import AzureClouds
from azure.identity import AzureAuthorityHosts
from azure.mgmt.core.tools import get_arm_endpoints

from azure_cni.azure import environments
from azure_cni.errors import ConfigInvalid


@dataclass(frozen=True, slots=True)
class AzureCloud:
    """One Azure: `endpoint` without a slash at its end, `scope` as tokens are asked for, `authority` a URL."""

    name: str
    endpoint: str
    scope: str
    authority: str

    def owns(self, url: str) -> bool:
        """Whether that URL is the resource manager's: the same scheme, host and port, and no user name in it."""
        try:
            asked, ours = urlsplit(url), urlsplit(self.endpoint)
        except ValueError:
            return False
        return (asked.scheme, asked.netloc.lower()) == (ours.scheme, ours.netloc.lower())


_SETTINGS: Final[Mapping[str, tuple[AzureClouds, str]]] = {
    environments.PUBLIC: (AzureClouds.AZURE_PUBLIC_CLOUD, AzureAuthorityHosts.AZURE_PUBLIC_CLOUD),
    environments.US_GOVERNMENT: (AzureClouds.AZURE_US_GOVERNMENT, AzureAuthorityHosts.AZURE_GOVERNMENT),
    environments.CHINA: (AzureClouds.AZURE_CHINA_CLOUD, AzureAuthorityHosts.AZURE_CHINA),
}


def cloud_named(name: str, *, endpoint: str = "", authority: str = "") -> AzureCloud:
    """The cloud of that name; `endpoint` and `authority` replace its own where given. ConfigInvalid if unknown."""
    name = environments.canonical(name)
    settings = _SETTINGS.get(name)
    if settings is None:
        raise ConfigInvalid(f"cannot use the Azure cloud {name!r}: it must be one of {', '.join(_SETTINGS)}")
    setting, host = settings
    facts = get_arm_endpoints(setting)
    return AzureCloud(
        name=name,
        endpoint=(endpoint or facts["resource_manager"]).rstrip("/"),
        scope=facts["credential_scopes"][0],
        authority=(authority or f"https://{host}").rstrip("/"),
    )
