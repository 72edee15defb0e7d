"""What a report leaves out: it must not miss a name, and it must still be readable."""

import json

import pytest

from azure_cni.diagnose.redaction import LEFT_OUT, Redactor

GUID = "3f2504e0-4f89-11d3-9a0c-0305e82c3301"


@pytest.fixture
def redactor() -> Redactor:
    made = Redactor(open_namespaces=["net"], kept=["vm1"])
    for namespace, name in (("shop", "cart-7d9f"), ("shop", "db.main"), ("default", "web"), ("net", "azure-cni-x")):
        made.learn(namespace, name)
    return made


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("pod shop/cart-7d9f waits", "pod namespace-1/pod-1 waits"),
        ("shop/db.main: no address", "namespace-1/pod-2: no address"),
        ('{"pod": "default/web"}', '{"pod": "default/pod-3"}'),
        ("the pod cart-7d9f, of shop.", "the pod pod-1, of namespace-1."),
        ("net/azure-cni-x on vm1 has 10.240.0.36", "net/azure-cni-x on vm1 has 10.240.0.36"),
        ("a workshop, website and cart-7d9f2", "a workshop, website and cart-7d9f2"),
    ],
)
def test_names_of_tenants_have_other_words_and_nothing_else_has(redactor: Redactor, text: str, shown: str):
    assert redactor.text(text) == shown


@pytest.mark.parametrize(
    "line",
    [
        '{"message": "address assigned", "pod": "gone/old-1", "address": "10.240.0.36"}',
        '{"message":"address assigned","pod":"gone/old-1"}',
        "2026-11-28T06:19:26.454Z INFO azure_cni.x address assigned pod=gone/old-1 address=10.240.0.36",
        "2026-11-28T06:19:26.454Z INFO azure_cni.x leaked holder=gone/old-1",
    ],
)
def test_pods_that_are_gone_are_learnt_from_logs(redactor: Redactor, line: str):
    redactor.learn_from(line)
    shown = redactor.text(f"{line} later: old-1 of gone")
    assert "old-1" not in shown
    assert "gone" not in shown


@pytest.mark.parametrize(
    "line", ['{"message": "too many events", "namespace": "gone"}', '{"namespace":"gone"}', "too many namespace=gone"]
)
def test_a_namespace_that_is_gone_is_learnt_from_logs(redactor: Redactor, line: str):
    redactor.learn_from(line)
    assert "gone" not in redactor.text(line)


def test_a_pod_that_only_a_message_names_is_learnt_where_its_namespace_is_known(redactor: Redactor):
    redactor.learn_from("pods shop/ended-5, default/past-9 wait; see docs/operations.md and NIC a/b")
    assert redactor.text("ended-5 past-9 operations.md a/b") == "pod-4 pod-5 operations.md a/b"


def test_the_same_identifier_has_the_same_word(redactor: Redactor):
    other = GUID.replace("3", "4")
    assert redactor.text(f"/subscriptions/{GUID}/x {other} {GUID.upper()}") == "/subscriptions/guid-1/x guid-2 guid-1"
    assert redactor.replaced == {"pods": 3, "namespaces": 1, "identifiers": 2}


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer SECRET.part-2",
        "token eyJhbGciOiJSUzI1NiJ9SECRET.eyJzdWIiOiJ4In0SECRET.c2lnSECRET failed",
        "proxy http://user:SECRET@proxy:3128 refused",
        "https://x.blob.core.windows.net/c?sv=1&sig=SECRET%2F&se=2",
        '{"client_secret": "SECRET"}',
        'body: "{\\"access_token\\":\\"SECRET\\"}"',
        "password=SECRET",
        "-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----\\nSECRET",
        "azure_client_secret=SECRET set",
        "DB_PASSWORD: SECRET",
        '{"clientSecret": "SECRET with SECRET"}',
        'body: "{\\"adminPassword\\":\\"it\'s a SECRET, SECRET\\"}"',
        "token: SECRET",
        "X-Auth-Token=SECRET",
        "AccountName=a;AccountKey=SECRET==;EndpointSuffix=core.windows.net",
        "Ocp-Apim-Subscription-Key: SECRET",
        "Authorization: SharedKey account:SECRET=",
        "the secret abc8Q~SECRET-SECRET-SECRET-SECRET-SECRE was refused",
    ],
)
def test_credentials_are_left_out_wherever_they_came_from(redactor: Redactor, text: str):
    shown = redactor.text(text)
    assert "SECRET" not in shown
    assert LEFT_OUT in shown


def test_words_about_credentials_stay(redactor: Redactor):
    for text in (
        "no token for https://management.azure.com: the identity is not on the VM",
        "the controller has no token left: 4 writes wait",
        "roleAssignments/read of Microsoft.Authorization; AuthorizationFailed: the client has no permission",
        '{"message": "ledger written", "tokens": 4.5, "imagePullSecrets": []}',
        "a design: signed, sealed",
    ):
        assert redactor.text(text) == text


def test_a_document_keeps_its_keys_and_what_is_no_text(redactor: Redactor):
    document = {"web": ["shop/cart-7d9f", 3, None, {"shop": True}]}
    assert redactor.value(document) == {"web": ["namespace-1/pod-1", 3, None, {"shop": True}]}
    assert json.dumps(redactor.value(document))
