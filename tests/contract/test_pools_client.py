"""What the API server answers, and what a person reads of it."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from azure_cni.errors import (
    ConfigInvalid,
    KubeConflict,
    KubeDenied,
    KubeError,
    KubeInvalid,
    KubeNotFound,
    KubeUnreachable,
)
from azure_cni.kube.client import KubeClient, KubeEndpoint
from azure_cni.kube.nodes import KubeNode
from azure_cni.kube.pools import COLLECTION, KubePools
from azure_cni.kube.status_errors import from_status
from fakes.kubeapi import NODES, POOLS, TOKEN, FakeKubeAPI


@pytest.fixture
def api() -> FakeKubeAPI:
    api = FakeKubeAPI()
    api.put(NODES, "vm1")
    return api


@pytest.fixture
async def client(api: FakeKubeAPI) -> AsyncIterator[KubeClient]:
    async with api.serve() as url, KubeClient(KubeEndpoint(url, token=TOKEN)) as client:
        yield client


@pytest.mark.parametrize(
    ("status", "kind", "retriable"),
    [
        (400, KubeInvalid, False),
        (401, KubeDenied, True),
        (403, KubeDenied, True),
        (404, KubeNotFound, True),
        (409, KubeConflict, True),
        (415, KubeInvalid, False),
        (422, KubeInvalid, False),
        (429, KubeUnreachable, True),
        (500, KubeUnreachable, True),
        (504, KubeUnreachable, True),
    ],
)
def test_each_status_is_one_error(status: int, kind: type[KubeError], *, retriable: bool) -> None:
    error = from_status("PATCH", "/apis/x", status=status, body={"message": "the server's words"})
    assert type(error) is kind
    assert error.retriable is retriable
    assert str(error).startswith("cannot patch /apis/x: the server's words (HTTP ")


async def test_a_missing_permission_is_reported_with_what_to_check(api: FakeKubeAPI, client: KubeClient) -> None:
    api.forbidden.add(("patch", "nodeippools/status"))
    pools = KubePools(client, node_name="vm1")
    pool = await pools.create(await KubeNode(client, node_name="vm1").read_node())
    with pytest.raises(KubeDenied, match=r"cannot patch resource nodeippools/status.*ClusterRole"):
        await pools.patch_status(pool, {"allocated": 1})


async def test_an_object_that_the_server_refuses_is_not_tried_again(api: FakeKubeAPI, client: KubeClient) -> None:
    api.put(POOLS, "vm1", spec={})
    with pytest.raises(KubeInvalid, match=r"spec\.max") as caught:
        await client.merge_patch(f"{COLLECTION}/vm1", {"spec": {"max": 300}})
    assert not caught.value.retriable


async def test_a_pool_deleted_while_it_was_found_is_a_conflict_not_none(client: KubeClient) -> None:
    class Vanishing(KubePools):
        async def read(self) -> None:
            return None

    node = await KubeNode(client, node_name="vm1").read_node()
    pools = Vanishing(client, node_name="vm1")
    await pools.create(node)
    with pytest.raises(KubeConflict, match="already exists"):
        await pools.create(node)


async def test_a_server_that_is_not_there_is_named() -> None:
    async with KubeClient(KubeEndpoint("http://127.0.0.1:9", token=TOKEN)) as client:
        with pytest.raises(KubeUnreachable, match=r"cannot read /api/v1/nodes/vm1: .*http://127\.0\.0\.1:9"):
            await client.get("/api/v1/nodes/vm1")


async def test_the_token_is_read_again_when_the_kubelet_renews_it(api: FakeKubeAPI, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    async with api.serve() as url, KubeClient(KubeEndpoint(url, token_file=token)) as client:
        await client.get("/api/v1/nodes/vm1")
        api.tokens = {"renewed"}
        with pytest.raises(KubeDenied, match="HTTP 401"):
            await client.get("/api/v1/nodes/vm1")
        (tmp_path / "next").write_text("renewed")
        os.replace(tmp_path / "next", token)  # noqa: PTH105  # as the kubelet does: another inode under the name
        await client.get("/api/v1/nodes/vm1")


async def test_a_missing_token_says_which_file(tmp_path: Path) -> None:
    async with KubeClient(KubeEndpoint("http://127.0.0.1:9", token_file=tmp_path / "token")) as client:
        with pytest.raises(KubeDenied, match=r"token: .+; is automountServiceAccountToken off"):
            await client.get("/api/v1/nodes/vm1")


@pytest.mark.parametrize("token", [b"one\ntwo", b"\xff\xfe", b"a\0b"])
async def test_a_token_that_no_header_can_carry_says_which_file(tmp_path: Path, token: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(token)
    async with KubeClient(KubeEndpoint("http://127.0.0.1:9", token_file=file)) as client:
        with pytest.raises(KubeDenied, match=rf"^cannot use the service account's token {re.escape(str(file))}: "):
            await client.get("/api/v1/nodes/vm1")


@asynccontextmanager
async def answering(status: str, content: bytes) -> AsyncIterator[KubeClient]:
    """A client of somebody who answers everything alike."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with KubeClient(KubeEndpoint(f"http://127.0.0.1:{port}", token=TOKEN)) as client:
            yield client


async def test_an_answer_that_is_not_json_is_quoted() -> None:
    async with answering("502 Bad Gateway", b"<html>proxy</html") as client:
        with pytest.raises(KubeUnreachable, match=r"<html>proxy</html \(HTTP 502\)"):
            await client.get("/api/v1/nodes/vm1")


@pytest.mark.parametrize("content", [b"<html>proxy</html>", b'{"a": "\xe9"}', b"[" * 9000, b"[]", b"null", b""])
async def test_a_good_status_without_an_object_is_no_answer_of_the_api_server(content: bytes) -> None:
    async with answering("200 OK", content) as client:
        with pytest.raises(
            KubeUnreachable, match=r"is not an object, it begins .*does a proxy answer in the API server's"
        ):
            await client.get("/api/v1/nodes/vm1")
        with pytest.raises(KubeUnreachable):
            [item async for item in client.items("/api/v1/pods")]


@pytest.mark.parametrize("content", [b"{}", b'{"metadata": {}, "message": "welcome"}'])
async def test_an_object_that_is_no_list_is_reported(content: bytes) -> None:
    async with answering("200 OK", content) as client:
        with pytest.raises(KubeUnreachable, match=r"is not a list, it begins "):
            [item async for item in client.items("/api/v1/nodes")]
        with pytest.raises(
            KubeUnreachable, match=r"read /api/v1/pods: the answer of http\S+ cannot be used: it is no list"
        ):
            [item async for item in client.items("/api/v1/pods")]


@pytest.mark.parametrize("items", ["null", "[]", "[null, 7]"])
async def test_a_list_without_objects_is_empty(items: str) -> None:
    async with answering("200 OK", f'{{"metadata": null, "items": {items}}}'.encode()) as client:
        assert [item async for item in client.items("/api/v1/pods")] == []


def test_in_cluster_writes_an_ipv6_host_as_a_url_wants_it() -> None:
    def url(**environ: str) -> str:
        return KubeEndpoint.in_cluster({f"KUBERNETES_SERVICE_{key}": value for key, value in environ.items()}).url

    assert url(HOST="10.96.0.1", PORT="6443") == "https://10.96.0.1:6443"
    assert url(HOST="fd00::1") == "https://[fd00::1]:443"


def test_outside_of_a_pod_the_missing_variable_is_named() -> None:
    with pytest.raises(ConfigInvalid, match="KUBERNETES_SERVICE_HOST is not set"):
        KubeEndpoint.in_cluster({})


async def test_a_collection_is_read_page_by_page(api: FakeKubeAPI, client: KubeClient) -> None:
    for number in range(5):
        api.put(NODES, f"more-{number}")
    before = len(api.requests)
    names = [node["metadata"]["name"] async for node in client.items("/api/v1/nodes", limit="2")]
    assert names == ["vm1", *(f"more-{number}" for number in range(5))]
    assert len(api.requests) - before == 3
    assert [node["metadata"]["name"] async for node in client.items("/api/v1/nodes")] == names
