"""Which cloud `check --azure` asks, and from whom it gets the token: the SDK itself, with nobody behind it."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ServiceRequestError
from azure.core.pipeline.transport import HttpTransport

from azure_cni.commands.azure_access import SdkAccess
from azure_cni.errors import CloudUnreachable, ConfigInvalid


class Token:
    """A credential that notes for whom its token is."""

    def __init__(self) -> None:
        self.scopes: tuple[str, ...] = ()

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.scopes = scopes
        return AccessToken("token", int(time.time()) + 3600)


class Asked(HttpTransport[Any, Any]):
    """A transport on which nobody answers. It notes who is asked."""

    def __init__(self) -> None:
        self.urls: list[str] = []

    def send(self, request: Any, **_: Any) -> Any:
        self.urls.append(request.url)
        raise ServiceRequestError("nobody is here")

    def open(self) -> None: ...

    def close(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


@pytest.mark.parametrize(
    ("cloud", "manager", "login"),
    [
        ("", "management.azure.com", "login.microsoftonline.com"),
        ("AZURE_US_GOVERNMENT", "management.usgovcloudapi.net", "login.microsoftonline.us"),
        ("AZURE_CHINA_CLOUD", "management.chinacloudapi.cn", "login.chinacloudapi.cn"),
    ],
)
def test_another_cloud_is_asked_and_gives_the_token(
    monkeypatch: pytest.MonkeyPatch, cloud: str, manager: str, login: str
) -> None:
    given: dict[str, Any] = {}
    credential, transport = Token(), Asked()
    monkeypatch.setattr("azure.identity.DefaultAzureCredential", lambda **flags: given.update(flags) or credential)
    monkeypatch.delenv("AZURE_AUTHORITY_HOST", raising=False)
    monkeypatch.setenv("AZURE_CLOUD", cloud)
    with pytest.raises(CloudUnreachable):
        SdkAccess(transport=transport, retry_total=0).list_nics("/subscriptions/s/resourceGroups/g")
    assert [urlsplit(url).hostname for url in transport.urls] == [manager]
    assert given["authority"] == login
    assert credential.scopes[0].startswith("https://management.")


def test_a_cloud_that_is_none_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_CLOUD", "AzureUSGovernment")
    with pytest.raises(ConfigInvalid, match="AZURE_CLOUD is 'AzureUSGovernment'; it may be AZURE_PUBLIC_CLOUD, "):
        SdkAccess(credential=Token())
