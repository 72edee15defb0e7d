"""NodeIPPools and VNetQuotas as v1alpha1 and v1beta1: on a real API server nothing is lost, on the way up and back."""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from azurebox import tools
from contract.person import Shell, kubeconfig
from fakes.waiting import PATIENCE_S
from simulation.cluster import Cluster, new_directory
from unit.chart.crds import POOLS, QUOTAS, schema
from unit.chart.helm import REPOSITORY, of_kind
from unit.chart.longest_pool import GROUPS, NIC_ID, NOW, VNET_ID

ALPHA, BETA = "v1alpha1", "v1beta1"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
MERGE = "application/merge-patch+json"
PLURALS = ("nodeippools", "vnetquotas")
COMMANDS = re.compile(r"```console\n(VERSION=v1beta1\n.*?)```", re.DOTALL)
SUBNET_ID = f"{VNET_ID}/subnets/{'s' * 80}"
WORDS = (
    SUBNET_ID, NIC_ID, VNET_ID, GROUPS[0], "00:0d:3a:1b:c7:21", "10.240.0.36", "10.240.0.0/16",
    NOW, "azure-cni-1", "17",
)  # fmt: skip
"""One of them fits wherever the schema has a pattern."""
CHOSEN: Mapping[str, Any] = {
    "spec.minFree": 8, "spec.maxFree": 24, "spec.batch": 16, "spec.size": 16, "spec.max": 250, "spec.blocks": 28,
    "spec.nic.subnet": SUBNET_ID, "spec.limit": 16000,
}  # fmt: skip
"""Where expressions of the definition compare fields."""


def filled(part: Mapping[str, Any], path: str) -> Any:
    """A value with every field that this part of a schema has."""
    if path in CHOSEN:
        return CHOSEN[path]
    if "properties" in part:
        return {name: filled(one, f"{path}.{name}") for name, one in part["properties"].items()}
    if "additionalProperties" in part:
        return {"vm1": filled(part["additionalProperties"], f"{path}{{}}")}
    return [filled(part["items"], f"{path}[]")] if "items" in part else plain(part)


def plain(part: Mapping[str, Any]) -> Any:
    """A value without fields."""
    if "enum" in part:
        return part["enum"][-1]
    fits = (one for one in WORDS if re.search(part.get("pattern", ""), one) and len(one) <= part.get("maxLength", 999))
    if part["type"] == "string":
        return NOW if part.get("format") == "date-time" else next(fits)
    return True if part["type"] == "boolean" else max(part.get("minimum", 0), min(part.get("maximum", 7), 7))


def fields_of(part: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """The fields of a schema."""
    yield path
    for name, one in part.get("properties", {}).items():
        yield from fields_of(one, f"{path}.{name}")
    for key, sign in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(part.get(key), dict):
            yield from fields_of(part[key], f"{path}{sign}")


def paths_of(value: Any, part: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """The fields of that schema that a value has."""
    yield path
    if isinstance(value, dict):
        for name, one in value.items():
            if name in part.get("properties", {}):
                yield from paths_of(one, part["properties"][name], f"{path}.{name}")
            else:
                yield from paths_of(one, part["additionalProperties"], f"{path}{{}}")
    elif isinstance(value, list):
        for one in value:
            yield from paths_of(one, part["items"], f"{path}[]")


def bodies() -> dict[str, list[dict[str, Any]]]:
    """By plural: objects that have every field among them. `size` and what it takes the place of exclude each other."""
    found: dict[str, list[dict[str, Any]]] = {}
    for plural, crd in zip(PLURALS, (POOLS, QUOTAS), strict=True):
        root = schema(crd)["properties"]
        whole = {part: filled(root[part], part) for part in ("spec", "status")}
        variants = {"steps": ("size",), "fixed": ("minFree", "maxFree", "batch")} if crd is POOLS else {"whole": ()}
        for name, left_out in variants.items():
            one = copy.deepcopy(whole) | {"kind": crd["spec"]["names"]["kind"], "metadata": {"name": name}}
            for field in left_out:
                del one["spec"][field]
            found.setdefault(plural, []).append(one)
    return found


def path_of(plural: str, version: str, name: str = "") -> str:
    return f"/apis/azure-cni.io/{version}/{plural}{'/' if name else ''}{name}"


class Stored:
    """An API server of its own, whose definitions the test changes, and its etcd."""

    def __init__(self, cluster: Cluster, shell: Shell) -> None:
        self.cluster, self.shell = cluster, shell

    async def define(self, stored: str) -> None:
        """The chart's definitions with that value, once an object is stored so."""
        for plural in PLURALS:
            name = f"{plural}.azure-cni.io"
            body = of_kind("CustomResourceDefinition", f"crds.storedVersion={stored}", name=name)
            await self.cluster.call("PATCH", f"{DEFINITIONS}/{name}", {"spec": body["spec"]}, kind=MERGE)
        async with asyncio.timeout(PATIENCE_S):
            for number, (plural, made) in enumerate(bodies().items()):
                body = made[0] | {"apiVersion": f"azure-cni.io/{ALPHA}", "metadata": {"name": f"probe-{number}"}}
                while True:
                    await self.cluster.call("POST", path_of(plural, ALPHA), body)
                    found = (await self.in_etcd(plural))[body["metadata"]["name"]]
                    await self.cluster.call("DELETE", path_of(plural, ALPHA, body["metadata"]["name"]))
                    if found == stored:
                        break
                    await asyncio.sleep(0.1)

    async def in_etcd(self, plural: str) -> dict[str, str]:
        """As which version each object is stored, by its name."""
        prefix = f"/registry/azure-cni.io/{plural}/"
        key, end = (base64.b64encode(one.encode()).decode() for one in (prefix, f"{prefix[:-1]}0"))
        url = f"{self.cluster.etcd_url}/v3/kv/range"
        async with aiohttp.ClientSession() as session, session.post(url, json={"key": key, "range_end": end}) as got:
            listed = (await got.json(content_type=None)).get("kvs", [])
        documents = [json.loads(base64.b64decode(one["value"])) for one in listed]
        return {one["metadata"]["name"]: one["apiVersion"].removeprefix("azure-cni.io/") for one in documents}

    async def read(self, version: str) -> dict[str, Any]:
        """All objects as that version has them, without what says which it is and when it was written."""
        found: dict[str, Any] = {}
        for plural in PLURALS:
            for one in (await self.cluster.call("GET", path_of(plural, version)))["items"]:
                assert one["apiVersion"] == f"azure-cni.io/{version}"
                meta = {key: one["metadata"][key] for key in ("name", "uid", "generation", "creationTimestamp")}
                found[f"{plural}/{meta['name']}"] = {"metadata": meta, "spec": one["spec"], "status": one["status"]}
        return found

    async def create(self, version: str, plural: str, body: dict[str, Any]) -> None:
        """With its status."""
        body = body | {"apiVersion": f"azure-cni.io/{version}"}
        await self.cluster.call("POST", path_of(plural, version), body)
        name = body["metadata"]["name"]
        await self.cluster.call(
            "PATCH", f"{path_of(plural, version, name)}/status", {"status": body["status"]}, kind=MERGE
        )

    async def migrate(self, version: str) -> None:
        """By the commands of docs/releases.md."""
        (commands,) = COMMANDS.findall((REPOSITORY / "docs" / "releases.md").read_text())
        await asyncio.to_thread(self.shell.run, commands.replace("VERSION=v1beta1", f"VERSION={version}"))
        for plural in PLURALS:
            assert set((await self.in_etcd(plural)).values()) == {version}
            definition = await self.cluster.call("GET", f"{DEFINITIONS}/{plural}.azure-cni.io")
            assert definition["status"]["storedVersions"] == [version]


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[tuple[asyncio.Runner, Stored]]:
    if shutil.which("etcd") is None or not all(tools.path(name).exists() for name in ("kube-apiserver", "kubectl")):
        pytest.skip("there is no etcd, kube-apiserver or kubectl here: run e2e/box packages (as root), e2e/box tools")
    cluster = Cluster(new_directory(), authorization="RBAC")
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        try:
            runner.run(cluster.start())
            config = kubeconfig(tmp_path, url=cluster.url, token=cluster.token, ca_file=cluster.ca_file)
            yield runner, Stored(cluster, Shell(config))
        finally:
            runner.run(cluster.stop())
            shutil.rmtree(cluster.directory)


def test_the_objects_have_every_field() -> None:
    for plural, crd in zip(PLURALS, (POOLS, QUOTAS), strict=True):
        for part in ("spec", "status"):
            whole = schema(crd)["properties"][part]
            covered = {path for one in bodies()[plural] for path in paths_of(one[part], whole)}
            assert covered == set(fields_of(whole))


def test_nothing_is_lost_from_v1alpha1_to_v1beta1_and_back(stored: tuple[asyncio.Runner, Stored]) -> None:
    runner, objects = stored
    runner.run(_up_and_back(objects))


async def _up_and_back(objects: Stored) -> None:
    for plural, made in bodies().items():
        for body in made:
            await objects.create(ALPHA, plural, body)
    before = await objects.read(ALPHA)
    assert [(one["spec"], one["status"]) for one in before.values()] == [
        (body["spec"], body["status"])
        for plural, made in bodies().items()
        for body in sorted(made, key=lambda one: str(one["metadata"]["name"]))
    ]
    await objects.define(BETA)
    assert await objects.read(BETA) == await objects.read(ALPHA) == before
    assert {version for plural in PLURALS for version in (await objects.in_etcd(plural)).values()} == {ALPHA}
    await objects.migrate(BETA)
    assert await objects.read(BETA) == await objects.read(ALPHA) == before
    for plural, made in bodies().items():
        await objects.create(BETA, plural, made[0] | {"metadata": {"name": "later"}})
    grown = await objects.read(BETA)
    assert await objects.read(ALPHA) == grown
    assert {name: one for name, one in grown.items() if not name.endswith("/later")} == before
    with pytest.raises(aiohttp.ClientResponseError, match="storedVersions"):
        await without_beta(objects)
    await objects.define(ALPHA)
    assert await objects.read(ALPHA) == grown
    await objects.migrate(ALPHA)
    assert await objects.read(ALPHA) == grown
    await without_beta(objects)
    assert await objects.read(ALPHA) == grown


async def without_beta(objects: Stored) -> None:
    """As the definitions were before."""
    for plural in PLURALS:
        path = f"{DEFINITIONS}/{plural}.azure-cni.io"
        only = [
            one | {"served": True, "storage": True}
            for one in (await objects.cluster.call("GET", path))["spec"]["versions"]
            if one["name"] == ALPHA
        ]
        await objects.cluster.call("PATCH", path, {"spec": {"versions": only}}, kind=MERGE)
