"""The service account's token goes to the API server alone, wherever an answer points."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from azure_cni.commands.access import KubernetesAccess
from azure_cni.errors import KubeUnreachable
from azure_cni.kube.client import KubeClient, KubeEndpoint, open_session
from contract.person import kubeconfig
from fakes.serving import serve

TOKEN = "a-token-that-nobody-else-may-see"
POOLS = "/apis/azure-cni.io/v1alpha1/nodeippools"


class Stranger:
    """A server that answers everything, and keeps what it was sent."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.heard.append(f"{request.method} {request.path} {dict(request.headers)}")
        return web.json_response({"kind": "List", "metadata": {}, "items": []})


@contextlib.asynccontextmanager
async def redirecting(status: int, *, within: bool = False) -> AsyncIterator[tuple[str, Stranger]]:
    """The URL of an API server that sends whoever asks elsewhere, and the one there; `within`: back to itself."""
    stranger, there, here = Stranger(), web.Application(), web.Application()
    there.router.add_route("*", "/{path:.*}", stranger.answer)
    async with serve(there) as port:
        target = "/elsewhere" if within else f"http://127.0.0.1:{port}/elsewhere"

        async def redirect(_: web.Request) -> web.Response:
            return web.Response(status=status, headers={"Location": target})

        here.router.add_get("/elsewhere", stranger.answer)
        here.router.add_route("*", "/{path:.*}", redirect)
        async with serve(here) as own:
            yield f"http://127.0.0.1:{own}", stranger


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_watch_that_is_sent_elsewhere_asks_nobody_there(status: int):
    """By the session through which kopf lists and watches: kopf follows redirects."""
    async with redirecting(status) as (url, stranger), open_session(KubeEndpoint(url, token=TOKEN)) as session:
        with pytest.raises(aiohttp.ClientConnectionError, match=r"cannot follow the redirect of http://127"):
            await session.get(f"{url}{POOLS}?watch=true")
    assert stranger.heard == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_request_that_is_sent_elsewhere_is_an_error_and_asks_nobody_there(status: int):
    async with redirecting(status) as (url, stranger), KubeClient(KubeEndpoint(url, token=TOKEN)) as client:
        with pytest.raises(KubeUnreachable):
            await client.get(f"{POOLS}/vm1")
        with pytest.raises(KubeUnreachable):
            await client.merge_patch(f"{POOLS}/vm1", {})
    assert stranger.heard == []


async def test_a_redirect_within_the_api_server_is_followed_with_the_token():
    async with (
        redirecting(307, within=True) as (url, server),
        open_session(KubeEndpoint(url, token=TOKEN)) as session,
        session.get(f"{url}{POOLS}") as response,
    ):
        assert response.status == 200
    (heard,) = server.heard
    assert f"Bearer {TOKEN}" in heard


async def test_another_spelling_of_the_api_server_s_address_is_no_redirect():
    """Nobody listens there; but that is found out by asking."""
    async with open_session(KubeEndpoint("http://[0:0:0:0:0:0:0:1]:9", token=TOKEN)) as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"http://[0:0:0:0:0:0:0:1]:9{POOLS}")


@pytest.mark.parametrize("status", [301, 302, 307])
async def test_a_command_that_is_sent_elsewhere_is_an_error_and_asks_nobody_there(status: int, tmp_path: Path):
    async with redirecting(status) as (url, stranger):
        access = KubernetesAccess(kubeconfig=kubeconfig(tmp_path, url=url, token=TOKEN))
        asked: list[Callable[[], object]] = [
            lambda: access.list_objects(POOLS),
            lambda: access.read_text(f"{POOLS}/vm1"),
            lambda: access.patch_object(f"{POOLS}/vm1", {}, dry_run=False),
        ]
        for ask in asked:
            with pytest.raises(KubeUnreachable, match="redirects to elsewhere"):
                await asyncio.to_thread(ask)
    assert stranger.heard == []
