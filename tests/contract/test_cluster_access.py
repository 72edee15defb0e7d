"""How the command line reaches a cluster: the package `kubernetes` against a real API server, and its fake alike."""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import WSMsgType, web

from azure_cni.api.introspection import NodeReport, encode_report
from azure_cni.api.node_ip_pool import PAUSE_WRITER
from azure_cni.commands import program_reads, reads
from azure_cni.commands.access import ClusterAccess, KubernetesAccess
from azure_cni.commands.pod_access import PodAccess
from azure_cni.diagnose.evidence import PodFacts
from azure_cni.diagnose.other_programs import OtherProgram, Program
from azure_cni.diagnose.pauses import parse_pause, pause_patch, resume_patch
from azure_cni.errors import ConfigInvalid, KubeDenied, KubeError, KubeNotFound, KubeUnreachable
from azure_cni.kube.client import KubeClient, KubeEndpoint
from contract.kube_world import Place
from contract.person import WAYS, Way, kubeconfig
from contract.test_metrics_rights import account
from fakes.cluster_access import FakeClusterAccess
from fakes.serving import serve

PODS = "/api/v1/namespaces/default/pods"
OTHER_PROGRAMS = tuple(
    PodFacts("kube-system", one, one, other_program=OtherProgram(one, "kube-system", one))
    for one in Program
    if one is not Program.ENGINE  # whose logs are read, by a right of another role
)
"""By which everything is read that the settings of other programs are in."""


def pod_body(name: str, mark: str) -> dict[str, object]:
    containers = [{"name": "agent", "image": "none"}]
    return {
        "metadata": {"name": name, "namespace": "default", "labels": {"mark": mark}},
        "spec": {"containers": containers},
    }


@pytest.fixture(params=WAYS.values(), ids=WAYS.keys())
def way(request: pytest.FixtureRequest) -> Way:
    """Each way to a cluster."""
    found: Way = request.param
    return found


@asynccontextmanager
async def accesses(apiserver: Place, directory: Path, *bodies: dict[str, object]) -> AsyncIterator[list[ClusterAccess]]:
    """Each way to the real one, and the fake, over the same objects."""
    async with apiserver.endpoint() as endpoint, KubeClient(endpoint) as admin:
        for body in bodies:
            await admin.create(PODS, body)
        config = kubeconfig(directory, url=endpoint.url, token=endpoint.token, ca_file=Path(str(endpoint.ca_file)))
        fake = FakeClusterAccess({"/api/v1/pods": list(bodies)}, namespace="mine")
        yield [KubernetesAccess(kubeconfig=config), PodAccess(endpoint), fake]


async def test_objects_are_listed_by_label_and_read_by_name(apiserver: Place, tmp_path: Path):
    mark = uuid.uuid4().hex[:8]
    bodies = [pod_body(f"{mark}-{number}", mark) for number in range(3)] + [pod_body(f"{mark}-other", "other")]
    async with accesses(apiserver, tmp_path, *bodies) as all_ways:
        assert [access.namespace for access in all_ways] == ["mine", "default", "mine"]
        for access in all_ways:
            found = await asyncio.to_thread(access.list_objects, "/api/v1/pods", labelSelector=f"mark={mark}")
            assert sorted(one["metadata"]["name"] for one in found) == [f"{mark}-{number}" for number in range(3)]
            one = await asyncio.to_thread(access.read_object, f"{PODS}/{mark}-1")
            assert one["metadata"]["labels"] == {"mark": mark}
            with pytest.raises(KubeNotFound, match="not found"):
                await asyncio.to_thread(access.read_object, f"{PODS}/{mark}-9")


async def test_a_long_list_comes_in_pages(apiserver: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mark = uuid.uuid4().hex[:8]
    monkeypatch.setattr("azure_cni.commands.http_access.PAGE_SIZE", 2)
    async with accesses(apiserver, tmp_path, *(pod_body(f"{mark}-{n}", mark) for n in range(5))) as all_ways:
        for access in all_ways:
            found = await asyncio.to_thread(access.list_objects, "/api/v1/pods", labelSelector=f"mark={mark}")
            assert len(found) == 5


async def test_events_are_selected_by_the_kind_of_their_object(apiserver: Place, tmp_path: Path):
    name = uuid.uuid4().hex[:8]
    async with apiserver.endpoint() as endpoint, KubeClient(endpoint) as admin:
        bodies = []
        for kind in ("NodeIPPool", "Pod"):
            about = {"kind": kind, "name": name, "namespace": "default", "uid": f"uid-{name}"}
            meta = {"name": f"{name}-{kind.lower()}", "namespace": "default"}
            bodies.append({"metadata": meta, "involvedObject": about, "reason": "Tried", "message": name})
            await admin.create("/api/v1/namespaces/default/events", bodies[-1])
        config = kubeconfig(tmp_path, url=endpoint.url, token=endpoint.token, ca_file=Path(str(endpoint.ca_file)))
        fake = FakeClusterAccess({"/api/v1/events": bodies})
        for access in (KubernetesAccess(kubeconfig=config), PodAccess(endpoint), fake):
            found = await asyncio.to_thread(
                access.list_objects, "/api/v1/events", fieldSelector="involvedObject.kind=NodeIPPool"
            )
            assert [one["involvedObject"]["kind"] for one in found if one["message"] == name] == ["NodeIPPool"]


async def test_logs_need_a_pod_and_a_right(apiserver: Place, tmp_path: Path):
    """No kubelet is here to have any: what a log looks like is in the test below."""
    async with accesses(apiserver, tmp_path) as all_ways:
        for access in all_ways:
            with pytest.raises(KubeNotFound, match="not found"):
                await asyncio.to_thread(access.read_text, f"{PODS}/no-such-pod/log", tailLines="3")
    async with apiserver.endpoint() as endpoint, KubeClient(endpoint) as admin:
        token = await account(admin, role="azure-cni-cli")
        config = kubeconfig(tmp_path, url=endpoint.url, token=token, ca_file=Path(str(endpoint.ca_file)))
        with pytest.raises(KubeDenied, match="pods/log"):
            await asyncio.to_thread(KubernetesAccess(kubeconfig=config).read_text, f"{PODS}/x/log")


async def test_a_command_gets_as_far_as_the_pods_node(apiserver: Place, tmp_path: Path):
    """No kubelet is here to run any; but what the request itself says must be right for a real API server."""
    name = uuid.uuid4().hex[:8]
    async with accesses(apiserver, tmp_path, pod_body(name, name)) as (of_kubeconfig, in_pod, _):
        for access in (of_kubeconfig, in_pod):
            with pytest.raises(KubeError, match="refused it with 400 Bad Request"):
                await asyncio.to_thread(access.run_in_pod, "default", name, ["azure-cni", "introspect"])


async def test_a_log_is_text_as_it_is(way: Way, tmp_path: Path):
    asked: list[web.Request] = []

    async def log(request: web.Request) -> web.Response:
        asked.append(request)
        return web.Response(body=b'{"message": "first"}\nno JSON, \xff\n')

    app = web.Application()
    app.router.add_get(f"{PODS}/x/log", log)
    async with serve(app) as port:
        access = way(tmp_path, f"http://127.0.0.1:{port}")
        found = await asyncio.to_thread(access.read_text, f"{PODS}/x/log", tailLines="3", previous="true")
    assert found == '{"message": "first"}\nno JSON, \ufffd\n'
    assert dict(asked[0].query) == {"tailLines": "3", "previous": "true"}


async def test_the_charts_role_is_enough_to_look_and_not_to_exec(apiserver: Place, tmp_path: Path):
    async with apiserver.endpoint() as endpoint, KubeClient(endpoint) as admin:
        ca_file = Path(str(endpoint.ca_file))
        mine, stranger = await account(admin, role="azure-cni-cli"), await account(admin)
        access = KubernetesAccess(kubeconfig=kubeconfig(tmp_path, url=endpoint.url, token=mine, ca_file=ca_file))
        found = await asyncio.to_thread(reads.read_cluster, access)
        assert found.unread == ()
        beside = replace(found, pods=OTHER_PROGRAMS)
        assert (await asyncio.to_thread(program_reads.with_programs, access, beside)).unread == ()
        name = f"pod-{uuid.uuid4().hex[:8]}"
        await admin.create(PODS, pod_body(name, "x"))
        await asyncio.to_thread(reads.read_pod, access, "default", name)
        with pytest.raises(KubeDenied, match=r'refused it with 403 Forbidden: .*cannot .* resource "pods/exec"') as no:
            await asyncio.to_thread(access.run_in_pod, "default", name, ["azure-cni", "introspect"])
        assert "-+-+-" not in str(no.value)
        assert "audit-id" not in str(no.value).lower()
        other = KubernetesAccess(kubeconfig=kubeconfig(tmp_path, url=endpoint.url, token=stranger, ca_file=ca_file))
        assert len((await asyncio.to_thread(reads.read_cluster, other)).unread) == 6
        assert len((await asyncio.to_thread(program_reads.with_programs, other, beside)).unread) == 5
        nobody = KubernetesAccess(kubeconfig=kubeconfig(tmp_path, url=endpoint.url, token="x", ca_file=ca_file))
        with pytest.raises(KubeDenied, match="Unauthorized"):
            await asyncio.to_thread(nobody.read_object, f"{PODS}/{name}")


async def test_a_pause_is_a_change_whose_time_and_author_are_recorded(apiserver: Place, tmp_path: Path):
    name = f"node-{uuid.uuid4().hex[:8]}"
    path = f"{reads.POOLS}/{name}"
    body = {"apiVersion": "azure-cni.io/v1alpha1", "kind": "NodeIPPool", "metadata": {"name": name}, "spec": {}}
    async with apiserver.endpoint() as endpoint, KubeClient(endpoint) as admin:
        await admin.create(reads.POOLS, body)
        ca_file = Path(str(endpoint.ca_file))
        token = await account(admin, role="azure-cni-pause")
        access = KubernetesAccess(kubeconfig=kubeconfig(tmp_path, url=endpoint.url, token=token, ca_file=ca_file))
        fake = FakeClusterAccess({reads.POOLS: [body]})
        user = await asyncio.to_thread(access.read_user)
        assert user.startswith("system:serviceaccount:default:account-")
        for one in (access, fake):
            patch = pause_patch(by=user, reason="work")
            tried = await asyncio.to_thread(one.patch_object, path, patch, dry_run=True)
            assert tried["spec"]["paused"] is True
            assert parse_pause(await asyncio.to_thread(one.read_object, path)) is None
            found = parse_pause(await asyncio.to_thread(one.patch_object, path, patch, dry_run=False))
            assert found is not None
            assert (found.by, found.reason, found.writer, bool(found.since)) == (user, "work", PAUSE_WRITER, True)
        await admin.merge_patch(path, {"spec": {"paused": False}})
        await admin.merge_patch(path, {"spec": {"paused": True}})
        taken_over = parse_pause(await asyncio.to_thread(access.read_object, path))
        assert taken_over is not None
        assert (taken_over.by, taken_over.reason) == ("", "")
        for one in (access, fake):
            after = await asyncio.to_thread(one.patch_object, path, resume_patch(), dry_run=False)
            assert "paused" not in after["spec"]
            assert not after["metadata"].get("annotations")
        looker = await account(admin, role="azure-cni-cli")
        other = KubernetesAccess(kubeconfig=kubeconfig(tmp_path, url=endpoint.url, token=looker, ca_file=ca_file))
        with pytest.raises(KubeDenied, match=r"cannot change .* cannot patch"):
            await asyncio.to_thread(other.patch_object, path, resume_patch(), dry_run=True)


async def test_the_command_as_a_process(apiserver: Place, tmp_path: Path):
    """From its flags to its answer, with what it takes beside the API server's own time."""
    async with apiserver.endpoint() as endpoint:
        config = kubeconfig(tmp_path, url=endpoint.url, token=endpoint.token, ca_file=Path(str(endpoint.ca_file)))
        words = [sys.executable, "-m", "azure_cni", "who", "10.99.99.99", "--kubeconfig", config, "-o", "json"]
        done = await asyncio.to_thread(subprocess.run, words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "no pod, node or pool of this cluster has 10.99.99.99"


def test_a_cluster_that_is_not_there(way: Way, tmp_path: Path):
    access = way(tmp_path, "http://127.0.0.1:9")
    with pytest.raises(KubeUnreachable, match=r"http://127\.0\.0\.1:9 does not answer"):
        access.read_object("/api/v1/nodes/x")


@pytest.mark.parametrize("flags", [{"kubeconfig": "/no/such/file"}, {"context": "no-such-context"}])
def test_a_cluster_that_is_not_configured(tmp_path: Path, flags: dict[str, str]):
    config = kubeconfig(tmp_path, url="http://127.0.0.1:9", token="x")
    with pytest.raises(ConfigInvalid, match="cannot find the cluster"):
        KubernetesAccess(**{"kubeconfig": config, **flags})


HALF = "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\nclusters: [{name: k, cluster: "


@pytest.mark.parametrize(
    "content",
    [
        "a: [", "just words", "- a list", "\x00\x01", "[" * 5000, HALF.replace("{cluster: k, user: u}", "k") + "{}}]",
        f"{HALF}{{server: 5}}}}]\nusers: []", f"{HALF}{{server: [a]}}}}]\nusers: []",
        f"{HALF}{{server: a}}}}]\nusers: [{{name: u, user: someone}}]",
    ],
)  # fmt: skip
def test_a_file_that_is_no_kubeconfig(tmp_path: Path, content: str):
    (tmp_path / "config").write_text(content)
    with pytest.raises(ConfigInvalid, match="cannot find the cluster"):
        KubernetesAccess(kubeconfig=str(tmp_path / "config"))


@asynccontextmanager
async def a_kubelet(*, output: bytes, status: dict[str, object] | None) -> AsyncIterator[tuple[str, list[web.Request]]]:
    """An API server that runs commands in pods, by the protocol v4.channel.k8s.io.

    Without a `status` the connection breaks while the command runs.
    """
    asked: list[web.Request] = []

    async def run(request: web.Request) -> web.WebSocketResponse:
        asked.append(request)
        socket = web.WebSocketResponse(protocols=("v5.channel.k8s.io", "v4.channel.k8s.io"))
        await socket.prepare(request)
        for start in range(0, len(output), 16_000):
            await socket.send_bytes(b"\x01" + output[start : start + 16_000])
        if status is None:
            assert request.transport is not None
            request.transport.abort()
            return socket
        if status.get("details"):
            await socket.send_bytes(b"\x02azure-cni: cannot ask the agent")
        await socket.send_bytes(b"\x03" + json.dumps(status).encode())
        await socket.close()
        async for message in socket:
            assert message.type is WSMsgType.CLOSE
        return socket

    app = web.Application()
    app.router.add_get("/api/v1/namespaces/kube-system/pods/agent/exec", run)
    async with serve(app) as port:
        yield f"http://127.0.0.1:{port}", asked


async def test_a_pod_sees_its_token_as_the_kubelet_renews_it_and_says_when_there_is_none(tmp_path: Path):
    asked: list[str] = []

    async def version(request: web.Request) -> web.Response:
        asked.append(request.headers["Authorization"])
        return web.json_response({})

    app = web.Application()
    app.router.add_get("/version", version)
    token = tmp_path / "token"
    async with serve(app) as port:
        access = PodAccess(KubeEndpoint(f"http://127.0.0.1:{port}", token_file=token))
        for words in ("first\n", "second"):
            token.write_text(words)
            await asyncio.to_thread(access.read_object, "/version")
        token.unlink()
        with pytest.raises(KubeDenied, match=r"cannot read the service account's token .*/token: .*automount"):
            await asyncio.to_thread(access.read_object, "/version")
    assert asked == ["Bearer first", "Bearer second"]


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_pod_without_the_clusters_authority_says_so(tmp_path: Path, content: str | None):
    if content is not None:
        (tmp_path / "ca.crt").write_text(content)
    with pytest.raises(ConfigInvalid, match=r"cannot read the cluster's authority .*/ca\.crt: .*automount"):
        PodAccess(KubeEndpoint("https://192.0.2.1", ca_file=tmp_path / "ca.crt"))


async def test_who_may_not_run_commands_in_pods_learns_which_right_that_takes(apiserver: Place, tmp_path: Path):
    async with apiserver.endpoint() as endpoint, KubeClient(endpoint) as admin:
        stranger = KubeEndpoint(endpoint.url, token=await account(admin), ca_file=endpoint.ca_file)
        with pytest.raises(KubeDenied, match=r"refused it with 403 .*; it needs get and create of pods/exec there"):
            await asyncio.to_thread(PodAccess(stranger).run_in_pod, "default", "x", ["true"])


async def test_an_agent_is_asked_by_exec(way: Way, tmp_path: Path):
    report = encode_report(NodeReport(node="vm1", conflicts=["ü" * 40_000]))
    async with a_kubelet(output=report, status={"status": "Success"}) as (url, asked):
        access = way(tmp_path, url)
        command = ["sh", "-c", "a; b & c + d\n%", "/introspection/v1/node"]
        assert await asyncio.to_thread(access.run_in_pod, "kube-system", "agent", command) == report
    (request,) = asked
    assert request.headers["Authorization"] == "Bearer secret"
    assert request.query.getall("command") == command
    assert ";" not in request.raw_path  # Go's servers drop what has one
    assert request.query["container"] == "agent"


async def test_a_command_that_fails_in_the_pod_says_why(way: Way, tmp_path: Path):
    failed = {"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": [{"message": "3"}]}}
    async with a_kubelet(output=b"", status=failed) as (url, _):
        access = way(tmp_path, url)
        with pytest.raises(KubeError, match="cannot ask the agent"):
            await asyncio.to_thread(access.run_in_pod, "kube-system", "agent", ["azure-cni", "introspect"])
        with pytest.raises(KubeNotFound, match="pod kube-system/other"):
            await asyncio.to_thread(access.run_in_pod, "kube-system", "other", ["azure-cni", "introspect"])


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            {"status": "Failure", "message": "container not found", "details": {"causes": [{"message": "runc: no"}]}},
            "cannot ask the agent",
        ),
        ({"status": "Failure", "reason": "InternalError", "message": "container not found"}, "container not found"),
        ({"status": "Failure"}, "it failed"),
        (None, "connection"),
    ],
)
async def test_a_command_that_never_ran_or_was_cut_off_is_an_error_in_words(
    way: Way, tmp_path: Path, status: dict[str, object] | None, words: str
):
    """The container restarts, the runtime refuses, the node goes away: no exit status comes."""
    async with a_kubelet(output=b"{", status=status) as (url, _):
        access = way(tmp_path, url)
        with pytest.raises(KubeError, match=words):
            await asyncio.to_thread(access.run_in_pod, "kube-system", "agent", ["azure-cni", "introspect"])


async def test_an_expired_token_of_an_oidc_provider_is_renewed(tmp_path: Path):
    """By libraries that are loaded for nothing else."""
    issuer = web.Application()
    claims = base64.urlsafe_b64encode(b'{"exp": 1}').decode().rstrip("=")

    async def discover(request: web.Request) -> web.Response:
        return web.json_response({"token_endpoint": f"http://{request.host}/token"})

    async def renew(request: web.Request) -> web.Response:
        assert (await request.post())["refresh_token"] == "again"
        return web.json_response(
            {"access_token": "a", "token_type": "Bearer", "id_token": "fresh", "refresh_token": "b"}
        )

    async def version(request: web.Request) -> web.Response:
        return web.json_response({"seen": request.headers["Authorization"]})

    issuer.router.add_get("/.well-known/openid-configuration", discover)
    issuer.router.add_post("/token", renew)
    issuer.router.add_get("/version", version)
    async with serve(issuer) as port:
        url = f"http://127.0.0.1:{port}"
        fields = {"idp-issuer-url": url, "client-id": "c", "client-secret": "s", "id-token": f"e30.{claims}.x"}
        provider = {"name": "oidc", "config": fields | {"refresh-token": "again"}}
        config = kubeconfig(tmp_path, url=url, user={"auth-provider": provider})
        program = (
            "from azure_cni.commands.access import KubernetesAccess; "
            f"print(KubernetesAccess(kubeconfig={config!r}).read_object('/version')['seen'])"
        )
        environment = {"PYTHONPATH": ":".join(sys.path), "OAUTHLIB_INSECURE_TRANSPORT": "1"}
        run = functools.partial(subprocess.run, capture_output=True, text=True, env=environment, check=False)
        done = await asyncio.to_thread(run, [sys.executable, "-c", program])
    assert done.stdout == "Bearer fresh\n", done.stderr
