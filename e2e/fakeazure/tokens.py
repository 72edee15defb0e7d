"""Workload identity: a Kubernetes service account's token exchanged for one of Entra ID, over https.

POST /{tenant}/oauth2/v2.0/token with a federated client assertion. The assertion's signature is not checked (there is
no issuer to ask); its subject is, when the principal names one.
"""

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from fakeazure import changelog, faults
from fakeazure.identity import claims_of
from fakeazure.wire import Answer, Request, json_answer

if TYPE_CHECKING:
    from fakeazure.fake import FakeAzure

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def answer(azure: "FakeAzure", request: Request) -> Answer:
    odd = azure.faults.take(faults.OddBody, "token.exchange", "")
    reply = Answer(odd[0].status, odd[0].content, odd[0].headers) if odd else _exchange(azure, request)
    form = dict(parse_qsl(request.body.decode()))
    call = changelog.Call(azure.settle(), "token.exchange", form.get("client_id", ""), "", reply.status)
    azure.history.record(call)
    return reply


def _exchange(azure: "FakeAzure", request: Request) -> Answer:
    tenant = request.path.split("/")[1]
    if tenant != azure.identity.tenant:
        return _refuse(400, "invalid_request", f"AADSTS90002: Tenant '{tenant}' not found.")
    form = dict(parse_qsl(request.body.decode()))
    principal = azure.identity.by_client_id(form.get("client_id", ""))
    if principal is None:
        text = f"AADSTS700016: Application with identifier '{form.get('client_id')}' was not found in the directory."
        return _refuse(400, "unauthorized_client", text)
    if form.get("grant_type") != "client_credentials" or form.get("client_assertion_type") != ASSERTION:
        return _refuse(400, "unsupported_grant_type", "AADSTS70003: The app requested an unsupported grant type.")
    try:
        subject = claims_of(form.get("client_assertion", "")).get("sub", "")
    except ValueError as error:
        return _refuse(401, "invalid_client", f"AADSTS50027: JWT token is invalid or malformed: {error}")
    if principal.subject and subject != principal.subject:
        text = f"AADSTS700213: No matching federated identity record found for presented assertion subject '{subject}'."
        return _refuse(401, "invalid_client", text)
    audience = form.get("scope", "").removesuffix("/.default")
    token, _ = azure.identity.issue(principal, audience=audience)
    lifetime_s = azure.identity.lifetime_s
    document = {"token_type": "Bearer", "expires_in": lifetime_s, "ext_expires_in": lifetime_s, "access_token": token}
    return json_answer(document)


def _refuse(status: int, error: str, text: str) -> Answer:
    return json_answer({"error": error, "error_description": text}, status=status)
