"""The files of docs/delivery.md, by the rules of the programs that read them."""

import json
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from unit.chart.crds import POOLS, QUOTAS, schema, version
from unit.chart.helm import REPOSITORY
from unit.documentation.markdown import blocks
from unit.documentation.upstream import faults

PAGE = REPOSITORY / "docs" / "delivery.md"
FILES: dict[str, Any] = {
    block.text.partition("\n")[0].removeprefix("# "): yaml.safe_load(block.text)
    for block in blocks(PAGE.read_text())
    if block.language == "yaml"
}
ARGO: dict[str, str] = FILES["argocd-cm.yaml"]["data"]
FLUX = FILES["kustomization.yaml, of Flux"]
STATE_METRICS = FILES["--custom-resource-state-config-file"]
LUA = shutil.which("lua5.1")
"""The language that Argo CD's interpreter speaks."""
READY = {"type": "Ready", "status": "True", "message": "12 addresses are free"}
OTHER = {"type": "Drifted", "status": "True", "message": "..."}


def healths() -> list[Any]:
    """Objects of each state, with what Argo CD should take them for."""
    unready = READY | {"status": "False", "message": "no room"}
    shared: list[tuple[dict[str, Any], str]] = [
        ({"spec": {}}, "Progressing"),
        ({"spec": {}, "status": {}}, "Progressing"),
        ({"spec": {}, "status": {"conditions": [OTHER]}}, "Progressing"),
        ({"spec": {}, "status": {"conditions": [OTHER, READY]}}, "Healthy"),
        ({"spec": {}, "status": {"conditions": [unready, OTHER]}}, "Degraded"),
    ]
    paused = {"spec": {"paused": True}, "status": {"conditions": [READY]}}
    return [
        pytest.param(kind, one, health, id=f"{kind}-{number}-{health}")
        for kind, more in (("VNetQuota", []), ("NodeIPPool", [(paused, "Suspended")]))
        for number, (one, health) in enumerate([*shared, *more])
    ]


def lua(value: Any) -> str:
    """A value as Lua writes it."""
    match value:
        case dict():
            return "{" + ", ".join(f"[{json.dumps(name)}] = {lua(one)}" for name, one in value.items()) + "}"
        case list():
            return "{" + ", ".join(map(lua, value)) + "}"
        case _:
            return json.dumps(value)


@pytest.mark.skipif(LUA is None, reason="no Lua interpreter here: apt-get install lua5.1")
@pytest.mark.parametrize(("kind", "thing", "health"), healths())
def test_argo_cd_sees_the_health_of_an_object(kind: str, thing: dict[str, Any], health: str):
    assert LUA
    script = ARGO[f"resource.customizations.health.azure-cni.io_{kind}"]
    program = (
        f"obj = {lua(thing)}\nlocal found = (function()\n{script}\nend)()\nprint(found.status)\nprint(found.message)\n"
    )
    done = subprocess.run([LUA, "-"], input=program, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    status, message = done.stdout.splitlines()
    assert status == health
    assert message


def test_the_kinds_are_those_of_the_definitions():
    kinds = {crd["spec"]["names"]["kind"] for crd in (POOLS, QUOTAS)}
    group = POOLS["spec"]["group"]
    assert set(ARGO) == {f"resource.customizations.health.{group}_{kind}" for kind in kinds}
    api = f"{group}/{version(QUOTAS)['name']}"
    assert [(one["apiVersion"], one["kind"]) for one in FLUX["spec"]["healthCheckExprs"]] == [(api, "VNetQuota")]
    asked = [one["groupVersionKind"] for one in STATE_METRICS["spec"]["resources"]]
    assert asked == [{"group": group, "version": version(POOLS)["name"], "kind": kind} for kind in sorted(kinds)]
    (rule,) = FILES["clusterrole.yaml"]["rules"]
    assert rule == {
        "apiGroups": [group],
        "resources": sorted(crd["spec"]["names"]["plural"] for crd in (POOLS, QUOTAS)),
        "verbs": ["list", "watch"],
    }


def test_each_path_of_kube_state_metrics_leads_to_a_number_or_a_condition():
    by_kind = {crd["spec"]["names"]["kind"]: schema(crd) for crd in (POOLS, QUOTAS)}
    for resource in STATE_METRICS["spec"]["resources"]:
        for metric in resource["metrics"]:
            gauge = metric["each"]["gauge"]
            part = by_kind[resource["groupVersionKind"]["kind"]]
            for step in gauge["path"]:
                part = part["properties"][step]
            if metric["name"] == "condition":
                fields = part["items"]["properties"]
                assert {*gauge["labelsFromPath"]["type"], *gauge["valueFrom"]} <= set(fields)
                assert set(fields["status"]["enum"]) <= {"True", "False", "Unknown"}
            else:
                assert part["type"] == "integer", metric["name"]


def test_the_files_have_the_fields_that_their_projects_document():
    metric = {
        "name": str,
        "help": str,
        "each": {
            "type": str,
            "gauge": {"path": [str], "labelsFromPath": {str: [str]}, "valueFrom": [str], "nilIsZero": bool},
        },
    }
    resource = {
        "groupVersionKind": {"group": str, "version": str, "kind": str},
        "metricNamePrefix": str,
        "labelsFromPath": {str: [str]},
        "metrics": [metric],
    }
    assert list(faults({"kind": str, "spec": {"resources": [resource]}}, STATE_METRICS)) == []
    expressions = {"apiVersion": str, "kind": str, "inProgress": str, "failed": str, "current": str}
    spec = {
        **dict.fromkeys(("interval", "timeout", "path"), str),
        **dict.fromkeys(("prune", "wait"), bool),
        "sourceRef": {"kind": str, "name": str},
        "healthCheckExprs": [expressions],
    }
    metadata = {"name": str, "namespace": str}
    assert list(faults({"apiVersion": str, "kind": str, "metadata": metadata, "spec": spec}, FLUX)) == []
