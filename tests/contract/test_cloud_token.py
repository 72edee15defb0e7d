"""No token: what needs a person, and what only needs time. The SDK's own exceptions, as its credentials raise them."""

from __future__ import annotations

import pytest
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseTimeoutError,
)
from azure.identity import CredentialUnavailableError

from azure_cni.azure.answers import MAX_BYTES
from azure_cni.azure.credentials import TOKENS_AT, managed_identity
from azure_cni.azure.errors_map import unanswered
from azure_cni.errors import AccessDenied, CloudError, CloudUnreachable
from fakes.serving import answering_without_end


class Answered:
    """As much of a response as the SDK's exceptions look at."""

    headers: dict[str, str] = {}  # noqa: RUF012
    reason = ""

    def __init__(self, status_code: int) -> None:
        self.status_code = status_code

    def text(self) -> str:
        return ""


def answered(status: int) -> HttpResponseError:
    return HttpResponseError("words", response=Answered(status))  # type: ignore[arg-type]


def because(error: AzureError, cause: Exception | None) -> AzureError:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (because(CredentialUnavailableError("No identity has been assigned"), answered(400)), AccessDenied),
        (because(CredentialUnavailableError("no response"), ServiceRequestError("refused")), CloudUnreachable),
        (because(ClientAuthenticationError("unexpected"), answered(500)), CloudUnreachable),
        (because(ClientAuthenticationError("unexpected"), answered(429)), CloudUnreachable),
        (because(ClientAuthenticationError("gone"), answered(410)), CloudUnreachable),
        (ClientAuthenticationError("AADSTS700016", response=Answered(401)), AccessDenied),  # type: ignore[arg-type]
        (ClientAuthenticationError("AADSTS90033", response=Answered(503)), CloudUnreachable),  # type: ignore[arg-type]
        (ClientAuthenticationError("nothing more known"), AccessDenied),
        (ServiceRequestError("refused"), CloudUnreachable),
        (ServiceResponseTimeoutError("slow"), CloudUnreachable),
        (FileNotFoundError(2, "No such file or directory", "/token"), AccessDenied),
    ],
)
def test_who_can_help(error: AzureError | OSError, kind: type[CloudError]) -> None:
    found = unanswered(error, what="read NIC n", endpoint="https://arm")
    assert type(found) is kind
    assert str(found).startswith("cannot read NIC n: no ")
    assert found.azure_code == ("NoToken" if kind is AccessDenied else "unreachable")


async def test_a_token_without_end_is_read_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKENS_AT, "")  # it is set by what is tried, and taken back after it
    async with answering_without_end(b'{"access_token": "', b"x" * 65536) as (url, taken):
        credential = managed_identity(imds_url=url)
        try:
            with pytest.raises(AzureError):
                await credential.get_token("https://management.azure.com/.default")
        finally:
            await credential.close()
    assert taken
    assert max(taken) < 16 * MAX_BYTES
