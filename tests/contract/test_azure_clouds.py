"""Which cloud `check --azure` asks, which gives the token, and which gets it: the SDK itself, with nobody behind it."""

from __future__ import annotations

import time
from collections.abc import Callable
from io import BytesIO
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ServiceRequestError
from azure.core.pipeline.transport import HttpTransport, RequestsTransport
from requests import PreparedRequest, Response, Session
from requests.adapters import BaseAdapter

from azure_cni.commands.azure_access import SdkAccess
from azure_cni.errors import CloudError, CloudUnreachable, ConfigInvalid


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


class Paged(BaseAdapter):
    """Resource Manager with one page; the host has the next one."""

    def __init__(self, host: str = "evil.example") -> None:
        super().__init__()
        self.host = host
        self.asked: list[str] = []

    def send(self, request: PreparedRequest, *_: Any, **__: Any) -> Response:
        self.asked.append(str(urlsplit(str(request.url)).hostname))
        answer = Response()
        answer.status_code, answer.url, answer.request = 200, str(request.url), request
        answer.headers["Content-Type"] = "application/json"
        more = f', "nextLink": "https://{self.host}/subscriptions/s?page=2"' if len(self.asked) == 1 else ""
        answer.raw = BytesIO(f'{{"value": []{more}}}'.encode())
        return answer

    def close(self) -> None: ...


@pytest.mark.parametrize("work", ["list_nics", "list_vms"])
def test_a_next_page_of_the_same_host_is_read(work: str) -> None:
    session, adapter = Session(), Paged("MANAGEMENT.azure.com:443")
    session.mount("https://", adapter)
    transport = RequestsTransport(session=session, session_owner=False)
    access = SdkAccess(credential=Token(), transport=transport, retry_total=0)
    assert getattr(access, work)("/subscriptions/s/resourceGroups/g") == []
    assert adapter.asked == ["management.azure.com"] * 2


@pytest.mark.parametrize("work", ["list_nics", "list_vms"])
def test_the_token_follows_no_next_page_to_another_host(work: str) -> None:
    session, adapter = Session(), Paged()
    session.mount("https://", adapter)
    transport = RequestsTransport(session=session, session_owner=False)
    access = SdkAccess(credential=Token(), transport=transport, retry_total=0)
    with pytest.raises(CloudError, match=r"evil\.example"):
        getattr(access, work)("/subscriptions/s/resourceGroups/g")
    assert adapter.asked == ["management.azure.com"]


ODD: Final = [
    b"", b"[]", b"null", b"5", b"<html>sign in</html>", b"\xff\xfe", b"[" * 5000, b'{"value": null}', b'{"value": 5}',
    b'{"value": [], "nextLink": "https://management.azure.com/subscriptions/s?page=2"}',
]  # fmt: skip
"""What a proxy, or a fault, may send with status 200. The last one shows the same page for ever."""
ID: Final = "11111111-1111-1111-1111-111111111111"
GROUP: Final = f"/subscriptions/{ID}/resourceGroups/g"
ROLE: Final = f"/subscriptions/{ID}/providers/Microsoft.Authorization/roleDefinitions/{ID}"
READS: Final[dict[str, Callable[[SdkAccess], object]]] = {
    "nics": lambda access: access.list_nics(GROUP),
    "vms": lambda access: access.list_vms(GROUP),
    "assignments": lambda access: access.list_assignments(GROUP, ID),
    "role": lambda access: access.read_role(ROLE, GROUP),
    "nic": lambda access: access.read(f"{GROUP}/providers/Microsoft.Network/networkInterfaces/n"),
    "vm": lambda access: access.read(f"{GROUP}/providers/Microsoft.Compute/virtualMachines/n"),
}


class Odd(Paged):
    """Resource Manager, or what answers in its place: always this."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.body = body

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        answer = super().send(request, *args, **options)
        answer.raw = BytesIO(self.body)
        assert len(self.asked) < 9
        return answer


@pytest.mark.parametrize("body", ODD)
@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_an_odd_answer_is_an_error_in_words(read: Callable[[SdkAccess], object], body: bytes) -> None:
    session = Session()
    session.mount("https://", Odd(body))
    transport = RequestsTransport(session=session, session_owner=False)
    access = SdkAccess(credential=Token(), transport=transport, retry_total=0)
    if body.startswith(b'{"value"') and read in {READS["nic"], READS["role"], READS["vm"]}:
        read(access)  # an object, whatever is in it
        return
    with pytest.raises(CloudError, match=r"^cannot (read|list) .*: "):
        read(access)
