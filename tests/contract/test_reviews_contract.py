"""Whose a token is and what it may do: in memory, and as a real API server judges service accounts by RBAC."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Any, Protocol

import pytest

from azure_cni.entrypoints.metrics_auth import BAD_TOKEN, MetricsAuth, Reviews
from azure_cni.errors import KubeDenied, KubeUnreachable
from azure_cni.kube.client import KubeClient, KubeEndpoint
from azure_cni.kube.reviews import KubeReviews
from contract.conftest import REAL
from contract.kube_world import MEMORY, Place
from fakes.reviews import Account, FakeReviews

OURS = "azure-cni-metrics"
"""An audience that is not the API server's."""
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
RBAC = "/apis/rbac.authorization.k8s.io/v1"


class ReviewsUnderTest(Protocol):
    """Who has a token, and who judges it."""

    async def token(self, *, may: bool, audience: str = "") -> tuple[str, str]:
        """A token and its owner's name."""

    def reviews(self, *, audience: str = "") -> Reviews:
        """The judge."""


class Memory:
    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}

    async def token(self, *, may: bool, audience: str = "") -> tuple[str, str]:
        token = uuid.uuid4().hex
        self.accounts[token] = Account(f"user-{token}", {("get", "/metrics")} if may else set(), {audience})
        return token, f"user-{token}"

    def reviews(self, *, audience: str = "") -> Reviews:
        fake = FakeReviews(audience=audience)
        fake.accounts = self.accounts
        return fake


class Server:
    """Service accounts of a real cluster, and the chart's role for scrapers."""

    def __init__(self, client: KubeClient) -> None:
        self.client = client

    async def token(self, *, may: bool, audience: str = "") -> tuple[str, str]:
        name = f"scraper-{uuid.uuid4().hex[:8]}"
        await self.client.create(ACCOUNTS, {"metadata": {"name": name}})
        if may:
            rules = [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]
            await self.client.create(f"{RBAC}/clusterroles", {"metadata": {"name": name}, "rules": rules})
            await self.client.create(f"{RBAC}/clusterrolebindings", binding(name))
        spec: dict[str, Any] = {"audiences": [audience]} if audience else {}
        made = await self.client.create(f"{ACCOUNTS}/{name}/token", {"spec": spec})
        return made["status"]["token"], f"system:serviceaccount:default:{name}"

    def reviews(self, *, audience: str = "") -> Reviews:
        return KubeReviews(self.client, audience=audience)


def binding(name: str) -> dict[str, Any]:
    group = "rbac.authorization.k8s.io"
    return {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "default"}],
    }


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[ReviewsUnderTest]:
    if place == MEMORY:
        yield Memory()
        return
    async with place.endpoint() as endpoint, KubeClient(endpoint) as client:
        yield Server(client)


@pytest.fixture(params=[MEMORY.kind, REAL])
def judge(request: pytest.FixtureRequest) -> Place:
    """Each place that judges; the real one starts before there is a loop."""
    return MEMORY if request.param == MEMORY.kind else request.getfixturevalue("apiserver")


@pytest.fixture
async def world(judge: Place) -> AsyncIterator[ReviewsUnderTest]:
    async with opened(judge) as made:
        yield made


async def test_a_token_is_its_owners_and_may_what_a_role_says(world: ReviewsUnderTest):
    reviews = world.reviews()
    for may in (True, False):
        token, name = await world.token(may=may)
        user = await reviews.authenticate(token)
        assert user is not None
        assert user.name == name
        assert await reviews.authorize(user, verb="get", path="/metrics") is may
        assert await reviews.authorize(user, verb="get", path="/metrics/secret") is False


async def test_what_is_no_token_is_nobodys(world: ReviewsUnderTest):
    for token in ("invented", "a.b.c", "x" * 7_000):
        assert await world.reviews().authenticate(token) is None


async def test_a_token_is_good_for_its_audience_only(world: ReviewsUnderTest):
    own, _ = await world.token(may=True)
    ours, name = await world.token(may=True, audience=OURS)
    assert await world.reviews().authenticate(ours) is None
    assert await world.reviews(audience=OURS).authenticate(own) is None
    user = await world.reviews(audience=OURS).authenticate(ours)
    assert user is not None
    assert user.name == name
    assert await world.reviews(audience=OURS).authorize(user, verb="get", path="/metrics")


async def test_requests_for_metrics_are_judged_by_both(world: ReviewsUnderTest):
    auth = MetricsAuth(world.reviews())
    (may, _), (other, name) = await world.token(may=True), await world.token(may=False)
    assert await auth.refusal(f"Bearer {may}", source="10.0.0.1") is None
    refusal = await auth.refusal(f"Bearer {other}", source="10.0.0.1")
    assert refusal is not None
    assert refusal.status == 403
    assert name in refusal.text
    assert await auth.refusal("Bearer invented", source="10.0.0.1") == BAD_TOKEN


async def test_an_account_that_may_not_ask_gets_an_error_and_no_verdict(apiserver: Place):
    async with apiserver.endpoint() as endpoint, KubeClient(endpoint) as client:
        token, _ = await Server(client).token(may=True)
        async with KubeClient(KubeEndpoint(endpoint.url, token=token, ca_file=endpoint.ca_file)) as without:
            with pytest.raises(KubeDenied, match=r"cannot create /apis/authentication\.k8s\.io/v1/tokenreviews"):
                await KubeReviews(without).authenticate(token)


async def test_an_api_server_that_is_away_is_an_error_and_no_verdict():
    async with KubeClient(KubeEndpoint("http://127.0.0.1:1")) as client:
        with pytest.raises(KubeUnreachable):
            await KubeReviews(client).authenticate("token")
