"""When no answer came from the resource manager: because of the network, or because there is no token to ask with.

The SDK tells both an identity that does not exist and a token service that is silent as one exception; the difference
is in its cause, and matters: the first needs a person, the second only time.
"""

from __future__ import annotations

from typing import Final

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

from azure_cni.errors import AccessDenied, CloudError, CloudUnreachable

UNREACHABLE: Final = "unreachable"
NO_TOKEN: Final = "NoToken"  # noqa: S105  # a word for metrics
SEVERAL: Final = "multiple user assigned identities"
"""Of the metadata service's words, in lower case, when a VM has several identities and the request names none."""
REFUSALS: Final = frozenset({400, 401, 403})


def unanswered(error: AzureError | OSError | ValueError, *, what: str, endpoint: str) -> CloudError:
    """The error for a request that was not answered, or could not even be sent."""
    if isinstance(error, ClientAuthenticationError):
        return _no_token(error, what=what)
    said = str(error) or type(error).__name__
    if not isinstance(error, OSError):
        return CloudUnreachable(f"cannot {what}: no answer from {endpoint}: {said}", azure_code=UNREACHABLE)
    text = f"cannot {what}: no token for the agent's identity: {said}; is the service account's token mounted?"
    return AccessDenied(text, azure_code=NO_TOKEN)


def _no_token(error: ClientAuthenticationError, *, what: str) -> CloudError:
    said = error.message.strip().rstrip(".")
    answer = error.__cause__ if isinstance(error.__cause__, HttpResponseError) else error
    status = answer.response.status_code if answer.response else None
    silent = status is None and error.__cause__ is not None
    if silent or (status is not None and status not in REFUSALS):
        text = f"cannot {what}: no token for now: the identity's token service does not answer as it should: {said}"
        return CloudUnreachable(text, azure_code=UNREACHABLE)
    if SEVERAL in said.lower():
        text = (
            f"cannot {what}: no token for the agent's identity: this VM has several user-assigned identities; set "
            "azure.clientID to the client ID of the one that has the role"
        )
        return AccessDenied(text, azure_code=NO_TOKEN)
    text = (
        f"cannot {what}: no token for the agent's identity: {said}; is an identity assigned to this VM, and is its "
        "client ID the configured one?"
    )
    return AccessDenied(text, azure_code=NO_TOKEN)
